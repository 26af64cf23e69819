/* codes_file.c - codes as a .safetensors file, proved by reading it back, and a model of the codes in a file.
 *
 * Tensors are under lathe's names, lattice blocks as U8 [rows, bytes a row], their types in the metadata
 * ("type:blk.0.attn_q.weight" = "q4_0"). */
#include "base/text.h"
#include "lathe/gguf.h"
#include "train/checkpoint.h"
#include "train/export.h"

#include <stdio.h>
#include <string.h>

typedef struct exported {
    lt_tensor_entry *entries;
    lt_pair *pairs;
    int64_t (*shapes)[LT_MAX_RANK];
    char (*keys)[80];
    int count, n_pairs;
} exported;

static void exported_free(lt_ctx *ctx, exported *x)
{
    lti_free(ctx, x->entries);
    lti_free(ctx, x->pairs);
    lti_free(ctx, x->shapes);
    lti_free(ctx, x->keys);
}

static void add_entry(exported *x, const lt_param *p)
{
    int i = x->count++;
    int64_t *shape = x->shapes[i];
    int rank = lt_param_rank(p);
    lt_dtype type = lt_param_type(p);
    memcpy(shape, lt_param_shape(p), (size_t)rank * sizeof *shape);
    if (lt_dtype_is_lattice(type)) {
        shape[rank - 1] = shape[rank - 1] / lt_dtype_block(type) * (int64_t)lt_dtype_bytes(type);
        snprintf(x->keys[i], sizeof x->keys[i], "type:%s", lt_param_name(p));
        x->pairs[x->n_pairs++] = (lt_pair){x->keys[i], lt_dtype_name(type)};
    }
    x->entries[i] = (lt_tensor_entry){
        .name = lt_param_name(p), .dtype = lti_stored_of(type), .rank = rank, .shape = shape, .data = lt_param_read(p)};
}

static lt_status list_params(lt_ctx *ctx, const lt_params *codes, const lt_pair *more, int n_more, exported *x)
{
    size_t n = (size_t)lt_params_count(codes) + 1;
    *x = (exported){.entries = lti_alloc_array(ctx, n, sizeof *x->entries),
                    .pairs = lti_alloc_array(ctx, n + (size_t)n_more, sizeof *x->pairs),
                    .shapes = lti_alloc_array(ctx, n, sizeof *x->shapes),
                    .keys = lti_alloc_array(ctx, n, sizeof *x->keys)};
    if (!x->entries || !x->pairs || !x->shapes || !x->keys) return LT_ENOMEM;
    for (int i = 0; i < lt_params_count(codes); i++) add_entry(x, lt_params_at(codes, i));
    for (int i = 0; i < n_more; i++) x->pairs[x->n_pairs++] = more[i];
    return LT_OK;
}

/* Every byte of the file against the codes in memory. */
static lt_status prove(lt_ctx *ctx, const char *path, const exported *x, lti_codes_proof *proof)
{
    lt_tensors *file;
    LTI_TRY(lt_tensors_open(ctx, path, &file));
    lt_status status = LT_OK;
    for (int i = 0; i < x->count && status == LT_OK; i++) {
        int k = lt_tensors_find(file, x->entries[i].name);
        if (k < 0 || memcmp(lt_tensors_data(file, k), x->entries[i].data, lt_tensors_bytes(file, k)))
            status = lti_fail(ctx, LT_EIO, "%s: tensor '%s' reads back differently from what was written", path,
                              x->entries[i].name);
        proof->tensors++;
        if (k >= 0) proof->bytes += lt_tensors_bytes(file, k);
    }
    lt_tensors_close(file);
    return status;
}

lt_status lti_codes_file_write(lt_ctx *ctx, const lt_params *codes, const char *path, const lt_pair *more, int n_more,
                               lti_codes_proof *proof)
{
    exported x;
    *proof = (lti_codes_proof){0};
    lt_status status = list_params(ctx, codes, more, n_more, &x);
    if (status == LT_OK) status = lt_tensors_write(ctx, path, x.entries, x.count, x.pairs, x.n_pairs, NULL);
    if (status == LT_OK) status = prove(ctx, path, &x, proof);
    for (int i = 0; i < lt_params_count(codes); i++) proof->weights += lt_param_count(lt_params_at(codes, i));
    exported_free(ctx, &x);
    return status;
}

/* ---- Reading codes ---- */

typedef struct mapper {
    lt_model *model;
    const char *path;
} mapper;

static lt_status read_type(const mapper *m, int i, const char *name, lt_dtype *type)
{
    lt_tensors *file = m->model->weights.tensors;
    lt_stored stored = lt_tensors_dtype(file, i);
    char key[80];
    snprintf(key, sizeof key, "type:%s", name);
    const char *lattice = lt_tensors_metadata(file, key);
    if (lattice && lt_dtype_parse(lattice, type) && lt_dtype_is_lattice(*type) && stored == LT_STORED_U8) return LT_OK;
    *type = stored == LT_STORED_F16 ? LT_F16 : stored == LT_STORED_BF16 ? LT_BF16 : LT_F32;
    if (!lattice && (*type != LT_F32 || stored == LT_STORED_REAL)) return LT_OK;
    return lti_fail(m->model->ctx, LT_EFORMAT, "%s: tensor '%s' is %s; no type lathe knows is stored so", m->path, name,
                    lt_stored_name(stored));
}

/* Whether tensor i is t in the type: the same dimensions, but for the last one of a lattice, which counts bytes. */
static bool same_shape(const lt_tensors *file, int i, const lti_tensor *t, lt_dtype type)
{
    const int64_t *shape = lt_tensors_shape(file, i);
    if (lt_tensors_rank(file, i) != t->rank) return false;
    for (int k = 0; k < t->rank - 1; k++)
        if (shape[k] != t->shape[k]) return false;
    size_t row = (size_t)t->shape[t->rank - 1];
    if (lt_dtype_is_lattice(type) && !lti_dtype_size(type, (int64_t)row, &row)) return false;
    return shape[t->rank - 1] == (int64_t)row;
}

static lt_status map_tensor(void *user, const lti_tensor *t)
{
    mapper *m = user;
    lt_ctx *ctx = m->model->ctx;
    int i = lt_tensors_find(m->model->weights.tensors, t->name);
    if (i < 0) return lti_fail(ctx, LT_EFORMAT, "%s: tensor '%s' is missing", m->path, t->name);
    lt_dtype type;
    LTI_TRY(read_type(m, i, t->name, &type));
    if (!same_shape(m->model->weights.tensors, i, t, type))
        return lti_fail(ctx, LT_EFORMAT,
                        "%s: tensor '%s' is rank %d of %llu bytes, but the model's is rank %d, %lld "
                        "rows of %lld elements of %s",
                        m->path, t->name, lt_tensors_rank(m->model->weights.tensors, i),
                        (unsigned long long)lt_tensors_bytes(m->model->weights.tensors, i), t->rank,
                        (long long)(t->rank == 2 ? t->shape[0] : 1), (long long)t->shape[t->rank - 1],
                        lt_dtype_name(type));
    return lt_params_map(m->model->params, t->name, type, t->rank, t->shape,
                         lt_tensors_data(m->model->weights.tensors, i), NULL);
}

/* Grids of activations, which are state and in no table. */
static lt_status take_grids(const mapper *m)
{
    const lt_tensors *file = m->model->weights.tensors;
    for (int i = 0; i < lt_tensors_count(file); i++) {
        lt_param *grid;
        const char *name = lt_tensors_name(file, i);
        if (!lti_ends_with(name, ":act_scale")) continue;
        if (lt_tensors_elements(file, i) != 2)
            return lti_fail(m->model->ctx, LT_EFORMAT, "%s: tensor '%s' has %lld numbers; scale and lowest code are 2",
                            m->path, name, (long long)lt_tensors_elements(file, i));
        LTI_TRY(lt_params_add(m->model->params, name, LT_F32, 1, &(int64_t){2}, LT_STATE, &grid));
        lt_param_set_trainable(grid, false);
        LTI_TRY(lt_tensors_load_real(file, i, lt_param_data(grid)));
    }
    return LT_OK;
}

static lt_status fill_coded(lt_model *coded, const char *path)
{
    LTI_TRY(lt_params_create(coded->ctx, &coded->params));
    LTI_TRY(lt_tensors_open(coded->ctx, path, &coded->weights.tensors));
    LTI_TRY(lti_model_each(coded, map_tensor, &(mapper){coded, path}));
    return take_grids(&(mapper){coded, path});
}

lt_status lt_model_with_codes(lt_model *model, const char *path, lt_model **coded)
{
    *coded = NULL;
    lt_model *m;
    LTI_TRY(lti_model_like(model, &m));
    m->frozen = true;
    lt_status status = lt_gguf_is(path) ? lti_model_take_gguf(m, path) : fill_coded(m, path);
    if (status == LT_OK)
        *coded = m;
    else
        lt_model_free(m);
    return status;
}
