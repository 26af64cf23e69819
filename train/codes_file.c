/* codes_file.c - codes as a .safetensors file, proved by reading it back, and a model of the codes in a file.
 *
 * Tensors are under lathe's names, lattice blocks as U8 [rows, bytes a row], their types in the metadata
 * ("type:blk.0.attn_q.weight" = "q4_0"). Grids that are no type of storage (intN, ternary, fp8) are packed: codes in the
 * same place, scales beside them (packed_grids.h). Files of before that have such tensors as floats are read as ever. */
#include "base/text.h"
#include "lathe/gguf.h"
#include "train/checkpoint.h"
#include "train/export.h"

#include <string.h>

/* ---- Writing codes ---- */

typedef struct exported {
    lt_ctx *ctx;
    lt_tensor_entry *entries;
    lt_pair *pairs;
    int64_t (*shapes)[LT_MAX_RANK]; /* of entries */
    lti_packgrid *grids;            /* of codes; codes NULL: is not packed */
    char **texts;
    int count, n_pairs, n_texts;
} exported;

enum { TEXTS = LTI_PACKGRID_PARTS + 4 }; /* of a tensor at most */

static void exported_free(exported *x, int codes)
{
    for (int i = 0; x->grids && i < codes; i++) lti_packgrid_free(x->ctx, &x->grids[i]);
    for (int i = 0; i < x->n_texts; i++) lti_free(x->ctx, x->texts[i]);
    lti_free(x->ctx, x->texts);
    lti_free(x->ctx, x->grids);
    lti_free(x->ctx, x->entries);
    lti_free(x->ctx, x->pairs);
    lti_free(x->ctx, x->shapes);
}

/* Keeps a text until the file is written; NULL: memory is out. */
static const char *keep(exported *x, lti_text *text)
{
    if (text->failed) lti_text_free(text);
    if (text->data) x->texts[x->n_texts++] = text->data;
    return text->data;
}

static const char *joined(exported *x, const char *a, const char *b)
{
    lti_text text = {.ctx = x->ctx};
    lti_text_format(&text, "%s%s", a, b);
    return keep(x, &text);
}

/* "what:NAME" = value */
static lt_status add_pair(exported *x, const char *what, const lt_param *p, const char *value)
{
    const char *key = joined(x, what, lt_param_name(p));
    if (!key || !value) return LT_ENOMEM;
    x->pairs[x->n_pairs++] = (lt_pair){key, value};
    return LT_OK;
}

static lt_status add_plain(exported *x, const lt_param *p)
{
    int i = x->count++;
    int64_t *shape = x->shapes[i];
    int rank = lt_param_rank(p);
    lt_dtype type = lt_param_type(p);
    memcpy(shape, lt_param_shape(p), (size_t)rank * sizeof *shape);
    if (lt_dtype_is_lattice(type)) {
        shape[rank - 1] = shape[rank - 1] / lt_dtype_block(type) * (int64_t)lt_dtype_bytes(type);
        LTI_TRY(add_pair(x, "type:", p, lt_dtype_name(type)));
    }
    x->entries[i] = (lt_tensor_entry){
        .name = lt_param_name(p), .dtype = lti_stored_of(type), .rank = rank, .shape = shape, .data = lt_param_read(p)};
    return LT_OK;
}

static lt_status add_packed(exported *x, const lt_param *p, const lti_packgrid *g)
{
    char type[LT_SCHEME_TEXT];
    lti_packgrid_part parts[LTI_PACKGRID_PARTS];
    lti_text shape = {.ctx = x->ctx};
    LTI_TRY(add_pair(x, "type:", p, joined(x, lt_scheme_name(&g->form.scheme, type), "")));
    lti_packgrid_shape_text(lt_param_rank(p), lt_param_shape(p), &shape);
    LTI_TRY(add_pair(x, "shape:", p, keep(x, &shape)));
    int n = lti_packgrid_parts(&g->form, g, parts);
    for (int k = 0; k < n; k++) {
        int i = x->count++;
        const char *name = joined(x, lt_param_name(p), parts[k].suffix);
        if (!name) return LT_ENOMEM;
        memcpy(x->shapes[i], parts[k].shape, sizeof parts[k].shape);
        x->entries[i] = (lt_tensor_entry){
            .name = name, .dtype = parts[k].dtype, .rank = parts[k].rank, .shape = x->shapes[i], .data = parts[k].data};
    }
    return LT_OK;
}

static lt_status add_code(exported *x, const lti_packgrid_source *from, const lt_param *p, lti_packgrid *g,
                          lti_text *notes)
{
    lti_packgrid_form form;
    bool fits = false;
    if (!lti_packgrid_form_from(from, p, &form)) return add_plain(x, p);
    LTI_TRY(lti_packgrid_make(x->ctx, from, &form, p, g, &fits));
    if (fits) return add_packed(x, p, g);
    char type[LT_SCHEME_TEXT];
    lti_packgrid_free(x->ctx, g);
    if (notes)
        lti_text_format(notes, "%s: no codes of %s give its numbers bit for bit: written as floats\n", lt_param_name(p),
                        lt_scheme_name(&form.scheme, type));
    return add_plain(x, p);
}

static lt_status list_codes(exported *x, const lti_packgrid_source *from, const lt_params *codes, const lt_pair *more,
                            int n_more, lti_text *notes)
{
    size_t n = (size_t)lt_params_count(codes) + 1;
    x->entries = lti_alloc_array(x->ctx, n, LTI_PACKGRID_PARTS * sizeof *x->entries);
    x->pairs = lti_alloc_array(x->ctx, 2 * n + (size_t)n_more, sizeof *x->pairs);
    x->shapes = lti_alloc_array(x->ctx, n, LTI_PACKGRID_PARTS * sizeof *x->shapes);
    x->grids = lti_alloc_array(x->ctx, n, sizeof *x->grids);
    x->texts = lti_alloc_array(x->ctx, n, TEXTS * sizeof *x->texts);
    if (!x->entries || !x->pairs || !x->shapes || !x->grids || !x->texts) return LT_ENOMEM;
    for (int i = 0; i < lt_params_count(codes); i++)
        LTI_TRY(add_code(x, from, lt_params_at(codes, i), &x->grids[i], notes));
    for (int i = 0; i < n_more; i++) x->pairs[x->n_pairs++] = more[i];
    return LT_OK;
}

static lt_status reads_back_differently(lt_ctx *ctx, const char *path, const char *name)
{
    return lti_fail(ctx, LT_EIO, "%s: tensor '%s' reads back differently from what was written", path, name);
}

/* Every number that the file's codes stand for against the one they were made of. */
static lt_status prove_numbers(lt_ctx *ctx, const lt_tensors *file, const char *path, const lt_param *code)
{
    const char *name = lt_param_name(code);
    lt_scheme scheme;
    lti_packgrid g;
    if (!lti_packgrid_scheme(ctx, file, name, &scheme)) return reads_back_differently(ctx, path, name);
    lt_status status = lti_packgrid_open(ctx, file, path, name, &scheme, lt_param_rank(code), lt_param_shape(code), &g);
    lt_real *read = status == LT_OK ? lti_alloc(ctx, lt_param_bytes(code)) : NULL;
    if (read) {
        lti_packgrid_decode(&g, read);
        if (memcmp(read, lt_param_read(code), lt_param_bytes(code))) status = reads_back_differently(ctx, path, name);
    } else if (status == LT_OK) {
        status = LT_ENOMEM;
    }
    lti_free(ctx, read);
    lti_packgrid_free(ctx, &g);
    return status;
}

/* Every byte of the file against the codes in memory, and every number. */
static lt_status prove(const exported *x, const lt_params *codes, const char *path, lti_codes_proof *proof)
{
    lt_tensors *file;
    LTI_TRY(lt_tensors_open(x->ctx, path, &file));
    lt_status status = LT_OK;
    for (int i = 0; i < x->count && status == LT_OK; i++) {
        int k = lt_tensors_find(file, x->entries[i].name);
        if (k < 0 || memcmp(lt_tensors_data(file, k), x->entries[i].data, lt_tensors_bytes(file, k)))
            status = reads_back_differently(x->ctx, path, x->entries[i].name);
        if (k >= 0) proof->bytes += lt_tensors_bytes(file, k);
    }
    for (int i = 0; i < lt_params_count(codes) && status == LT_OK; i++) {
        const lt_param *code = lt_params_at(codes, i);
        if (x->grids[i].codes) status = prove_numbers(x->ctx, file, path, code);
        proof->tensors++;
        proof->weights += lt_param_count(code);
    }
    lt_tensors_close(file);
    return status;
}

lt_status lti_codes_file_pack(lt_ctx *ctx, const lti_packgrid_source *from, const lt_params *codes, const char *path,
                              const lt_pair *more, int n_more, lti_text *notes, lti_codes_proof *proof)
{
    exported x = {.ctx = ctx};
    *proof = (lti_codes_proof){0};
    lt_status status = list_codes(&x, from, codes, more, n_more, notes);
    if (status == LT_OK) status = lt_tensors_write(ctx, path, x.entries, x.count, x.pairs, x.n_pairs, NULL);
    if (status == LT_OK) status = prove(&x, codes, path, proof);
    exported_free(&x, lt_params_count(codes));
    return status;
}

/* ---- Reading codes ---- */

typedef struct mapper {
    lt_model *model;
    const char *path;
} mapper;

/* `said`: what the metadata say it is, or NULL. */
static lt_status read_type(const mapper *m, int i, const char *name, const char *said, lt_dtype *type)
{
    lt_stored stored = lt_tensors_dtype(m->model->weights.tensors, i);
    if (said && lt_dtype_parse(said, type) && lt_dtype_is_lattice(*type) && stored == LT_STORED_U8) return LT_OK;
    *type = stored == LT_STORED_F16 ? LT_F16 : stored == LT_STORED_BF16 ? LT_BF16 : LT_F32;
    if (!said && (*type != LT_F32 || stored == LT_STORED_REAL)) return LT_OK;
    if (said)
        return lti_fail(m->model->ctx, LT_EFORMAT,
                        "%s: tensor '%s' is %s, and '%.60s' by the metadata; no type lathe knows is stored so", m->path,
                        name, lt_stored_name(stored), said);
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

/* A packed tensor as the numbers its codes stand for. */
static lt_status unpack(const mapper *m, const lti_tensor *t, const lt_scheme *scheme)
{
    lt_ctx *ctx = m->model->ctx;
    lti_packgrid g;
    lt_param *p;
    lt_status status =
        lti_packgrid_open(ctx, m->model->weights.tensors, m->path, t->name, scheme, t->rank, t->shape, &g);
    if (status == LT_OK) status = lt_params_add(m->model->params, t->name, LT_F32, t->rank, t->shape, LT_WEIGHT, &p);
    if (status == LT_OK) {
        lti_packgrid_decode(&g, lt_param_data(p));
        lt_param_touch(p);
        lt_param_set_trainable(p, false);
        if (!lti_k()->all_finite(lt_param_count(p), lt_param_read(p)))
            status = lti_fail(ctx, LT_EFORMAT, "%s: tensor '%s': its codes and scales give a NaN or an infinity",
                              m->path, t->name);
    }
    lti_packgrid_free(ctx, &g);
    return status;
}

static lt_status map_tensor(void *user, const lti_tensor *t)
{
    mapper *m = user;
    lt_ctx *ctx = m->model->ctx;
    const lt_tensors *file = m->model->weights.tensors;
    int i = lt_tensors_find(file, t->name);
    if (i < 0) return lti_fail(ctx, LT_EFORMAT, "%s: tensor '%s' is missing", m->path, t->name);
    lt_dtype type;
    lt_scheme scheme;
    const char *said = lti_packgrid_scheme(ctx, file, t->name, &scheme);
    if (scheme.kind != LT_SCHEME_TYPE && lt_tensors_dtype(file, i) == LT_STORED_U8) return unpack(m, t, &scheme);
    LTI_TRY(read_type(m, i, t->name, said, &type));
    if (!same_shape(file, i, t, type))
        return lti_fail(ctx, LT_EFORMAT,
                        "%s: tensor '%s' is rank %d of %llu bytes, but the model's is rank %d, %lld "
                        "rows of %lld elements of %s",
                        m->path, t->name, lt_tensors_rank(file, i), (unsigned long long)lt_tensors_bytes(file, i),
                        t->rank, (long long)(t->rank == 2 ? t->shape[0] : 1), (long long)t->shape[t->rank - 1],
                        lt_dtype_name(type));
    return lt_params_map(m->model->params, t->name, type, t->rank, t->shape, lt_tensors_data(file, i), NULL);
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
