/* inspect_files.c - see inspect_files.h: safetensors (lathe's exported codes among them), GGUF and HDF5. */
#include "cli/inspect_files.h"
#include "lathe/gguf.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* What is gathered of one file. */
typedef struct listing {
    json_t *tensors, *types, *metadata;
    int64_t elements, bytes;
} listing;

static void list_tensor(listing *l, const char *file, const char *name, const char *type, int rank,
                        const int64_t *shape, int64_t elements, int64_t bytes, json_t *offset)
{
    json_t *dims = json_array();
    for (int k = 0; k < rank; k++) json_array_append_new(dims, json_integer(shape[k]));
    json_array_append_new(l->tensors, json_pack("{s:s, s:s, s:o, s:I, s:I, s:o, s:s}", "name", name, "type", type,
                                                "shape", dims, "elements", (json_int_t)elements, "bytes",
                                                (json_int_t)bytes, "offset", offset, "file", file));
    json_int_t sum = json_integer_value(json_object_get(l->types, type));
    json_object_set_new(l->types, type, json_integer(sum + bytes));
    l->elements += elements;
    l->bytes += bytes;
}

static int finish(cli *c, const char *path, const char *format, listing *l, json_t **out)
{
    *out = json_pack("{s:s, s:s, s:I, s:I, s:I, s:o, s:o, s:o}", "path", path, "format", format, "count",
                     (json_int_t)json_array_size(l->tensors), "elements", (json_int_t)l->elements, "bytes",
                     (json_int_t)l->bytes, "types", l->types, "metadata", l->metadata, "tensors", l->tensors);
    return *out ? EXIT_DONE : cli_fail(c, EXIT_MEMORY, "%s: out of memory for its list of tensors", path);
}

/* ---- safetensors ---- */

/* `__metadata__` of a file that lt_tensors_open has found sound; NULL when there is none. The library offers values by
 * key; here all keys are wanted. */
static json_t *read_metadata(const char *path)
{
    FILE *file = fopen(path, "rbe");
    unsigned char prefix[8];
    if (!file) return NULL;
    uint64_t length = 0;
    json_t *metadata = NULL;
    if (fread(prefix, 1, 8, file) == 8)
        for (int i = 7; i >= 0; i--) length = length << 8 | prefix[i];
    char *header = length > 0 && length < (256u << 20) ? malloc(length) : NULL;
    if (header && fread(header, 1, length, file) == length) {
        json_t *root = json_loadb(header, length, 0, NULL);
        metadata = json_incref(json_object_get(root, "__metadata__"));
        json_decref(root);
    }
    free(header);
    fclose(file);
    return metadata;
}

/* "what:NAME" of the metadata, or NULL. */
static const char *said_of(const json_t *metadata, const char *what, const char *name)
{
    size_t size = strlen(what) + strlen(name) + 2;
    char *key = malloc(size);
    if (!key) return NULL;
    snprintf(key, size, "%s:%s", what, name);
    const char *value = json_string_value(json_object_get(metadata, key));
    free(key);
    return value;
}

/* Elements of "64x172"; 0: it is no shape. */
static int64_t elements_of(const char *shape)
{
    int64_t count = 1, n;
    for (char *end; *shape; shape = *end == 'x' ? end + 1 : end) {
        n = strtoll(shape, &end, 10);
        if (!isdigit((unsigned char)*shape) || n < 1 || n > INT64_MAX / count || (*end == 'x' && !end[1])) return 0;
        count *= n;
    }
    return count;
}

/* The grid of a tensor of exported codes and its elements; NULL when the metadata name none. */
static const char *grid_of(cli *c, const json_t *metadata, const char *name, uint64_t bytes, int64_t *elements)
{
    const char *type = said_of(metadata, "type", name), *shape = said_of(metadata, "shape", name);
    lt_dtype lattice;
    lt_scheme scheme;
    if (!type) return NULL;
    if (lt_dtype_parse(type, &lattice) && lt_dtype_is_lattice(lattice)) {
        *elements = (int64_t)(bytes / lt_dtype_bytes(lattice)) * lt_dtype_block(lattice);
        return lt_dtype_name(lattice);
    }
    *elements = shape ? elements_of(shape) : 0;
    if (*elements && lt_scheme_parse(c->ctx, type, &scheme) == LT_OK && scheme.kind != LT_SCHEME_TYPE) return type;
    lt_ctx_clear(c->ctx);
    return NULL;
}

static int inspect_safetensors(cli *c, const char *path, json_t **out)
{
    lt_tensors *t;
    lt_status status = lt_tensors_open(c->ctx, path, &t);
    if (status != LT_OK) return cli_fail_status(c, status, true);
    int n = lt_tensors_count(t);
    listing l = {json_array(), json_object(), read_metadata(n > 0 ? lt_tensors_file(t, 0) : path), 0, 0};
    for (int i = 0; i < n; i++) {
        const char *name = lt_tensors_name(t, i);
        int64_t bytes = (int64_t)lt_tensors_bytes(t, i), elements;
        const char *grid = grid_of(c, l.metadata, name, (uint64_t)bytes, &elements);
        list_tensor(&l, lt_tensors_file(t, i), name, grid ? grid : lt_stored_name(lt_tensors_dtype(t, i)),
                    lt_tensors_rank(t, i), lt_tensors_shape(t, i), grid ? elements : lt_tensors_elements(t, i), bytes,
                    json_integer((json_int_t)lt_tensors_offset(t, i)));
    }
    lt_tensors_close(t);
    if (!l.metadata) l.metadata = json_object();
    return finish(c, path, "safetensors", &l, out);
}

/* ---- GGUF ---- */

static json_t *value_of(const lt_gguf *g, const lt_gguf_pair *pair)
{
    lt_gguf_string text;
    int64_t whole;
    double real;
    bool truth;
    if (pair->type == LT_GGUF_ARRAY)
        return json_sprintf("%" PRId64 " x %s", pair->count, lt_gguf_type_name(pair->item));
    if (lt_gguf_text(g, pair->key, &text)) {
        json_t *string = json_stringn(text.text, (size_t)text.bytes);
        return string ? string : json_string("(not UTF-8)");
    }
    if (lt_gguf_bool(g, pair->key, &truth)) return json_boolean(truth);
    bool fraction = pair->type == LT_GGUF_F32 || pair->type == LT_GGUF_F64;
    if (!fraction && lt_gguf_item_int(pair, 0, &whole)) return json_integer(whole);
    return lt_gguf_item_real(pair, 0, &real) ? cli_real(real) : json_null();
}

static int inspect_gguf(cli *c, const char *path, json_t **out)
{
    lt_gguf *g;
    lt_status status = lt_gguf_open(c->ctx, path, &g);
    if (status != LT_OK) return cli_fail_status(c, status, true);
    listing l = {json_array(), json_object(), json_object(), 0, 0};
    for (int i = 0; i < lt_gguf_pairs(g); i++) {
        const lt_gguf_pair *pair = lt_gguf_pair_at(g, i);
        json_object_set_new(l.metadata, pair->key, value_of(g, pair));
    }
    for (int i = 0; i < lt_gguf_tensors(g); i++) {
        const lt_gguf_tensor_info *t = lt_gguf_tensor(g, i);
        list_tensor(&l, path, t->name, t->type_name, t->rank, t->shape, t->elements, (int64_t)t->bytes,
                    json_integer((json_int_t)t->offset));
    }
    lt_gguf_close(g);
    return finish(c, path, "gguf", &l, out);
}

/* ---- HDF5 ---- */

static int inspect_h5(cli *c, const char *path, json_t **out)
{
    lt_h5 *h;
    lt_status status = lt_h5_open(c->ctx, path, &h);
    if (status != LT_OK) return cli_fail_status(c, status, true);
    listing l = {json_array(), json_object(), json_object(), 0, 0};
    int pairs;
    const lt_pair *metadata = lt_h5_metadata(h, &pairs);
    for (int i = 0; i < pairs; i++) json_object_set_new(l.metadata, metadata[i].key, json_string(metadata[i].value));
    for (int i = 0; i < lt_h5_count(h); i++)
        list_tensor(&l, path, lt_h5_name(h, i), lt_stored_name(lt_h5_dtype(h, i)), lt_h5_rank(h, i), lt_h5_shape(h, i),
                    lt_h5_elements(h, i), (int64_t)lt_h5_bytes(h, i), json_null());
    if (*lt_h5_skipped(h)) cli_warn(c, "%s: not listed: %s", path, lt_h5_skipped(h));
    lt_h5_close(h);
    return finish(c, path, "hdf5", &l, out);
}

int cli_inspect_file(cli *c, const char *path, json_t **out)
{
    if (lt_gguf_is(path) || cli_ends_with(path, ".gguf")) return inspect_gguf(c, path, out);
    if (cli_ends_with(path, ".h5") || cli_ends_with(path, ".hdf5")) return inspect_h5(c, path, out);
    return inspect_safetensors(c, path, out);
}
