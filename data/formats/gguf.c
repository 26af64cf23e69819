/* gguf.c - lt_gguf: one file, its keys and its tensors by name. The header is read by gguf_header.c.
 *
 * Nothing of the data is touched before somebody asks for it: lt_gguf_tensor gives a place in the mapped file. Frozen
 * weights are used there. */
#include "base/par.h"
#include "data/formats/gguf_file.h"
#include "data/formats/stored_real.h"
#include "kernels/lattice/lattice.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

lt_status lt_gguf_open(lt_ctx *ctx, const char *path, lt_gguf **gguf)
{
    *gguf = NULL;
    lt_gguf *g = lti_alloc(ctx, sizeof *g);
    if (!g) return LT_ENOMEM;
    *g = (lt_gguf){.ctx = ctx, .path = lti_strdup(ctx, path)};
    lt_status status = g->path ? lti_file_map(ctx, path, &g->map) : LT_ENOMEM;
    if (status == LT_OK) status = lti_gguf_parse(g);
    if (status != LT_OK) {
        lt_gguf_close(g);
        return status;
    }
    *gguf = g;
    return LT_OK;
}

void lt_gguf_close(lt_gguf *g)
{
    if (!g) return;
    for (int i = 0; i < g->key_count; i++)
        if (g->keys[i].pair.type == LT_GGUF_ARRAY) lti_free(g->ctx, (void *)g->keys[i].pair.strings);
    lti_file_unmap(&g->map);
    lti_free(g->ctx, g->tensors_sorted);
    lti_free(g->ctx, g->tensors);
    lti_free(g->ctx, g->keys_sorted);
    lti_free(g->ctx, g->keys);
    lti_free(g->ctx, g->names);
    lti_free(g->ctx, g->path);
    lti_free(g->ctx, g);
}

const char *lt_gguf_path(const lt_gguf *g)
{
    return g->path;
}

bool lt_gguf_is(const char *path)
{
    char magic[4];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO without a writer is not waited for */
    if (fd < 0) return false;
    bool is = pread(fd, magic, sizeof magic, 0) == sizeof magic && memcmp(magic, "GGUF", 4) == 0;
    close(fd);
    return is;
}

int lt_gguf_pairs(const lt_gguf *g)
{
    return g->key_count;
}

const lt_gguf_pair *lt_gguf_pair_at(const lt_gguf *g, int index)
{
    return index >= 0 && index < g->key_count ? &g->keys[index].pair : NULL;
}

const lt_gguf_pair *lt_gguf_get(const lt_gguf *g, const char *key)
{
    int low = 0, high = g->key_count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        const lt_gguf_pair *pair = &g->keys[g->keys_sorted[middle]].pair;
        int order = strcmp(key, pair->key);
        if (order == 0) return pair;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

int lt_gguf_tensors(const lt_gguf *g)
{
    return g->tensor_count;
}

int lt_gguf_find(const lt_gguf *g, const char *name)
{
    int low = 0, high = g->tensor_count;
    while (low < high) {
        int middle = low + (high - low) / 2, index = g->tensors_sorted[middle];
        int order = strcmp(name, g->tensors[index].info.name);
        if (order == 0) return index;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return -1;
}

const lt_gguf_tensor_info *lt_gguf_tensor(const lt_gguf *g, int index)
{
    return index >= 0 && index < g->tensor_count ? &g->tensors[index].info : NULL;
}

/* ---- Decoding ---- */

#define CHUNK 65536 /* elements of a task: whole blocks of every type */

typedef struct decoding {
    const lt_gguf_tensor_info *info;
    lt_real *dst;
} decoding;

static void decode(void *arg, int64_t task, int thread)
{
    const decoding *d = arg;
    const lt_gguf_tensor_info *t = d->info;
    int64_t begin = task * CHUNK, n = t->elements - begin < CHUNK ? t->elements - begin : CHUNK;
    uint64_t skipped = (uint64_t)(begin / lt_dtype_block(t->type)) * lti_gguf_block_bytes(t->type);
    const uint8_t *src = (const uint8_t *)t->data + skipped;
    if (t->type == LT_F32)
        lti_stored_to_real(LT_STORED_F32, n, src, d->dst + begin);
    else
        lti_dequantize(t->type, n, src, d->dst + begin);
}

lt_status lt_gguf_load_real(const lt_gguf *g, int index, lt_real *dst)
{
    const lt_gguf_tensor_info *t = lt_gguf_tensor(g, index);
    if (!t)
        return lti_fail(g->ctx, LT_EINVAL, "%s: tensor number %d of %d is asked for", g->path, index, g->tensor_count);
    if (!t->known || !lti_can_dequantize(t->type))
        return lti_fail(g->ctx, LT_EUNSUPPORTED,
                        "%s: tensor '%s' is stored as %s, which lathe does not read as numbers; use a file in f16, "
                        "bf16, f32 or another quantized type",
                        g->path, t->name, t->type_name);
    lti_par((t->elements + CHUNK - 1) / CHUNK, decode, &(decoding){t, dst});
    return LT_OK;
}
