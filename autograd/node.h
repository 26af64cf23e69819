/* node.h - inside of a graph. Only the core of autograd/ sees this; op files see op.h. */
#ifndef LTI_NODE_H
#define LTI_NODE_H

#include "autograd/op.h"
#include "lathe/attach.h"

#define LTI_NONE UINT32_MAX

typedef struct lti_ref {
    uint32_t node, output;
} lti_ref;

/* Segments of weight transforms: recomputed whoever asks, not only from within the segment. */
#define LTI_TRANSFORM 0x80000000u

enum {
    LTI_NODE_LAZY = 1, /* scheduled as late as possible, never merged with an equal node: a recomputed clone */
    LTI_NODE_EAGER = 2 /* runs right after its input: the narrow copy of a stored value */
};

typedef struct lti_node {
    const lti_op *op;
    const char *name; /* the scope it was recorded in */
    lti_ref *in;      /* [n_in] */
    lti_value *out;   /* [op->n_out] */
    void *attr;
    size_t attr_size;
    lt_param *param[LTI_MAX_PARAMS];
    uint32_t after;   /* a node that runs first if it runs at all, though no value flows; or LTI_NONE */
    uint32_t segment; /* recomputed in the backward when not 0 */
    uint8_t n_in, n_params, phase, flags;
} lti_node;

/* Bump memory for names, attrs and shapes: freed with the graph. */
typedef struct lti_chunk {
    struct lti_chunk *next;
    size_t used, size;
} lti_chunk;

typedef struct lti_named {
    const char *name;
    lt_t value;
    uint32_t count; /* of random nodes, for the stream table */
} lti_named;

typedef struct lti_names {
    lti_named *list;
    int count, capacity;
} lti_names;

typedef struct lti_writer_of {
    lt_param *param;
    uint32_t leaf;     /* node that reads it now, or LTI_NONE */
    uint32_t writer;   /* last node that wrote it, or LTI_NONE */
    bool first_output; /* the writer's output 0 is this param */
} lti_writer_of;

typedef struct lti_weight_of { /* what an attachment's weight hook made of `in` */
    int attachment;            /* index */
    lt_t in, value;
} lti_weight_of;

struct lt_graph {
    lt_ctx *ctx;
    lt_params *params;
    lt_status status;
    char message[512];
    lti_node *node;
    uint32_t count;
    int capacity;
    lti_chunk *chunk;
    const char *scope; /* "" or "model.blk.3" */
    lti_names scopes;  /* stack of enclosing scopes */
    lti_names leaves;  /* inputs and scalars by name */
    lti_names taps, streams;
    lti_writer_of *uses; /* one a param that has a leaf or a writer */
    int n_uses, uses_capacity;
    lt_attachment *attachments;
    int n_attachments, attachments_capacity;
    lti_weight_of *weights;
    int n_weights, weights_capacity;
    uint64_t seed;
    uint32_t segment, segments; /* the open one or 0; how many were made */
    uint8_t phase;
    bool checkpoints;                                              /* lt_checkpoint_begin was called */
    bool recompute_cheap, evaluating, integer_backward, no_copies; /* evaluating: lt_training(graph, false) */
    lt_dtype compute, store; /* of products; of what the backward reads. LT_F32, LT_BF16 */
};

/* Bump allocation, zeroed; NULL makes the graph's error LT_ENOMEM. */
void *lti_graph_alloc(lt_graph *graph, size_t bytes);
const char *lti_graph_text(lt_graph *graph, const char *text);
/* Grows *list so that one more element of `size` fits; false when memory is out. */
bool lti_graph_grow(lt_graph *graph, void **list, int count, int *capacity, size_t size);
lti_value *lti_value_of(lt_t x);
lti_node *lti_node_of(lt_t x);
/* The value through views: the node and output whose bytes these are. */
lti_ref lti_root(const lti_node *node, lti_ref r);

/* Leaves (leaf.c). */
extern const lti_op lti_op_input, lti_op_scalar, lti_op_param, lti_op_constant;
typedef struct lti_leaf_attr {
    char name[96];
    double value;          /* scalar: its start; constant */
    int32_t lowest, bound; /* index input */
    bool checked;
} lti_leaf_attr;

#endif
