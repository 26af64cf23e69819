/* folds.c - see folds.h.
 *
 * A block's first norm is read by q, k and v alone, its second by gate and up: their gains take scales. The value that
 * enters down is act(gate) * up, linear in up's rows, and what enters the output projection is a mean of v's rows: these
 * take scales too, v's with one scale for all query heads that share a head of v. Norms behind the residual sum (BERT) are
 * read by the sum as well, and take none; neither do rows behind an activation (GPT-2's down). Where a norm stands before
 * the output projection and before down (BitNet), its gain takes what v's and up's rows cannot. */
#include "train/folds.h"

#include "models/family.h"

#include <stdio.h>

static lt_param *find(const lt_model *m, int64_t block, const char *name)
{
    char full[96];
    snprintf(full, sizeof full, "blk.%lld.%s", (long long)block, name);
    lt_param *p = lt_params_find(lt_model_params(m), full);
    return p && lt_param_type(p) == LT_F32 && !lt_param_mapped(p) ? p : NULL;
}

static void add_reader(lti_fold *f, lt_param *reader)
{
    if (!reader) return;
    f->readers[f->n++] = reader;
    f->columns = lt_param_shape(reader)[1];
}

static bool norm_fold(const lt_model *m, int64_t block, const char *norm, const char *const readers[3], lti_fold *f)
{
    char gain[64], bias[64];
    snprintf(gain, sizeof gain, "%s.weight", norm);
    snprintf(bias, sizeof bias, "%s.bias", norm);
    *f = (lti_fold){.source = find(m, block, gain), .bias = find(m, block, bias), .norm = true};
    f->plus_one = lt_model_config(m)->norm_plus_one;
    for (int i = 0; i < 3 && readers[i]; i++) add_reader(f, find(m, block, readers[i]));
    f->channels = f->columns;
    return f->source && f->n > 0;
}

static bool up_fold(const lt_model *m, int64_t block, lti_fold *f)
{
    *f = (lti_fold){.source = find(m, block, "ffn_up.weight"), .bias = find(m, block, "ffn_up.bias")};
    add_reader(f, find(m, block, "ffn_down.weight"));
    f->channels = f->columns;
    return f->source && f->n > 0 && find(m, block, "ffn_gate.weight");
}

static bool value_fold(const lt_model *m, int64_t block, lti_fold *f)
{
    const lt_transformer_config *c = lt_model_config(m);
    *f = (lti_fold){.source = find(m, block, "attn_v.weight"), .bias = find(m, block, "attn_v.bias")};
    add_reader(f, find(m, block, "attn_output.weight"));
    f->head_dim = lti_head_dim(c);
    f->shared = c->heads / c->kv_heads;
    f->channels = c->kv_heads * f->head_dim;
    return f->source && f->n > 0;
}

int lti_folds_of(lt_model *m, int64_t block, bool layers, lti_fold folds[LTI_MOST_FOLDS])
{
    static const char *const attention[] = {"attn_q.weight", "attn_k.weight", "attn_v.weight"};
    static const char *const fused[] = {"attn_qkv.weight", NULL, NULL};
    static const char *const feed[] = {"ffn_gate.weight", "ffn_up.weight", NULL};
    static const char *const down[] = {"ffn_down.weight", NULL, NULL};
    static const char *const output[] = {"attn_output.weight", NULL, NULL};
    const lt_transformer_config *c = lt_model_config(m);
    int n = 0;
    if (!c || lt_transformer_is_encoder(c)) return 0;
    bool whole = find(m, block, "attn_qkv.weight");
    n += norm_fold(m, block, "attn_norm", whole ? fused : attention, &folds[n]);
    n += norm_fold(m, block, "ffn_norm", feed, &folds[n]);
    int before = n;
    n += norm_fold(m, block, "ffn_sub_norm", down, &folds[n]);
    n += norm_fold(m, block, "attn_sub_norm", output, &folds[n]);
    if (!layers || n > before) return n;
    n += up_fold(m, block, &folds[n]);
    n += value_fold(m, block, &folds[n]);
    return n;
}

int64_t lti_fold_channel(const lti_fold *f, int64_t column)
{
    if (!f->head_dim) return column;
    return column / f->head_dim / f->shared * f->head_dim + column % f->head_dim;
}

static void divide_source(const lti_fold *f, const double *scale)
{
    lt_real *gain = lt_param_data(f->source), *bias = f->bias ? lt_param_data(f->bias) : NULL;
    int64_t width = lt_param_count(f->source) / f->channels;
    double one = f->plus_one ? 1 : 0;
    for (int64_t i = 0; i < lt_param_count(f->source); i++)
        gain[i] = (lt_real)(((double)gain[i] + one) / scale[i / width] - one);
    for (int64_t i = 0; bias && i < f->channels; i++) bias[i] = (lt_real)((double)bias[i] / scale[i]);
    lt_param_touch(f->source);
    if (bias) lt_param_touch(f->bias);
}

void lti_fold_apply(const lti_fold *f, const double *scale)
{
    divide_source(f, scale);
    for (int r = 0; r < f->n; r++) {
        lt_real *w = lt_param_data(f->readers[r]);
        for (int64_t i = 0; i < lt_param_count(f->readers[r]); i++)
            w[i] = (lt_real)((double)w[i] * scale[lti_fold_channel(f, i % f->columns)]);
        lt_param_touch(f->readers[r]);
    }
}

void lti_fold_inputs(const lti_fold *f, const double *scale, lti_inputs *in)
{
    for (int64_t k = 0; k < in->columns; k++) {
        double s = scale[lti_fold_channel(f, k)];
        in->squares[k] /= s * s;
        if (in->absolutes) in->absolutes[k] /= s;
        if (in->largest) in->largest[k] /= s;
        for (int64_t i = 0; in->gram && i < in->columns; i++)
            in->gram[k * in->columns + i] /= s * scale[lti_fold_channel(f, i)];
    }
}
