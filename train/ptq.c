/* ptq.c - quantization after training: which tensor, in which order, by which method.
 *
 * Blocks are done one after the other, and for methods that want to know products of inputs (GPTQ, AWQ) each is measured
 * with those before it quantized already, so that it makes up for their errors too; that also keeps the sums of one block
 * in memory and no more. A pass costs the forward up to its block. Methods that need sums of squares alone take one
 * pass over the float model, as llama-imatrix does. The embedding is looked up, not multiplied: it is rounded by its
 * numbers, also where it is the head. */
#include "autograd/op.h"
#include "base/clock.h"
#include "qat/learned_scales.h"
#include "qat/policy.h"
#include "train/calibrate.h"
#include "train/folds.h"
#include "train/ptq_parts.h"
#include "train/recipe.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const method_names[] = {"rtn", "mse", "imatrix", "gptq", "awq", "smoothquant"};

const char *lt_ptq_method_name(lt_ptq_method method)
{
    return (unsigned)method < LTI_COUNT(method_names) ? method_names[method] : "?";
}

bool lt_ptq_method_parse(const char *name, lt_ptq_method *method)
{
    for (int i = 0; i < LTI_COUNT(method_names); i++)
        if (strcmp(method_names[i], name) == 0) {
            *method = (lt_ptq_method)i;
            return true;
        }
    return false;
}

bool lt_ptq_method_reads_data(lt_ptq_method method)
{
    return method >= LT_PTQ_IMATRIX;
}

void lt_ptq_config_init(lt_ptq_config *config)
{
    *config = (lt_ptq_config){.size = sizeof *config, .rows = 128, .damping = 0.01, .alpha = 0.5};
}

void lt_ptq_free(lt_ptq *p)
{
    if (!p) return;
    lt_params_free(p->codes);
    lti_free(p->ctx, p->tensors);
    lti_free(p->ctx, p);
}

const lt_params *lt_ptq_codes(const lt_ptq *p)
{
    return p->codes;
}

const lt_ptq_tensor *lt_ptq_tensors(const lt_ptq *p, int *count)
{
    *count = p->count;
    return p->tensors;
}

/* ---- One tensor ---- */

static double moved(const lti_rounding *r)
{
    double square = 0, norm = 0;
    for (int64_t i = 0; i < r->rows * r->columns; i++) {
        double d = (double)r->values[i] - (double)r->w[i];
        square += d * d;
        norm += (double)r->w[i] * (double)r->w[i];
    }
    return norm > 0 ? sqrt(square / norm) : 0;
}

/* The matrix by the method, or by the next simpler one that its grid knows; *how: which it was. */
static lt_status round_by(const lti_rounding *r, const lt_ptq_config *c, const lti_inputs *in, lt_real *start,
                          const char **how)
{
    lt_ptq_method m = c->method;
    bool searched;
    *how = lt_ptq_method_name(LT_PTQ_RTN);
    if (m == LT_PTQ_RTN || m == LT_PTQ_SMOOTHQUANT) return lti_round_nearest(r);
    if (m == LT_PTQ_GPTQ && in && in->gram && lti_gptq_knows(&r->scheme)) {
        *how = lt_ptq_method_name(LT_PTQ_GPTQ);
        return lti_round_gptq(r, in, &(lti_gptq_options){c->damping, c->act_order}, start);
    }
    const lti_inputs *known = m == LT_PTQ_MSE ? NULL : in;
    LTI_TRY(lti_round_searched(r, known, &searched));
    if (searched) *how = lt_ptq_method_name(known ? LT_PTQ_IMATRIX : LT_PTQ_MSE);
    return LT_OK;
}

/* A filter [out, in, height, width] is a row for each output, as a policy's grids have it. */
static int64_t rows_of(const lt_param *p)
{
    return lt_param_shape(p)[0];
}

static int64_t columns_of(const lt_param *p)
{
    return rows_of(p) ? lt_param_count(p) / rows_of(p) : 0;
}

lt_status lti_ptq_tensor(lt_ptq *p, const lti_ptq_matrix *m, const lt_ptq_config *c)
{
    lti_rounding r = {.ctx = p->ctx,
                      .name = m->name,
                      .scheme = m->scheme,
                      .rows = rows_of(m->code),
                      .columns = columns_of(m->code),
                      .w = m->w,
                      .values = m->values};
    lt_ptq_tensor *t = &p->tensors[p->count];
    double begin = lti_seconds();
    r.codes = lt_param_type(m->code) == LT_F32 ? NULL : lt_param_data(m->code);
    if (!lti_k()->all_finite(r.rows * r.columns, m->w))
        return lti_fail(p->ctx, LT_ENONFINITE, "cannot quantize '%s': it holds a NaN or an infinity", m->name);
    LTI_TRY(round_by(&r, c, m->inputs, m->start, &t->method));
    if (!r.codes) memcpy(lt_param_data(m->code), m->values, lt_param_bytes(m->code));
    lt_param_touch(m->code);
    t->name = lt_param_name(m->code);
    t->scheme = m->scheme;
    t->bytes = lt_scheme_bytes(&m->scheme, r.rows, r.columns);
    t->error = moved(&r);
    if (m->folded && *t->method != 'r') t->method = lt_ptq_method_name(c->method);
    t->seconds = lti_seconds() - begin;
    p->count++;
    if (c->on_tensor) c->on_tensor(c->user, t);
    if (c->stop && *c->stop) return lti_fail(p->ctx, LT_EINTERRUPTED, "quantization was interrupted");
    return LT_OK;
}

/* ---- The model ---- */

typedef struct job {
    lt_ctx *ctx;
    lt_model *model;
    lt_params *params;
    const lt_dataset *data;
    const lt_quant_policy *policy;
    const lt_ptq_config *c;
    lt_ptq *p;
    lt_params *floats;          /* with config->start: what goes back into the model */
    const lt_imatrix *measured; /* of the pass at hand */
    int64_t block;              /* at hand; -1: what belongs to none */
    bool folded;
} job;

enum { NO_BLOCK = -1 };

static int64_t block_of(const lt_param *p)
{
    const char *name = lt_param_name(p);
    return strncmp(name, "blk.", 4) ? NO_BLOCK : strtoll(name + 4, NULL, 10);
}

static bool is_embedding(const lt_param *p)
{
    return strcmp(lt_param_name(p), "token_embd.weight") == 0;
}

static bool is_rounded(const job *j, const lt_param *p)
{
    lt_scheme s = lt_quant_scheme(j->policy, p);
    return lt_param_role(p) == LT_WEIGHT && lt_param_type(p) == LT_F32 && !lt_scheme_is_float(&s);
}

static bool in_pass(void *user, const lt_param *p)
{
    const job *j = user;
    return is_rounded(j, p) && !is_embedding(p) && block_of(p) == j->block;
}

static bool in_any(void *user, const lt_param *p)
{
    return is_rounded(user, p) && !is_embedding(p);
}

static lt_status add_codes(job *j)
{
    size_t n = (size_t)lt_params_count(j->params) + 1;
    LTI_TRY(lt_params_create(j->ctx, &j->p->codes));
    j->p->tensors = lti_alloc_array(j->ctx, n, sizeof *j->p->tensors);
    if (!j->p->tensors) return LT_ENOMEM;
    for (int i = 0; i < lt_params_count(j->params); i++) {
        const lt_param *p = lt_params_at(j->params, i);
        if (lt_param_role(p) != LT_WEIGHT) continue;
        if (lt_param_type(p) != LT_F32)
            return lti_fail(j->ctx, LT_EINVAL, "cannot quantize '%s': it is %s already; open the model to be trained",
                            lt_param_name(p), lt_dtype_name(lt_param_type(p)));
        LTI_TRY(lt_params_add(j->p->codes, lt_param_name(p), lt_quant_type(j->policy, p), lt_param_rank(p),
                              lt_param_shape(p), LT_WEIGHT, NULL));
    }
    return j->c->start ? lt_params_create(j->ctx, &j->floats) : LT_OK;
}

/* Room for a matrix's values, or, with `start`, also for its floats. */
static lt_status keep_floats(job *j, const lt_param *p, lt_real **start)
{
    lt_param *kept;
    *start = NULL;
    if (!j->floats) return LT_OK;
    LTI_TRY(lt_params_add(j->floats, lt_param_name(p), LT_F32, lt_param_rank(p), lt_param_shape(p), LT_WEIGHT, &kept));
    *start = lt_param_data(kept);
    memcpy(*start, lt_param_read(p), lt_param_bytes(p));
    return LT_OK;
}

static lt_status check_inputs(const job *j, const lt_param *p, const lti_inputs *in)
{
    if (!in || in->columns == columns_of(p)) return LT_OK;
    return lti_fail(j->ctx, LT_EINVAL,
                    "imatrix: '%s' has %lld columns there and %lld in the model; it is of another model",
                    lt_param_name(p), (long long)in->columns, (long long)columns_of(p));
}

static lt_status quantize_param(job *j, lt_param *p)
{
    lti_ptq_matrix m = {.name = lt_param_name(p),
                        .scheme = lt_quant_scheme(j->policy, p),
                        .w = lt_param_read(p),
                        .folded = j->folded && block_of(p) != NO_BLOCK,
                        .code = lt_params_find(j->p->codes, lt_param_name(p))};
    lt_real *start;
    m.inputs = is_embedding(p) ? NULL : lti_inputs_of(j->measured, m.name);
    LTI_TRY(check_inputs(j, p, m.inputs));
    LTI_TRY(keep_floats(j, p, &start));
    m.start = start;
    m.values = lti_alloc_array(j->ctx, (size_t)lt_param_count(p), sizeof *m.values);
    if (!m.values) return LT_ENOMEM;
    lt_status status = lti_ptq_tensor(j->p, &m, j->c);
    if (status == LT_OK) {
        memcpy(lt_param_data(p), m.values, lt_param_bytes(p));
        lt_param_touch(p);
    }
    lti_free(j->ctx, m.values);
    return status;
}

static lt_status quantize_matching(job *j, bool (*which)(void *user, const lt_param *p))
{
    for (int i = 0; i < lt_params_count(j->params); i++) {
        lt_param *p = lt_params_at(j->params, i);
        if (which(j, p)) LTI_TRY(quantize_param(j, p));
    }
    return LT_OK;
}

static bool embedding_alone(void *user, const lt_param *p)
{
    return is_rounded(user, p) && is_embedding(p);
}

/* ---- Scales that are folded ---- */

typedef struct fold_room {
    lti_rounding layers[LTI_MOST_READERS];
    lti_readers readers;
    int64_t *channel;
    lt_real *values;
    double *scale;
} fold_room;

static void free_room(lt_ctx *ctx, fold_room *r)
{
    lti_free(ctx, r->channel);
    lti_free(ctx, r->values);
    lti_free(ctx, r->scale);
}

/* The readers that are rounded; none: n is 0. */
static lt_status make_room(const job *j, const lti_fold *f, fold_room *r)
{
    int64_t most = 0;
    *r = (fold_room){.readers = {.layers = r->layers, .columns = f->columns, .channels = f->channels}};
    r->channel = lti_alloc_array(j->ctx, (size_t)f->columns + 1, sizeof *r->channel);
    r->scale = lti_alloc_array(j->ctx, (size_t)f->channels + 1, sizeof *r->scale);
    for (int i = 0; i < f->n; i++)
        if (lt_param_count(f->readers[i]) > most) most = lt_param_count(f->readers[i]);
    r->values = lti_alloc_array(j->ctx, (size_t)most + 1, sizeof *r->values);
    if (!r->channel || !r->scale || !r->values) return LT_ENOMEM;
    for (int64_t k = 0; k < f->columns; k++) r->channel[k] = lti_fold_channel(f, k);
    r->readers.channel = r->channel;
    for (int i = 0; i < f->n; i++) {
        const lt_param *p = f->readers[i];
        if (!is_rounded(j, p)) continue;
        lt_param *code = lt_params_find(j->p->codes, lt_param_name(p));
        r->layers[r->readers.n++] = (lti_rounding){.ctx = j->ctx,
                                                   .name = lt_param_name(p),
                                                   .scheme = lt_quant_scheme(j->policy, p),
                                                   .rows = lt_param_shape(p)[0],
                                                   .columns = f->columns,
                                                   .w = lt_param_read(p),
                                                   .values = r->values,
                                                   .codes = lt_param_type(code) == LT_F32 ? NULL : lt_param_data(code)};
    }
    return LT_OK;
}

static lt_status fold(job *j, const lti_fold *f)
{
    fold_room room;
    lti_inputs *in = lti_inputs_of(j->measured, lt_param_name(f->readers[0]));
    for (int i = 1; i < f->n && !in; i++) in = lti_inputs_of(j->measured, lt_param_name(f->readers[i]));
    if (!in) return LT_OK;
    lt_status status = make_room(j, f, &room);
    if (status == LT_OK && room.readers.n > 0) {
        if (j->c->method == LT_PTQ_AWQ)
            status = lti_awq_scales(j->ctx, &room.readers, in, room.scale);
        else
            lti_smooth_scales(&room.readers, in, j->c->alpha, room.scale);
        if (status == LT_OK) {
            lti_fold_apply(f, room.scale);
            lti_fold_inputs(f, room.scale, in);
        }
    }
    free_room(j->ctx, &room);
    return status;
}

static lt_status fold_block(job *j, int64_t block)
{
    lti_fold folds[LTI_MOST_FOLDS];
    int n = lti_folds_of(j->model, block, j->c->method == LT_PTQ_AWQ, folds);
    j->folded = n > 0;
    for (int i = 0; i < n; i++) LTI_TRY(fold(j, &folds[i]));
    return LT_OK;
}

/* ---- Passes ---- */

static int64_t count_blocks(const job *j)
{
    int64_t n = 0;
    for (int i = 0; i < lt_params_count(j->params); i++) {
        int64_t block = block_of(lt_params_at(j->params, i));
        if (block >= n) n = block + 1;
    }
    return n;
}

static lt_status measure(job *j, bool grams, bool (*wanted)(void *user, const lt_param *p), lt_imatrix **measured)
{
    lti_calibration c = {.model = j->model,
                         .data = j->data,
                         .rows = j->c->rows,
                         .grams = grams,
                         .wanted = wanted,
                         .user = j,
                         .stop = j->c->stop};
    return lti_calibrate(&c, measured);
}

static bool has_any(job *j)
{
    bool any = false;
    for (int i = 0; i < lt_params_count(j->params); i++) any |= in_pass(j, lt_params_at(j->params, i));
    return any;
}

/* A block measured with those before it quantized, folded and quantized. */
static lt_status measured_block(job *j)
{
    lt_imatrix *measured = NULL;
    if (!has_any(j)) return LT_OK;
    LTI_TRY(measure(j, true, in_pass, &measured));
    j->measured = measured;
    lt_status status = j->c->method == LT_PTQ_AWQ && j->block != NO_BLOCK ? fold_block(j, j->block) : LT_OK;
    if (status == LT_OK) status = quantize_matching(j, in_pass);
    lt_imatrix_free(measured);
    j->measured = NULL;
    return status;
}

static lt_status block_by_block(job *j)
{
    int64_t blocks = count_blocks(j);
    LTI_TRY(quantize_matching(j, embedding_alone));
    for (j->block = 0; j->block < blocks; j->block++) LTI_TRY(measured_block(j));
    j->block = NO_BLOCK;
    j->folded = false;
    return measured_block(j);
}

static lt_status smooth_all(job *j)
{
    int64_t blocks = count_blocks(j);
    bool any = false;
    for (int64_t i = 0; i < blocks; i++) {
        LTI_TRY(fold_block(j, i));
        any |= j->folded;
    }
    j->folded = false;
    if (any) return LT_OK;
    return lti_fail(j->ctx, LT_EUNSUPPORTED,
                    "smoothquant: no norm of this %s can take the scales of what reads it; take gptq or imatrix",
                    lt_model_family(j->model));
}

static lt_status all_at_once(job *j)
{
    lt_imatrix *own = NULL;
    lt_status status = LT_OK;
    j->measured = j->c->method == LT_PTQ_IMATRIX ? j->c->imatrix : NULL;
    if (lt_ptq_method_reads_data(j->c->method) && !j->measured) {
        status = measure(j, false, in_any, &own);
        j->measured = own;
    }
    if (status == LT_OK && j->c->method == LT_PTQ_SMOOTHQUANT) status = smooth_all(j);
    if (status == LT_OK) status = quantize_matching(j, embedding_alone);
    if (status == LT_OK) status = quantize_matching(j, in_any);
    lt_imatrix_free(own);
    return status;
}

/* What stays in float, folded or not, and the floats that training begins with. */
static void finish(job *j)
{
    for (int i = 0; i < lt_params_count(j->p->codes); i++) {
        lt_param *code = lt_params_at(j->p->codes, i), *p = lt_params_find(j->params, lt_param_name(code));
        if (!is_rounded(j, p)) memcpy(lt_param_data(code), lt_param_read(p), lt_param_bytes(p));
        lt_param_touch(code);
    }
    for (int i = 0; j->floats && i < lt_params_count(j->floats); i++) {
        const lt_param *kept = lt_params_at(j->floats, i);
        lt_param *p = lt_params_find(j->params, lt_param_name(kept));
        memcpy(lt_param_data(p), lt_param_read(kept), lt_param_bytes(p));
        lt_param_touch(p);
    }
}

static lt_status check(const job *j)
{
    const lt_ptq_config *c = j->c;
    if (c->size != sizeof *c) return lti_fail(j->ctx, LT_EINVAL, "lt_ptq_run: call lt_ptq_config_init first");
    if (lt_model_frozen(j->model))
        return lti_fail(j->ctx, LT_EINVAL,
                        "quantization changes weights, and this model was opened frozen: lt_model_open");
    if (c->rows < 1 || !(c->damping >= 0 && c->damping <= 100) || !(c->alpha >= 0 && c->alpha <= 1))
        return lti_fail(j->ctx, LT_EINVAL,
                        "quantization: rows at least 1, damping 0 to 100, alpha 0 to 1, not %lld, %g, %g",
                        (long long)c->rows, c->damping, c->alpha);
    bool given = c->method == LT_PTQ_IMATRIX && c->imatrix;
    if (lt_ptq_method_reads_data(c->method) && !j->data && !given)
        return lti_fail(j->ctx, LT_EINVAL,
                        "%s looks at what the layers read: it needs calibration data%s; rtn and mse need none",
                        lt_ptq_method_name(c->method), c->method == LT_PTQ_IMATRIX ? ", or an imatrix" : "");
    return lti_quant_check_params(j->params, j->policy);
}

lt_status lt_ptq_run(lt_model *model, const lt_dataset *data, const lt_quant_policy *policy,
                     const lt_ptq_config *config, lt_ptq **done)
{
    lt_params *params = lt_model_params(model);
    job j = {.ctx = lt_params_ctx(params), .model = model, .params = params, .data = data, .policy = policy};
    j.c = config, j.block = NO_BLOCK;
    *done = NULL;
    LTI_TRY(check(&j));
    j.p = lti_alloc(j.ctx, sizeof *j.p);
    if (!j.p) return LT_ENOMEM;
    j.p->ctx = j.ctx;
    bool walks = config->method == LT_PTQ_GPTQ || config->method == LT_PTQ_AWQ;
    lt_status status = add_codes(&j);
    if (status == LT_OK) status = walks ? block_by_block(&j) : all_at_once(&j);
    if (status == LT_OK) finish(&j);
    if (status == LT_OK && config->start) status = lti_qat_restart(params, policy);
    lt_params_free(j.floats);
    if (status == LT_OK)
        *done = j.p;
    else
        lt_ptq_free(j.p);
    return status;
}
