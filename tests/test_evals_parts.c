/* test_evals_parts.c - the parts evaluation is made of, against naive code: bootstrap, diversity, F1, perturbations; and
 * reading of tables. */
#include "base/rng.h"
#include "data/utf8.h"
#include "evals/bootstrap.h"
#include "evals/diversity.h"
#include "evals/eval.h"
#include "tests/data_files.h"

#include <math.h>

/* ---- Bootstrap ---- */

static void bootstrap(void)
{
    enum { N = 37, R = 400 };
    double top[N], other[N], bottom[N], values[R], differences[R], got[2];
    lt_ctx *ctx = lt_ctx_create(NULL);
    for (int i = 0; i < N; i++) {
        bottom[i] = 1 + i % 5;
        top[i] = bottom[i] * (1 + ts_uniform("top", i));
        other[i] = bottom[i] * (1 + ts_uniform("other", i));
    }
    lti_rng rng = {.seed = 7, .stream = lti_rng_stream("bootstrap")};
    for (int r = 0; r < R; r++) {
        double a = 0, b = 0, c = 0;
        for (int i = 0; i < N; i++) {
            int item = (int)floor(N * lti_rng_uniform(&rng, (uint64_t)(r * N + i)));
            a += top[item], b += bottom[item], c += other[item];
        }
        values[r] = exp(a / b);
        differences[r] = exp(a / b) - exp(c / b);
    }
    qsort(values, R, sizeof *values, ts_ascending);
    qsort(differences, R, sizeof *differences, ts_ascending);
    lti_ratio one = {top, bottom, true}, two = {other, bottom, true};
    TS_OK(ctx, lti_bootstrap(ctx, N, &one, NULL, R, 7, got));
    TS_CHECK(fabs(got[0] - values[9]) < 1e-12 && fabs(got[1] - values[389]) < 1e-12, "interval %.15g %.15g", got[0],
             got[1]);
    TS_OK(ctx, lti_bootstrap(ctx, N, &one, &two, R, 7, got));
    TS_CHECK(fabs(got[0] - differences[9]) < 1e-12 && fabs(got[1] - differences[389]) < 1e-12, "paired difference");
    lt_ctx_free(ctx);
}

/* ---- Diversity ---- */

static bool has(const lt_ids *text, int64_t from, int64_t until, const int32_t *gram, int n)
{
    for (int64_t k = from; k < until && k + n <= text->count; k++)
        if (!memcmp(text->ids + k, gram, (size_t)n * sizeof *gram)) return true;
    return false;
}

static void diversity(void)
{
    enum { TEXTS = 5 };
    int32_t ids[TEXTS][30];
    static const int64_t lengths[TEXTS] = {30, 3, 17, 0, 25};
    lt_ids texts[TEXTS];
    lti_diversity d;
    double repetition = 0, overlap = 0;
    lt_ctx *ctx = lt_ctx_create(NULL);
    for (int i = 0; i < TEXTS; i++) {
        for (int k = 0; k < 30; k++) ids[i][k] = (int32_t)(3 * ts_uniform("ids", 100 * i + k));
        texts[i] = (lt_ids){ids[i], lengths[i], lengths[i]};
    }
    TS_OK(ctx, lti_diversity_of(ctx, TEXTS, texts, &d));
    for (int n = 1; n <= 4; n++) {
        int64_t all = 0, distinct = 0;
        for (int i = 0; i < TEXTS; i++) {
            int64_t own = 0, new_here = 0, shared = 0;
            for (int64_t k = 0; k + n <= lengths[i]; k++) {
                bool seen = has(&texts[i], 0, k, ids[i] + k, n), before = seen, elsewhere = false;
                for (int j = 0; j < TEXTS; j++) {
                    bool there = j != i && has(&texts[j], 0, 100, ids[i] + k, n);
                    elsewhere |= there;
                    before |= there && j < i;
                }
                own++, new_here += !seen, distinct += !before, shared += elsewhere;
            }
            all += own;
            if (n == 4 && own) {
                repetition += 1 - (double)new_here / (double)own;
                overlap += (double)shared / (double)own;
            }
        }
        if (n < 4)
            TS_CHECK(fabs(d.distinct[n - 1] - (double)distinct / (double)all) < 1e-12, "distinct-%d %g", n,
                     d.distinct[n - 1]);
    }
    TS_CHECK(fabs(d.repetition - repetition / 3) < 1e-12 && fabs(d.overlap - overlap / 3) < 1e-12, "4-grams");
    TS_OK(ctx, lti_diversity_of(ctx, 0, texts, &d));
    TS_CHECK(d.distinct[0] == 0 && d.overlap == 0, "nothing to count");
    lt_ctx_free(ctx);
}

/* ---- F1 ---- */

static void macro_f1(void)
{
    /* Labels a, b, c, d; d never occurs. scikit-learn: f1_score([0,0,0,1,1,2], [0,0,1,1,2,2], average="macro") =
     * (0.8 + 0.5 + 2/3) / 3 */
    static const int32_t gold[] = {0, 0, 0, 1, 1, 2}, answer[] = {0, 0, 1, 1, 2, 2};
    lt_ctx *ctx = lt_ctx_create(NULL);
    lti_view view = {.ctx = ctx, .labels = {.ctx = ctx, .text = {.ctx = ctx}}};
    int32_t number;
    int64_t counts[12];
    for (int i = 0; i < 4; i++)
        TS_OK(ctx, lti_names_add(&view.labels, (const char *[]){"a", "b", "c", "d"}[i], &number));
    TS_OK(ctx, lti_view_items(&view, 6));
    for (int i = 0; i < 6; i++)
        view.items[i] = (lti_item){.gold = gold[i], .answer = {answer[i]}, .right = {gold[i] == answer[i]}};
    double f1 = lti_macro_f1(&view, 0, -1, counts);
    TS_CHECK(fabs(f1 - (0.8 + 0.5 + 2.0 / 3) / 3) < 1e-12, "macro F1 %.12g", f1);
    lti_view_free(&view);
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "nothing stays");
    lt_ctx_free(ctx);
}

/* ---- Perturbations ---- */

static char *perturbed(lt_ctx *ctx, lti_perturbation kind, uint64_t seed, const char *key, const char *text)
{
    lti_text out = {.ctx = ctx};
    lti_perturb(kind, seed, key, text, &out);
    return out.data;
}

static int64_t words_that_differ(const char *a, const char *b, int64_t *words)
{
    int64_t differ = 0;
    for (*words = 0; *a && *b; ++*words) {
        size_t n = strcspn(a, " "), m = strcspn(b, " ");
        differ += n != m || memcmp(a, b, n);
        a += n + (a[n] == ' '), b += m + (b[m] == ' ');
    }
    return differ;
}

static void perturbations(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    char text[40001], *p = text;
    for (int i = 0; i < 4000; i++) p += sprintf(p, i % 3 ? "word%c%c " : "w\xC3\xB6rter ", 'a' + i % 26, 'z' - i % 7);
    p[-1] = 0;
    for (int k = 1; k < LTI_PERTURB_COUNT; k++) {
        lti_perturbation kind = (lti_perturbation)k;
        char *one = perturbed(ctx, kind, 1, text, text), *two = perturbed(ctx, kind, 1, text, text);
        char *other = perturbed(ctx, kind, 2, text, text), *half = strdup(text);
        TS_CHECK(!strcmp(one, two) && strcmp(one, text), "%s: the same each time", lti_perturbation_name(kind));
        TS_CHECK(k == LTI_PERTURB_SHIFT || strcmp(one, other), "%s: another seed", lti_perturbation_name(kind));
        TS_CHECK(lti_utf8_check((unsigned char *)one, strlen(one)) == strlen(one), "%s: UTF-8",
                 lti_perturbation_name(kind));
        half[20000] = 0;
        char *begin = perturbed(ctx, kind, 1, text, half);
        TS_CHECK(!strncmp(begin, one, 15000), "%s: what begins alike stays alike", lti_perturbation_name(kind));
        int64_t words, differ = words_that_differ(text, one, &words);
        if (kind == LTI_PERTURB_TYPOS)
            TS_CHECK(words == 4000 && differ > 130 && differ < 270, "%lld words of 4000 have typos", (long long)differ);
        if (kind == LTI_PERTURB_CASE)
            TS_CHECK(words == 4000 && differ > 1200 && differ < 1500, "%lld words in capitals", (long long)differ);
        if (kind == LTI_PERTURB_SHIFT) {
            const char *rest = strstr(one, text);
            TS_CHECK(rest && rest > one, "a sentence before the text");
        }
        lti_free(ctx, one), lti_free(ctx, two), lti_free(ctx, other), lti_free(ctx, begin);
        free(half);
    }
    unsigned kinds;
    TS_OK(ctx, lti_perturbations(ctx, "all", &kinds));
    TS_CHECK(kinds == 30, "all: %u", kinds);
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "nothing stays");
    lt_ctx_free(ctx);
}

/* ---- Tables and lines ---- */

typedef struct reading {
    ts_place p;
    lti_source source;
    lti_task task;
} reading;

static bool read_labels(reading *r, const char *name, const char *text, size_t bytes, int64_t limit, bool fine)
{
    lt_dataset_options rows;
    lt_dataset_options_init(&rows);
    *r = (reading){.p = ts_open_place()};
    lti_task_options o = {.kind = LTI_KIND_CLASSIFICATION, .slice = "source", .fine_labels = fine};
    if (strstr(name, ".txt")) o.slice = NULL;
    const char *path = ts_put(&r->p, name, text, bytes);
    return TS_OK(r->p.ctx, lti_source_open(r->p.ctx, path, &rows, limit, LTI_LINES_DETECT, &r->source)) &&
           TS_OK(r->p.ctx, lti_task_read(&r->source, &o, &r->task));
}

static void close_reading(reading *r)
{
    lti_task_free(&r->task);
    lti_source_close(&r->source);
    ts_close_place(&r->p);
}

static void tables(void)
{
    static const char csv[] =
        "\xEF\xBB\xBFid,Text,source,Intent\r\n1,\"a, \"\"b\"\"\nc\",web,x\r\n2,5\" wide,mail,y\n\n"
        "3,,web,\"x\"\n";
    static const char *const queries[] = {"a, \"b\"\nc", "5\" wide", ""};
    static const int64_t lines[] = {2, 4, 6};
    reading r;
    if (read_labels(&r, "t.csv", csv, sizeof csv - 1, 0, false) && TS_CHECK(r.task.count == 3, "three records")) {
        for (int i = 0; i < 3; i++)
            TS_CHECK(!strcmp(lti_task_text(&r.task, r.task.rows[i].query), queries[i]) &&
                         r.task.rows[i].line == lines[i] && r.task.rows[i].gold == i % 2 &&
                         r.task.rows[i].slice == i % 2,
                     "record %d: '%s', line %lld", i, lti_task_text(&r.task, r.task.rows[i].query),
                     (long long)r.task.rows[i].line);
        TS_CHECK(!strcmp(lti_names_at(&r.task.labels, 1), "y"), "labels");
    }
    close_reading(&r);
    if (read_labels(&r, "t.csv", csv, sizeof csv - 1, 1, false))
        TS_CHECK(r.task.count == 1 && r.task.labels.count == 2, "a limit leaves all labels");
    close_reading(&r);
    static const char trec[] = "NUM:dist How far ?\nLOC:city Where is Orl\xE9"
                               "ans ?\nNUM:date When ?\n";
    if (read_labels(&r, "t.txt", trec, sizeof trec - 1, 0, false))
        TS_CHECK(r.task.count == 3 && r.task.labels.count == 2 &&
                     !strcmp(lti_task_text(&r.task, r.task.rows[1].query), "Where is Orl\xC3\xA9"
                                                                           "ans ?"),
                 "lines, one of Latin-1: %s", lti_task_text(&r.task, r.task.rows[1].query));
    close_reading(&r);
    if (read_labels(&r, "t.txt", trec, sizeof trec - 1, 0, true)) TS_CHECK(r.task.labels.count == 3, "fine labels");
    close_reading(&r);
}

static void broken_tables(void)
{
    lt_dataset_options rows;
    lt_dataset_options_init(&rows);
    ts_place p = ts_open_place();
    lti_source source;
    lti_task task;
    lti_task_options o = {.kind = LTI_KIND_CLASSIFICATION};
    TS_REFUSED(p.ctx,
               lti_source_open(p.ctx, ts_put_text(&p, "a.csv", "text,label\n\"never closed,x\n"), &rows, 0,
                               LTI_LINES_DETECT, &source),
               LT_EFORMAT, "a.csv:2: a quote");
    lti_source_close(&source);
    TS_OK(p.ctx,
          lti_source_open(p.ctx, ts_put_text(&p, "b.csv", "words,kind\na,b\n"), &rows, 0, LTI_LINES_DETECT, &source));
    TS_REFUSED(p.ctx, lti_task_read(&source, &o, &task), LT_EFORMAT, "no text and label columns");
    lti_task_free(&task);
    lti_source_close(&source);
    TS_OK(p.ctx, lti_source_open(p.ctx, ts_put_text(&p, "c.csv", "text,label\na,b\nonly text\n"), &rows, 0,
                                 LTI_LINES_DETECT, &source));
    TS_REFUSED(p.ctx, lti_task_read(&source, &o, &task), LT_EFORMAT, "c.csv:3: it has no field 2");
    lti_task_free(&task);
    lti_source_close(&source);
    ts_close_place(&p);
}

int lti_suite_evals_parts(void)
{
    ts_test tests[] = {{"bootstrap", bootstrap},         {"diversity", diversity}, {"macro F1", macro_f1},
                       {"perturbations", perturbations}, {"tables", tables},       {"broken tables", broken_tables}};
    return ts_suite("evals_parts", LTI_COUNT(tests), tests);
}
