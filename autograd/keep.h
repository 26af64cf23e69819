/* keep.h - what stands for a forward value in the backward. */
#ifndef LTI_KEEP_H
#define LTI_KEEP_H

#include "autograd/node.h"

/* A cheap node that may be computed again in the backward; decided when the whole backward is known. */
typedef struct lti_maybe {
    uint32_t node, copy;         /* the original and its lazy copy */
    lt_t otherwise[LTI_MAX_OUT]; /* what readers get when the copy is refused; .graph NULL: never asked for */
    bool refused, wanted;        /* wanted: a clone that saves something is made from it */
} lti_maybe;

typedef struct lti_keeper {
    lt_graph *g;
    uint32_t count;  /* nodes before the walk: the forward */
    uint32_t *first; /* [count]: slot of output 0 of a node */
    lt_t *kept;      /* [slots]: what stands for the output; .graph NULL: not asked for yet */
    lt_t *again;     /* [slots]: the same where it is recomputed, within a segment */
    lti_maybe *maybe;
    int n_maybe, maybe_capacity;
} lti_keeper;

/* Bytes that computing cheap nodes again must save in a backward before it is done unasked. Tests only: smaller. */
extern size_t lti_keep_worth;

/* False when memory is out. lti_keep_free in either case. */
bool lti_keep_init(lti_keeper *k, lt_graph *g);
void lti_keep_free(lti_keeper *k);
/* What the backward of a node in `segment` reads in place of r. */
lt_t lti_kept(lti_keeper *k, lti_ref r, uint32_t segment);
/* Output 0 of a lazy copy of node `index`, which reads kept inputs. */
lt_t lti_keep_again(lti_keeper *k, uint32_t index);
/* After the walk: keeps or drops the copies of cheap nodes. False when memory is out. */
bool lti_keep_settle(lti_keeper *k);

#endif
