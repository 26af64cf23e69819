/* compile.h - the stages between a recipe and a plan. Each works on a private copy of the node list:
 *   select (fuse.c)  drops what no result or chosen side effect needs, merges equal nodes, fuses;
 *   order (order.c)  puts the live nodes in a sequence that respects data and side effects;
 *   place (place.c)  gives every value an offset in one arena;
 *   lower (plan.c)   makes the steps and prepares them. */
#ifndef LTI_COMPILE_H
#define LTI_COMPILE_H

#include "autograd/node.h"

typedef struct lti_buffer { /* bytes of the arena that one or more values occupy in turn or as views */
    size_t bytes, offset;
    uint32_t first, last; /* positions in the order */
    bool scratch;
} lti_buffer;

typedef struct lti_compiler {
    lt_ctx *ctx;
    lt_graph *graph;
    lt_compile_options options;
    uint32_t count; /* nodes */
    lti_node *node; /* [count], a private copy: fusing rewrites it */
    bool *live;     /* [count] */
    int n_results;
    lti_ref *result; /* [n_results] */
    uint32_t *order; /* [n_order]: node indices */
    uint32_t n_order;
    uint32_t *slot; /* [count]: first entry of a node's outputs in the tables below */
    uint32_t n_slots;
    uint32_t *readers;   /* [n_slots]: live inputs and results that read the output */
    uint32_t *buffer;    /* [n_slots]: index into buffers, or LTI_NONE (leaf, param, dead) */
    lti_buffer *buffers; /* [n_buffers] */
    uint32_t n_buffers;
    size_t arena_bytes, live_bytes;
} lti_compiler;

lt_status lti_select(lti_compiler *c);
lt_status lti_order(lti_compiler *c);
/* scratch[i]: bytes that the step at position i asks for; scratch_buffer[i] receives its buffer or LTI_NONE. */
lt_status lti_place(lti_compiler *c, const size_t *scratch, uint32_t *scratch_buffer);

/* The param in which the value lies, or NULL. */
lt_param *lti_param_of(const lti_compiler *c, lti_ref r);

#endif
