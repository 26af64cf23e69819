/* test_classes.c - rows of numbers with a class: files, parts, hashes, batches, errors. Texts are in test_labelled.c. */
#include "lathe/classes.h"
#include "tests/data_files.h"

#include <zlib.h>

/* ---- Numbers ---- */

static void put_u32(unsigned char *p, uint32_t v)
{
    for (int i = 0; i < 4; i++) p[i] = (unsigned char)(v >> (24 - 8 * i));
}

/* MNIST's pair of files: n images of 2 x 3 whose first byte is 10 i, of class i % 3; packed with gzip. */
static void put_images(ts_place *p, const char *part, int n, bool gzip)
{
    unsigned char images[16 + 6 * 64] = {0, 0, 8, 3}, labels_[8 + 64] = {0, 0, 8, 1};
    put_u32(images + 4, (uint32_t)n), put_u32(images + 8, 2), put_u32(images + 12, 3),
        put_u32(labels_ + 4, (uint32_t)n);
    for (int i = 0; i < n; i++) {
        images[16 + 6 * i] = (unsigned char)(10 * i);
        images[16 + 6 * i + 5] = 255;
        labels_[8 + i] = (unsigned char)(i % 3);
    }
    const void *parts[] = {images, labels_};
    const size_t sizes[] = {16 + 6 * (size_t)n, 8 + (size_t)n};
    for (int k = 0; k < 2; k++) {
        char name[64];
        snprintf(name, sizeof name, "%s-%s-ubyte%s", part, k ? "labels-idx1" : "images-idx3", gzip ? ".gz" : "");
        if (!gzip) {
            ts_put(p, name, parts[k], sizes[k]);
            continue;
        }
        gzFile file = gzopen(ts_at(p, name), "wb");
        TS_CHECK(file && gzwrite(file, parts[k], (unsigned)sizes[k]) == (int)sizes[k], "%s is written", name);
        if (file) gzclose(file);
    }
}

static lt_status open_numbers(ts_place *p, const char *path, lt_split split, lt_dataset **set)
{
    lt_dataset_options o;
    lt_dataset_options_init(&o);
    o.split = split;
    o.valid_fraction = 0.25;
    return lt_dataset_open_numbers(p->ctx, path, &o, set);
}

static void numbers(void)
{
    ts_place p = ts_open_place();
    lt_dataset *all, *train, *valid, *test, *again;
    int64_t shape[LT_MAX_RANK];
    put_images(&p, "train", 16, true);
    put_images(&p, "t10k", 5, false);
    TS_CHECK(lt_dataset_kind_at(p.ctx, p.dir) == LT_DATA_NUMBERS, "MNIST's files are recognised");
    if (!TS_OK(p.ctx, open_numbers(&p, ts_at(&p, "train-images-idx3-ubyte.gz"), LT_SPLIT_ALL, &all)) ||
        !TS_OK(p.ctx, open_numbers(&p, p.dir, LT_SPLIT_TRAIN, &train)) ||
        !TS_OK(p.ctx, open_numbers(&p, p.dir, LT_SPLIT_VALID, &valid)) ||
        !TS_OK(p.ctx, open_numbers(&p, p.dir, LT_SPLIT_TEST, &test)))
        return;
    TS_CHECK(lt_dataset_kind_of(all) == LT_DATA_NUMBERS && lt_dataset_rows(all) == 16 && lt_dataset_classes(all) == 3 &&
                 lt_dataset_scored(all) == 16 && lt_dataset_longest(all) == 1 && lt_dataset_tokens(all) == 16 &&
                 !lt_dataset_label(all, 0) && lt_dataset_row_document(all, 7) == 7,
             "counts");
    TS_CHECK(lt_dataset_row_shape(all, shape) == 2 && shape[0] == 2 && shape[1] == 3, "shape");
    const lt_real *x = lt_dataset_row_numbers(all, 5);
    TS_CHECK(x[0] == (lt_real)50 / 255 && x[1] == 0 && x[5] == 1 && lt_dataset_row_class(all, 5) == 2,
             "bytes go from 0 to 1");
    TS_CHECK(lt_dataset_rows(train) == 12 && lt_dataset_rows(valid) == 4 && lt_dataset_rows(test) == 5, "parts");
    unsigned seen = 0;
    lt_dataset *const parts[] = {train, valid};
    for (int k = 0; k < 2; k++)
        for (int64_t r = 0; r < lt_dataset_rows(parts[k]); r++) {
            int i = (int)(lt_dataset_row_numbers(parts[k], r)[0] * (lt_real)25.5 + (lt_real)0.5);
            TS_CHECK(lt_dataset_row_class(parts[k], r) == i % 3 && !(seen & 1u << i), "row %d has its class", i);
            seen |= 1u << i;
        }
    TS_CHECK(seen == 65535, "train and valid are the whole");
    if (TS_OK(p.ctx, open_numbers(&p, p.dir, LT_SPLIT_TRAIN, &again))) {
        TS_CHECK(!strcmp(lt_dataset_hash(train), lt_dataset_hash(again)) &&
                     strcmp(lt_dataset_hash(train), lt_dataset_hash(all)),
                 "hashes");
        lt_dataset_free(again);
    }
    lt_dataset_free(all);
    lt_dataset_free(train);
    lt_dataset_free(valid);
    lt_dataset_free(test);
    TS_REFUSED(p.ctx, open_numbers(&p, ts_put_text(&p, "x.csv", "1,2,0\n3,x,1\n"), LT_SPLIT_ALL, &all), LT_EFORMAT,
               "x.csv:2");
    TS_REFUSED(p.ctx, open_numbers(&p, ts_put_text(&p, "x.csv", "1,2,0\n"), LT_SPLIT_VALID, &all), LT_EINVAL,
               "1 rows cannot be divided at 0.25");
    TS_REFUSED(p.ctx, open_numbers(&p, p.path, LT_SPLIT_TEST, &all), LT_EINVAL, "no test part");
    ts_close_place(&p);
}

static void arrays_in_memory(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_real x[] = {1, 2, 3, 4, 5, 6};
    int32_t y[] = {0, 2, 1};
    lt_arrays a = {.n = 3, .d = 2, .x = x, .y = y, .classes = 3, .rank = 2, .shape = {2, 1}};
    lt_dataset *set;
    if (TS_OK(ctx, lt_dataset_from_arrays(ctx, &a, &set))) {
        x[2] = 99;
        TS_CHECK(lt_dataset_row_numbers(set, 1)[0] == 3 && lt_dataset_row_class(set, 1) == 2, "a copy");
        char *text;
        if (TS_OK(ctx, lt_dataset_show(set, NULL, 1, "<", ">", &text))) {
            TS_CHECK(!strcmp(text, "<2 x 1 numbers> class 2"), "%s", text);
            lt_buffer_free(ctx, text);
        }
        lt_dataset_free(set);
    }
    a.classes = 2;
    TS_REFUSED(ctx, lt_dataset_from_arrays(ctx, &a, &set), LT_EINVAL, "row 1 has class 2 of 2");
    a.classes = 3, a.shape[0] = 3;
    TS_REFUSED(ctx, lt_dataset_from_arrays(ctx, &a, &set), LT_EINVAL, "do not have their shape");
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "%zu bytes leak", lt_ctx_live_bytes(ctx));
    lt_ctx_free(ctx);
}

/* The order is that of lt_arrays, and everything comes once an epoch. */
static void number_batches(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_real x[40], got[16], same[16];
    int32_t y[20], c[8], d[8];
    for (int i = 0; i < 40; i++) x[i] = (lt_real)i;
    for (int i = 0; i < 20; i++) y[i] = i % 4;
    lt_arrays a = {.n = 20, .d = 2, .x = x, .y = y, .classes = 4, .rank = 1, .shape = {2}};
    lt_dataset *set;
    lt_batches *of_set, *of_arrays;
    if (!TS_OK(ctx, lt_dataset_from_arrays(ctx, &a, &set)) ||
        !TS_OK(ctx, lt_batches_create(ctx, set, NULL, 8, 3, true, &of_set)) ||
        !TS_OK(ctx, lt_batches_create(ctx, NULL, &a, 8, 3, true, &of_arrays)))
        return;
    unsigned seen = 0;
    for (int i = 0; i < 3; i++) {
        lt_batch one, two;
        TS_OK(ctx, lt_batches_next(of_set, &one));
        TS_OK(ctx, lt_batches_next(of_arrays, &two));
        TS_OK(ctx, lt_batches_fill_numbers(of_set, 8, got, c));
        TS_OK(ctx, lt_batches_fill_arrays(of_arrays, 8, same, d));
        TS_CHECK(one.rows == two.rows && one.targets == one.rows && !memcmp(got, same, sizeof got) &&
                     !memcmp(c, d, sizeof c),
                 "batch %d", i);
        for (int k = 0; k < one.rows; k++) seen |= 1u << (int)(got[2 * k] / 2);
        for (int64_t k = one.rows; k < 8; k++) TS_CHECK(got[2 * k] == 0 && c[k] == -1, "padding");
    }
    TS_CHECK(seen == (1u << 20) - 1, "every row once");
    TS_REFUSED(ctx, lt_batches_fill(of_set, 8, 1, c, d), LT_EINVAL, "lt_batches_fill_numbers");
    lt_batches_free(of_set);
    lt_batches_free(of_arrays);
    lt_dataset_free(set);
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "%zu bytes leak", lt_ctx_live_bytes(ctx));
    lt_ctx_free(ctx);
}

static lt_status try_numbers(lt_ctx *ctx, void *arg)
{
    lt_dataset *set;
    lt_dataset_options o;
    lt_dataset_options_init(&o);
    o.split = LT_SPLIT_VALID;
    LTI_TRY(lt_dataset_open_numbers(ctx, arg, &o, &set));
    lt_dataset_free(set);
    return LT_OK;
}

static void memory_is_out(void)
{
    ts_place p = ts_open_place();
    char path[512];
    snprintf(path, sizeof path, "%s", ts_put_text(&p, "n.csv", "1,0\n2,1\n3,0\n4,1\n5,0\n6,1\n"));
    TS_CHECK(ts_every_allocation_fails("numbers", try_numbers, path) > 5, "allocations");
    ts_close_place(&p);
}

int lti_suite_classes(void)
{
    static const ts_test tests[] = {{"numbers", numbers},
                                    {"arrays in memory", arrays_in_memory},
                                    {"batches of numbers", number_batches},
                                    {"memory is out", memory_is_out}};
    return ts_suite("classes", LTI_COUNT(tests), tests);
}
