/* safetensors.c - one .safetensors file: the header and all its rules.
 *
 *     u64 N, little-endian | N bytes of JSON | byte buffer
 *
 * The rules are those of the format's own reader (the safetensors crate), in its order: a file both accept means the
 * same to both. Two are stricter, as the format's text is: a duplicate key is always refused, and nothing may stand
 * before the header's brace. Tensors sorted by offset must follow each other without hole or overlap to the exact end
 * of the file, so every byte of the buffer has one meaning. */
#include "data/foreign.h"
#include "data/formats/tensor_file.h"
#include "data/utf8.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_LIMIT 100000000u

static const struct {
    const char *name;
    int bits;
} types[LT_STORED_COUNT] = {
    [LT_STORED_BOOL] = {"BOOL", 8},
    [LT_STORED_F4] = {"F4", 4},
    [LT_STORED_F6_E2M3] = {"F6_E2M3", 6},
    [LT_STORED_F6_E3M2] = {"F6_E3M2", 6},
    [LT_STORED_U8] = {"U8", 8},
    [LT_STORED_I8] = {"I8", 8},
    [LT_STORED_F8_E5M2] = {"F8_E5M2", 8},
    [LT_STORED_F8_E4M3] = {"F8_E4M3", 8},
    [LT_STORED_F8_E8M0] = {"F8_E8M0", 8},
    [LT_STORED_F8_E4M3FNUZ] = {"F8_E4M3FNUZ", 8},
    [LT_STORED_F8_E5M2FNUZ] = {"F8_E5M2FNUZ", 8},
    [LT_STORED_I16] = {"I16", 16},
    [LT_STORED_U16] = {"U16", 16},
    [LT_STORED_F16] = {"F16", 16},
    [LT_STORED_BF16] = {"BF16", 16},
    [LT_STORED_I32] = {"I32", 32},
    [LT_STORED_U32] = {"U32", 32},
    [LT_STORED_F32] = {"F32", 32},
    [LT_STORED_C64] = {"C64", 64},
    [LT_STORED_F64] = {"F64", 64},
    [LT_STORED_I64] = {"I64", 64},
    [LT_STORED_U64] = {"U64", 64},
};

const char *lt_stored_name(lt_stored type)
{
    return (unsigned)type < LT_STORED_COUNT ? types[type].name : "?";
}

int lt_stored_bits(lt_stored type)
{
    return (unsigned)type < LT_STORED_COUNT ? types[type].bits : 0;
}

bool lt_stored_parse(const char *name, lt_stored *type)
{
    for (int i = 0; i < LT_STORED_COUNT; i++)
        if (strcmp(types[i].name, name) == 0) {
            *type = (lt_stored)i;
            return true;
        }
    return false;
}

/* The size of the header, checked against the file. */
static lt_status header_size(lt_ctx *ctx, const char *path, const lti_map *map, uint64_t *size)
{
    if (map->size < 8)
        return lti_fail(ctx, LT_EFORMAT,
                        "%s: byte 0: a safetensors file begins with 8 bytes of header size, this one has only %" PRIu64
                        "; was it copied completely?",
                        path, map->size);
    uint64_t n = 0;
    for (int i = 7; i >= 0; i--) n = n << 8 | map->data[i];
    if (n > HEADER_LIMIT)
        return lti_fail(ctx, LT_EFORMAT,
                        "%s: byte 0: a header of %" PRIu64 " bytes passes the format's limit of %u; is this a "
                        "safetensors file?",
                        path, n, HEADER_LIMIT);
    if (n > map->size - 8)
        return lti_fail(ctx, LT_EFORMAT,
                        "%s: byte 0: the header of %" PRIu64 " bytes does not fit the file of %" PRIu64
                        "; was it copied completely?",
                        path, n, map->size);
    *size = n;
    return LT_OK;
}

static lt_status parse_header(lt_ctx *ctx, lti_shard *shard)
{
    uint64_t n = 0;
    const lti_map *map = &shard->map;
    if (map->size < 9 || map->data[8] != '{') LTI_TRY(lti_explain_foreign(ctx, shard->path, map, "safetensors"));
    LTI_TRY(header_size(ctx, shard->path, map, &n));
    const unsigned char *text = map->data + 8;
    uint64_t bad = lti_utf8_check(text, n);
    if (bad < n)
        return lti_fail(ctx, LT_EFORMAT, "%s: byte %" PRIu64 ": the header is not UTF-8", shard->path, 8 + bad);
    if (n == 0 || text[0] != '{')
        return lti_fail(ctx, LT_EFORMAT, "%s: byte 8: the header does not begin with '{'; is this a safetensors file?",
                        shard->path);
    shard->base = 8 + n;
    return lti_json_parse(ctx, shard->path, 8, (const char *)text, n, &shard->header);
}

static lt_status check_metadata(lt_ctx *ctx, const char *path, json_t *metadata)
{
    if (json_is_null(metadata)) return LT_OK;
    if (!json_is_object(metadata))
        return lti_fail(ctx, LT_EFORMAT, "%s: header: __metadata__ is %s, not an object", path,
                        lti_json_kind(metadata));
    const char *key;
    json_t *value;
    json_object_foreach(metadata, key, value)
    {
        if (!json_is_string(value))
            return lti_fail(ctx, LT_EFORMAT, "%s: header: __metadata__ '%.100s' is %s, not a string", path, key,
                            lti_json_kind(value));
    }
    return LT_OK;
}

static lt_status bad_entry(lt_ctx *ctx, const lti_shard *shard, const char *name, const char *what, const json_t *value)
{
    return lti_fail(ctx, LT_EFORMAT, "%s: tensor '%.200s' in the header of bytes 8 to %" PRIu64 ": %s %s", shard->path,
                    name, shard->base, what, lti_json_kind(value));
}

/* A whole number >= 0. */
static bool natural(const json_t *value, int64_t *number)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0) return false;
    *number = json_integer_value(value);
    return true;
}

static lt_status read_entry(lt_ctx *ctx, const lti_shard *shard, const char *name, json_t *info, int64_t *shape,
                            lti_tensor *tensor)
{
    if (!json_is_object(info)) return bad_entry(ctx, shard, name, "the entry must be an object, it is", info);
    json_t *type = json_object_get(info, "dtype"), *dims = json_object_get(info, "shape");
    json_t *offsets = json_object_get(info, "data_offsets");
    if (!json_is_string(type)) return bad_entry(ctx, shard, name, "dtype must be a string, it is", type);
    if (!lt_stored_parse(json_string_value(type), &tensor->dtype) ||
        json_string_length(type) != strlen(lt_stored_name(tensor->dtype))) /* a NUL would hide what follows */
        return lti_fail(ctx, LT_EFORMAT, "%s: tensor '%.200s': unknown dtype '%.40s'", shard->path, name,
                        json_string_value(type));
    if (!json_is_array(dims)) return bad_entry(ctx, shard, name, "shape must be an array, it is", dims);
    tensor->name = name;
    tensor->rank = (int)json_array_size(dims);
    tensor->shape = shape;
    for (int i = 0; i < tensor->rank; i++)
        if (!natural(json_array_get(dims, (size_t)i), &shape[i]))
            return bad_entry(ctx, shard, name, "shape must hold whole numbers >= 0, one is",
                             json_array_get(dims, (size_t)i));
    int64_t begin, end;
    if (json_array_size(offsets) != 2 || !natural(json_array_get(offsets, 0), &begin) ||
        !natural(json_array_get(offsets, 1), &end))
        return bad_entry(ctx, shard, name, "data_offsets must be two whole numbers >= 0, it is", offsets);
    tensor->begin = (uint64_t)begin;
    tensor->end = (uint64_t)end;
    return LT_OK;
}

/* Fills list and shapes from the header, in the header's order. */
static lt_status read_entries(lt_ctx *ctx, lti_shard *shard)
{
    const char *name;
    json_t *info;
    size_t dims = 0, entries = json_object_size(shard->header);
    json_object_foreach(shard->header, name, info) dims += json_array_size(json_object_get(info, "shape"));
    shard->list = lti_alloc_array(ctx, entries, sizeof *shard->list);
    shard->shapes = lti_alloc_array(ctx, dims, sizeof *shard->shapes);
    if (!shard->list || !shard->shapes) return LT_ENOMEM;
    int64_t *shape = shard->shapes;
    json_object_foreach(shard->header, name, info)
    {
        if (strcmp(name, "__metadata__") == 0) {
            LTI_TRY(check_metadata(ctx, shard->path, info));
            continue;
        }
        lti_tensor *tensor = &shard->list[shard->count];
        LTI_TRY(read_entry(ctx, shard, name, info, shape, tensor));
        shape += tensor->rank;
        shard->count++;
    }
    return LT_OK;
}

static int by_offset(const void *a, const void *b)
{
    const lti_tensor *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end) return x->end < y->end ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* Shape, type and offsets of one tensor against each other; `at` is where its bytes begin in the file. */
static lt_status check_size(lt_ctx *ctx, const char *path, uint64_t at, lti_tensor *tensor)
{
    int64_t elements = 1, bits;
    bool over = false;
    for (int i = 0; i < tensor->rank; i++) over |= __builtin_mul_overflow(elements, tensor->shape[i], &elements);
    over |= __builtin_mul_overflow(elements, (int64_t)lt_stored_bits(tensor->dtype), &bits);
    if (over)
        return lti_fail(ctx, LT_EFORMAT, "%s: byte %" PRIu64 ": tensor '%.200s': its shape overflows 64 bits", path, at,
                        tensor->name);
    if (bits % 8)
        return lti_fail(ctx, LT_EFORMAT,
                        "%s: byte %" PRIu64 ": tensor '%.200s': %" PRId64 " elements of %s do not fill whole bytes",
                        path, at, tensor->name, elements, lt_stored_name(tensor->dtype));
    if ((uint64_t)bits / 8 != tensor->end - tensor->begin)
        return lti_fail(ctx, LT_EFORMAT,
                        "%s: byte %" PRIu64 ": tensor '%.200s': %" PRId64 " elements of %s need %" PRId64
                        " bytes, its data_offsets span %" PRIu64,
                        path, at, tensor->name, elements, lt_stored_name(tensor->dtype), bits / 8,
                        tensor->end - tensor->begin);
    tensor->elements = elements;
    return LT_OK;
}

static lt_status check_layout(lt_ctx *ctx, lti_shard *shard)
{
    qsort(shard->list, (size_t)shard->count, sizeof *shard->list, by_offset);
    uint64_t end = 0, room = shard->map.size - shard->base;
    for (int i = 0; i < shard->count; i++) {
        lti_tensor *tensor = &shard->list[i];
        uint64_t at = shard->base + tensor->begin; /* both are below 2^63 */
        if (tensor->begin != end || tensor->end < tensor->begin)
            return lti_fail(ctx, LT_EFORMAT,
                            "%s: byte %" PRIu64 ": tensor '%.200s': data_offsets [%" PRIu64 ", %" PRIu64
                            "] where %" PRIu64 " must begin: %s",
                            shard->path, at, tensor->name, tensor->begin, tensor->end, end,
                            tensor->end < tensor->begin ? "the end lies before the beginning"
                            : tensor->begin < end       ? "tensors overlap"
                                                        : "there is a hole");
        LTI_TRY(check_size(ctx, shard->path, at, tensor));
        end = tensor->end;
    }
    if (end == room) return LT_OK;
    return lti_fail(ctx, LT_EFORMAT, "%s: the tensors end at byte %" PRIu64 ", the file at byte %" PRIu64 ": %s",
                    shard->path, shard->base + end, shard->map.size,
                    end > room ? "it is truncated; fetch it again" : "there are trailing bytes");
}

lt_status lti_shard_open(lt_ctx *ctx, const char *path, lti_shard *shard)
{
    *shard = (lti_shard){.path = lti_strdup(ctx, path)};
    if (!shard->path) return LT_ENOMEM;
    lt_status status = lti_file_map(ctx, path, &shard->map);
    if (status == LT_OK) status = parse_header(ctx, shard);
    if (status == LT_OK) status = read_entries(ctx, shard);
    if (status == LT_OK) status = check_layout(ctx, shard);
    if (status != LT_OK) lti_shard_close(ctx, shard);
    return status;
}

void lti_shard_close(lt_ctx *ctx, lti_shard *shard)
{
    lti_file_unmap(&shard->map);
    json_decref(shard->header);
    lti_free(ctx, shard->shapes);
    lti_free(ctx, shard->list);
    lti_free(ctx, shard->path);
    *shard = (lti_shard){0};
}
