/* eval.h - inside of lt_eval_run: the state of one call, and a view: one file under one variation, evaluated.
 *
 * Whatever the kind, a view ends as items with the same few numbers each (sums of log-likelihoods, right or wrong), so
 * that slices, intervals, comparisons and families are made once, by code that does not know the kind. */
#ifndef LTI_EVAL_H
#define LTI_EVAL_H

#include "evals/perturb.h"
#include "evals/task.h"
#include "infer/scorer.h"
#include "lathe/evals.h"
#include "lathe/train.h"

enum { LTI_POSITION_BUCKETS = 16, LTI_TASK_CONTEXT = 4096 };

typedef struct lti_eval {
    lt_ctx *ctx;
    const lt_eval_options *o;
    lti_scorer *scorer;
    unsigned perturbations; /* bits of lti_perturbation */
    char what[160];         /* for progress */
    int64_t done, total;    /* rows before this call of the scorer, and all */
    double seconds;         /* spent in the models by the view at hand */
    bool lost;              /* a JSON value could not be made: memory is out */
} lti_eval;

/* One document or question. [0] is the model's, [1] the reference's. */
typedef struct lti_item {
    int64_t line;      /* in the file, from 1; 0: unknown */
    int64_t row;       /* texts: its first row in the data set */
    int32_t slice;     /* number in lti_view_slices */
    int32_t gold;      /* choice or class */
    int32_t answer[2]; /* the best choice or class */
    bool right[2], right_norm[2];
    double nll[2]; /* sum of -log p over `tokens` ids */
    int64_t tokens;
    double divergence; /* sum over `compared` positions */
    int64_t compared, agreed;
} lti_item;

typedef struct lti_variation {
    lti_perturbation perturbation;
    bool closed; /* without the context beside the question */
} lti_variation;

typedef struct lti_view {
    lt_ctx *ctx;
    lti_kind kind;
    const char *path, *form; /* form: of texts */
    lti_item *items;
    int64_t count, tokens;
    bool normed, answers, classes; /* there is an accuracy_norm; an accuracy; a macro F1 */
    lti_names slices;              /* of texts */
    lti_names labels;              /* of a classifier */
    lti_task task;                 /* of tasks */
    lt_dataset *dataset;           /* of texts */
    bool plain;                    /* only `result` is known: lt_evaluate's */
    lt_eval_result result;
    double seconds;
    int64_t truncated; /* rows that lost ids in front */
    double place_nll[2][LTI_POSITION_BUCKETS];
    int64_t place_tokens[LTI_POSITION_BUCKETS], place_width;
} lti_view;

/* One file, whatever it is: all its metrics into `report`. `name` is for progress. */
lt_status lti_eval_file(lti_eval *e, const char *path, const char *name, json_t *report);
/* A folder of them. */
lt_status lti_eval_suite(lti_eval *e, const char *directory, json_t *report);

/* ---- Views: text_view.c, choice_view.c, class_view.c, number_view.c. To be freed always ---- */
lt_status lti_view_text(lti_eval *e, const lti_source *source, lti_kind kind, const lti_variation *how, bool open_book,
                        lti_view *view);
lt_status lti_view_choices(lti_eval *e, const lti_variation *how, lti_view *view); /* of view->task */
lt_status lti_view_classes(lti_eval *e, const lti_variation *how, lti_view *view);
lt_status lti_view_numbers(lti_eval *e, lti_view *view); /* rows of numbers with a class: number_view.c */
/* view->labels become the model's classes: their names, else their numbers. */
lt_status lti_class_labels(lti_eval *e, lti_view *view);
/* An item whose gold is set, from logits [n] of the model and the reference (or NULL). */
void lti_class_item(lti_item *item, int64_t n, const lt_real *logits, const lt_real *reference);
lt_status lti_view_items(lti_view *view, int64_t count);
void lti_view_free(lti_view *view);
const lti_names *lti_view_slices(const lti_view *view);
const lti_names *lti_view_labels(const lti_view *view); /* gold and answer are numbers of them, of classifications */
/* The beginning of an item's text on one line, at most 80 characters. */
void lti_view_preview(lti_eval *e, const lti_view *view, int64_t item, char text[400]);
/* Appends the text that stands before the choices of a row; `place`: 0, or its own choice when choices come first. */
void lti_task_prompt(const lti_eval *e, const lti_task *task, const lti_task_row *row, const lti_variation *how,
                     int64_t place, lti_text *out);
/* Runs the scorer, counting time and progress. */
lt_status lti_eval_score(lti_eval *e, int64_t n, const lti_score_row *rows);

/* ---- Reports: summary.c, findings.c ---- */
/* object[key] = value, which may be NULL when memory is out. */
void lti_put(lti_eval *e, json_t *object, const char *key, json_t *value);
json_t *lti_real(double value); /* null where it is not finite */
/* Metrics over all items, or over those of one slice (>= 0). */
lt_status lti_summarize(lti_eval *e, const lti_view *view, int32_t slice, json_t *into);
lt_status lti_report_slices(lti_eval *e, const lti_view *view, json_t *into);
/* worst, flips, by_position, confusions. */
lt_status lti_report_findings(lti_eval *e, const lti_view *view, json_t *into);
/* Generates texts and measures how diverse they are. */
lt_status lti_report_samples(lti_eval *e, const lti_view *view, json_t *into);

/* Mean of the F1 over labels that occur as gold or answer, of model (0) or reference (1); slice < 0: all items.
 * counts: scratch of 3 numbers a label. */
double lti_macro_f1(const lti_view *view, int which, int32_t slice, int64_t *counts);

#endif
