/* fuzz_labelled.c - texts with a class. Two characters choose how, the rest is the file: its kind (0 .csv, 1 .jsonl,
 * 2 .json, 3 .txt, plus 4 to leave bad rows out), and the split (0 to 2, plus 4 for classes that are given). */
#include "data/sets/csv_text.h"
#include "lathe/classes.h"
#include "tests/fuzz/fuzzing.h"

#include <stdlib.h>
#include <string.h>

static lt_tokenizer *bytes;
static lt_ctx *own; /* not that of the data sets: the two may differ */

static void drop(void)
{
    lt_tokenizer_free(bytes);
    lt_ctx_free(own);
}

static void prepare(void)
{
    if (own) return;
    own = lt_ctx_create(NULL);
    FZ_CHECK(lt_tokenizer_bytes(own, &bytes) == LT_OK, "%s", lt_ctx_message(own));
    atexit(drop);
}

/* Records lie behind one another, and their fields are no longer than they are. */
static void records(lt_ctx *ctx, const char *text, size_t size)
{
    lti_csv_text file = {.ctx = ctx, .path = "memory", .text = text, .bytes = (int64_t)size};
    lti_csv_record record = {.text = {.ctx = ctx}};
    int64_t end = 0, line = 0;
    bool more = true;
    while (lti_csv_text_next(&file, &record, &more) == LT_OK && more) {
        FZ_CHECK(record.begin >= end && record.end > record.begin && record.end <= (int64_t)size, "bytes of a record");
        FZ_CHECK(record.line > line && record.count > 0, "its line");
        int64_t length = 0;
        for (int64_t i = 0; i < record.count; i++) length += (int64_t)strlen(lti_csv_field(&record, i)) + 1;
        FZ_CHECK(length <= record.end - record.begin + 1, "%lld bytes of fields", (long long)length);
        end = record.end, line = record.line;
    }
    lti_csv_record_free(&record);
}

static void look(const lt_dataset *set)
{
    int64_t classes = lt_dataset_classes(set);
    FZ_CHECK(lt_dataset_rows(set) > 0 && lt_dataset_scored(set) == lt_dataset_rows(set), "rows");
    for (int64_t row = 0; row < lt_dataset_rows(set); row++) {
        int64_t length;
        const int32_t *ids = lt_dataset_row(set, row, &length);
        int32_t class = lt_dataset_row_class(set, row);
        FZ_CHECK(length >= 1 && length <= 16 && class >= 0 && class < classes, "row %lld", (long long)row);
        for (int64_t t = 0; t < length; t++) FZ_CHECK(ids[t] >= 0 && ids[t] < 258, "id %d", ids[t]);
    }
    for (int64_t i = 0; i < classes; i++) FZ_CHECK(*lt_dataset_label(set, i), "class %lld has no name", (long long)i);
}

static void body(lt_ctx *ctx, const uint8_t *data, size_t size)
{
    static const char *const names[] = {"rows.csv", "rows.jsonl", "rows.json", "rows.txt"};
    if (size < 2) return;
    prepare();
    lt_dataset_options o;
    lt_dataset_options_init(&o);
    o.split = (lt_split)((data[1] & 3) % 3);
    o.max_seq_length = 16;
    o.valid_fraction = 0.3;
    o.skip_bad_rows = data[0] & 4;
    if ((data[0] & 3) == 0) records(ctx, (const char *)data + 2, size - 2);
    const char *path = fz_put(names[data[0] & 3], data + 2, size - 2);
    lt_dataset *set = NULL, *like = NULL;
    if (data[1] & 4 && lt_dataset_of_labels(ctx, 2, (const char *const[]){"b", "a"}, &like) != LT_OK) return;
    lt_dataset_kind_at(ctx, path);
    if (fz_accept(ctx, lt_dataset_open_labelled(ctx, path, bytes, &o, like, &set))) look(set);
    lt_dataset_free(set);
    lt_dataset_free(like);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fz_run(body, data, size);
}
