/* moments.c - what each kind of update keeps: names, types, sizes; and averages of weights.
 *
 * One table says it for all: who adds moments, who forgets them and who counts their bytes read the same lines. */
#include "optim/moments.h"

#include "kernels/update.h"
#include "optim/optimizer_parts.h"

#include <stdio.h>
#include <string.h>

typedef enum form {
    LIKE_WEIGHT, /* f32 of the weight's shape */
    CODES,       /* i8, whole blocks */
    SCALES       /* f32 [blocks, 2] */
} form;

static const struct {
    const char *suffix;
    form form;
} kept[][LTI_MOST_MOMENTS] = {
    [LT_ADAMW] = {{"adam.m", LIKE_WEIGHT}, {"adam.v", LIKE_WEIGHT}},
    [LT_SGD] = {{"sgd.u", LIKE_WEIGHT}},
    [LT_ADAMW_8BIT] = {{"adam8.m", CODES}, {"adam8.v", CODES}, {"adam8.scale", SCALES}},
    [LT_LION] = {{"lion.m", LIKE_WEIGHT}},
    [LT_MUON] = {{"muon.u", LIKE_WEIGHT}},
};

static const char average_suffix[] = "ema";

lt_status lti_companion(lt_optimizer *opt, const lt_param *w, const char *suffix, lt_dtype type, int rank,
                        const int64_t *shape, lt_role role, lt_param **out, bool *made)
{
    char name[256];
    if (snprintf(name, sizeof name, "%s:%s", lt_param_name(w), suffix) >= (int)sizeof name)
        return lti_fail(opt->ctx, LT_EINVAL, "optimizer: the name '%s' is too long", lt_param_name(w));
    *out = lt_params_find(opt->params, name);
    if (made) *made = !*out;
    if (!*out) return lt_params_add(opt->params, name, type, rank, shape, role, out);
    bool same = lt_param_type(*out) == type && lt_param_rank(*out) == rank;
    for (int i = 0; same && i < rank; i++) same = lt_param_shape(*out)[i] == shape[i];
    if (same) return LT_OK;
    return lti_fail(opt->ctx, LT_EINVAL, "optimizer: '%s' exists with another type or shape than its weight's", name);
}

static lt_status keep_average(lt_optimizer *opt, lti_trained *e)
{
    bool made;
    LTI_TRY(lti_companion(opt, e->w, average_suffix, LT_F32, lt_param_rank(e->w), lt_param_shape(e->w), LT_STATE,
                          &e->average, &made));
    if (!made) return LT_OK;
    memcpy(lt_param_data(e->average), lt_param_read(e->w), lt_param_bytes(e->w));
    lt_param_touch(e->average);
    return LT_OK;
}

lt_status lti_keep_moments(lt_optimizer *opt, lti_trained *e)
{
    int64_t n = lt_param_count(e->w), blocks = n / LTI_ADAM8_BLOCK + (n % LTI_ADAM8_BLOCK != 0);
    for (int i = 0; i < LTI_MOST_MOMENTS && kept[e->rule][i].suffix; i++) {
        if (e->rule == LT_SGD && opt->config.momentum == 0) break;
        lt_dtype type = kept[e->rule][i].form == CODES ? LT_I8 : LT_F32;
        int rank = lt_param_rank(e->w);
        const int64_t *shape = lt_param_shape(e->w), codes[1] = {blocks * LTI_ADAM8_BLOCK}, scales[2] = {blocks, 2};
        if (kept[e->rule][i].form == CODES) rank = 1, shape = codes;
        if (kept[e->rule][i].form == SCALES) rank = 2, shape = scales;
        LTI_TRY(lti_companion(opt, e->w, kept[e->rule][i].suffix, type, rank, shape, LT_STATE, &e->moment[i], NULL));
    }
    return opt->config.ema_decay > 0 ? keep_average(opt, e) : LT_OK;
}

size_t lt_optimizer_bytes(const lt_optimizer *optimizer)
{
    size_t bytes = 0;
    for (int i = 0; i < optimizer->count; i++) {
        const lti_trained *e = &optimizer->list[i];
        for (int k = 0; k < LTI_MOST_MOMENTS; k++) bytes += e->moment[k] ? lt_param_bytes(e->moment[k]) : 0;
        bytes += e->average ? lt_param_bytes(e->average) : 0;
    }
    return bytes;
}

void lt_optimizer_swap_ema(lt_optimizer *optimizer)
{
    for (int i = 0; i < optimizer->count; i++) {
        const lti_trained *e = &optimizer->list[i];
        if (!e->average) continue;
        lt_real *w = lt_param_data(e->w), *average = lt_param_data(e->average);
        for (int64_t k = 0; k < lt_param_count(e->w); k++) {
            lt_real kept_aside = w[k];
            w[k] = average[k];
            average[k] = kept_aside;
        }
        lt_param_touch(e->w);
        lt_param_touch(e->average);
    }
}

/* ---- By name ---- */

bool lti_is_moment(const char *name)
{
    const char *colon = strrchr(name, ':');
    for (size_t rule = 0; colon && rule < sizeof kept / sizeof kept[0]; rule++)
        for (int i = 0; i < LTI_MOST_MOMENTS && kept[rule][i].suffix; i++)
            if (strcmp(colon + 1, kept[rule][i].suffix) == 0) return true;
    return false;
}

/* The weight that a param of this name is the average of, or NULL. */
static const lt_param *averaged(const lt_params *params, const char *name)
{
    const char *colon = strrchr(name, ':');
    char weight[256];
    if (!colon || strcmp(colon + 1, average_suffix) || (size_t)(colon - name) >= sizeof weight) return NULL;
    memcpy(weight, name, (size_t)(colon - name));
    weight[colon - name] = '\0';
    return lt_params_find(params, weight);
}

void lti_forget_moments(lt_params *params)
{
    for (int i = 0; i < lt_params_count(params); i++) {
        lt_param *p = lt_params_at(params, i);
        if (lt_param_role(p) != LT_STATE) continue;
        const lt_param *weight = averaged(params, lt_param_name(p));
        if (weight && lt_param_bytes(weight) == lt_param_bytes(p))
            memcpy(lt_param_data(p), lt_param_read(weight), lt_param_bytes(p));
        else if (lti_is_moment(lt_param_name(p)))
            memset(lt_param_data(p), 0, lt_param_bytes(p));
        else
            continue;
        lt_param_touch(p);
    }
}
