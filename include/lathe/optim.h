/* optim.h - optimizers as graph nodes: updates, clipping, schedules, parameter groups.
 *
 * An update is a node that writes params, so one plan may hold forward, backward and update (fused), or one plan sums
 * gradients over micro-batches and another clips and applies them (split). Learning rate and step are run-time scalars
 * called "lr" and "step"; steps count from 1.
 *
 *     lt_optimizer_config config;
 *     lt_optimizer_config_init(&config);
 *     lt_optimizer *opt;
 *     if (lt_optimizer_create(ctx, params, &config, &opt) != LT_OK) return lt_ctx_status(ctx);
 *     lt_optimizer_fused(opt, graph, loss);
 *     if (lt_compile(graph, NULL, 1, &loss, &plan) != LT_OK) return lt_ctx_status(ctx);
 *     for (int64_t t = 1; t <= total; t++)
 *         if (lt_set(plan, "step", (double)t) || lt_set(plan, "lr", lt_lr_at(&schedule, t, total)) || lt_run(plan))
 *             return lt_ctx_status(ctx);
 */
#ifndef LATHE_OPTIM_H
#define LATHE_OPTIM_H

#include "lathe/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Learning rate ---- */
typedef enum lt_schedule_kind {
    LT_LR_CONSTANT = 0,
    LT_LR_LINEAR, /* falls in a line to min_ratio */
    LT_LR_COSINE, /* half a cosine to min_ratio (Loshchilov and Hutter, 2017) */
    LT_LR_WSD     /* warmup, stable, decay: constant, then a line to min_ratio (Hu et al., 2024) */
} lt_schedule_kind;

typedef struct lt_schedule {
    size_t size;
    lt_schedule_kind kind;
    double lr;           /* the peak */
    double warmup_ratio; /* of all steps; used when warmup_steps is 0 */
    int64_t warmup_steps;
    double min_ratio;   /* of the peak, at the end; default 0 */
    double decay_ratio; /* wsd: of all steps; default 0.1 */
} lt_schedule;
LT_API void lt_schedule_init(lt_schedule *schedule);                     /* constant, lr 1e-3 */
LT_API bool lt_schedule_parse(const char *name, lt_schedule_kind *kind); /* "constant", "linear", "cosine", "wsd" */
/* Of step 1 .. total. Warmup of n steps: lr t / (n + 1), so that no step is wasted on 0 and step n + 1 has the peak. */
LT_API double lt_lr_at(const lt_schedule *schedule, int64_t step, int64_t total);

/* ---- Optimizers ---- */
typedef enum lt_optimizer_kind {
    LT_ADAMW = 0,
    LT_SGD,
    LT_ADAMW_8BIT, /* AdamW whose moments are kept in 8 bits, blocks of 256 with a scale each (Dettmers et al. 2022) */
    LT_LION,       /* sign of an interpolated momentum (Chen et al. 2023) */
    LT_MUON        /* orthogonalised momentum for matrices (Jordan et al. 2024), AdamW for the rest */
} lt_optimizer_kind;
/* "adamw", "sgd", "adamw_8bit" or "adamw8bit", "lion", "muon". */
LT_API bool lt_optimizer_parse(const char *name, lt_optimizer_kind *kind);

/* What parameters whose name matches get; the first matching group counts. */
typedef struct lt_optimizer_group {
    const char *pattern;  /* glob over the parameter's name; NULL: every one */
    double lr_multiplier; /* 0 counts as 1: use `freeze` to stop a parameter */
    double weight_decay;  /* negative: the config's */
    bool freeze;
} lt_optimizer_group;

typedef struct lt_optimizer_config {
    size_t size;
    lt_optimizer_kind kind;
    double beta1, beta2;      /* negative, the default: the kind's own, 0.9 and 0.999, of Lion 0.9 and 0.99 */
    double eps;               /* negative, the default: 1e-8 */
    double momentum;          /* sgd; muon: 0 counts as 0.95 */
    bool nesterov;            /* sgd; Muon always is */
    double weight_decay;      /* of all parameters, also those of one axis, unless a group says otherwise */
    double max_grad_norm;     /* split: clip the global norm to it; 0: never */
    double layer_decay;       /* rates fall by this factor a layer, from the head down; 1, the default: not */
    double ema_decay;         /* keep "<name>:ema", an average of each trained weight with this decay; 0: none */
    const char *muon_pattern; /* muon: glob of its matrices; NULL: all but embeddings and heads */
    double muon_lr_scale;     /* muon: its rate is lr x this x 0.2 sqrt(max(m, n)) (Liu et al. 2025); default 1 */
    int n_groups;
    const lt_optimizer_group *groups; /* copied by lt_optimizer_create */
} lt_optimizer_config;
/* AdamW as torch.optim.AdamW: betas 0.9, 0.999, eps 1e-8, weight decay 0.01; no clipping, no groups. */
LT_API void lt_optimizer_config_init(lt_optimizer_config *config);

/* Layers, for layer_decay: a name with "blk.N.", "stage.N." or "rnn.N." is in layer N; embeddings (a part of the name
 * has "embd" or is "token_types") and a "stem" lie below layer 0; all others (head, output, last norm) are the head.
 * With n layers, the head learns at lr, layer N at lr x decay^(n - N), what lies below at lr x decay^(n + 1); a group's
 * multiplier multiplies that.
 *
 * Muon updates params of two axes, and filters [O, I, KH, KW] as matrices [O, I KH KW]; not embeddings, nor what has a
 * part called "output" or "head" in its name, unless muon_pattern names them. All others get AdamW with the same lr.
 * AdamW in 8 bits keeps the moments of params under 4,096 elements in f32: they are nothing, and may matter. */
typedef struct lt_optimizer lt_optimizer; /* `params` must outlive it */

/* Takes every param that is trainable now and not frozen by a group, and adds what its update keeps to params as
 * LT_STATE, so that a checkpoint holds it; what is present is gone on with. "<name>:adam.m" and ":adam.v"; ":sgd.u",
 * ":lion.m", ":muon.u"; in 8 bits ":adam8.m" and ":adam8.v" (codes, whole blocks) and ":adam8.scale" [blocks, 2];
 * ":ema", which starts as a copy of the weight.
 * Errors: LT_EINVAL (a number out of range, nothing to train, a muon_pattern without a matrix, a
 * layer_decay without a layer), LT_ENOMEM. */
LT_API LT_MUST_USE lt_status lt_optimizer_create(lt_ctx *ctx, lt_params *params, const lt_optimizer_config *config,
                                                 lt_optimizer **optimizer);
LT_API void lt_optimizer_free(lt_optimizer *optimizer); /* NULL is fine; graphs and plans stay valid */
LT_API int lt_optimizer_count(const lt_optimizer *optimizer);
LT_API lt_param *lt_optimizer_param(const lt_optimizer *optimizer, int index);
LT_API size_t lt_optimizer_bytes(const lt_optimizer *optimizer); /* of moments and averages */
/* Exchanges each trained weight with its average (ema_decay): to evaluate or save the averages, and back. Train on only
 * when they are back. */
LT_API void lt_optimizer_swap_ema(lt_optimizer *optimizer);

/* Each of the next three records into the graph and returns its status. A param the loss does not depend on, and one
 * that is no longer trainable, stays as it is.
 *
 * Gradients and updates in one plan: each update runs right after its gradient. When the loss is not finite nothing is
 * updated. Taps "update_ok". LT_EINVAL with max_grad_norm: the norm is known too late. */
LT_API lt_status lt_optimizer_fused(lt_optimizer *optimizer, lt_graph *graph, lt_t loss);
/* Phase 0: adds the gradients of this micro-batch to scratch params "<name>:grad". The run-time scalar "fresh" is 1 for
 * the first micro-batch of a step (which overwrites), 0 for the rest. */
LT_API lt_status lt_optimizer_accumulate(lt_optimizer *optimizer, lt_graph *graph, lt_t loss);
/* Phase 1: updates from the sums, recorded after lt_optimizer_accumulate, in the same graph or another: two plans, one
 * a phase, come from one recipe. The norm of all gradients is clipped to max_grad_norm; when it is not finite nothing
 * is updated. Taps "grad_norm" and "update_ok". */
LT_API lt_status lt_optimizer_apply(lt_optimizer *optimizer, lt_graph *graph);

/* ---- The nodes they are made of ---- */
typedef struct lt_adamw_config {
    size_t size;
    double beta1, beta2, eps, weight_decay, lr_multiplier;
} lt_adamw_config;
LT_API void lt_adamw_config_init(lt_adamw_config *config);
/* One AdamW step (formula: kernels/update.h); returns the new w. m, v: of w's shape. lr and step: rank 0. clip: a
 * factor on the gradient, or nil; ok: nil, or a number whose 0 skips the step whole. */
LT_API lt_t lt_adamw(lt_param *w, lt_param *m, lt_param *v, lt_t gradient, lt_t lr, lt_t step, lt_t clip, lt_t ok,
                     const lt_adamw_config *config);

typedef struct lt_sgd_config {
    size_t size;
    double momentum, weight_decay, lr_multiplier;
    bool nesterov;
} lt_sgd_config;
LT_API void lt_sgd_config_init(lt_sgd_config *config);
/* One step of gradient descent; u, of w's shape, holds the momentum and is NULL without. */
LT_API lt_t lt_sgd(lt_param *w, lt_param *u, lt_t gradient, lt_t lr, lt_t clip, lt_t ok, const lt_sgd_config *config);

/* lt_adamw with moments of 8 bits: m and v are LT_I8 [blocks 256], scale is LT_F32 [blocks, 2], with as many blocks of
 * 256 as w's elements need. */
LT_API lt_t lt_adamw_8bit(lt_param *w, lt_param *m, lt_param *v, lt_param *scale, lt_t gradient, lt_t lr, lt_t step,
                          lt_t clip, lt_t ok, const lt_adamw_config *config);

typedef struct lt_lion_config {
    size_t size;
    double beta1, beta2, weight_decay, lr_multiplier;
} lt_lion_config;
LT_API void lt_lion_config_init(lt_lion_config *config); /* 0.9, 0.99, 0.01, 1 */
/* w moves by lr against the sign of b1 m + (1 - b1) g; m, of w's shape, by b2. */
LT_API lt_t lt_lion(lt_param *w, lt_param *m, lt_t gradient, lt_t lr, lt_t clip, lt_t ok, const lt_lion_config *config);

typedef struct lt_muon_config {
    size_t size;
    double momentum, weight_decay, lr_multiplier;
    double lr_scale; /* of the step, not of the decay */
} lt_muon_config;
LT_API void lt_muon_config_init(lt_muon_config *config); /* 0.95, 0.01, 1, 1 */
/* w [m, n] or [m, ..] moves by lr lr_scale 0.2 sqrt(max(m, n)) against its Nesterov momentum, orthogonalised by five
 * steps of Newton-Schulz, as torch.optim.Muon with "match_rms_adamw". u, of w's shape, holds the momentum. */
LT_API lt_t lt_muon(lt_param *w, lt_param *u, lt_t gradient, lt_t lr, lt_t clip, lt_t ok, const lt_muon_config *config);

/* average = decay average + (1 - decay) w, unless ok is there and 0; returns the new average. */
LT_API lt_t lt_weight_average(lt_param *average, lt_t w, lt_t ok, double decay);

/* sqrt of the sum of squares of all elements of n values, any n >= 1. */
LT_API lt_t lt_global_norm(int n, const lt_t *values);
/* min(1, max_norm / (norm + 1e-6)), as torch.nn.utils.clip_grad_norm_. */
LT_API lt_t lt_clip_factor(lt_t norm, double max_norm);
/* 1 when every element of n <= 16 values is finite, else 0. */
LT_API lt_t lt_finite_flag(int n, const lt_t *values);

#ifdef __cplusplus
}
#endif
#endif
