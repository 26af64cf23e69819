/* fuzz_text.c - a text data set. Three characters choose how, the rest is the text: the split (0 to 3), the length of
 * a row (2 and up from 'a'), the tokenizer and eos (0 bytes, 1 bytes with eos, 2 BPE). */
#include "lathe/data.h"
#include "tests/fuzz/fuzzing.h"

#include <stdlib.h>

/* Pieces of words with the blank written as an underscore; what is in no token is unknown. */
static const char bpe[] =
    "{\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"_\"},"
    "\"model\":{\"type\":\"BPE\",\"unk_token\":\"<unk>\",\"fuse_unk\":true,\"vocab\":{\"<unk>\":0,\"a\":1,\"b\":2,"
    "\"ab\":3,\"_\":4,\"_ab\":5,\"\\n\":6,\"e\":7,\"n\":8,\"en\":9},\"merges\":[\"a b\",\"_ ab\",\"e n\"]}}";

static lt_tokenizer *made[2];
static lt_ctx *own; /* not that of the data sets: the two may differ */

static void drop(void)
{
    for (int i = 0; i < 2; i++) lt_tokenizer_free(made[i]);
    lt_ctx_free(own);
}

static lt_tokenizer *tokenizer(bool bytes)
{
    if (made[bytes]) return made[bytes];
    if (!own) {
        own = lt_ctx_create(NULL);
        atexit(drop);
    }
    lt_status status = bytes ? lt_tokenizer_bytes(own, &made[1])
                             : lt_tokenizer_open(own, fz_file((const uint8_t *)bpe, sizeof bpe - 1), &made[0]);
    FZ_CHECK(status == LT_OK, "%s", lt_ctx_message(own));
    return made[bytes];
}

static void look(const lt_dataset *set, const lt_tokenizer *tok, int64_t most)
{
    int64_t total = 0, length, longest = 0;
    for (int64_t row = 0; row < lt_dataset_rows(set); row++) {
        const int32_t *ids = lt_dataset_row(set, row, &length);
        int64_t document = lt_dataset_row_document(set, row);
        FZ_CHECK(length >= 2 && length <= most, "a row of %lld", (long long)length);
        FZ_CHECK(document >= 0 && document < lt_dataset_documents(set), "document %lld", (long long)document);
        for (int64_t i = 0; i < length; i++)
            FZ_CHECK(ids[i] >= 0 && ids[i] < lt_tokenizer_vocab_size(tok), "id %d", ids[i]);
        if (lt_tokenizer_adds_bos(tok)) FZ_CHECK(ids[0] == lt_tokenizer_bos(tok), "a row without bos");
        total += length;
        longest = length > longest ? length : longest;
    }
    FZ_CHECK(lt_dataset_rows(set) > 0 && total == lt_dataset_tokens(set) && longest == lt_dataset_longest(set), "sums");
    FZ_CHECK(lt_dataset_scored(set) == total - lt_dataset_rows(set), "scored");
}

static void body(lt_ctx *ctx, const uint8_t *data, size_t size)
{
    if (size < 3) return;
    lt_dataset_options o;
    lt_dataset_options_init(&o);
    o.split = (lt_split)(data[0] & 3);
    o.max_seq_length = 2 + (data[1] - 'a') % 64; /* may be out of range: then it is refused */
    o.valid_fraction = data[2] < 128 ? 0.25 : 0.5;
    o.append_eos = data[2] % 3 == '1' % 3;
    lt_tokenizer *tok = tokenizer(data[2] % 3 != '2' % 3);
    lt_dataset *set;
    if (!fz_accept(ctx, lt_dataset_from_text(ctx, (const char *)data + 3, (int64_t)size - 3, tok, &o, &set))) return;
    look(set, tok, o.max_seq_length);
    lt_dataset_free(set);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fz_run(body, data, size);
}
