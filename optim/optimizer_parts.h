/* optimizer_parts.h - inside of lt_optimizer: one entry for each trained param.
 *
 * optimizer_config.c checks numbers, layer_rates.c knows layers by name, moments.c adds what updates keep, optimizer.c
 * records. */
#ifndef LTI_OPTIMIZER_PARTS_H
#define LTI_OPTIMIZER_PARTS_H

#include "base/ctx.h"
#include "lathe/optim.h"

enum { LTI_MOST_MOMENTS = 3 };

typedef struct lti_trained {
    lt_param *w, *grad;     /* grad: the sum of gradients; NULL until a recorded loss depends on w */
    lt_optimizer_kind rule; /* what updates it: not always the optimizer's kind */
    lt_param *moment[LTI_MOST_MOMENTS];
    lt_param *average; /* NULL without ema_decay */
    double lr_multiplier, weight_decay;
} lti_trained;

struct lt_optimizer {
    lt_ctx *ctx;
    lt_params *params;
    lt_optimizer_config config; /* resolved; groups and muon_pattern: NULL after create */
    lti_trained *list;
    int count;
};

/* Checks the config and fills in the kind's own numbers. */
lt_status lti_optimizer_resolve(lt_ctx *ctx, const lt_optimizer_config *given, lt_optimizer_config *config);

/* A bit of what a name says about where in a network its param is: see lt_optimizer_config. */
int64_t lti_layer_of(const char *name); /* -1: none */
bool lti_is_embedding(const char *name);
bool lti_is_head(const char *name); /* a part of the name is "output" or "head" */
/* How many layers the names of all weights tell of; the distance of a name from the head in such a network. */
int64_t lti_layer_count(const lt_params *params);
int64_t lti_layer_distance(const char *name, int64_t layers);

/* The param "<w>:<suffix>", made when it is not there (*made, which may be NULL). */
lt_status lti_companion(lt_optimizer *opt, const lt_param *w, const char *suffix, lt_dtype type, int rank,
                        const int64_t *shape, lt_role role, lt_param **out, bool *made);
/* Adds the moments of e->rule and the average. */
lt_status lti_keep_moments(lt_optimizer *opt, lti_trained *e);

#endif
