/* attention.h - what one task of fused attention needs (Dao et al., FlashAttention, 2022: blocks of queries against
 * blocks of keys, a running maximum and sum, no [T, S] matrix; the backward recomputes the probabilities from lse).
 *
 * For query i (absolute position first + i), head h, its key/value head g = h / (heads / kv_heads), over the keys j
 * that the query sees (lti_attention_keys: always one range):
 *     s_ij = scale <q_i, k_j>;  lse_i = log sum_j exp s_ij;  p_ij = exp(s_ij - lse_i);  o_i = sum_j p_ij v_j
 * A query that sees no key has o = 0, lse = -infinity and no part in any gradient.
 * Backward, with delta_i = <do_i, o_i>:  ds_ij = p_ij (<do_i, v_j> - delta_i) scale
 *     dq_i = sum_j ds_ij k_j;  dk_j = sum_{h,i} ds_ij q_i;  dv_j = sum_{h,i} p_ij do_i   (h over the heads that share g)
 */
#ifndef LTI_ATTENTION_H
#define LTI_ATTENTION_H

#include "lathe/base.h"

typedef struct lti_attention_task {
    const lt_real *q, *k, *v; /* q: [T, heads, dim] of one batch row; k, v: [S, kv_heads, dim] */
    const lt_real *o, *dout;  /* backward: [T, heads, dim] */
    lt_real *out;             /* forward: [T, heads, dim] */
    lt_real *lse;             /* [heads, T] of the batch row; written by forward, read by backward */
    lt_real *dq, *dk, *dv;    /* backward: as q, k, v */
    int64_t T, S, heads, kv_heads, dim;
    int64_t first;        /* absolute position of query 0: keys visible to query i are 0 .. first + i (causal) */
    int causal;           /* 0: every key is visible to every query */
    int64_t window;       /* causal: only the last so many of them; 0: all */
    const int32_t *spans; /* [T, 2] of the batch row: query i sees keys of [spans[i][0], spans[i][1]) alone; or NULL */
    lt_real scale;
    int64_t head;       /* forward, grad_q: the query head; grad_kv: the key/value head */
    int64_t more_heads; /* forward: so many further heads of the same kv head (< LTI_ATTENTION_HEADS) */
    int64_t begin, end; /* forward, grad_q: rows of q; grad_kv: rows of k. This task writes these rows alone */
} lti_attention_task;

/* The keys [*begin, *end) that query i sees; *begin >= *end: none. Spans may hold anything. */
static inline void lti_attention_keys(const lti_attention_task *t, int64_t i, int64_t *begin, int64_t *end)
{
    int64_t from = 0, until = t->S, next = t->first + i + 1;
    if (t->causal && next < until) until = next;
    if (t->causal && t->window > 0 && next > t->window) from = next - t->window;
    if (t->spans && t->spans[2 * i] > from) from = t->spans[2 * i];
    if (t->spans && t->spans[2 * i + 1] < until) until = t->spans[2 * i + 1];
    *begin = from;
    *end = until;
}

/* Scratch bytes of one task for head dimension `dim` and any [begin, end) of at most LTI_ATTENTION_ROWS rows. */
#define LTI_ATTENTION_ROWS 64
/* With so few queries (generation) a task is best given every head that shares the keys: they are read once. */
#define LTI_ATTENTION_FEW 4
#define LTI_ATTENTION_HEADS 16
size_t lti_attention_scratch(int64_t dim);

#endif
