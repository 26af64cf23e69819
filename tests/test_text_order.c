/* test_text_order.c - in which order shuffled text is trained on. */
#include "lathe/data.h"
#include "tests/data_files.h"

#include <stdlib.h>
#include <string.h>

/* 64 documents of 1 to 64 times 40 bytes: shuffled in batches of like length, that come in any order; and a step's rows
 * are the same in one batch as in several. */
static void steps_of_text(void)
{
    enum { ROWS = 64, STEP = 4 };
    char text[ROWS * (ROWS + 1) * 20 + ROWS * 20], *end = text;
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_tokenizer *tok;
    lt_dataset *set = NULL;
    lt_batches *whole = NULL, *halves = NULL;
    lt_batch a, b;
    lt_dataset_options o;
    lt_dataset_options_init(&o);
    o.max_seq_length = 40 * ROWS + 2;
    for (int i = 1; i <= ROWS; i++) {
        memset(end, 'a', 40 * (size_t)i);
        end += 40 * i;
        end += sprintf(end, "%s", i < ROWS ? "\n<|endoftext|>\n" : "");
    }
    if (!TS_OK(ctx, lt_tokenizer_bytes(ctx, &tok))) return;
    if (TS_OK(ctx, lt_dataset_from_text(ctx, text, end - text, tok, &o, &set)) &&
        TS_OK(ctx, lt_batches_create(ctx, set, NULL, STEP, 5, true, &whole)) &&
        TS_OK(ctx, lt_batches_create(ctx, set, NULL, STEP / 2, 5, true, &halves)) &&
        TS_OK(ctx, lt_batches_of_step(halves, 2))) {
        int64_t before = -1, neighbours = 0;
        TS_CHECK(lt_dataset_rows(set) == ROWS, "%lld rows", (long long)lt_dataset_rows(set));
        for (int step = 0; step < ROWS / STEP; step++) {
            int64_t rows[STEP];
            if (!TS_OK(ctx, lt_batches_next(whole, &a))) break;
            memcpy(rows, a.indices, sizeof rows);
            int64_t rank = rows[0] / STEP; /* documents are in order of their lengths */
            neighbours += before >= 0 && llabs(rank - before) <= 1;
            before = rank;
            for (int half = 0; half < 2 && TS_OK(ctx, lt_batches_next(halves, &b)); half++)
                TS_CHECK(!memcmp(rows + half * STEP / 2, b.indices, STEP / 2 * sizeof *rows), "step %d", step);
            for (int i = 0; i < STEP; i++) TS_CHECK(rows[i] / STEP == rank, "row %lld", (long long)rows[i]);
        }
        TS_CHECK(neighbours < 8, "%lld of 15 steps follow one of like length", (long long)neighbours);
        TS_REFUSED(ctx, lt_batches_of_step(halves, 0), LT_EINVAL, "0 of a step");
    }
    lt_batches_free(whole);
    lt_batches_free(halves);
    lt_dataset_free(set);
    lt_tokenizer_free(tok);
    lt_ctx_free(ctx);
}

int lti_suite_text_order(void)
{
    static const ts_test tests[] = {{"steps", steps_of_text}};
    return ts_suite("text_order", LTI_COUNT(tests), tests);
}
