/* test_sets.c - documents, windows, splits, batches, and numeric sets with the files they come in. */
#include "data/sets/documents.h"
#include "lathe/data.h"
#include "tests/data_files.h"

#include <zlib.h>

/* Documents as re.split(r"(?:^|\n)<\|endoftext\|>(?:\n|$)", text) gives them, empty ones dropped; "|" joins them. */
static void documents(void)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"one", "one"},
        {"one\n<|endoftext|>\ntwo", "one|two"},
        {"one\n<|endoftext|>\ntwo\n<|endoftext|>", "one|two"},
        {"one\n<|endoftext|>\ntwo\n<|endoftext|>\n", "one|two"},
        {"<|endoftext|>\none\n\n<|endoftext|>\ntwo\n", "one\n|two\n"},
        {"<|endoftext|>", ""},
        {"\n<|endoftext|>\n\n", "\n"},
        {"one <|endoftext|>\ntwo", "one <|endoftext|>\ntwo"},
        {"one\n<|endoftext|> \ntwo", "one\n<|endoftext|> \ntwo"},
        {"one\n<|endoftext|>\n<|endoftext|>\ntwo", "one|<|endoftext|>\ntwo"}, /* the newline is taken already */
        {"one\n<|endoftext|>\n\n<|endoftext|>\ntwo", "one|two"},
        {"one\r\n<|endoftext|>\r\ntwo", "one\r\n<|endoftext|>\r\ntwo"},
    };
    lt_ctx *ctx = lt_ctx_create(NULL);
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        lti_document *list;
        int64_t count;
        char got[256] = "";
        if (!TS_OK(ctx, lti_documents(ctx, cases[i].text, (int64_t)strlen(cases[i].text), &list, &count))) continue;
        for (int64_t k = 0; k < count; k++)
            snprintf(got + strlen(got), sizeof got - strlen(got), "%s%.*s", k ? "|" : "",
                     (int)(list[k].end - list[k].begin), cases[i].text + list[k].begin);
        TS_CHECK(strcmp(got, cases[i].want) == 0, "case %d: '%s'", i, got);
        lti_free(ctx, list);
    }
    lt_ctx_free(ctx);
}

/* Windows of 4 positions, BOS in each; one of BOS and one id is kept. */
static void windows(void)
{
    static const char text[] = "abcdefg\n<|endoftext|>\nabc\n<|endoftext|>\na";
    static const int32_t want[][5] = {{4, 256, 'a', 'b', 'c'},
                                      {4, 256, 'd', 'e', 'f'},
                                      {2, 256, 'g', 0, 0},
                                      {4, 256, 'a', 'b', 'c'},
                                      {2, 256, 'a', 0, 0}};
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_tokenizer *tok;
    lt_dataset *set;
    lt_dataset_options o;
    lt_dataset_options_init(&o);
    o.max_seq_length = 4;
    if (!TS_OK(ctx, lt_tokenizer_bytes(ctx, &tok))) return;
    if (TS_OK(ctx, lt_dataset_from_text(ctx, text, sizeof text - 1, tok, &o, &set))) {
        TS_CHECK(lt_dataset_rows(set) == 5 && lt_dataset_documents(set) == 3 && lt_dataset_scored(set) == 11 &&
                     lt_dataset_tokens(set) == 16 && lt_dataset_longest(set) == 4 &&
                     lt_dataset_row_document(set, 3) == 1,
                 "counts");
        for (int64_t r = 0; r < lt_dataset_rows(set) && r < 5; r++) {
            int64_t n;
            const int32_t *ids = lt_dataset_row(set, r, &n);
            TS_CHECK(n == want[r][0] && memcmp(ids, want[r] + 1, (size_t)n * sizeof *ids) == 0, "row %lld",
                     (long long)r);
        }
        lt_dataset_free(set);
    }
    o.append_eos = true;
    if (TS_OK(ctx, lt_dataset_from_text(ctx, "abc", 3, tok, &o, &set))) {
        int64_t n;
        TS_CHECK(lt_dataset_rows(set) == 2 && lt_dataset_row(set, 1, &n)[1] == 257 && n == 2, "eos ends the document");
        lt_dataset_free(set);
    }
    o.max_seq_length = 1;
    TS_REFUSED(ctx, lt_dataset_from_text(ctx, "abc", 3, tok, &o, &set), LT_EINVAL, "max_seq_length 1");
    lt_dataset_options_init(&o);
    TS_REFUSED(ctx, lt_dataset_from_text(ctx, "", 0, tok, &o, &set), LT_EINVAL, "no document");
    o.size = 0;
    TS_REFUSED(ctx, lt_dataset_from_text(ctx, "abc", 3, tok, &o, &set), LT_EINVAL, "lt_dataset_options_init");
    lt_tokenizer_free(tok);
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "%zu bytes leak", lt_ctx_live_bytes(ctx));
    lt_ctx_free(ctx);
}

/* Without BOS a window of one id is dropped. */
static void windows_without_bos(void)
{
    ts_place p = ts_open_place();
    lt_tokenizer *tok;
    lt_dataset *set;
    lt_dataset_options o;
    lt_dataset_options_init(&o);
    o.max_seq_length = 2;
    ts_put_text(&p, "t.json", "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1},\"merges\":[]}}");
    if (TS_OK(p.ctx, lt_tokenizer_open(p.ctx, p.path, &tok))) {
        if (TS_OK(p.ctx, lt_dataset_from_text(p.ctx, "abbab", 5, tok, &o, &set))) {
            TS_CHECK(lt_dataset_rows(set) == 2 && lt_dataset_tokens(set) == 4, "%lld", (long long)lt_dataset_rows(set));
            lt_dataset_free(set);
        }
        TS_REFUSED(p.ctx, lt_dataset_from_text(p.ctx, "a", 1, tok, &o, &set), LT_EINVAL, "longer than one token");
        o.append_eos = true;
        TS_REFUSED(p.ctx, lt_dataset_from_text(p.ctx, "a", 1, tok, &o, &set), LT_EINVAL, "no eos token");
        lt_tokenizer_free(tok);
    }
    ts_close_place(&p);
}

static lt_status open_set(ts_place *p, const char *path, lt_tokenizer *tok, lt_split split, lt_dataset **set)
{
    lt_dataset_options o;
    lt_dataset_options_init(&o);
    o.split = split;
    o.valid_fraction = 0.25;
    return lt_dataset_open(p->ctx, path, tok, &o, set);
}

/* Rows of two sets, each a single letter after BOS, as a bit set of letters. */
static unsigned letters(lt_dataset *set)
{
    unsigned bits = 0;
    int64_t n;
    for (int64_t r = 0; r < lt_dataset_rows(set); r++) bits |= 1u << (lt_dataset_row(set, r, &n)[1] - 'a');
    return bits;
}

static void splits(void)
{
    ts_place p = ts_open_place();
    lt_tokenizer *tok;
    lt_dataset *train, *valid;
    if (!TS_OK(p.ctx, lt_tokenizer_bytes(p.ctx, &tok))) return;
    static const char eight[] =
        "a\n<|endoftext|>\nb\n<|endoftext|>\nc\n<|endoftext|>\nd\n<|endoftext|>\ne\n<|endoftext|>\nf\n"
        "<|endoftext|>\ng\n<|endoftext|>\nh\n";
    const char *path = ts_put_text(&p, "train.txt", eight);
    if (TS_OK(p.ctx, open_set(&p, path, tok, LT_SPLIT_TRAIN, &train)) &&
        TS_OK(p.ctx, open_set(&p, path, tok, LT_SPLIT_VALID, &valid))) {
        TS_CHECK(lt_dataset_documents(train) == 6 && lt_dataset_documents(valid) == 2, "6 and 2 documents");
        TS_CHECK((letters(train) & letters(valid)) == 0 && (letters(train) | letters(valid)) == 255, "a partition");
        lt_dataset *divided;
        if (TS_OK(p.ctx, open_set(&p, p.dir, tok, LT_SPLIT_VALID, &divided))) {
            TS_CHECK(strcmp(lt_dataset_hash(divided), lt_dataset_hash(valid)) == 0, "train.txt alone is divided alike");
            TS_CHECK(strcmp(lt_dataset_hash(train), lt_dataset_hash(valid)) != 0, "hashes differ");
            lt_dataset_free(divided);
        }
        lt_dataset_free(train);
        lt_dataset_free(valid);
    }
    ts_put_text(&p, "valid.txt", "xyz");
    if (TS_OK(p.ctx, open_set(&p, p.dir, tok, LT_SPLIT_TRAIN, &train))) {
        TS_CHECK(lt_dataset_documents(train) == 8, "beside valid.txt train.txt is whole");
        lt_dataset_free(train);
    }
    path = ts_put_text(&p, "one.txt", "aa\nbb\ncc\ndd\n");
    if (TS_OK(p.ctx, open_set(&p, path, tok, LT_SPLIT_TRAIN, &train)) &&
        TS_OK(p.ctx, open_set(&p, path, tok, LT_SPLIT_VALID, &valid))) {
        TS_CHECK(lt_dataset_tokens(train) == 10 && lt_dataset_tokens(valid) == 4, "one document is cut at a line");
        lt_dataset_free(train);
        lt_dataset_free(valid);
    }
    TS_REFUSED(p.ctx, open_set(&p, p.dir, tok, LT_SPLIT_ALL, &train), LT_EINVAL, "choose its train, valid or test");
    TS_REFUSED(p.ctx, open_set(&p, p.dir, tok, LT_SPLIT_TEST, &train), LT_EIO, "no test.txt");
    TS_REFUSED(p.ctx, open_set(&p, ts_at(&p, "one.txt"), tok, LT_SPLIT_TEST, &train), LT_EINVAL, "no test part");
    TS_REFUSED(p.ctx, open_set(&p, ts_put(&p, "x.txt", "ab\nc\xff", 5), tok, LT_SPLIT_ALL, &train), LT_EFORMAT,
               "x.txt:2: byte 4 (0xff) is not UTF-8");
    TS_REFUSED(p.ctx, open_set(&p, ts_put_text(&p, "x.parquet", "{}"), tok, LT_SPLIT_ALL, &train), LT_EUNSUPPORTED,
               ".parquet");
    TS_REFUSED(p.ctx, open_set(&p, ts_put_text(&p, "x.txt", ""), tok, LT_SPLIT_ALL, &train), LT_EFORMAT, "is empty");
    lt_tokenizer_free(tok);
    ts_close_place(&p);
}

/* ---- Batches ---- */

/* Rows of lengths 3, 4, 5, 6, 7 (BOS included). */
static lt_dataset *five_rows(lt_ctx *ctx)
{
    static const char text[] =
        "aa\n<|endoftext|>\nbbb\n<|endoftext|>\ncccc\n<|endoftext|>\nddddd\n<|endoftext|>\neeeeee";
    lt_tokenizer *tok;
    lt_dataset *set = NULL;
    lt_dataset_options o;
    lt_dataset_options_init(&o);
    if (!TS_OK(ctx, lt_tokenizer_bytes(ctx, &tok))) return NULL;
    TS_OK(ctx, lt_dataset_from_text(ctx, text, sizeof text - 1, tok, &o, &set));
    lt_tokenizer_free(tok);
    return set;
}

static void batches(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_dataset *set = five_rows(ctx);
    lt_batches *b;
    lt_batch batch;
    int32_t tokens[2 * 8], targets[2 * 8];
    if (!set || !TS_OK(ctx, lt_batches_create(ctx, set, NULL, 2, 7, false, &b))) return;
    TS_CHECK(lt_batches_per_epoch(b) == 3, "three batches");
    TS_OK(ctx, lt_batches_next(b, &batch));
    TS_CHECK(batch.rows == 2 && batch.longest == 4 && batch.targets == 5 && !batch.last && batch.epoch == 0, "first");
    TS_OK(ctx, lt_batches_fill(b, 2, 5, tokens, targets));
    static const int32_t want_tokens[] = {256, 'a', 'a', 0, 0, 256, 'b', 'b', 'b', 0};
    static const int32_t want_targets[] = {'a', 'a', -1, -1, -1, 'b', 'b', 'b', -1, -1};
    TS_CHECK(memcmp(tokens, want_tokens, sizeof want_tokens) == 0, "tokens");
    TS_CHECK(memcmp(targets, want_targets, sizeof want_targets) == 0, "targets");
    TS_REFUSED(ctx, lt_batches_fill(b, 2, 3, tokens, targets), LT_EINVAL, "does not fit T = 3");
    TS_REFUSED(ctx, lt_batches_fill(b, 1, 8, tokens, targets), LT_EINVAL, "do not fit B = 1");
    TS_OK(ctx, lt_batches_next(b, &batch));
    TS_OK(ctx, lt_batches_next(b, &batch));
    TS_CHECK(batch.rows == 1 && batch.last && batch.longest == 7 && batch.targets == 6, "the last one is short");
    TS_OK(ctx, lt_batches_fill(b, 2, 8, tokens, targets));
    TS_CHECK(tokens[0] == 256 && tokens[8] == 0 && targets[8] == -1 && targets[15] == -1, "its second row is empty");
    TS_OK(ctx, lt_batches_next(b, &batch));
    TS_CHECK(batch.epoch == 1 && batch.rows == 2, "the next epoch");
    lt_real x[8];
    TS_REFUSED(ctx, lt_batches_fill_arrays(b, 2, x, tokens), LT_EINVAL, "lt_batches_fill");
    TS_REFUSED(ctx, lt_batches_seek(b, (lt_cursor){0, 6}), LT_EINVAL, "outside 5 rows");
    lt_batches_free(b);
    TS_REFUSED(ctx, lt_batches_create(ctx, set, NULL, 0, 7, false, &b), LT_EINVAL, "batch size 0");
    TS_REFUSED(ctx, lt_batches_create(ctx, NULL, NULL, 2, 7, false, &b), LT_EINVAL, "either");
    lt_dataset_free(set);
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "%zu bytes leak", lt_ctx_live_bytes(ctx));
    lt_ctx_free(ctx);
}

/* Every epoch is a permutation, epochs differ, seeds differ, and a cursor brings back what would have come. */
static void shuffling(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_arrays a = {.n = 50, .d = 1, .classes = 1};
    lt_batches *b, *c;
    lt_batch batch;
    int64_t order[3][50];
    if (!TS_OK(ctx, lt_batches_create(ctx, NULL, &a, 7, 42, true, &b)) ||
        !TS_OK(ctx, lt_batches_create(ctx, NULL, &a, 7, 42, true, &c)))
        return;
    for (int epoch = 0; epoch < 3; epoch++) {
        uint64_t seen = 0;
        for (int64_t at = 0; at < 50; at += batch.rows) {
            lt_cursor cursor = lt_batches_cursor(b);
            TS_OK(ctx, lt_batches_next(b, &batch));
            for (int64_t i = 0; i < batch.rows; i++) {
                order[epoch][at + i] = batch.indices[i];
                seen |= UINT64_C(1) << batch.indices[i];
            }
            lt_batch again;
            TS_OK(ctx, lt_batches_seek(c, cursor));
            TS_OK(ctx, lt_batches_next(c, &again));
            TS_CHECK(again.rows == batch.rows && again.epoch == batch.epoch &&
                         memcmp(again.indices, batch.indices, (size_t)batch.rows * sizeof(int64_t)) == 0,
                     "resumed at (%lld, %lld)", (long long)cursor.epoch, (long long)cursor.index);
        }
        TS_CHECK(seen == (UINT64_C(1) << 50) - 1, "epoch %d uses each row", epoch);
    }
    TS_CHECK(memcmp(order[0], order[1], sizeof order[0]) != 0 && memcmp(order[1], order[2], sizeof order[0]) != 0,
             "epochs differ");
    lt_batches_free(c);
    if (TS_OK(ctx, lt_batches_create(ctx, NULL, &a, 50, 43, true, &c)) && TS_OK(ctx, lt_batches_next(c, &batch)))
        TS_CHECK(memcmp(order[0], batch.indices, sizeof order[0]) != 0, "seeds differ");
    lt_batches_free(c);
    lt_batches_free(b);
    lt_ctx_free(ctx);
}

static void arrays_split(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_real x[20];
    int32_t y[10];
    for (int i = 0; i < 20; i++) x[i] = (lt_real)i;
    for (int i = 0; i < 10; i++) y[i] = i;
    lt_arrays a = {.n = 10, .d = 2, .x = x, .y = y, .classes = 10, .rank = 1, .shape = {2}}, *train, *valid;
    if (TS_OK(ctx, lt_arrays_split(ctx, &a, 0.3, 1, &train, &valid))) {
        unsigned seen = 0;
        for (int64_t i = 0; i < train->n; i++) seen |= 1u << train->y[i];
        for (int64_t i = 0; i < valid->n; i++) seen |= 1u << valid->y[i];
        TS_CHECK(train->n == 7 && valid->n == 3 && seen == 1023 && valid->classes == 10, "7 and 3 rows");
        TS_CHECK(valid->x[1] == (lt_real)(2 * valid->y[0] + 1), "rows and labels stay together");
        lt_batches *b;
        lt_batch batch;
        lt_real bx[8];
        int32_t by[4];
        if (TS_OK(ctx, lt_batches_create(ctx, NULL, valid, 4, 0, false, &b)) &&
            TS_OK(ctx, lt_batches_next(b, &batch)) && TS_OK(ctx, lt_batches_fill_arrays(b, 4, bx, by)))
            TS_CHECK(batch.rows == 3 && batch.targets == 3 && bx[3] == valid->x[3] && by[3] == -1 && bx[7] == 0,
                     "filled");
        lt_batches_free(b);
        lt_arrays_free(ctx, train);
        lt_arrays_free(ctx, valid);
    }
    TS_REFUSED(ctx, lt_arrays_split(ctx, &a, 0.01, 1, &train, &valid), LT_EINVAL, "leaves a part empty");
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "%zu bytes leak", lt_ctx_live_bytes(ctx));
    lt_ctx_free(ctx);
}

/* ---- IDX and CSV ---- */

static void put_gzip(ts_place *p, const char *name, const void *bytes, unsigned count)
{
    gzFile file = gzopen(ts_at(p, name), "wb");
    TS_CHECK(file && gzwrite(file, bytes, count) == (int)count && gzclose(file) == Z_OK, "%s is packed", name);
}

static lt_status idx(lt_ctx *ctx, const char *path)
{
    lt_array array;
    lt_status status = lt_idx_read(ctx, path, &array);
    lt_array_free(ctx, &array);
    return status;
}

static void idx_files(void)
{
    static const unsigned char images[] = {0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 0, 255, 3, 4};
    static const unsigned char labels[] = {0, 0, 8, 1, 0, 0, 0, 2, 1, 0};
    static const unsigned char floats[] = {0, 0, 0x0D, 1, 0, 0, 0, 1, 0xBF, 0x80, 0, 0};
    ts_place p = ts_open_place();
    lt_array a;
    if (TS_OK(p.ctx, lt_idx_read(p.ctx, ts_put(&p, "f", floats, sizeof floats), &a))) {
        TS_CHECK(a.count == 1 && a.real && a.real[0] == -1, "a float");
        lt_array_free(p.ctx, &a);
    }
    put_gzip(&p, "t-labels-idx1-ubyte.gz", labels, sizeof labels);
    put_gzip(&p, "t-images-idx3-ubyte.gz", images, sizeof images);
    lt_arrays *set;
    if (TS_OK(p.ctx, lt_arrays_open(p.ctx, p.path, &set))) {
        TS_CHECK(set->n == 2 && set->d == 2 && set->rank == 2 && set->shape[1] == 2 && set->classes == 2, "shape");
        TS_CHECK(set->x[1] == 255 && set->y[0] == 1 && set->y[1] == 0, "values");
        lt_arrays_free(p.ctx, set);
    }
    TS_REFUSED(p.ctx, idx(p.ctx, ts_put(&p, "i", images, 19)), LT_EFORMAT, "4 elements of 1 bytes, 3 bytes follow");
    TS_REFUSED(p.ctx, idx(p.ctx, ts_put(&p, "i", images, 10)), LT_EFORMAT, "within its sizes");
    TS_REFUSED(p.ctx, idx(p.ctx, ts_put(&p, "i", "\0\0\7\1", 4)), LT_EFORMAT, "unknown IDX element type 0x07");
    TS_REFUSED(p.ctx, idx(p.ctx, ts_put(&p, "i", "\0\0\x8\x7", 4)), LT_EUNSUPPORTED, "7 dimensions");
    TS_REFUSED(p.ctx, idx(p.ctx, ts_put_text(&p, "i", "text")), LT_EFORMAT, "two zero bytes");
    ts_close_place(&p);
}

static lt_status csv(lt_ctx *ctx, const char *path)
{
    lt_arrays *set;
    lt_status status = lt_arrays_open(ctx, path, &set);
    lt_arrays_free(ctx, set);
    return status;
}

static void csv_files(void)
{
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"1,2,0\n1,2\n", "c.csv:2: 2 columns, the first line has 3"},
        {"1,2,0\n1,2,0,1\n", "c.csv:2: more than the 3 columns"},
        {"a,b,c\n1,x,0\n", "c.csv:2: column 2: 'x' is no finite number"},
        {"1,nan,0\n", "column 2: 'nan'"},
        {"1,0x10,0\n", "column 2: '0x10'"},
        {"1,1e999,0\n", "column 2: '1e999'"},
        {"1,,0\n", "column 2: ''"},
        {"1,2,0.5\n", "c.csv:1: column 3: '0.5' is no class"},
        {"1,2,-1\n", "is no class"},
        {"1\n2\n", "one column"},
        {"a,b\n", "no line of numbers"},
        {"\n\n", "no line of numbers"},
    };
    ts_place p = ts_open_place();
    for (int i = 0; i < LTI_COUNT(cases); i++)
        TS_REFUSED(p.ctx, csv(p.ctx, ts_put_text(&p, "c.csv", cases[i].text)), LT_EFORMAT, cases[i].words);
    lt_arrays *set;
    if (TS_OK(p.ctx,
              lt_arrays_open(p.ctx, ts_put_text(&p, "c.csv", "a,b,class\r\n 1.5,-2e1 ,3\r\n\r\n.5,7,0"), &set))) {
        TS_CHECK(set->n == 2 && set->d == 2 && set->classes == 4, "shape");
        TS_CHECK(set->x[0] == (lt_real)1.5 && set->x[1] == -20 && set->x[3] == 7 && set->y[0] == 3, "values");
        lt_arrays_free(p.ctx, set);
    }
    char packed[64];
    put_gzip(&p, "c.csv.gz", "1,2,3\n1,2,3\n", 12);
    FILE *file = fopen(ts_at(&p, "c.csv.gz"), "rb");
    size_t n = file ? fread(packed, 1, sizeof packed, file) : 0;
    if (file) fclose(file);
    TS_OK(p.ctx, csv(p.ctx, p.path));
    TS_REFUSED(p.ctx, csv(p.ctx, ts_put(&p, "c.csv.gz", packed, n - 4)), LT_EFORMAT, "ends too early");
    packed[n - 5] ^= 1;
    TS_REFUSED(p.ctx, csv(p.ctx, ts_put(&p, "c.csv.gz", packed, n)), LT_EFORMAT, "damaged");
    ts_close_place(&p);
}

static lt_status attempt(lt_ctx *ctx, void *arg)
{
    lt_tokenizer *tok;
    lt_dataset *set = NULL;
    lt_batches *b = NULL;
    lt_batch batch;
    lt_dataset_options o;
    lt_dataset_options_init(&o);
    o.split = LT_SPLIT_TRAIN;
    LTI_TRY(lt_tokenizer_bytes(ctx, &tok));
    lt_status status = lt_dataset_from_text(ctx, arg, (int64_t)strlen(arg), tok, &o, &set);
    if (status == LT_OK) status = lt_batches_create(ctx, set, NULL, 2, 1, true, &b);
    if (status == LT_OK) status = lt_batches_next(b, &batch);
    lt_batches_free(b);
    lt_dataset_free(set);
    lt_tokenizer_free(tok);
    return status;
}

static void memory(void)
{
    ts_every_allocation_fails("data set", attempt, "abc\n<|endoftext|>\ndef\n<|endoftext|>\nghi");
}

static void digits(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_arrays *a;
    if (TS_OK(ctx, lt_arrays_open(ctx, ts_data("images/digits-8x8.csv.gz"), &a))) {
        static const int64_t want[10] = {178, 182, 177, 183, 181, 182, 181, 179, 174, 180};
        int64_t count[10] = {0};
        lt_real low = 0, high = 0;
        TS_CHECK(a->n == 1797 && a->d == 64 && a->classes == 10, "%lld x %lld", (long long)a->n, (long long)a->d);
        for (int64_t i = 0; i < a->n; i++) count[a->y[i]]++;
        for (int64_t i = 0; i < a->n * a->d; i++) {
            low = a->x[i] < low ? a->x[i] : low;
            high = a->x[i] > high ? a->x[i] : high;
        }
        for (int i = 0; i < 10; i++) TS_CHECK(count[i] == want[i], "%lld times %d", (long long)count[i], i);
        TS_CHECK(low == 0 && high == 16, "pixels 0 .. 16");
        lt_arrays_free(ctx, a);
    }
    lt_ctx_free(ctx);
}

/* The counts hf_ppl.py's documents() and windows() give with Hugging Face's tokenizer. */
static void stories(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_tokenizer *tok;
    lt_dataset *set;
    lt_dataset_options o;
    lt_dataset_options_init(&o);
    if (!TS_OK(ctx, lt_tokenizer_open(ctx, ts_data("models/stories260K/hf"), &tok))) return;
    if (TS_OK(ctx, lt_dataset_open(ctx, ts_data("text/tinystories-1700.txt"), tok, &o, &set))) {
        TS_CHECK(lt_dataset_documents(set) == 1700 && lt_dataset_rows(set) == 2024 &&
                     lt_dataset_tokens(set) == 721841 && lt_dataset_scored(set) == 719817 &&
                     lt_dataset_longest(set) == 512,
                 "%lld documents, %lld rows, %lld tokens", (long long)lt_dataset_documents(set),
                 (long long)lt_dataset_rows(set), (long long)lt_dataset_tokens(set));
        TS_CHECK(strcmp(lt_dataset_hash(set), "0f669b2648908e2f1eb5c946e4933e48") == 0,
                 "%s: every id as Hugging Face's tokenizer gave them", lt_dataset_hash(set));
        lt_dataset_free(set);
    }
    lt_tokenizer_free(tok);
    lt_ctx_free(ctx);
}

int lti_suite_sets(void)
{
    static const ts_test tests[] = {
        {"documents", documents},
        {"windows", windows},
        {"windows without BOS", windows_without_bos},
        {"splits", splits},
        {"batches", batches},
        {"shuffling and resuming", shuffling},
        {"splitting arrays", arrays_split},
        {"IDX", idx_files},
        {"CSV", csv_files},
        {"every allocation fails", memory},
    };
    if (ts_suite("sets", LTI_COUNT(tests), tests) != 0) return 1;
    CU_pSuite suite = CU_get_suite("sets");
    return ts_add_with_data(suite, "digits", "images/digits-8x8.csv.gz", digits) ||
           ts_add_with_data(suite, "tinystories: counts and hash", "text/tinystories-1700.txt", stories);
}
