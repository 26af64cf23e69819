/* cluster_file.c - clustered weights as codebooks and packed indices, proved by reading them back.
 *
 * A safetensors file, so that any reader of those gets at the parts; indices lie without gaps from the first weight to the
 * last, ceil(log2 clusters) bits each, least significant bit first, and the bits behind the last are 0. zlib's size is
 * counted and not used: a file that is mapped and indexed is worth more than the fraction that Huffman codes save. */
#include "autograd/ops/clusters.h"
#include "base/text.h"
#include "lathe/formats.h"
#include "qat/cluster_parts.h"
#include "qat/packed_bits.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

enum { NAME = 640 };

typedef struct packed {
    const lt_param *weight;
    lti_clustered parts;
    int bits;
    uint8_t *indices;
    size_t bytes;
    int64_t book_shape[2], byte_shape[1];
    char codebook[NAME], index_name[NAME], key[NAME], value[160];
} packed;

typedef struct packing {
    lt_ctx *ctx;
    const lt_params *params;
    const lt_cluster_config *config;
    packed *list;
    lt_tensor_entry *entries;
    lt_pair *pairs;
    int count, n_entries;
    lt_cluster_report report;
    lti_text table;
} packing;

static int bits_of(int64_t clusters)
{
    int bits = 1;
    while ((int64_t)1 << bits < clusters) bits++;
    return bits;
}

/* ---- What zlib makes of them ---- */

static void *zlib_alloc(void *ctx, unsigned items, unsigned size)
{
    return lti_alloc_array(ctx, items, size);
}

static void zlib_free(void *ctx, void *memory)
{
    lti_free(ctx, memory);
}

/* Feeds bytes; counts what comes out in z->total_out. */
static int deflate_all(z_stream *z, const void *bytes, size_t count, int last)
{
    uint8_t out[4096];
    int result = Z_OK;
    const uint8_t *from = bytes;
    do {
        size_t piece = count < 1u << 30 ? count : 1u << 30;
        z->next_in = (uint8_t *)(uintptr_t)from;
        z->avail_in = (unsigned)piece;
        from += piece, count -= piece;
        do {
            z->next_out = out;
            z->avail_out = sizeof out;
            result = deflate(z, last && count == 0 ? Z_FINISH : Z_NO_FLUSH);
        } while (result == Z_OK && z->avail_out == 0);
    } while (count > 0 && (result == Z_OK || result == Z_BUF_ERROR));
    return result;
}

static lt_status zlib_size(lt_ctx *ctx, const packed *p, uint64_t *bytes)
{
    z_stream z = {.zalloc = zlib_alloc, .zfree = zlib_free, .opaque = ctx};
    if (deflateInit(&z, Z_DEFAULT_COMPRESSION) != Z_OK)
        return lti_fail(ctx, LT_ENOMEM, "out of memory while zlib packs '%s'", lt_param_name(p->weight));
    (void)deflate_all(&z, lt_param_read(p->parts.centroids), lt_param_bytes(p->parts.centroids), 0);
    int result = deflate_all(&z, p->indices, p->bytes, 1);
    *bytes = z.total_out;
    deflateEnd(&z);
    if (result == Z_STREAM_END) return LT_OK;
    return lti_fail(ctx, LT_EPROVIDER, "zlib cannot pack '%s' (%d)", lt_param_name(p->weight), result);
}

/* ---- Writing ---- */

/* "4:64x172" */
static void describe_shape(const packed *p, char *text, size_t size)
{
    int at = snprintf(text, size, "%d:", p->bits);
    for (int i = 0; i < lt_param_rank(p->weight); i++)
        at += snprintf(text + at, size - (size_t)at, "%s%lld", i ? "x" : "", (long long)lt_param_shape(p->weight)[i]);
}

/* Whether the weight holds what its indices say. */
static bool is_applied(const packed *p, const lt_cluster_config *config)
{
    const lt_real *w = lt_param_read(p->weight), *c = lt_param_read(p->parts.centroids);
    const int8_t *codes = lt_param_read(p->parts.codes);
    int clusters = (int)config->clusters;
    for (int64_t i = 0; i < lt_param_count(p->weight); i++) {
        const lt_real *y = c + i / p->parts.size * clusters + lti_cluster_index(codes[i], clusters);
        if (memcmp(&w[i], y, sizeof *y)) return false;
    }
    return true;
}

static lt_status add_clustered(packing *x, const lt_param *w, const lti_clustered *parts)
{
    packed *p = &x->list[x->count++];
    const char *name = lt_param_name(w);
    int clusters = (int)x->config->clusters;
    *p = (packed){.weight = w, .parts = *parts, .bits = bits_of(clusters)};
    if (!is_applied(p, x->config))
        return lti_fail(x->ctx, LT_EINVAL, "'%s' is not clustered yet: call lt_cluster_apply before it is written",
                        name);
    if (strlen(name) + 16 > NAME || !lti_bits_bytes(lt_param_count(w), p->bits, &p->bytes))
        return lti_fail(x->ctx, LT_EINVAL, "'%.100s' is too large, or its name too long, for a packed file", name);
    p->indices = lti_alloc(x->ctx, p->bytes);
    if (!p->indices) return LT_ENOMEM;
    const int8_t *codes = lt_param_read(parts->codes);
    for (int64_t i = 0; i < lt_param_count(w); i++)
        lti_bits_put(p->indices, p->bits, i, (unsigned)lti_cluster_index(codes[i], clusters));
    snprintf(p->codebook, NAME, "%s:codebook", name);
    snprintf(p->index_name, NAME, "%s:indices", name);
    snprintf(p->key, NAME, "clusters:%s", name);
    describe_shape(p, p->value, sizeof p->value);
    p->book_shape[0] = parts->books, p->book_shape[1] = clusters, p->byte_shape[0] = (int64_t)p->bytes;
    x->pairs[x->count - 1] = (lt_pair){p->key, p->value};
    x->entries[x->n_entries++] = (lt_tensor_entry){.name = p->codebook,
                                                   .dtype = LT_STORED_REAL,
                                                   .rank = 2,
                                                   .shape = p->book_shape,
                                                   .data = lt_param_read(parts->centroids)};
    x->entries[x->n_entries++] = (lt_tensor_entry){
        .name = p->index_name, .dtype = LT_STORED_U8, .rank = 1, .shape = p->byte_shape, .data = p->indices};
    return LT_OK;
}

static lt_status count_clustered(packing *x, const packed *p)
{
    lt_cluster_report *r = &x->report;
    uint64_t zlib = 0, books = lt_param_bytes(p->parts.centroids);
    LTI_TRY(zlib_size(x->ctx, p, &zlib));
    r->tensors++;
    r->weights += lt_param_count(p->weight);
    r->float_bytes += lt_param_bytes(p->weight);
    r->codebook_bytes += books;
    r->index_bytes += p->bytes;
    r->zlib_bytes += zlib;
    lti_text_format(&x->table, "%s\t%s\t%d\t%llu\t%llu\t%llu\n", lt_param_name(p->weight), strchr(p->value, ':') + 1,
                    p->bits, (unsigned long long)books, (unsigned long long)p->bytes, (unsigned long long)zlib);
    return LT_OK;
}

static lt_status list_all(packing *x)
{
    size_t n = (size_t)lt_params_count(x->params) + 1;
    x->list = lti_alloc_array(x->ctx, n, sizeof *x->list);
    x->entries = lti_alloc_array(x->ctx, n, 2 * sizeof *x->entries);
    x->pairs = lti_alloc_array(x->ctx, n, sizeof *x->pairs);
    if (!x->list || !x->entries || !x->pairs) return LT_ENOMEM;
    for (int i = 0; i < lt_params_count(x->params); i++) {
        const lt_param *w = lt_params_at(x->params, i);
        lti_clustered parts;
        if (lt_param_role(w) != LT_WEIGHT) continue;
        bool clustered = lti_clustered_find(x->params, x->config, w, &parts);
        if (clustered && lti_clustered_fits(&parts, x->config, w)) {
            LTI_TRY(add_clustered(x, w, &parts));
            continue;
        }
        if (lt_param_type(w) != LT_F32)
            return lti_fail(x->ctx, LT_EINVAL, "'%s' is %s; a packed file holds what was f32", lt_param_name(w),
                            lt_dtype_name(lt_param_type(w)));
        x->entries[x->n_entries++] = (lt_tensor_entry){.name = lt_param_name(w),
                                                       .dtype = LT_STORED_REAL,
                                                       .rank = lt_param_rank(w),
                                                       .shape = lt_param_shape(w),
                                                       .data = lt_param_read(w)};
        x->report.other_bytes += lt_param_bytes(w);
    }
    if (x->count) return LT_OK;
    return lti_fail(x->ctx, LT_EINVAL, "no weight has codebooks of these options: call lt_cluster_prepare first");
}

/* Every weight of the file against those in memory, bit for bit. */
static lt_status prove(const packing *x, const char *path)
{
    lt_params *read;
    LTI_TRY(lt_cluster_read(x->ctx, path, &read));
    lt_status status = LT_OK;
    for (int i = 0; i < lt_params_count(x->params) && status == LT_OK; i++) {
        const lt_param *w = lt_params_at(x->params, i), *r = lt_params_find(read, lt_param_name(w));
        if (lt_param_role(w) != LT_WEIGHT) continue;
        if (!r || lt_param_bytes(r) != lt_param_bytes(w) ||
            memcmp(lt_param_read(r), lt_param_read(w), lt_param_bytes(w)))
            status = lti_fail(x->ctx, LT_EIO, "%s: '%s' reads back differently from what was written; check the disk",
                              path, lt_param_name(w));
    }
    lt_params_free(read);
    return status;
}

static uint64_t size_of_file(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 ? (uint64_t)info.st_size : 0;
}

static lt_status write_all(packing *x, const char *path)
{
    LTI_TRY(list_all(x));
    lti_text_format(&x->table, "tensor\tshape\tbits\tcodebooks\tindices\tzlib\n");
    for (int i = 0; i < x->count; i++) LTI_TRY(count_clustered(x, &x->list[i]));
    if (x->table.failed) return LT_ENOMEM;
    LTI_TRY(lt_tensors_write(x->ctx, path, x->entries, x->n_entries, x->pairs, x->count, NULL));
    x->report.file_bytes = size_of_file(path);
    return prove(x, path);
}

lt_status lt_cluster_write(const lt_params *params, const lt_cluster_config *config, const char *path,
                           lt_cluster_report *report)
{
    packing x = {.ctx = lt_params_ctx(params), .params = params, .config = config};
    x.table.ctx = x.ctx;
    if (report) *report = (lt_cluster_report){0};
    lt_status status = lti_cluster_check(x.ctx, config);
    if (status == LT_OK) status = write_all(&x, path);
    for (int i = 0; i < x.count; i++) lti_free(x.ctx, x.list[i].indices);
    lti_free(x.ctx, x.list);
    lti_free(x.ctx, x.entries);
    lti_free(x.ctx, x.pairs);
    if (report && status == LT_OK) {
        *report = x.report;
        report->table = x.table.data;
    } else {
        lti_text_free(&x.table);
    }
    return status;
}

/* ---- Reading ---- */

typedef struct reader {
    lt_ctx *ctx;
    const char *path;
    lt_tensors *file;
    lt_params *params;
} reader;

static lt_status broken(const reader *r, const char *name, const char *why)
{
    return lti_fail(r->ctx, LT_EFORMAT, "%s: tensor '%s': %s; the file was not written by lathe, or is damaged",
                    r->path, name, why);
}

/* "4:64x172"; false for anything else. */
static bool parse_shape(const char *text, int *bits, int *rank, int64_t *shape, int64_t *count)
{
    if (!text || text[0] < '1' || text[0] > '8' || text[1] != ':') return false;
    *bits = text[0] - '0';
    *rank = 0;
    *count = 1;
    for (const char *at = text + 1; *at;) {
        char *end;
        if (*at != (*rank ? 'x' : ':') || *rank == LT_MAX_RANK || at[1] < '1' || at[1] > '9') return false;
        errno = 0;
        long long n = strtoll(at + 1, &end, 10);
        if (errno || n > INT64_MAX / *count) return false;
        shape[(*rank)++] = n;
        *count *= n;
        at = end;
    }
    return *rank > 0;
}

static lt_status unpack(const reader *r, const char *name, int codebook, int indices)
{
    int bits, rank;
    int64_t shape[LT_MAX_RANK], count;
    char key[NAME + 16];
    size_t bytes;
    snprintf(key, sizeof key, "clusters:%s", name);
    if (!parse_shape(lt_tensors_metadata(r->file, key), &bits, &rank, shape, &count))
        return broken(r, name, "the metadata have no bits and shape for it");
    bool sound = lt_tensors_dtype(r->file, indices) == LT_STORED_U8 && lti_bits_bytes(count, bits, &bytes) &&
                 lt_tensors_bytes(r->file, indices) == bytes && lt_tensors_rank(r->file, codebook) == 2;
    if (!sound) return broken(r, name, "its indices are not as many bytes as its shape asks for");
    const int64_t *books = lt_tensors_shape(r->file, codebook);
    int64_t clusters = books[1];
    if (clusters < 2 || clusters > LTI_MOST_CLUSTERS || bits_of(clusters) != bits ||
        (books[0] != 1 && books[0] != shape[0]))
        return broken(r, name, "its codebook does not go with its indices");
    if (lt_params_find(r->params, name)) return broken(r, name, "is there twice");
    lt_param *w;
    LTI_TRY(lt_params_add(r->params, name, LT_F32, rank, shape, LT_WEIGHT, &w));
    lt_real *centroids = lti_alloc_array(r->ctx, (size_t)lt_tensors_elements(r->file, codebook), sizeof *centroids);
    if (!centroids) return LT_ENOMEM;
    lt_status status = lt_tensors_load_real(r->file, codebook, centroids);
    const uint8_t *from = lt_tensors_data(r->file, indices);
    lt_real *y = lt_param_data(w);
    int64_t size = count / books[0];
    if (status == LT_OK && lti_bits_behind(from, bytes, bits, count))
        status = broken(r, name, "bits behind its last index are set");
    for (int64_t i = 0; i < count && status == LT_OK; i++) {
        unsigned v = lti_bits_at(from, bytes, bits, i);
        if (v >= clusters)
            status =
                lti_fail(r->ctx, LT_EFORMAT, "%s: tensor '%s': index %u of weight %lld, but there are %lld centroids",
                         r->path, name, v, (long long)i, (long long)clusters);
        else
            y[i] = centroids[i / size * clusters + v];
    }
    lt_param_touch(w);
    lti_free(r->ctx, centroids);
    return status;
}

static lt_status read_plain(const reader *r, const char *name, int i)
{
    lt_param *w;
    int rank = lt_tensors_rank(r->file, i);
    if (rank > LT_MAX_RANK) return broken(r, name, "has too many axes");
    if (lt_params_find(r->params, name)) return broken(r, name, "is there twice");
    LTI_TRY(lt_params_add(r->params, name, LT_F32, rank, lt_tensors_shape(r->file, i), LT_WEIGHT, &w));
    lt_param_touch(w);
    return lt_tensors_load_real(r->file, i, lt_param_data(w));
}

static lt_status read_tensor(const reader *r, int i)
{
    const char *full = lt_tensors_name(r->file, i);
    char name[NAME], other[NAME];
    if (strlen(full) + 16 > NAME) return broken(r, "..", "has a name that is too long");
    bool codebook = lti_ends_with(full, ":codebook"), indices = lti_ends_with(full, ":indices");
    if (!codebook && !indices) return read_plain(r, full, i);
    snprintf(name, sizeof name, "%.*s", (int)(strrchr(full, ':') - full), full);
    snprintf(other, sizeof other, "%.*s:%s", NAME - 16, name, codebook ? "indices" : "codebook");
    int k = lt_tensors_find(r->file, other);
    if (k < 0 || !*name) return broken(r, full, "its other half is missing");
    return codebook ? unpack(r, name, i, k) : LT_OK;
}

lt_status lt_cluster_read(lt_ctx *ctx, const char *path, lt_params **params)
{
    reader r = {.ctx = ctx, .path = path};
    *params = NULL;
    LTI_TRY(lt_tensors_open(ctx, path, &r.file));
    lt_status status = lt_params_create(ctx, &r.params);
    for (int i = 0; i < lt_tensors_count(r.file) && status == LT_OK; i++) status = read_tensor(&r, i);
    lt_tensors_close(r.file);
    if (status == LT_OK)
        *params = r.params;
    else
        lt_params_free(r.params);
    return status;
}
