/* gguf_header.c - the header of a GGUF file and all its rules.
 *
 *     "GGUF" | u32 version | u64 tensors | u64 keys | keys | descriptions of tensors | padding | data
 *     string: u64 length, bytes      key: string, u32 type, value      array: u32 type, u64 count, values
 *     description: string name, u32 rank, u64 ne[rank] (fastest first), u32 type, u64 offset into the data
 *
 * The rules are those of llama.cpp's reader, which are narrower than the text of the specification. Stricter here: a
 * key or a name may hold no NUL and must be UTF-8, because it goes into C strings, JSON and messages; the data must lie
 * inside of the file (llama.cpp looks when it loads); the product of the dimensions that are not 0 must fit 63 bits.
 * As there, padding after the last tensor may be missing, and bytes after it are nobody's.
 *
 * One cursor walks once over the mapped bytes. What a count claims is bounded by the bytes that are left, and arrays
 * still grow with what has really been read: a claim alone allocates nothing. Names are looked up in a sorted index
 * rather than a hash: the bytes are somebody else's, and sorting has no bad case. */
#include "data/foreign.h"
#include "data/formats/gguf_file.h"
#include "data/utf8.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_BYTES 14    /* the shortest key: one letter and one byte */
#define TENSOR_BYTES 24 /* the shortest description: no name, no dimension */
#define INCOMPLETE "the download is incomplete, or the file is damaged"

typedef struct cursor {
    lt_gguf *g;
    uint64_t at;
    char subject[LTI_GGUF_NAME + 40]; /* what is being read, for messages: "key 'general.name'" */
} cursor;

#define AT "%s: byte %" PRIu64 ": "

static uint64_t left_of(const cursor *c)
{
    return c->g->map.size - c->at;
}

static lt_status cut(const cursor *c, const char *what, uint64_t bytes)
{
    return lti_fail(c->g->ctx, LT_EFORMAT,
                    AT "%s: %s takes %" PRIu64 " bytes and the file ends after %" PRIu64 ": %" PRIu64
                       " bytes are missing; " INCOMPLETE,
                    c->g->path, c->at, c->subject, what, bytes, left_of(c), bytes - left_of(c));
}

static lt_status take(cursor *c, const char *what, uint64_t bytes, const uint8_t **data)
{
    *data = c->g->map.data + c->at;
    if (bytes > left_of(c)) return cut(c, what, bytes);
    c->at += bytes;
    return LT_OK;
}

static lt_status take_u32(cursor *c, const char *what, uint32_t *number)
{
    const uint8_t *data;
    LTI_TRY(take(c, what, sizeof *number, &data));
    memcpy(number, data, sizeof *number);
    return LT_OK;
}

static lt_status take_u64(cursor *c, const char *what, uint64_t *number)
{
    const uint8_t *data;
    LTI_TRY(take(c, what, sizeof *number, &data));
    memcpy(number, data, sizeof *number);
    return LT_OK;
}

static lt_status take_string(cursor *c, const char *what, lt_gguf_string *string)
{
    uint64_t bytes, at = c->at;
    const uint8_t *data;
    LTI_TRY(take_u64(c, "the length of a string", &bytes));
    if (bytes > LTI_GGUF_STRING)
        return lti_fail(c->g->ctx, LT_EFORMAT, AT "%s: %s of %" PRIu64 " bytes passes the format's limit of 2^30",
                        c->g->path, at, c->subject, what, bytes);
    LTI_TRY(take(c, what, bytes, &data));
    *string = (lt_gguf_string){(const char *)data, (int64_t)bytes};
    return LT_OK;
}

/* Copies a name behind the others and makes it the subject of messages. */
static lt_status keep_name(cursor *c, const char *kind, lt_gguf_string name, uint64_t *offset)
{
    lt_gguf *g = c->g;
    uint64_t bytes = (uint64_t)name.bytes, at = c->at - bytes;
    const unsigned char *text = (const unsigned char *)name.text;
    const unsigned char *nul = memchr(text, 0, bytes);
    uint64_t bad = nul ? (uint64_t)(nul - text) : lti_utf8_check(text, bytes);
    if (bad < bytes)
        return lti_fail(g->ctx, LT_EFORMAT, AT "%s: its name %s", g->path, at + bad, c->subject,
                        nul ? "holds a NUL" : "is not UTF-8");
    if (g->names_room - g->names_used <= bytes) {
        uint64_t room = 2 * (g->names_used + bytes) + 256;
        char *names = lti_realloc(g->ctx, g->names, g->names_used, room);
        if (!names) return LT_ENOMEM;
        g->names = names;
        g->names_room = room;
    }
    *offset = g->names_used;
    memcpy(g->names + g->names_used, text, bytes);
    g->names[g->names_used + bytes] = 0;
    g->names_used += bytes + 1;
    snprintf(c->subject, sizeof c->subject, "%s '%.80s'", kind, g->names + *offset);
    return LT_OK;
}

/* ---- Keys ---- */

static lt_status check_type(const cursor *c, const char *what, uint32_t type)
{
    if (strcmp(lt_gguf_type_name((lt_gguf_type)type), "?") != 0) return LT_OK;
    return lti_fail(c->g->ctx, LT_EFORMAT, AT "%s: %s %" PRIu32 " is none of GGUF's (0 to 12)", c->g->path, c->at - 4,
                    c->subject, what, type);
}

/* The strings are walked once before anything is allocated for them. */
static lt_status read_strings(cursor *c, lt_gguf_pair *pair)
{
    uint64_t at = c->at;
    lt_gguf_string string;
    for (int64_t i = 0; i < pair->count; i++) LTI_TRY(take_string(c, "a string of the array", &string));
    lt_gguf_string *strings = lti_alloc_array(c->g->ctx, (size_t)pair->count, sizeof *strings);
    pair->strings = strings;
    if (!strings) return LT_ENOMEM;
    c->at = at;
    for (int64_t i = 0; i < pair->count; i++) LTI_TRY(take_string(c, "a string of the array", &strings[i]));
    return LT_OK;
}

static lt_status read_array(cursor *c, lt_gguf_pair *pair)
{
    uint32_t item;
    uint64_t count;
    LTI_TRY(take_u32(c, "the type of the items", &item));
    LTI_TRY(check_type(c, "the type of its items", item));
    if (item == LT_GGUF_ARRAY)
        return lti_fail(c->g->ctx, LT_EFORMAT, AT "%s: arrays of arrays are not read, neither here nor by llama.cpp",
                        c->g->path, c->at - 4, c->subject);
    LTI_TRY(take_u64(c, "the count of the items", &count));
    if (count > LTI_GGUF_ARRAY)
        return lti_fail(c->g->ctx, LT_EFORMAT, AT "%s: an array of %" PRIu64 " items passes the format's limit of 2^30",
                        c->g->path, c->at - 8, c->subject, count);
    pair->item = (lt_gguf_type)item;
    pair->count = (int64_t)count;
    uint64_t bytes = count * (item == LT_GGUF_STRING ? 8 : lti_gguf_number_bytes(pair->item));
    if (bytes > left_of(c)) return cut(c, item == LT_GGUF_STRING ? "an array of strings" : "the array", bytes);
    if (item == LT_GGUF_STRING) return read_strings(c, pair);
    const uint8_t *data;
    LTI_TRY(take(c, "the array", bytes, &data));
    pair->data = data;
    return LT_OK;
}

static lt_status read_key(cursor *c, lti_gguf_key *key)
{
    lt_gguf_string name;
    uint32_t type;
    key->at = c->at;
    LTI_TRY(take_string(c, "its name", &name));
    if (name.bytes == 0)
        return lti_fail(c->g->ctx, LT_EFORMAT, AT "%s: its name is empty", c->g->path, key->at, c->subject);
    LTI_TRY(keep_name(c, "key", name, &key->name));
    LTI_TRY(take_u32(c, "its type", &type));
    LTI_TRY(check_type(c, "its type", type));
    key->pair = (lt_gguf_pair){.type = (lt_gguf_type)type, .item = (lt_gguf_type)type, .count = 1};
    if (type == LT_GGUF_ARRAY) return read_array(c, &key->pair);
    if (type == LT_GGUF_STRING) return take_string(c, "its string", &key->text);
    const uint8_t *data;
    LTI_TRY(take(c, "its value", lti_gguf_number_bytes(key->pair.type), &data));
    key->pair.data = data;
    return LT_OK;
}

/* Room for one more of `count` in all, each of `size` bytes. */
static lt_status grow(lt_ctx *ctx, void **list, int used, int *room, int count, size_t size)
{
    if (used < *room) return LT_OK;
    int more = used < count / 2 - 16 ? 2 * used + 16 : count;
    void *longer = lti_realloc(ctx, *list, (size_t)used * size, (size_t)more * size);
    if (!longer) return LT_ENOMEM;
    *list = longer;
    *room = more;
    return LT_OK;
}

static lt_status read_keys(cursor *c, int count)
{
    lt_gguf *g = c->g;
    for (int i = 0; i < count; i++) {
        LTI_TRY(grow(g->ctx, (void **)&g->keys, g->key_count, &g->key_room, count, sizeof *g->keys));
        snprintf(c->subject, sizeof c->subject, "key number %d", i + 1);
        lti_gguf_key *key = &g->keys[g->key_count++];
        *key = (lti_gguf_key){0};
        LTI_TRY(read_key(c, key));
    }
    return LT_OK;
}

/* Without the index: it is made when the names have come to rest. */
static lt_status read_alignment(lt_gguf *g)
{
    g->alignment = LTI_GGUF_ALIGNMENT;
    for (int i = 0; i < g->key_count; i++) {
        const lti_gguf_key *key = &g->keys[i];
        if (strcmp(g->names + key->name, LTI_GGUF_ALIGNMENT_KEY) != 0) continue;
        if (key->pair.type != LT_GGUF_U32)
            return lti_fail(g->ctx, LT_EFORMAT, AT LTI_GGUF_ALIGNMENT_KEY " must be a u32, it is of type %s", g->path,
                            key->at, lt_gguf_type_name(key->pair.type));
        uint32_t alignment;
        memcpy(&alignment, key->pair.data, sizeof alignment);
        if (alignment == 0 || (alignment & (alignment - 1)))
            return lti_fail(g->ctx, LT_EFORMAT, AT LTI_GGUF_ALIGNMENT_KEY " must be a power of two, it is %" PRIu32,
                            g->path, key->at, alignment);
        g->alignment = alignment;
    }
    return LT_OK;
}

/* ---- Tensors ---- */

/* ne is kept slowest first; the type's blocks run along the first one of the file. */
static lt_status read_shape(cursor *c, lt_gguf_tensor_info *info)
{
    uint32_t rank;
    LTI_TRY(take_u32(c, "its number of dimensions", &rank));
    if (rank > LTI_GGUF_DIMS)
        return lti_fail(c->g->ctx, LT_EFORMAT, AT "%s: %" PRIu32 " dimensions, GGUF has at most %d", c->g->path,
                        c->at - 4, c->subject, rank, LTI_GGUF_DIMS);
    info->rank = (int)rank;
    int64_t product = 1;
    bool over = false, empty = false;
    for (int i = info->rank - 1; i >= 0; i--) {
        uint64_t ne;
        LTI_TRY(take_u64(c, "a dimension", &ne));
        if (ne > INT64_MAX)
            return lti_fail(c->g->ctx, LT_EFORMAT, AT "%s: dimension %d is negative (%" PRId64 ")", c->g->path,
                            c->at - 8, c->subject, info->rank - 1 - i, (int64_t)ne);
        info->shape[i] = (int64_t)ne;
        empty |= ne == 0;
        if (ne) over |= __builtin_mul_overflow(product, (int64_t)ne, &product);
    }
    if (over || product == INT64_MAX)
        return lti_fail(c->g->ctx, LT_EFORMAT, AT "%s: its dimensions multiply to 2^63 - 1 elements or more",
                        c->g->path, c->at, c->subject);
    info->elements = empty ? 0 : product;
    return LT_OK;
}

static lt_status read_tensor_type(cursor *c, lt_gguf_tensor_info *info)
{
    uint32_t number;
    lti_ggml_type type;
    LTI_TRY(take_u32(c, "its type", &number));
    if (!lti_ggml_type_of(number, &type))
        return lti_fail(c->g->ctx, LT_EUNSUPPORTED,
                        AT "%s: type %" PRIu32 " is not one lathe knows: it was removed from GGUF, or it is newer than "
                           "lathe; convert the model again from its original",
                        c->g->path, c->at - 4, c->subject, number);
    int64_t row = info->rank ? info->shape[info->rank - 1] : 1;
    if (row % type.block)
        return lti_fail(c->g->ctx, LT_EFORMAT,
                        AT "%s: rows of %" PRId64 " elements are not whole blocks of %s, which are of %" PRId64,
                        c->g->path, c->at - 4, c->subject, row, type.name, type.block);
    if (__builtin_mul_overflow((uint64_t)(info->elements / type.block), type.bytes, &info->bytes))
        return lti_fail(c->g->ctx, LT_EFORMAT, AT "%s: its size passes 2^64 bytes", c->g->path, c->at, c->subject);
    info->known = type.known;
    info->type = type.type;
    info->type_name = type.name;
    return LT_OK;
}

/* `end` is where the tensors before it end, padded; then where this one does. */
static lt_status read_tensor(cursor *c, lti_gguf_slot *slot, uint64_t *end)
{
    lt_gguf_string name;
    slot->at = c->at;
    LTI_TRY(take_string(c, "its name", &name));
    if (name.bytes > LTI_GGUF_NAME)
        return lti_fail(c->g->ctx, LT_EFORMAT, AT "%s: a name of %" PRId64 " bytes, GGUF has at most %d", c->g->path,
                        slot->at, c->subject, name.bytes, LTI_GGUF_NAME);
    LTI_TRY(keep_name(c, "tensor", name, &slot->name));
    LTI_TRY(read_shape(c, &slot->info));
    LTI_TRY(read_tensor_type(c, &slot->info));
    LTI_TRY(take_u64(c, "its offset", &slot->info.offset));
    if (slot->info.offset != *end)
        return lti_fail(c->g->ctx, LT_EFORMAT,
                        AT "%s: offset %" PRIu64 " where %" PRIu64
                           " must stand: tensors follow each other in the order "
                           "of the header, each padded to %" PRIu64 " bytes",
                        c->g->path, c->at - 8, c->subject, slot->info.offset, *end, c->g->alignment);
    if (__builtin_add_overflow(*end, slot->info.bytes, end) || !lti_gguf_pad(*end, c->g->alignment, end))
        return lti_fail(c->g->ctx, LT_EFORMAT, AT "%s: the data up to its end pass 2^64 bytes", c->g->path, c->at,
                        c->subject);
    return LT_OK;
}

/* Where the data begin; whether all of them are there. */
static lt_status place_data(cursor *c)
{
    lt_gguf *g = c->g;
    if (g->tensor_count == 0) return LT_OK;
    uint64_t base, end, last = g->tensor_count - 1;
    bool over = !lti_gguf_pad(c->at, g->alignment, &base) ||
                __builtin_add_overflow(base, g->tensors[last].info.offset, &end) ||
                __builtin_add_overflow(end, g->tensors[last].info.bytes, &end);
    if (over || end > g->map.size)
        return lti_fail(g->ctx, LT_EFORMAT,
                        "%s: the header promises %" PRIu64 " bytes, the file has %" PRIu64 ": %" PRIu64
                        " bytes are missing; " INCOMPLETE,
                        g->path, over ? UINT64_MAX : end, g->map.size, (over ? UINT64_MAX : end) - g->map.size);
    for (int i = 0; i < g->tensor_count; i++) {
        g->tensors[i].info.offset += base;
        g->tensors[i].info.data = g->map.data + g->tensors[i].info.offset;
    }
    return LT_OK;
}

static lt_status read_tensors(cursor *c, int count)
{
    lt_gguf *g = c->g;
    uint64_t end = 0;
    for (int i = 0; i < count; i++) {
        LTI_TRY(grow(g->ctx, (void **)&g->tensors, g->tensor_count, &g->tensor_room, count, sizeof *g->tensors));
        snprintf(c->subject, sizeof c->subject, "tensor number %d", i + 1);
        lti_gguf_slot *slot = &g->tensors[g->tensor_count++];
        *slot = (lti_gguf_slot){0};
        LTI_TRY(read_tensor(c, slot, &end));
    }
    return place_data(c);
}

/* ---- The whole ---- */

static lt_status read_version(cursor *c)
{
    lt_gguf *g = c->g;
    const uint8_t *magic;
    uint32_t version;
    if (g->map.size < 4 || memcmp(g->map.data, "GGUF", 4) != 0) {
        LTI_TRY(lti_explain_foreign(g->ctx, g->path, &g->map, "GGUF"));
        return lti_fail(g->ctx, LT_EFORMAT, "%s: byte 0: a GGUF file begins with the letters GGUF, this one does not",
                        g->path);
    }
    LTI_TRY(take(c, "the magic", 4, &magic));
    LTI_TRY(take_u32(c, "the version", &version));
    if (version != 0 && (version & 0xffff) == 0)
        return lti_fail(g->ctx, LT_EUNSUPPORTED,
                        "%s: byte 4: version 0x%08" PRIx32 " is that of a big-endian file; convert it with gguf-py's "
                        "gguf_convert_endian",
                        g->path, version);
    if (version == 0)
        return lti_fail(g->ctx, LT_EFORMAT, "%s: byte 4: there is no version 0 of GGUF; the file is damaged", g->path);
    if (version == 2 || version == LTI_GGUF_VERSION) return LT_OK;
    return lti_fail(g->ctx, LT_EUNSUPPORTED,
                    "%s: byte 4: GGUF version %" PRIu32 "; versions 2 and 3 are read; convert the model again from its "
                    "original",
                    g->path, version);
}

/* `number`, read at byte `at`, as a count that the rest of the file can hold. */
static lt_status check_count(const cursor *c, uint64_t at, const char *what, uint64_t number, uint64_t bytes_each,
                             int *count)
{
    if (number > INT32_MAX || number > left_of(c) / bytes_each)
        return lti_fail(c->g->ctx, LT_EFORMAT,
                        AT "the header promises %" PRIu64 " %s, the %" PRIu64
                           " bytes that follow cannot hold as many; " INCOMPLETE,
                        c->g->path, at, number, what, left_of(c));
    *count = (int)number;
    return LT_OK;
}

static int order_keys(const void *a, const void *b, void *arg)
{
    const lti_gguf_key *keys = arg;
    return strcmp(keys[*(const int *)a].pair.key, keys[*(const int *)b].pair.key);
}

static int order_tensors(const void *a, const void *b, void *arg)
{
    const lti_gguf_slot *tensors = arg;
    return strcmp(tensors[*(const int *)a].info.name, tensors[*(const int *)b].info.name);
}

static lt_status twice(const lt_gguf *g, const char *kind, const char *name, uint64_t a, uint64_t b)
{
    return lti_fail(g->ctx, LT_EFORMAT, AT "%s '%.80s' occurs twice, first at byte %" PRIu64, g->path, a > b ? a : b,
                    kind, name, a > b ? b : a);
}

/* The names have come to rest: points to them, sorts them, refuses what occurs twice. */
static lt_status index_names(lt_gguf *g)
{
    g->keys_sorted = lti_alloc_array(g->ctx, (size_t)g->key_count, sizeof *g->keys_sorted);
    g->tensors_sorted = lti_alloc_array(g->ctx, (size_t)g->tensor_count, sizeof *g->tensors_sorted);
    if (!g->keys_sorted || !g->tensors_sorted) return LT_ENOMEM;
    for (int i = 0; i < g->key_count; i++) {
        lti_gguf_key *key = &g->keys[g->keys_sorted[i] = i];
        key->pair.key = g->names + key->name;
        if (key->pair.type == LT_GGUF_STRING) key->pair.strings = &key->text;
    }
    for (int i = 0; i < g->tensor_count; i++) {
        g->tensors_sorted[i] = i;
        g->tensors[i].info.name = g->names + g->tensors[i].name;
    }
    if (g->key_count) qsort_r(g->keys_sorted, (size_t)g->key_count, sizeof(int), order_keys, g->keys);
    if (g->tensor_count) qsort_r(g->tensors_sorted, (size_t)g->tensor_count, sizeof(int), order_tensors, g->tensors);
    for (int i = 1; i < g->key_count; i++) {
        const int *two = &g->keys_sorted[i - 1];
        if (order_keys(&two[0], &two[1], g->keys) == 0)
            return twice(g, "key", g->keys[two[0]].pair.key, g->keys[two[0]].at, g->keys[two[1]].at);
    }
    for (int i = 1; i < g->tensor_count; i++) {
        const int *two = &g->tensors_sorted[i - 1];
        if (order_tensors(&two[0], &two[1], g->tensors) == 0)
            return twice(g, "tensor", g->tensors[two[0]].info.name, g->tensors[two[0]].at, g->tensors[two[1]].at);
    }
    return LT_OK;
}

lt_status lti_gguf_parse(lt_gguf *g)
{
    cursor c = {.g = g, .subject = "header"};
    uint64_t n_tensors, n_keys;
    int tensors = 0, keys = 0;
    LTI_TRY(read_version(&c));
    LTI_TRY(take_u64(&c, "the number of tensors", &n_tensors));
    LTI_TRY(take_u64(&c, "the number of keys", &n_keys));
    LTI_TRY(check_count(&c, 8, "tensors", n_tensors, TENSOR_BYTES, &tensors));
    LTI_TRY(check_count(&c, 16, "keys", n_keys, KEY_BYTES, &keys));
    LTI_TRY(read_keys(&c, keys));
    LTI_TRY(read_alignment(g));
    LTI_TRY(read_tensors(&c, tensors));
    return index_names(g);
}
