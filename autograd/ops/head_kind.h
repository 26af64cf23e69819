/* head_kind.h - what losses over the vocabulary share, and what a term of a head loss must give.
 *
 * A kind is a row kernel: it reads one row of logits and its input's row, returns the loss and writes the gradient.
 * To add a kind: a const lti_head_kind and a public function that returns it (head_kinds.c). */
#ifndef LTI_HEAD_KIND_H
#define LTI_HEAD_KIND_H

#include "autograd/op.h"

typedef struct lti_head_row {
    int64_t V;
    const lt_real *z;     /* [V] logits */
    const lti_arg *input; /* the term's input, whole */
    int64_t row;          /* this row of it */
    double temperature, smoothing;
    lt_real scale; /* of dz */
    lt_real *dz;   /* [V], to write scale * d loss / dz; may be z itself; NULL: not wanted */
    void *scratch; /* kind->scratch(V) bytes, 64-byte aligned */
} lti_head_row;

typedef struct lti_head_kind {
    const char *name;
    bool targets; /* the input is an int32 class a row; a negative one masks the row in all terms */
    /* While recording: whether the input fits rows of shape x[..] and V classes; else lti_shape_fail. */
    bool (*check)(const lti_shaper *s, const lti_value *x, const lti_value *input, int64_t V);
    size_t (*scratch)(int64_t V); /* NULL: none */
    double (*row)(const lti_head_row *r);
} lti_head_kind;

/* What is wrong with a term, or NULL. */
const char *lti_wrong_head_term(const lt_head_term *t);

/* Most bytes of dz and of logits that a head loss holds (head_loss.c). Tests lower them before they compile. */
extern int64_t lti_head_chunk_bytes, lti_head_part_bytes;

/* Rows with a target >= 0; LT_EINVAL, naming the row, for one that is not below V. */
lt_status lti_live_targets(const lti_step *step, const lti_arg *target, int64_t V, int64_t *live);

/* T^2 KL(softmax(teacher / T) || softmax(student / T)) of one row; dz = scale times its gradient, NULL or student
 * allowed. scratch: lti_kl_scratch(V) bytes. */
size_t lti_kl_scratch(int64_t V);
double lti_kl_row(int64_t V, const lt_real *student, const lt_real *teacher, double temperature, lt_real scale,
                  lt_real *dz, void *scratch);

/* x times a rank-0 value: free when the number is 1 at run time and x may be overwritten. */
lt_t lti_scale_by(lt_t x, lt_t number);

#endif
