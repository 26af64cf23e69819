/* packed.c - see packed.h: which method packed the weights, and where the parts of a tensor are.
 *
 * A tensor is packed when its parts are there, not when a list of modules says so: every method has its own words for
 * the modules it left alone, and files say it all. */
#include "models/packed.h"

#include "base/text.h"
#include "data/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KNOWN "gptq, awq, bitsandbytes (4 bits), compressed-tensors (int-quantized) and bitnet (offline)"

/* ---- quantization_config ---- */

typedef struct reader {
    lt_ctx *ctx;
    const char *path;
    const json_t *json;
} reader;

static lt_status refuse(const reader *r, const char *key, const json_t *value)
{
    char *text = value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    lt_status status =
        lti_fail(r->ctx, LT_EUNSUPPORTED,
                 "%s: in 'quantization_config', '%s' is %.80s, which lathe does not implement; it reads " KNOWN,
                 r->path, key, text ? text : "missing");
    free(text);
    return status;
}

static const json_t *get(const reader *r, const char *key)
{
    const json_t *value = json_object_get(r->json, key);
    return json_is_null(value) ? NULL : value;
}

/* An absent key counts as the default. */
static lt_status read_int(const reader *r, const char *key, int64_t absent, int64_t low, int64_t high, int64_t *value)
{
    const json_t *v = get(r, key);
    *value = v ? json_integer_value(v) : absent;
    if ((!v || json_is_integer(v)) && *value >= low && *value <= high) return LT_OK;
    return refuse(r, key, v);
}

/* The group: -1, or a number of rows. */
static lt_status read_group(const reader *r, lti_packed *p)
{
    LTI_TRY(read_int(r, "group_size", 128, -1, 1 << 24, &p->group));
    return p->group == 0 ? refuse(r, "group_size", get(r, "group_size")) : LT_OK;
}

static lt_status read_gptq(const reader *r, lti_packed *p)
{
    int64_t bits;
    const json_t *format = get(r, "checkpoint_format");
    if (!format) format = get(r, "format");
    const char *text = format ? json_string_value(format) : "gptq";
    LTI_TRY(read_int(r, "bits", 4, 2, 8, &bits));
    if (8 % bits) return refuse(r, "bits", get(r, "bits"));
    if (!text || (strcmp(text, "gptq") && strcmp(text, "gptq_v2"))) return refuse(r, "checkpoint_format", format);
    p->packing = LTI_PACKED_GPTQ;
    p->bits = (int)bits;
    p->zeros_less_one = strcmp(text, "gptq") == 0;
    return read_group(r, p);
}

static lt_status read_awq(const reader *r, lti_packed *p)
{
    int64_t bits;
    const json_t *version = get(r, "version");
    if (!version) version = get(r, "format");
    const char *text = version ? json_string_value(version) : "gemm";
    LTI_TRY(read_int(r, "bits", 4, 4, 4, &bits));
    if (!text || (strcmp(text, "gemm") && strcmp(text, "GEMM"))) return refuse(r, "version", version);
    p->packing = LTI_PACKED_AWQ;
    p->bits = 4;
    return read_group(r, p);
}

static lt_status read_bnb(const reader *r, lti_packed *p)
{
    if (!json_is_true(get(r, "load_in_4bit")) && !json_is_true(get(r, "_load_in_4bit")))
        return refuse(r, "load_in_4bit", get(r, "load_in_4bit"));
    p->packing = LTI_PACKED_BNB;
    return LT_OK;
}

static lt_status read_compressed(const reader *r, lti_packed *p)
{
    const json_t *format = get(r, "format"), *groups = get(r, "config_groups"), *group;
    const char *text = json_string_value(format), *name;
    if (!text || strcmp(text, "int-quantized")) return refuse(r, "format", format);
    json_object_foreach((json_t *)groups, name, group)
    {
        const reader weights = {r->ctx, r->path, json_object_get(group, "weights")};
        const char *type = json_string_value(get(&weights, "type"));
        int64_t bits;
        LTI_TRY(read_int(&weights, "num_bits", 8, 8, 8, &bits));
        if (type && strcmp(type, "int")) return refuse(&weights, "type", get(&weights, "type"));
    }
    p->packing = LTI_PACKED_COMPRESSED;
    return LT_OK;
}

/* Absent keys are the class's: bitlinear, offline. Online, the file has floats that are rounded when they are used. */
static lt_status read_ternary(const reader *r, lti_packed *p)
{
    const json_t *class = get(r, "linear_class"), *mode = get(r, "quantization_mode"), *norm = get(r, "use_rms_norm");
    const char *name = class ? json_string_value(class) : "bitlinear", *when = json_string_value(mode);
    if (!name || (strcmp(name, "bitlinear") && strcmp(name, "autobitlinear"))) return refuse(r, "linear_class", class);
    if (mode && (!when || strcmp(when, "offline"))) return refuse(r, "quantization_mode", mode);
    if (norm && !json_is_false(norm)) return refuse(r, "use_rms_norm", norm);
    p->packing = LTI_PACKED_TERNARY;
    p->scale_divides = strcmp(name, "bitlinear") == 0;
    return LT_OK;
}

lt_status lti_packed_take(lt_ctx *ctx, const char *path, json_t *config, lti_packed *packed)
{
    static const struct {
        const char *method;
        lt_status (*read)(const reader *r, lti_packed *packed);
    } methods[] = {{"gptq", read_gptq},
                   {"awq", read_awq},
                   {"bitsandbytes", read_bnb},
                   {"compressed-tensors", read_compressed},
                   {"bitnet", read_ternary}};
    *packed = (lti_packed){0};
    const reader r = {ctx, path, json_object_get(config, "quantization_config")};
    if (!r.json || json_is_null(r.json)) return LT_OK;
    const json_t *method = get(&r, "quant_method");
    const char *name = json_string_value(method);
    for (int i = 0; name && i < LTI_COUNT(methods); i++) {
        if (strcmp(name, methods[i].method)) continue;
        LTI_TRY(methods[i].read(&r, packed));
        (void)json_object_del(config, "quantization_config");
        return LT_OK;
    }
    return refuse(&r, "quant_method", method);
}

/* ---- Parts ---- */

void lti_part_name(const char *name, const char *suffix, bool replaces, char part[LTI_PART_NAME])
{
    size_t n = strlen(name), cut = replaces && lti_ends_with(name, ".weight") ? sizeof ".weight" - 1 : 0;
    snprintf(part, LTI_PART_NAME, "%.*s%s", (int)(n - cut), name, suffix);
}

static int find_part(const lti_weights *w, const char *name, const char *suffix, bool replaces)
{
    char part[LTI_PART_NAME];
    lti_part_name(name, suffix, replaces, part);
    return w->tensors ? lt_tensors_find(w->tensors, part) : -1;
}

bool lti_part_there(const lti_weights *w, const char *name, const char *suffix, bool replaces)
{
    return find_part(w, name, suffix, replaces) >= 0;
}

static bool fits(const lti_weights *w, int i, const lti_part *p)
{
    lt_stored dtype = lt_tensors_dtype(w->tensors, i);
    const int64_t *shape = lt_tensors_shape(w->tensors, i);
    bool real = dtype == LT_STORED_F16 || dtype == LT_STORED_BF16 || dtype == LT_STORED_F32 || dtype == LT_STORED_F64;
    if (p->dtype == LT_STORED_REAL ? !real : dtype != p->dtype) return false;
    if (p->rank == 0) return lt_tensors_elements(w->tensors, i) == p->a;
    return lt_tensors_rank(w->tensors, i) == p->rank && shape[0] == p->a && (p->rank == 1 || shape[1] == p->b);
}

lt_status lti_part_find(const lti_weights *w, const char *name, const lti_part *p, int *index)
{
    char part[LTI_PART_NAME], wanted[64];
    int i = *index = find_part(w, name, p->suffix, p->replaces);
    if (i >= 0 && fits(w, i, p)) return LT_OK;
    lti_part_name(name, p->suffix, p->replaces, part);
    if (i < 0)
        return lti_fail(w->ctx, LT_EFORMAT, "%s: tensor '%s' is missing; the file has other parts of that weight",
                        lti_weights_path(w), part);
    if (p->rank == 2)
        snprintf(wanted, sizeof wanted, "[%lld, %lld]", (long long)p->a, (long long)p->b);
    else
        snprintf(wanted, sizeof wanted, "%lld elements", (long long)p->a);
    return lti_fail(w->ctx, LT_EFORMAT,
                    "%s: tensor '%s' is %s of rank %d with %lld elements; config.json makes it %s of %s",
                    lt_tensors_file(w->tensors, i), part, lt_stored_name(lt_tensors_dtype(w->tensors, i)),
                    lt_tensors_rank(w->tensors, i), (long long)lt_tensors_elements(w->tensors, i),
                    p->dtype == LT_STORED_REAL ? "floats" : lt_stored_name(p->dtype), wanted);
}

lt_status lti_part_numbers(const lti_weights *w, const char *name, const lti_part *p, lt_real **numbers)
{
    int i;
    *numbers = NULL;
    LTI_TRY(lti_part_find(w, name, p, &i));
    lt_real *x = lti_alloc_array(w->ctx, (size_t)lt_tensors_elements(w->tensors, i) + 1, sizeof *x);
    lt_status status = x ? lt_tensors_load_real(w->tensors, i, x) : LT_ENOMEM;
    if (status == LT_OK)
        *numbers = x;
    else
        lti_free(w->ctx, x);
    return status;
}

/* ---- Methods ---- */

typedef struct part_name {
    const char *suffix;
    bool replaces;
} part_name;
enum { MOST_PARTS = 8 };

/* The first is the one by which a tensor is known to be packed. */
static const struct {
    part_name parts[MOST_PARTS];
    lt_status (*read)(const lti_packed *packed, const lti_weights *weights, const lti_tensor *t, const char *name,
                      lt_real *dst);
} packings[] = {
    [LTI_PACKED_GPTQ] = {{{".qweight", true}, {".qzeros", true}, {".scales", true}, {".g_idx", true}},
                         lti_packed_read_gptq},
    [LTI_PACKED_AWQ] = {{{".qweight", true}, {".qzeros", true}, {".scales", true}}, lti_packed_read_awq},
    [LTI_PACKED_BNB] = {{{".absmax", false},
                         {".quant_map", false},
                         {".nested_absmax", false},
                         {".nested_quant_map", false},
                         {".quant_state.bitsandbytes__nf4", false},
                         {".quant_state.bitsandbytes__fp4", false}},
                        lti_packed_read_bnb},
    [LTI_PACKED_COMPRESSED] = {{{".weight_scale", true}, {".weight_zero_point", true}}, lti_packed_read_compressed},
    [LTI_PACKED_TERNARY] = {{{".weight_scale", true}}, lti_packed_read_ternary},
};

bool lti_packed_has(const lti_packed *p, const lti_weights *w, const char *name)
{
    const part_name *first = &packings[p->packing].parts[0];
    return p->packing != LTI_PACKED_NONE && lti_ends_with(name, ".weight") &&
           lti_part_there(w, name, first->suffix, first->replaces);
}

lt_status lti_packed_read(const lti_packed *p, const lti_weights *w, const lti_tensor *t, const char *name,
                          lt_real *dst)
{
    if (t->rank == 2 && t->layout != LTI_CONV1D) return packings[p->packing].read(p, w, t, name, dst);
    return lti_fail(w->ctx, LT_EUNSUPPORTED,
                    "%s: '%s' is packed, and its family stores it turned round: lathe does not implement that",
                    lti_weights_path(w), name);
}

void lti_packed_parts(const lti_packed *p, const char *name, void (*visit)(void *user, const char *part), void *user)
{
    char part[LTI_PART_NAME];
    for (int i = 0; i < MOST_PARTS && packings[p->packing].parts[i].suffix; i++) {
        const part_name *of = &packings[p->packing].parts[i];
        lti_part_name(name, of->suffix, of->replaces, part);
        visit(user, part);
    }
}

enum { FEW = 1 << 16 }; /* numbers that need not be counted before memory is made for them */

typedef struct part_sum {
    const lti_weights *weights;
    uint64_t bytes;
} part_sum;

static void add_part(void *user, const char *part)
{
    part_sum *sum = user;
    lti_weight w;
    if (lti_weights_find(sum->weights, part, &w)) sum->bytes += w.bytes;
}

lt_status lti_packed_check(const lti_packed *p, const lti_weights *w, const lti_tensor *t, const char *name)
{
    part_sum sum = {.weights = w};
    int64_t n = 1;
    bool fits = true;
    for (int i = 0; i < t->rank && fits; i++) {
        fits = t->shape[i] > 0 && n <= INT64_MAX / t->shape[i];
        if (fits) n *= t->shape[i];
    }
    add_part(&sum, name);
    lti_packed_parts(p, name, add_part, &sum);
    if (fits && (n <= FEW || (uint64_t)n / 8 <= sum.bytes)) return LT_OK; /* of few, reading says what is missing */
    return lti_fail(w->ctx, LT_EFORMAT,
                    "%s: '%s' is packed in %llu bytes, too few for the shape that config.json gives it",
                    lti_weights_path(w), name, (unsigned long long)sum.bytes);
}
