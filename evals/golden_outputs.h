/* golden_outputs.h - inside of lt_golden_run: prompts and goldens as they are read, a text held against its golden. */
#ifndef LTI_GOLDEN_OUTPUTS_H
#define LTI_GOLDEN_OUTPUTS_H

#include "base/ctx.h"
#include "lathe/goldens.h"
#include "lathe/infer.h"

#include <jansson.h>

typedef struct lti_pattern lti_pattern; /* a regular expression under limits (golden_match.c) */

/* What is expected of one prompt. Strings are borrowed from its row. */
typedef struct lti_golden {
    json_t *row; /* owned */
    int64_t line;
    const char *output; /* NULL: none; NUL characters may stand in it */
    int64_t bytes;
    double max_divergence;
    lti_pattern *regex; /* owned; NULL */
} lti_golden;

typedef struct lti_prompt {
    json_t *row; /* owned */
    int64_t line;
    lt_ids ids;
    int64_t max_tokens; /* 0: it does not say */
    const char **stop;  /* [n_stop], owned; its strings are the row's */
    int n_stop;
    int64_t golden; /* which one is expected; -1: none */
} lti_prompt;

typedef struct lti_golden_set {
    lt_ctx *ctx;
    lti_prompt *prompts;
    lti_golden *goldens;
    int64_t prompt_count, prompt_room, golden_count, golden_room;
    json_t *header; /* the first row of a file that was written; NULL */
    json_t *places; /* "id x", "prompt x", "messages [..]" -> which prompt; -1: several */
} lti_golden_set;

/* Reads and checks both files. The set is to be zero before, and freed in any case. `most`: ids a prompt may have. */
lt_status lti_golden_set_read(lt_ctx *ctx, const lt_golden_options *options, lt_tokenizer *tokenizer, int64_t most,
                              lti_golden_set *set);
void lti_golden_set_free(lti_golden_set *set);

/* Compiles a pattern; *reason is what is wrong with it, "" when nothing is. LT_ENOMEM. */
lt_status lti_pattern_compile(lt_ctx *ctx, const char *source, size_t bytes, lti_pattern **pattern, char *reason,
                              size_t room);
void lti_pattern_free(lti_pattern *pattern); /* NULL is fine */
/* Whether it is found in valid UTF-8. *error: NULL, or why that is not known. LT_ENOMEM. */
lt_status lti_pattern_find(lti_pattern *pattern, const char *text, size_t bytes, bool *found, const char **error);

/* How a text differs from the one expected. */
typedef struct lti_divergence {
    int64_t byte; /* where both still agree up to, at the border of a character; -1: they are equal */
    double share; /* of the longer one, from there on */
} lti_divergence;
lti_divergence lti_diverge(const char *expected, int64_t expected_bytes, const char *got, int64_t got_bytes);

/* The verdict on one text, whose id i begins at starts[i]. Adds its keys to `row` and tells what counts; the text is
 * `got`. Values: -1 not asked, 0 no, 1 yes. LT_ENOMEM. */
typedef struct lti_verdict {
    int exact, contains, regex;
    bool passed;
    int64_t token; /* of the first divergence; -1: none */
} lti_verdict;
lt_status lti_golden_judge(lt_ctx *ctx, const lti_golden *golden, const lt_generation *got, const int64_t *starts,
                           json_t *row, lti_verdict *verdict);

#endif
