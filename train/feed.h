/* feed.h - the arrays a plan reads of one batch, whatever kind of rows it is made of. */
#ifndef LTI_FEED_H
#define LTI_FEED_H

#include "base/ctx.h"
#include "lathe/plan.h"
#include "lathe/train.h"

/* What the rows of a run look like to a model. */
typedef struct lti_row_layout {
    lt_dataset_kind kind;
    bool spans;     /* rows hold several documents, each of which sees itself alone; or padding must be hidden */
    bool positions; /* places in the document: learned positions of packed rows */
    bool last;      /* where each text ends: recurrent classifiers */
    int64_t vocab, context, classes; /* the model's */
    int rank;                        /* of a row of numbers */
    int64_t shape[LT_MAX_RANK];
    int64_t d; /* numbers a row */
} lti_row_layout;
/* `other` (may be NULL) is a second set that the same plans read. */
lti_row_layout lti_row_layout_of(const lt_model *model, const lt_dataset *data, const lt_dataset *other);

/* Zero-initialise and fill ctx and layout. */
typedef struct lti_feed {
    lt_ctx *ctx;
    lti_row_layout layout;
    int32_t *tokens;     /* [B, T] */
    int32_t *targets;    /* [B, T], or classes [B] */
    int32_t *bounds;     /* [B, T, 2], with spans */
    int32_t *positions;  /* [B, T] */
    int32_t *last;       /* [B] */
    lt_real *x;          /* [B, d] */
    int64_t rows, cells; /* room: B, B T */
} lti_feed;

/* Makes room for B rows of T positions. */
lt_status lti_feed_reserve(lti_feed *feed, int64_t B, int64_t T);
void lti_feed_free(lti_feed *feed);
size_t lti_feed_bytes(const lti_row_layout *layout, int64_t B, int64_t T);

/* Writes the n rows of `rows` as B rows of T positions; cannot fail. */
void lti_feed_fill(lti_feed *feed, const lt_dataset *data, int64_t n, const int64_t *rows, int64_t B, int64_t T);
/* Predictions that count in it. */
int64_t lti_feed_targets(const lti_feed *feed, int64_t B, int64_t T);
lt_status lti_feed_bind(const lti_feed *feed, lt_plan *plan);

/* The inputs that such a feed is bound to, recorded; *targets: [B, T], or [B] of classes. */
lt_model_input lti_feed_record(const lti_row_layout *layout, lt_graph *graph, int64_t B, int64_t T, lt_t *targets);

#endif
