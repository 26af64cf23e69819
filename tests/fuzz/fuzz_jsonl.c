/* fuzz_jsonl.c - a data set of JSON rows. Three characters choose how, the rest is the file: the split (0 to 2, plus 4
 * for a .json array), the longest row (2 and up from 'a'), and bits from '0': 1 packs, 2 leaves bad rows out, 4 learns
 * prompts, 8 writes conversations as ChatML. */
#include "lathe/chat.h"
#include "tests/fuzz/fuzzing.h"

#include <stdlib.h>
#include <string.h>

static lt_tokenizer *bytes;
static lt_chat *chat;
static lt_ctx *own; /* not that of the data sets: the two may differ */

static void drop(void)
{
    lt_chat_free(chat);
    lt_tokenizer_free(bytes);
    lt_ctx_free(own);
}

static void prepare(void)
{
    if (own) return;
    own = lt_ctx_create(NULL);
    FZ_CHECK(lt_tokenizer_bytes(own, &bytes) == LT_OK && lt_chat_open(own, bytes, "chatml", &chat) == LT_OK, "%s",
             lt_ctx_message(own));
    atexit(drop);
}

/* One row keeps what the header promises of masks and beginnings; returns how many predictions it has. */
static int64_t look_at(const lt_dataset *set, int64_t row, int64_t most)
{
    int64_t length, count = 0;
    const int32_t *ids = lt_dataset_row(set, row, &length), *starts = lt_dataset_row_starts(set, row);
    const uint8_t *scored = lt_dataset_row_scored(set, row);
    FZ_CHECK(length >= 2 && length <= most, "a row of %lld", (long long)length);
    for (int64_t t = 0; t < length; t++) {
        bool begins = t == 0 || (starts && starts[t] == t);
        FZ_CHECK(ids[t] >= 0 && ids[t] < 258, "id %d", ids[t]);
        FZ_CHECK(!starts || (starts[t] >= 0 && starts[t] <= t), "a document begins outside, at %lld", (long long)t);
        FZ_CHECK(!scored || scored[t] <= !begins, "the first id of a document is predicted");
        count += scored ? scored[t] : t > 0;
    }
    FZ_CHECK(count > 0, "nothing is predicted in row %lld", (long long)row);
    return count;
}

static void look(lt_ctx *ctx, const lt_dataset *set, int64_t most)
{
    int64_t count = 0;
    char *text;
    FZ_CHECK(lt_dataset_rows(set) > 0, "no row");
    for (int64_t row = 0; row < lt_dataset_rows(set); row++) count += look_at(set, row, most);
    FZ_CHECK(count == lt_dataset_scored(set), "%lld are scored", (long long)count);
    for (int64_t i = 0; i < lt_dataset_documents(set); i++)
        FZ_CHECK(strlen(lt_dataset_slice(set, i)) < 1 << 20, "slice %lld", (long long)i);
    if (!fz_must(ctx, lt_dataset_show(set, bytes, lt_dataset_rows(set) - 1, "(", ")", &text))) return;
    lt_buffer_free(ctx, text);
}

static void body(lt_ctx *ctx, const uint8_t *data, size_t size)
{
    if (size < 3) return;
    prepare();
    lt_dataset_options o;
    lt_dataset_options_init(&o);
    unsigned bits = data[2] - (unsigned)'0';
    o.split = (lt_split)((data[0] & 3) % 3);
    o.max_seq_length = 2 + (data[1] - 'a') % 64; /* may be out of range: then it is refused */
    o.valid_fraction = 0.3;
    o.pack = bits & 1;
    o.skip_bad_rows = bits & 2;
    o.score_prompt = bits & 4;
    o.chat = bits & 8 ? chat : NULL;
    o.slice_key = "k";
    const char *path = fz_put(data[0] & 4 ? "rows.json" : "rows.jsonl", data + 3, size - 3);
    lt_dataset *set;
    if (!fz_accept(ctx, lt_dataset_open(ctx, path, bytes, &o, &set))) return;
    look(ctx, set, o.max_seq_length);
    lt_dataset_free(set);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fz_run(body, data, size);
}
