/* evals.h - what a model can do, and what a change has done to it: perplexity, tasks by log-likelihood, classification,
 * comparison with a reference, perturbed inputs, slices, intervals.
 *
 *     lt_eval_options o; char *report;
 *     lt_eval_options_init(&o);
 *     o.model = model, o.data = "copa.jsonl", o.slice = "category";
 *     if (lt_eval_run(ctx, &o, &report)) return lt_ctx_status(ctx);
 *     puts(report); // {"kind": "choice", "accuracy": ..., "slices": {"cause": {"accuracy": ...}, ...}, ...}
 *     lt_string_free(ctx, report);
 */
#ifndef LATHE_EVALS_H
#define LATHE_EVALS_H

#include "lathe/data.h"
#include "lathe/models.h"
#include "lathe/plan.h"
#include "lathe/qat.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lt_eval_options {
    size_t size;
    lt_model *model;              /* everything here is borrowed during the call */
    lt_model *reference;          /* what it is compared with: the same vocabulary; NULL: nothing */
    const lt_quant_policy *quant; /* the model's weights are quantized on the way, as training does; NULL */
    const char *data;             /* a file of rows or text, or a directory with train, valid, test */
    const char *suite;            /* instead of data: a directory, each file of which is a task */
    const char *task;             /* "text", "choice", "cloze", "classification", "chat"; NULL or "auto": detected */
    lt_dataset_options rows;      /* lengths, split, chat and keys of rows, as for training; slice_key is ignored */
    int64_t task_length;          /* most ids of a choice or cloze row; 0: the model's context, 4096 at most */
    int64_t batch_size;           /* rows at a time; 0: chosen */
    int64_t limit;                /* the first rows or documents only; 0: all */
    const char *slice;            /* a field of the rows (or column of a CSV); NULL */
    const char *perturb;          /* "typos,case,whitespace,shift", any of them, or "all"; NULL */
    const char *label_prompt;     /* of a decoder that classifies; default "{text}\nLabel:" */
    const char *delimiter;    /* between query and choice; NULL: a blank where none stands and none would be wrong */
    bool details;             /* of texts: intervals and perplexity by position too. Tasks have theirs always */
    int64_t resamples;        /* of the bootstrap; default 1000, 0: no intervals */
    int64_t samples;          /* texts generated to measure their diversity; default 0 */
    int64_t sample_tokens;    /* ids of each, default 64 */
    double temperature;       /* of the samples, default 1 */
    uint64_t seed;            /* of bootstrap, samples and perturbations; default 42 */
    const volatile int *stop; /* nonzero: LT_EINTERRUPTED at the next batch; NULL */
    /* What is being done: "copa", "copa, typos". `what` is valid during the call. NULL: nobody asks. */
    void (*on_progress)(void *user, const char *what, int64_t done, int64_t total);
    void *user;
} lt_eval_options;
LT_API void lt_eval_options_init(lt_eval_options *options);

/* Evaluates and returns the report, a JSON object as text; free it with lt_string_free. Kinds are detected from the first
 * row with known fields:
 *
 * - choice: {"query", "choices": [..], "gold": i}; also question, prompt, goal or ctx for the query, options or endings
 *   for the choices, {"text": [..], "label": [..]} for both, answer, answerKey, label or target for gold: an index from
 *   0, a letter, a choice's label or its text. {"context_options": [..], "continuation", "gold"} chooses the context.
 *   A choice's log-likelihood is the sum over its ids; the best one is the answer (the first of equals). accuracy_norm
 *   divides by the choice's bytes.
 * - cloze: {"context", "continuation"}; {"context" or a query, "answer"} with "\nAnswer:" between. accuracy: every id of
 *   the continuation is the most likely one.
 * - classification: {"text", "label"}, a .csv whose header names a text and a label column (text, sentence, query,
 *   question; label, category, intent, class), or lines "LABEL:sub text" (TREC; Latin-1 where it is no UTF-8). A
 *   classifier uses its head, its classes named by config.json; a decoder chooses among the labels after label_prompt.
 *   A model that reads numbers is evaluated on what lt_dataset_open_numbers reads.
 * - text and chat: whatever lt_dataset_open reads; perplexity over its scored positions, as lt_evaluate.
 *
 * The border between query and choice: blanks that end the query go to the choice, query and choice are encoded as one
 * text, and the choice's ids are those behind as many as the query alone has. Rows that are too long lose ids in front.
 * A "context" beside a query or a prompt stands before it with a newline between; closed_book has the metrics without.
 *
 * Keys: kind, form (of texts), documents, items (of tasks), tokens, nll (mean over scored ids: of choices the right
 * ones'), perplexity, accuracy, accuracy_norm, macro_f1, confusions; seconds, tokens_per_second, peak_rss_bytes,
 * model_bytes, parameters, nonzero_parameters; intervals {key: [low, high]} of 95 %, by_position; with a reference kl
 * (mean KL(reference || model) over scored ids, of choices those of all), top1_agreement, flipped (answers that differ),
 * reference {key: ..}, worst and flips (documents), intervals.difference; slices {value: {..}}, perturbed {kind: {..}},
 * closed_book {..}, diversity; of a suite tasks {name: {..}}, families {name: {..}} (file names up to the first '-' or
 * '.'), and on top the sums: nll over all ids, accuracy the mean over tasks.
 *
 * Errors: those of opening data, LT_EFORMAT for rows (file:line: reason, the first 10), LT_EINVAL for options that do
 * not fit the data or the models, LT_ENONFINITE, LT_EINTERRUPTED, LT_ENOMEM. */
LT_API LT_MUST_USE lt_status lt_eval_run(lt_ctx *ctx, const lt_eval_options *options, char **report);

#ifdef __cplusplus
}
#endif
#endif
