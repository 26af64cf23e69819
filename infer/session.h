/* session.h - inside of a session, for generation. */
#ifndef LTI_SESSION_H
#define LTI_SESSION_H

#include "base/ctx.h"
#include "lathe/infer.h"
#include "lathe/plan.h"

struct lt_session {
    lt_ctx *ctx;
    lt_model *model;
    int64_t batch, length;
    lt_params *codes; /* weights that the policy rounds, in its types */
    lt_quant_policy policy;
    bool hooked; /* activations are rounded, or weights that stay numbers */
    /* The board: what is made for a number of rows. */
    int64_t rows;
    lt_params *params; /* weights, mapped, and caches [rows, length, G, D], or a recurrent network's states */
    lt_plan_cache *plans;
    int32_t *tokens, *spans, *positions; /* inputs of a run [rows, T], [rows, T, 2], [rows, T] */
    int32_t *last;                       /* [rows]: which of the rows * T goes through the head */
    int32_t *pads;                       /* [rows]: positions before the row's prompt */
    lt_real *keep;                       /* [rows]: recurrent networks: 0 where the row's prompt begins */
    /* What is in the cache. */
    int64_t live; /* rows of the last prefill; 0: none, or a run failed */
    int64_t used; /* positions */
};

/* LT_EINVAL, with a message that names the prompt, when one is empty, too long or not of the vocabulary. */
lt_status lti_session_check(const lt_session *session, int n, const lt_ids *prompts);

#endif
