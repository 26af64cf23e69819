/* int8_file.c - networks in integers as .safetensors files, proved by reading them back.
 *
 *     "<site>.codes"   I8 [O, K]; U8 [O, (K + 1) / 2] where 4 bits are enough: code + 8, even columns in the low half
 *     "<site>.scale", "<site>.bias"   F32 [O]; a table (the embedding) has neither
 *     "<site>.act"     F32 [3]: scale and lowest code of the activations, bits of the weight
 *     metadata         "lathe.int8" = "cnn", "mlp", "lstm" or "gru", "lathe.size", and each key of the config:
 *                      "lathe.filters" = "16", of widths "lathe.hidden" = "256/128"
 *
 * A file says nothing that is believed: sizes follow from the config, which is checked as a new model's is, and each
 * tensor has to have its type and its size before anything is allocated. */
#include "infer/int8_layers.h"

#include "base/text.h"
#include "lathe/formats.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PARTS = 4, TEXT = 80, NAME = LTI_INT8_NAME + 8 };
static const char *const part_names[PARTS] = {"codes", "scale", "bias", "act"};

/* ---- Codes ---- */

static bool is_packed(int bits)
{
    return bits <= 4;
}

static int64_t row_bytes(const lti_int8_layer *l)
{
    return is_packed(l->bits) ? (l->K + 1) / 2 : l->K;
}

static void pack(const lti_int8_layer *l, uint8_t *to)
{
    for (int64_t o = 0; o < l->O; o++)
        for (int64_t k = 0; k < l->K; k++)
            to[o * row_bytes(l) + k / 2] |= (uint8_t)((l->codes[o * l->K + k] + 8) << (k % 2 * 4));
}

static void unpack(const lti_int8_layer *l, const uint8_t *from)
{
    for (int64_t o = 0; o < l->O; o++)
        for (int64_t k = 0; k < l->K; k++)
            l->codes[o * l->K + k] = (int8_t)((from[o * row_bytes(l) + k / 2] >> (k % 2 * 4) & 15) - 8);
}

/* ---- Writing ---- */

typedef struct writing {
    const lt_int8 *net;
    lt_tensor_entry *entries;
    char (*names)[NAME];
    int64_t (*shapes)[2];
    float (*acts)[3];
    uint8_t **packed; /* a layer each, or NULL */
    int count;
    lt_pair pairs[LTI_NETWORK_KEYS + 2];
    char keys[LTI_NETWORK_KEYS][TEXT], values[LTI_NETWORK_KEYS + 1][TEXT];
    int n_pairs;
} writing;

static void add_entry(writing *w, const lti_int8_layer *l, int part, lt_stored type, int rank, int64_t rows,
                      int64_t columns, const void *data)
{
    int i = w->count++;
    w->shapes[i][0] = rows, w->shapes[i][1] = columns;
    snprintf(w->names[i], NAME, "%s.%s", l->site, part_names[part]);
    w->entries[i] =
        (lt_tensor_entry){.name = w->names[i], .dtype = type, .rank = rank, .shape = w->shapes[i], .data = data};
}

static lt_status add_layer(writing *w, int at)
{
    const lti_int8_layer *l = &w->net->layers.list[at];
    const void *codes = l->codes;
    if (is_packed(l->bits)) {
        w->packed[at] = lti_alloc_array(w->net->ctx, (size_t)l->O, (size_t)row_bytes(l));
        if (!w->packed[at]) return LT_ENOMEM;
        pack(l, w->packed[at]);
        codes = w->packed[at];
    }
    w->acts[at][0] = l->x_scale, w->acts[at][1] = l->x_lowest, w->acts[at][2] = (float)l->bits;
    add_entry(w, l, 0, is_packed(l->bits) ? LT_STORED_U8 : LT_STORED_I8, 2, l->O, row_bytes(l), codes);
    if (l->scale) add_entry(w, l, 1, LT_STORED_F32, 1, l->O, 0, l->scale);
    if (l->bias) add_entry(w, l, 2, LT_STORED_F32, 1, l->O, 0, l->bias);
    add_entry(w, l, 3, LT_STORED_F32, 1, 3, 0, w->acts[at]);
    return LT_OK;
}

static void add_pair(writing *w, const char *key, const char *value)
{
    w->pairs[w->n_pairs++] = (lt_pair){key, value};
}

static void print_value(const lti_network_key *k, char text[TEXT])
{
    size_t n = 0;
    int64_t whole = k->count ? *k->count : k->flag ? (int64_t)*k->flag : k->depthwise ? (int64_t)*k->depthwise : 0;
    if (k->number)
        lti_print(text, TEXT, "%.17g", *k->number);
    else
        snprintf(text, TEXT, "%lld", (long long)whole);
    for (int i = 0; k->widths && i < k->widths->n_hidden && n < TEXT; i++)
        n += (size_t)snprintf(text + n, TEXT - n, "%s%lld", i ? "/" : "", (long long)k->widths->hidden[i]);
}

static void add_config(writing *w)
{
    lti_network_config copy = w->net->config; /* keys give places to write */
    lti_network_key keys[LTI_NETWORK_KEYS];
    int n = w->net->network->keys(&copy, keys);
    add_pair(w, "lathe.int8", w->net->network->name);
    for (int i = 0; i < n; i++) {
        const lti_network_key *k = &keys[i];
        if (k->optional && !*k->flag) continue;
        snprintf(w->keys[i], TEXT, "lathe.%s", k->name);
        print_value(k, w->values[i]);
        add_pair(w, w->keys[i], w->values[i]);
    }
    snprintf(w->values[LTI_NETWORK_KEYS], TEXT, "%lld", (long long)w->net->size);
    add_pair(w, "lathe.size", w->values[LTI_NETWORK_KEYS]);
}

static void writing_free(writing *w)
{
    lt_ctx *ctx = w->net->ctx;
    for (int i = 0; w->packed && i < w->net->layers.n; i++) lti_free(ctx, w->packed[i]);
    lti_free(ctx, w->packed);
    lti_free(ctx, w->entries);
    lti_free(ctx, w->names);
    lti_free(ctx, w->shapes);
    lti_free(ctx, w->acts);
}

static lt_status list_all(writing *w)
{
    lt_ctx *ctx = w->net->ctx;
    size_t n = (size_t)w->net->layers.n;
    w->entries = lti_alloc_array(ctx, n * PARTS, sizeof *w->entries);
    w->names = lti_alloc_array(ctx, n * PARTS, sizeof *w->names);
    w->shapes = lti_alloc_array(ctx, n * PARTS, sizeof *w->shapes);
    w->acts = lti_alloc_array(ctx, n, sizeof *w->acts);
    w->packed = lti_alloc_array(ctx, n, sizeof *w->packed);
    if (!w->entries || !w->names || !w->shapes || !w->acts || !w->packed) return LT_ENOMEM;
    add_config(w);
    for (int i = 0; i < w->net->layers.n; i++) LTI_TRY(add_layer(w, i));
    return LT_OK;
}

/* The file opened as a network, layer by layer against this one. */
static lt_status prove(const lt_int8 *net, const char *path, lt_int8_proof *proof)
{
    lt_int8 *back;
    LTI_TRY(lt_int8_open(net->ctx, path, net->size, &back));
    lt_status status = LT_OK;
    for (int i = 0; i < net->layers.n && status == LT_OK; i++) {
        const lti_int8_layer *a = &net->layers.list[i], *b = lti_int8_find(&back->layers, a->site);
        size_t reals = (size_t)a->O * sizeof(float);
        bool same = b && a->O == b->O && a->K == b->K && a->bits == b->bits &&
                    memcmp(a->codes, b->codes, (size_t)(a->O * a->K)) == 0 && a->x_scale == b->x_scale &&
                    a->x_lowest == b->x_lowest && !a->scale == !b->scale;
        if (same && a->scale) same = memcmp(a->scale, b->scale, reals) == 0 && memcmp(a->bias, b->bias, reals) == 0;
        if (!same)
            status = lti_fail(net->ctx, LT_EIO, "%s: layer '%s' reads back differently from what was written", path,
                              a->site);
        proof->tensors += a->scale ? 4 : 2;
        proof->codes += a->O * a->K;
    }
    proof->bytes = lt_int8_bytes(net);
    lt_int8_free(back);
    return status;
}

lt_status lt_int8_save(const lt_int8 *net, const char *path, lt_int8_proof *proof)
{
    writing w = {.net = net};
    lt_int8_proof unused, *to = proof ? proof : &unused;
    *to = (lt_int8_proof){0};
    lt_status status = list_all(&w);
    if (status == LT_OK) status = lt_tensors_write(net->ctx, path, w.entries, w.count, w.pairs, w.n_pairs, NULL);
    writing_free(&w);
    return status == LT_OK ? prove(net, path, to) : status;
}

size_t lt_int8_bytes(const lt_int8 *net)
{
    size_t bytes = 0;
    for (int i = 0; i < net->layers.n; i++) {
        const lti_int8_layer *l = &net->layers.list[i];
        bytes += (size_t)(l->O * row_bytes(l)) + 3 * sizeof(float);
        if (l->scale) bytes += 2 * (size_t)l->O * sizeof(float);
    }
    return bytes;
}

/* ---- Reading ---- */

static lt_status read_number(lt_ctx *ctx, const lt_tensors *file, const char *path, const char *key, double *value)
{
    char name[TEXT], *end;
    snprintf(name, sizeof name, "lathe.%s", key);
    const char *text = lt_tensors_metadata(file, name);
    if (text) *value = lti_strtod(text, &end);
    if (text && *text && !*end && isfinite(*value) && fabs(*value) < 1e15) return LT_OK;
    return lti_fail(ctx, LT_EFORMAT, "%s: metadata '%s' is %s%s%s; a number is expected", path, name, text ? "'" : "",
                    text ? text : "missing", text ? "'" : "");
}

/* "256/128", as --init has it. */
static lt_status read_widths(lt_ctx *ctx, const lt_tensors *file, const char *path, const lti_network *network,
                             lti_network_config *config, const char *key)
{
    char name[TEXT], why[256];
    snprintf(name, sizeof name, "lathe.%s", key);
    const char *text = lt_tensors_metadata(file, name);
    if (text && lti_network_set(ctx, network, config, key, text) == LT_OK) return LT_OK;
    snprintf(why, sizeof why, "%s", text ? lt_ctx_message(ctx) : "it is missing"); /* a copy: it is written over */
    return lti_fail(ctx, LT_EFORMAT, "%s: metadata '%s' is no list of widths: %s", path, name, why);
}

static lt_status read_config(lt_ctx *ctx, const lt_tensors *file, const char *path, const lti_network **network,
                             lti_network_config *config, int64_t *size)
{
    const char *name = lt_tensors_metadata(file, "lathe.int8");
    *network = name ? lti_network_named(name) : NULL;
    if (!*network)
        return lti_fail(ctx, LT_EFORMAT, "%s: metadata 'lathe.int8' is '%s'; %s make a network in integers", path,
                        name ? name : "", lti_network_names());
    lti_network_key keys[LTI_NETWORK_KEYS];
    double value;
    memset(config, 0, sizeof *config);
    (*network)->defaults(config);
    int n = (*network)->keys(config, keys);
    for (int i = 0; i < n; i++) {
        if (keys[i].widths) {
            LTI_TRY(read_widths(ctx, file, path, *network, config, keys[i].name));
            continue;
        }
        char key[TEXT];
        snprintf(key, sizeof key, "lathe.%s", keys[i].name);
        if (keys[i].optional && !lt_tensors_metadata(file, key)) continue;
        LTI_TRY(read_number(ctx, file, path, keys[i].name, &value));
        if (keys[i].count) *keys[i].count = (int64_t)value;
        if (keys[i].number) *keys[i].number = value;
        if (keys[i].flag) *keys[i].flag = value != 0;
        if (keys[i].depthwise) *keys[i].depthwise = value != 0 ? LT_CNN_DEPTHWISE : LT_CNN_RESIDUAL;
    }
    LTI_TRY(read_number(ctx, file, path, "size", &value));
    *size = (int64_t)value;
    return LT_OK;
}

/* The bytes of "<site>.<part>", of `count` elements; NULL where it is missing or another. */
static const void *find_part(const lt_tensors *file, const char *site, int part, lt_stored type, int64_t count)
{
    char name[NAME];
    if (snprintf(name, sizeof name, "%s.%s", site, part_names[part]) >= (int)sizeof name) return NULL;
    int i = lt_tensors_find(file, name);
    bool fits = i >= 0 && lt_tensors_dtype(file, i) == type && lt_tensors_elements(file, i) == count;
    return fits ? lt_tensors_data(file, i) : NULL;
}

/* O and K: what codes [O, bytes] say, to be confirmed by the program. */
static lt_status read_layer(lt_int8 *net, const lt_tensors *file, const char *path, const char *site, int64_t O,
                            int64_t K)
{
    float act[3] = {0};
    const void *at = find_part(file, site, 3, LT_STORED_F32, 3);
    if (at) memcpy(act, at, sizeof act);
    lti_int8_layer like = {.O = O, .K = K, .bits = is_packed((int)fminf(fmaxf(act[2], 0), 9)) ? 4 : 8};
    bool table = strcmp(site, "token_embd") == 0;
    bool good = act[0] > 0 && isfinite(act[0]) && (act[1] == 0 || act[1] == -127) && act[2] >= 1 && act[2] <= 8;
    lt_stored type = is_packed(like.bits) ? LT_STORED_U8 : LT_STORED_I8;
    const void *codes = good ? find_part(file, site, 0, type, O * row_bytes(&like)) : NULL;
    const void *scale = table ? NULL : find_part(file, site, 1, LT_STORED_F32, O);
    const void *bias = table ? NULL : find_part(file, site, 2, LT_STORED_F32, O);
    if (!codes || (!table && (!scale || !bias)))
        return lti_fail(net->ctx, LT_EFORMAT,
                        "%s: layer '%s' [%lld,%lld]: codes, scale, bias or act are missing or of another type or size",
                        path, site, (long long)O, (long long)K);
    lti_int8_layer *l = lti_int8_layer_new(&net->layers, site, O, K, table);
    if (!l) return LT_ENOMEM;
    l->bits = (int)act[2], l->x_scale = act[0], l->x_lowest = act[1];
    if (is_packed(l->bits))
        unpack(l, codes);
    else
        memcpy(l->codes, codes, (size_t)(O * K));
    if (scale) memcpy(l->scale, scale, (size_t)O * sizeof(float));
    if (bias) memcpy(l->bias, bias, (size_t)O * sizeof(float));
    for (int64_t o = 0; o < O && !table; o++)
        if (!(l->scale[o] >= 0) || !isfinite(l->scale[o]) || !isfinite(l->bias[o]))
            return lti_fail(net->ctx, LT_EFORMAT, "%s: layer '%s', channel %lld: scale %g, bias %g", path, site,
                            (long long)o, (double)l->scale[o], (double)l->bias[o]);
    return LT_OK;
}

typedef struct reading {
    lt_int8 *net;
    const lt_tensors *file;
    const char *path;
} reading;

/* Each weight of a float model of this config is a layer here. */
static lt_status visit(void *user, const lti_tensor *t)
{
    const reading *r = user;
    const char *name = t->name;
    char site[LTI_INT8_NAME];
    int length = (int)strlen(name);
    bool recurrent = lti_ends_with(name, ".weight_ih") || lti_ends_with(name, ".weight_hh");
    if (t->rank < 2) return LT_OK;
    int n = recurrent ? snprintf(site, sizeof site, "%.*s.%s", length - 10, name, name + length - 2)
                      : snprintf(site, sizeof site, "%.*s", length - 7, name);
    if (n < 0 || n >= (int)sizeof site) return lti_fail(r->net->ctx, LT_EFORMAT, "%s: '%s' is too long", r->path, name);
    int64_t K = 1;
    for (int i = 1; i < t->rank; i++) K *= t->shape[i];
    LTI_TRY(read_layer(r->net, r->file, r->path, site, t->shape[0], K));
    bool tied = strcmp(site, "token_embd") == 0 && r->net->config.rnn.tied && !r->net->config.rnn.classes;
    return tied ? read_layer(r->net, r->file, r->path, "output", t->shape[0], K) : LT_OK;
}

/* ---- What is believed ----
 *
 * Steps, rows and images at a time, and the sides of images, are numbers in the metadata that no tensor confirms: a few
 * bytes could ask for any memory. They are believed as far as the weights are worth it. Images may be large where
 * weights are few: theirs is another limit. */

enum { PLAIN_MEMORY = 64 << 20, IMAGE_MEMORY = 1 << 30, MEMORY_A_BYTE = 256 };

static size_t believed(const lt_int8 *net)
{
    size_t plain = net->network == &lti_network_cnn ? IMAGE_MEMORY : PLAIN_MEMORY;
    return plain + MEMORY_A_BYTE * lt_int8_bytes(net);
}

/* Before anything is made for images: their numbers, and codes and floats behind the stem. The sizes were checked: no
 * product overflows. */
static lt_status check_sides(const lt_int8 *net, const char *path)
{
    const lt_cnn_config *c = &net->config.cnn;
    if (net->network != &lti_network_cnn) return LT_OK;
    uint64_t image = (uint64_t)(c->height * c->width) * (uint64_t)(4 * c->channels + 6 * c->filters);
    if (image <= believed(net)) return LT_OK;
    return lti_fail(net->ctx, LT_EFORMAT,
                    "%s: metadata 'lathe.height' and 'lathe.width' are %lld and %lld: an image takes %llu bytes, and a "
                    "file with %zu bytes of weights is believed up to %zu; is the file damaged?",
                    path, (long long)c->height, (long long)c->width, (unsigned long long)image, lt_int8_bytes(net),
                    believed(net));
}

static lt_status check_size(const lt_int8 *net, const char *path)
{
    const lti_network *n = net->network;
    const char *what = n == &lti_network_cnn ? "images" : n == &lti_network_mlp ? "rows" : "steps";
    if (net->program->slot_bytes <= believed(net)) return LT_OK;
    return lti_fail(net->ctx, LT_EFORMAT,
                    "%s: metadata 'lathe.size' is %lld %s, which take %zu bytes a thread; a file with %zu bytes of "
                    "weights is believed up to %zu: give the %s when opening it",
                    path, (long long)net->size, what, net->program->slot_bytes, lt_int8_bytes(net), believed(net),
                    what);
}

/* What is wrong with the config, or with layers that do not go together, is wrong with the file. */
static lt_status of_file(lt_ctx *ctx, const char *path, lt_status status)
{
    char why[512];
    if (status != LT_EINVAL && status != LT_EFORMAT) return status;
    snprintf(why, sizeof why, "%s", lt_ctx_message(ctx)); /* a copy: it is written over */
    return lti_fail(ctx, LT_EFORMAT, "%s: %s", path, why);
}

static lt_status read_all(lt_ctx *ctx, const lt_tensors *file, const char *path, int64_t size, lt_int8 **net)
{
    const lti_network *network;
    lti_network_config config;
    int64_t made = 0;
    LTI_TRY(read_config(ctx, file, path, &network, &config, &made));
    LTI_TRY(of_file(ctx, path, lti_int8_new(ctx, network, &config, size > 0 ? size : made, net)));
    reading r = {*net, file, path};
    LTI_TRY(network->each(&(*net)->config, visit, &r));
    LTI_TRY(check_sides(*net, path));
    lt_status status = lti_int8_compile(*net);
    if (status == LT_EINVAL && size > 0 && network != &lti_network_cnn) return status; /* the caller's steps */
    LTI_TRY(of_file(ctx, path, status));
    return size > 0 ? LT_OK : check_size(*net, path);
}

lt_status lt_int8_open(lt_ctx *ctx, const char *path, int64_t size, lt_int8 **net)
{
    lt_tensors *file;
    *net = NULL;
    LTI_TRY(lt_tensors_open(ctx, path, &file));
    lt_int8 *made = NULL;
    lt_status status = read_all(ctx, file, path, size, &made);
    lt_tensors_close(file);
    if (status == LT_OK)
        *net = made;
    else
        lt_int8_free(made);
    return status;
}
