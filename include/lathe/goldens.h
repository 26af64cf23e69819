/* goldens.h - behaviour kept: texts a model wrote before, reports written before, and what is different now.
 *
 *     lt_golden_options o; char *report;
 *     lt_golden_options_init(&o);
 *     o.prompts = "prompts.jsonl", o.write = "golden.jsonl";               // the original writes them
 *     if (lt_golden_run(ctx, model, &o, &report)) return lt_ctx_status(ctx);
 *     puts(report);
 *     lt_string_free(ctx, report);
 *     o.write = NULL, o.golden = "golden.jsonl";                           // the compressed one is compared
 */
#ifndef LATHE_GOLDENS_H
#define LATHE_GOLDENS_H

#include "lathe/chat.h"
#include "lathe/models.h"
#include "lathe/plan.h"
#include "lathe/qat.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Golden outputs ---- */

typedef struct lt_golden_options {
    size_t size;
    const char *prompts;          /* a .jsonl, or a .json array */
    const char *golden;           /* the same: what is expected; NULL: nothing is */
    const char *write;            /* a .jsonl to be written: what came; NULL: none */
    lt_chat *chat;                /* how "messages" are written; NULL: such rows are refused. Borrowed */
    const lt_quant_policy *quant; /* weights quantized on the way, as training does; NULL. Borrowed */
    const char *model_name;       /* what `write` calls the model; NULL: its family */
    int64_t max_tokens;           /* of rows that do not say; 0: as the goldens were written with, else 128 */
    const volatile int *stop;     /* nonzero: LT_EINTERRUPTED at the next token; NULL */
    void (*on_progress)(void *user, const char *what, int64_t done, int64_t total); /* prompts; NULL: nobody asks */
    void *user;
} lt_golden_options;
LT_API void lt_golden_options_init(lt_golden_options *options);

/* Continues every prompt greedily, each alone (so that no prompt changes another's rounding), and compares the texts
 * with the golden ones, or writes them, or both.
 *
 * Rows of prompts: {"id"?, "prompt": TEXT} continued as it stands behind what the tokenizer puts before a text, or
 * {"id"?, "messages": [{"role", "content"}, ..]} answered; "max_tokens"?, "stop"?: TEXT or [TEXT, ..]; other fields are
 * left alone. Rows of goldens name their prompt by "id", "prompt" or "messages" (where several stand, all must agree)
 * and hold at least one of
 *   "output": TEXT            the text. Passed when it is exactly this, or with "max_divergence": X (0 to 1) when what
 *                             follows the first difference is at most this share of the longer text
 *   "must_contain", "must_not_contain": TEXT or [TEXT, ..]
 *   "regex": PATTERN          of PCRE2, found anywhere in the text; ^ and $ are the text's ends
 * and, unread, "reason", "tokens", "note". Another field is refused: a misspelt check would never fail.
 * A file that was written begins with {"lathe_golden": 1, "model", "model_hash", "tokenizer_hash", "quant", "sampling":
 * {"temperature", "max_tokens"}, "lathe"}.
 *
 * The report: prompts, items (that have a golden), unchecked (that have none), tokens, seconds; as shares of the items
 * they concern, null where there are none, exact, contains (must and must not), regex, passed (of all); diverged (how
 * many differ), first_divergence_mean (its token, from 0, over those); source (the first row of the goldens, with
 * same_model and same_tokenizer), rows: [{id, prompt or line, passed, exact, divergence, first_divergence: {token,
 * byte, expected, got}, contains, missing, unwanted, regex, regex_error, output, tokens, reason}].
 * All but seconds are the same in every run. Free it with lt_string_free.
 *
 * Errors: LT_EFORMAT for rows (file:line: reason; the first 10 and a count) and for a golden whose prompt is not there,
 * LT_EINVAL, LT_EUNSUPPORTED (an encoder, goldens of a later version), LT_ENONFINITE, LT_EINTERRUPTED, LT_EIO,
 * LT_ENOMEM. A pattern that passes the limits of matching fails its row, with regex_error saying so. */
LT_API LT_MUST_USE lt_status lt_golden_run(lt_ctx *ctx, lt_model *model, const lt_golden_options *options,
                                           char **report);

/* ---- Drift: against a report written before ---- */

/* A sketch of data as a tokenizer sees them, small enough for a report: hash, documents, tokens, tokens_per_document,
 * bytes_per_token (of tokens that show), distinct (ids that occur), vocabulary_coverage (their share), unknown_share,
 * byte_share (tokens that are no whole character: text the vocabulary has no words for), top (the 256 most frequent
 * ids, "id:count ..."; equals in order of their ids).
 * `rows` (may be NULL) chooses the part and how one is divided, as for lt_dataset_open; of rows of JSON every string is
 * counted, of other rows the line. `limit`: the first so many documents or rows; 0: all. LT_EIO, LT_EFORMAT,
 * LT_EINVAL, LT_ENOMEM. */
LT_API LT_MUST_USE lt_status lt_data_profile(lt_ctx *ctx, const char *path, lt_tokenizer *tokenizer,
                                             const lt_dataset_options *rows, int64_t limit, char **profile);

/* Compares `report` (the text of a JSON object) with the one in the file `baseline`: for every number under the same
 * keys in both, nested as there, {"old", "new", "difference" (new - old), "ratio" (new / old; null for old 0)}, and
 * where both have "intervals" of it "outside": neither value lies in the other's interval. Numbers in arrays are not
 * compared. From both "data_profile": data {same, kl (nats, of the new tokens' frequencies from the old ones',
 * estimated from the sketches), and the profile's numbers}. Keys of the answer: baseline, outside (the paths of those),
 * data, and those of the reports. LT_EIO, LT_EFORMAT, LT_ENOMEM; LT_EINVAL when the two are of other kinds or have no number in
 * common. */
LT_API LT_MUST_USE lt_status lt_baseline_compare(lt_ctx *ctx, const char *baseline, const char *report, char **drift);

#ifdef __cplusplus
}
#endif
#endif
