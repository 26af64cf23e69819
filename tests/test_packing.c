/* test_packing.c - rows packed into windows, by hand and against the rule said plainly; their batches and spans. */
#include "base/text.h"
#include "tests/json_bench.h"

static void packed(void)
{
    bench b;
    lt_dataset *set;
    if (!open_bench(&b, NULL)) return;
    b.o.max_seq_length = 12;
    b.o.pack = true;
    /* lengths 7, 6, 4, 12, 5, 4: windows {7, 4}, {6, 5}, {12}, {4} */
    if (TS_OK(b.p.ctx,
              open_text(&b, "a.jsonl",
                        "{\"prompt\":\"ab\",\"completion\":\"cde\"}\n{\"prompt\":\"f\",\"completion\":\"ghi\"}\n"
                        "{\"prompt\":\"\",\"completion\":\"jk\"}\n{\"prompt\":\"l\",\"completion\":\"mnopqrstuvw\"}\n"
                        "{\"prompt\":\"x\",\"completion\":\"yz\"}\n{\"prompt\":\"1\",\"completion\":\"2\"}\n",
                        &set))) {
        TS_CHECK(lt_dataset_rows(set) == 4 && lt_dataset_documents(set) == 6 && lt_dataset_packed(set) &&
                     lt_dataset_longest(set) == 12,
                 "%lld windows", (long long)lt_dataset_rows(set));
        check_row(&b, set, 0, "(" BOS "ab)cde" EOS "(" BOS ")jk" EOS);
        check_row(&b, set, 1, "(" BOS "f)ghi" EOS "(" BOS "x)yz" EOS);
        check_row(&b, set, 2, "(" BOS "l)mnopqrstuv");
        check_row(&b, set, 3, "(" BOS "1)2" EOS);
        static const int32_t starts[] = {0, 0, 0, 0, 0, 0, 0, 7, 7, 7, 7};
        const int32_t *got = lt_dataset_row_starts(set, 0);
        TS_CHECK(got && memcmp(got, starts, sizeof starts) == 0, "where documents begin");
        TS_CHECK(!lt_dataset_row_starts(set, 2) && lt_dataset_row_document(set, 2) == 3 &&
                     lt_dataset_row_document(set, 1) == 1 && lt_dataset_row_document(set, 3) == 5,
                 "first documents");
        TS_CHECK(lt_dataset_scored(set) == 4 + 3 + 4 + 3 + 10 + 2, "%lld", (long long)lt_dataset_scored(set));
        lt_dataset_free(set);
    }
    /* texts: the second is cut as always, its end goes beside the first */
    if (TS_OK(b.p.ctx, open_text(&b, "a.txt", "abc\n<|endoftext|>\ndefghijklmnopq\n<|endoftext|>\nrst", &set))) {
        TS_CHECK(lt_dataset_rows(set) == 2, "%lld windows", (long long)lt_dataset_rows(set));
        check_row(&b, set, 0, "(" BOS ")abc(" BOS ")opq(" BOS ")rst");
        check_row(&b, set, 1, "(" BOS ")defghijklmn");
        lt_dataset_free(set);
    }
    lt_dataset *plain;
    if (TS_OK(b.p.ctx, open_text(&b, "b.txt", "abcdefgh\n<|endoftext|>\nabcdefgh", &set))) {
        b.o.pack = false;
        TS_OK(b.p.ctx, open_text(&b, "b.txt", "abcdefgh\n<|endoftext|>\nabcdefgh", &plain));
        TS_CHECK(!lt_dataset_packed(set) && strcmp(lt_dataset_hash(set), lt_dataset_hash(plain)) == 0,
                 "where nothing fits together nothing changes");
        lt_dataset_free(plain);
        lt_dataset_free(set);
    }
    close_bench(&b);
}

/* Against the rule said plainly: each row goes into the first window with room. */
static void packed_at_random(void)
{
    enum { N = 400, ROOM = 64 };
    bench b;
    lt_dataset *set, *plain;
    if (!open_bench(&b, NULL)) return;
    lti_text text = {.ctx = b.p.ctx};
    for (int i = 0; i < N; i++)
        lti_text_format(&text, "{\"prompt\": \"%.*s\", \"completion\": \"%.*s\"}\n",
                        (int)(30 * ts_uniform("prompt", i)), "abcdefghijklmnopqrstuvwxyzabcdefghij",
                        1 + (int)(30 * ts_uniform("completion", i)), "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJ");
    b.o.max_seq_length = ROOM;
    TS_OK(b.p.ctx, open_text(&b, "a.jsonl", text.data, &plain));
    b.o.pack = true;
    TS_OK(b.p.ctx, open_text(&b, "a.jsonl", text.data, &set));
    int64_t held[N] = {0}, windows = 0, wrong = 0;
    for (int64_t i = 0; plain && set && i < N; i++) {
        int64_t n, m, w = 0;
        const int32_t *ids = lt_dataset_row(plain, i, &n);
        while (held[w] + n > ROOM) w++;
        windows = w + 1 > windows ? w + 1 : windows;
        if (w >= lt_dataset_rows(set)) break;
        const int32_t *window = lt_dataset_row(set, w, &m), *starts = lt_dataset_row_starts(set, w);
        bool there = held[w] + n <= m && memcmp(window + held[w], ids, (size_t)n * sizeof *ids) == 0;
        for (int64_t t = 0; there && t < n; t++) {
            bool scored = lt_dataset_row_scored(plain, i)[t];
            wrong += starts && starts[held[w] + t] != held[w];
            wrong += lt_dataset_row_scored(set, w)[held[w] + t] != scored;
        }
        wrong += !there;
        held[w] += n;
    }
    TS_CHECK(wrong == 0 && windows == lt_dataset_rows(set), "%lld wrong, %lld windows", (long long)wrong,
             (long long)windows);
    TS_CHECK(lt_dataset_scored(set) == lt_dataset_scored(plain), "as many predictions");
    lt_dataset_free(plain);
    lt_dataset_free(set);
    lti_text_free(&text);
    close_bench(&b);
}

static void batches(void)
{
    bench b;
    lt_dataset *set;
    lt_batches *batches = NULL;
    lt_batch batch;
    if (!open_bench(&b, NULL)) return;
    b.o.max_seq_length = 9;
    b.o.pack = true;
    if (TS_OK(b.p.ctx, open_text(&b, "a.jsonl",
                                 "{\"prompt\":\"a\",\"completion\":\"b\"}\n{\"prompt\":\"c\",\"completion\":\"de\"}\n"
                                 "{\"prompt\":\"\",\"completion\":\"f\"}\n",
                                 &set)) &&
        TS_OK(b.p.ctx, lt_batches_create(b.p.ctx, set, NULL, 3, 7, false, &batches)) &&
        TS_OK(b.p.ctx, lt_batches_next(batches, &batch))) {
        enum { T = 10 };
        static const int32_t want_targets[2][T] = {{-1, 'b', 257, -1, -1, 'd', 'e', 257, -1, -1},
                                                   {'f', 257, -1, -1, -1, -1, -1, -1, -1, -1}};
        static const int32_t want_spans[3][T][2] = {
            {{0, T}, {0, T}, {0, T}, {0, T}, {4, T}, {4, T}, {4, T}, {4, T}, {4, T}, {9, 10}},
            {{0, T}, {0, T}, {0, T}, {3, 4}, {4, 5}, {5, 6}, {6, 7}, {7, 8}, {8, 9}, {9, 10}},
            {{0, 1}, {1, 2}, {2, 3}, {3, 4}, {4, 5}, {5, 6}, {6, 7}, {7, 8}, {8, 9}, {9, 10}}};
        int32_t tokens[3 * T], targets[3 * T], spans[3 * T * 2];
        TS_CHECK(batch.rows == 2 && batch.longest == 9 && batch.targets == 7, "%lld targets", (long long)batch.targets);
        TS_OK(b.p.ctx, lt_batches_fill(batches, 3, T, tokens, targets));
        TS_OK(b.p.ctx, lt_batches_fill_spans(batches, 3, T, spans));
        TS_CHECK(memcmp(targets, want_targets, sizeof want_targets) == 0, "targets");
        TS_CHECK(memcmp(spans, want_spans, sizeof want_spans) == 0, "spans");
        for (int t = 0; t < T; t++) TS_CHECK(targets[2 * T + t] == -1 && tokens[2 * T + t] == 0, "an empty row");
        TS_REFUSED(b.p.ctx, lt_batches_fill_spans(batches, 1, T, spans), LT_EINVAL, "do not fit B = 1");
        TS_REFUSED(b.p.ctx, lt_batches_fill_spans(batches, 3, 8, spans), LT_EINVAL, "does not fit T = 8");
    }
    lt_batches_free(batches);
    lt_dataset_free(set);
    close_bench(&b);
}

/* A cursor brings back the batches that would have come, packed or not. */
static void resuming(void)
{
    bench b;
    lt_dataset *set;
    if (!open_bench(&b, NULL)) return;
    lti_text text = {.ctx = b.p.ctx};
    for (int i = 0; i < 40; i++)
        lti_text_format(&text, "{\"prompt\": \"%d\", \"completion\": \"%.*s\"}\n", i, 1 + i % 13, "abcdefghijklmnop");
    b.o.max_seq_length = 24;
    b.o.pack = true;
    if (TS_OK(b.p.ctx, open_text(&b, "a.jsonl", text.data, &set))) {
        lt_batches *first, *second;
        lt_batch x, y;
        int32_t tokens[2][4 * 24], targets[2][4 * 24];
        int64_t sum = 0;
        TS_OK(b.p.ctx, lt_batches_create(b.p.ctx, set, NULL, 4, 3, true, &first));
        TS_OK(b.p.ctx, lt_batches_create(b.p.ctx, set, NULL, 4, 3, true, &second));
        do {
            lt_cursor cursor = lt_batches_cursor(first);
            TS_OK(b.p.ctx, lt_batches_next(first, &x));
            TS_OK(b.p.ctx, lt_batches_seek(second, cursor));
            TS_OK(b.p.ctx, lt_batches_next(second, &y));
            TS_OK(b.p.ctx, lt_batches_fill(first, 4, 24, tokens[0], targets[0]));
            TS_OK(b.p.ctx, lt_batches_fill(second, 4, 24, tokens[1], targets[1]));
            TS_CHECK(memcmp(tokens[0], tokens[1], sizeof tokens[0]) == 0 &&
                         memcmp(targets[0], targets[1], sizeof targets[0]) == 0 && x.targets == y.targets,
                     "resumed");
            int64_t counted = 0;
            for (int i = 0; i < 4 * 24; i++) counted += targets[0][i] >= 0;
            TS_CHECK(counted == x.targets, "%lld targets, %lld were said", (long long)counted, (long long)x.targets);
            sum += counted;
        } while (!x.last);
        TS_CHECK(sum == lt_dataset_scored(set), "an epoch scores all");
        lt_batches_free(first);
        lt_batches_free(second);
        lt_dataset_free(set);
    }
    lti_text_free(&text);
    close_bench(&b);
}

int lti_suite_packing(void)
{
    static const ts_test tests[] = {
        {"packing", packed},
        {"packing at random", packed_at_random},
        {"batches and spans", batches},
        {"resuming", resuming},
    };
    return ts_suite("packing", LTI_COUNT(tests), tests);
}
