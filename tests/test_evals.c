/* test_evals.c - evaluation as a whole: reports against Transformers' numbers (tests/golden/evals.json, written by
 * scripts/goldens_evals.py), against lt_evaluate, and what slices, variations, references and suites add. */
#include "lathe/evals.h"
#include "tests/golden.h"
#include "tests/toys.h"

#include <math.h>
#include <sys/stat.h>

/* ---- A place, models, and reports as objects ---- */

typedef struct evals {
    ts_place p;
    lt_model *model, *other;
    lt_eval_options o;
} evals;

static bool open_evals(evals *t)
{
    *t = (evals){.p = ts_open_place()};
    t->model = toy_model(t->p.ctx, TOY_INIT, 1);
    t->other = toy_model(t->p.ctx, TOY_INIT, 2);
    lt_eval_options_init(&t->o);
    t->o.model = t->model;
    t->o.rows.max_seq_length = 32;
    t->o.resamples = 100;
    return t->model && t->other;
}

static void close_evals(evals *t)
{
    lt_model_free(t->model);
    lt_model_free(t->other);
    ts_close_place(&t->p);
}

/* NULL, and a failed check, when it fails. To be released with json_decref. */
static json_t *report_of(lt_ctx *ctx, const lt_eval_options *o)
{
    char *text = NULL;
    if (!TS_OK(ctx, lt_eval_run(ctx, o, &text))) return NULL;
    json_t *report = json_loads(text, 0, NULL);
    TS_CHECK(json_is_object(report), "a report is an object");
    lt_string_free(ctx, text);
    return report;
}

static json_t *run_on(evals *t, const char *name, const char *rows)
{
    t->o.data = ts_put_text(&t->p, name, rows);
    return report_of(t->p.ctx, &t->o);
}

static json_t *at(json_t *object, const char *one, const char *two)
{
    return json_object_get(json_object_get(object, one), two);
}

static double real_at(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    TS_CHECK(json_is_number(value), "there is a number '%s'", key);
    return json_number_value(value);
}

/* ---- Transformers ---- */

/* Each row has an id of its own, and the report is sliced by it. */
static char *rows_with_ids(const json_t *rows)
{
    static char text[16384];
    size_t i, n = 0;
    json_t *row;
    json_array_foreach((json_t *)rows, i, row)
    {
        json_t *copy = json_copy(row);
        char id[32];
        snprintf(id, sizeof id, "row%zu", i);
        json_object_set_new(copy, "id", json_string(id));
        char *line = json_dumps(copy, JSON_COMPACT);
        n += (size_t)snprintf(text + n, sizeof text - n, "%s\n", line);
        free(line);
        json_decref(copy);
    }
    return text;
}

static void compare_rows(const json_t *item, json_t *report)
{
    size_t i;
    json_t *expected;
    json_array_foreach(json_object_get(item, "expected"), i, expected)
    {
        char id[32];
        const char *key;
        json_t *value;
        snprintf(id, sizeof id, "row%zu", i);
        json_t *got = at(report, "slices", id);
        json_object_foreach(expected, key, value)
            gd_near(real_at(got, key), json_number_value(value), 1e-4, "%s, %s, %s: %s", gd_text(item, "model"),
                    gd_text(item, "kind"), id, key);
    }
}

static void compare_case(evals *t, const json_t *item, const char *root)
{
    char path[4608], other[4608];
    const char *reference = json_string_value(json_object_get(item, "reference"));
    lt_model *model = NULL, *second = NULL;
    snprintf(path, sizeof path, "%s/%s", root, gd_text(item, "model"));
    snprintf(other, sizeof other, "%s/%s", root, reference ? reference : "");
    bool opened = TS_OK(t->p.ctx, lt_model_open_frozen(t->p.ctx, path, &model));
    if (opened && reference) opened = TS_OK(t->p.ctx, lt_model_open_frozen(t->p.ctx, other, &second));
    if (opened) {
        t->o.model = model, t->o.reference = second, t->o.slice = "id";
        json_t *report = run_on(t, "rows.jsonl", rows_with_ids(json_object_get(item, "rows")));
        TS_CHECK(!strcmp(gd_text(report, "kind"), gd_text(item, "kind")), "kind %s", gd_text(report, "kind"));
        compare_rows(item, report);
        json_decref(report);
    }
    lt_model_free(second);
    lt_model_free(model);
}

/* The cases of the committed models, or of the one among the shared data. */
static void compare_cases(bool shared)
{
    evals t;
    json_t *all = gd_load("evals.json");
    size_t i, seen = 0;
    json_t *item;
    if (!open_evals(&t) || !all) return;
    json_array_foreach(json_object_get(all, "cases"), i, item)
    {
        if (!strcmp(gd_text(item, "model"), "stories260K") != shared) continue;
        if (shared) json_object_set_new(item, "model", json_string("hf"));
        compare_case(&t, item, shared ? ts_data("models/stories260K") : gd_directory());
        seen++;
    }
    TS_CHECK(seen >= 3, "%zu cases", seen);
    json_decref(all);
    close_evals(&t);
}

static void families(void)
{
    compare_cases(false);
}

static void stories(void)
{
    compare_cases(true);
}

/* ---- Texts ---- */

static const char story[] =
    "The cat sat on the mat.\n<|endoftext|>\nThe dog ran, and the cat ran with it all day long, "
    "until both were tired and slept.\n<|endoftext|>\nNobody came.\n";

static void texts(void)
{
    evals t;
    if (!open_evals(&t)) return;
    json_t *plain = run_on(&t, "story.txt", story);
    lt_dataset *set;
    lt_eval_result r;
    if (TS_OK(t.p.ctx, lt_dataset_open(t.p.ctx, t.o.data, lt_model_tokenizer(t.model), &t.o.rows, &set)) &&
        TS_OK(t.p.ctx, lt_evaluate(t.model, set, NULL, 0, &r)))
        TS_CHECK(real_at(plain, "nll") == r.nll || fabs(real_at(plain, "nll") - r.nll) < 1e-10,
                 "without details it is lt_evaluate's");
    lt_dataset_free(set);
    TS_CHECK(!json_object_get(plain, "intervals"), "no intervals without details");
    t.o.details = true;
    json_t *one = run_on(&t, "story.txt", story);
    gd_near(real_at(one, "nll"), real_at(plain, "nll"), 1e-6, "positions one by one");
    TS_CHECK(real_at(one, "tokens") == real_at(plain, "tokens") && real_at(one, "documents") == 3, "counts");
    double sum = 0, tokens = 0;
    size_t i;
    json_t *place;
    json_array_foreach(json_object_get(one, "by_position"), i, place)
    {
        tokens += real_at(place, "tokens");
        sum += real_at(place, "tokens") * log(real_at(place, "perplexity"));
    }
    gd_near(sum / tokens, real_at(one, "nll"), 1e-9, "positions add up");
    const json_t *interval = at(one, "intervals", "perplexity");
    TS_CHECK(json_number_value(json_array_get(interval, 0)) <= real_at(one, "perplexity") &&
                 real_at(one, "perplexity") <= json_number_value(json_array_get(interval, 1)),
             "the interval holds the perplexity");
    t.o.limit = 2;
    json_t *two = run_on(&t, "story.txt", story);
    TS_CHECK(real_at(two, "documents") == 2, "a limit");
    json_decref(plain);
    json_decref(one);
    json_decref(two);
    close_evals(&t);
}

/* The same bits for any number of threads, nearly the same for any batch. */
static void threads_and_batches(void)
{
    evals t;
    if (!open_evals(&t)) return;
    int before = lt_threads();
    t.o.details = true, t.o.reference = t.other;
    json_t *reports[3];
    for (int i = 0; i < 3; i++) {
        lt_set_threads(i == 1 ? 3 : 1);
        t.o.batch_size = i == 2 ? 1 : 0;
        reports[i] = run_on(&t, "story.txt", story);
        json_object_del(reports[i], "seconds");
        json_object_del(reports[i], "tokens_per_second");
        json_object_del(reports[i], "peak_rss_bytes");
    }
    lt_set_threads(before);
    TS_CHECK(json_equal(reports[0], reports[1]), "threads change nothing");
    gd_near(real_at(reports[2], "kl"), real_at(reports[0], "kl"), 1e-5, "a batch changes nearly nothing");
    for (int i = 0; i < 3; i++) json_decref(reports[i]);
    close_evals(&t);
}

static void quantized(void)
{
    evals t;
    if (!open_evals(&t)) return;
    lt_quant_policy policy;
    lt_quant_policy_init(&policy);
    policy.weights.type = LT_Q4_0;
    t.o.quant = &policy, t.o.reference = t.model;
    json_t *compared = run_on(&t, "story.txt", story);
    t.o.reference = NULL;
    json_t *plain = run_on(&t, "story.txt", story);
    t.o.quant = NULL;
    json_t *whole = run_on(&t, "story.txt", story);
    gd_near(real_at(compared, "nll"), real_at(plain, "nll"), 1e-6, "quantized as lt_evaluate does");
    gd_near(real_at(json_object_get(compared, "reference"), "nll"), real_at(whole, "nll"), 1e-6, "and the reference");
    TS_CHECK(real_at(compared, "kl") > 0 && real_at(compared, "model_bytes") < real_at(whole, "model_bytes"),
             "quantizing changes something");
    TS_CHECK(json_array_size(json_object_get(compared, "worst")) == 3, "documents that changed");
    json_t *worst = json_array_get(json_object_get(compared, "worst"), 0);
    TS_CHECK(strstr(gd_text(worst, "where"), "story.txt:") && *gd_text(worst, "text"), "worst: %s",
             gd_text(worst, "where"));
    json_decref(compared);
    json_decref(plain);
    json_decref(whole);
    close_evals(&t);
}

/* ---- Tasks ---- */

static const char choices[] =
    "{\"query\": \"The cat\", \"choices\": [\"sat\", \"flew away\"], \"gold\": 0, \"topic\": \"cats\", \"n\": 1}\n"
    "{\"question\": \"The dog\", \"options\": [\"ran\", \"sang\", \"x\"], \"answer\": \"B\", \"topic\": \"dogs\"}\n"
    "{\"ctx\": \"A mat\", \"choices\": {\"text\": [\"lay\", \"ate\"], \"label\": [\"1\", \"2\"]}, \"answerKey\": \"2\","
    " \"topic\": \"cats\"}\n"
    "{\"goal\": \"To sleep\", \"endings\": [\"lie down\", \"run\"], \"label\": \"lie down\", \"context\": \"Rest.\"}\n";

static void slices_and_books(void)
{
    evals t;
    if (!open_evals(&t)) return;
    t.o.slice = "topic", t.o.perturb = "typos,shift", t.o.reference = t.model;
    json_t *r = run_on(&t, "choices.jsonl", choices);
    TS_CHECK(!strcmp(gd_text(r, "kind"), "choice") && real_at(r, "items") == 4, "four choices");
    TS_CHECK(real_at(at(r, "slices", "cats"), "items") == 2 && real_at(at(r, "slices", "dogs"), "items") == 1,
             "slices by topic");
    const char *first = json_object_iter_key(json_object_iter(json_object_get(r, "slices")));
    TS_CHECK(first && !strcmp(first, "cats"), "the largest slice first");
    TS_CHECK(real_at(r, "kl") == 0 && real_at(r, "top1_agreement") == 1 && real_at(r, "flipped") == 0,
             "a model agrees with itself, bit for bit");
    TS_CHECK(at(r, "perturbed", "typos") && at(r, "perturbed", "shift") && !at(r, "perturbed", "case"), "perturbed");
    TS_CHECK(real_at(at(r, "perturbed", "shift"), "nll") != real_at(r, "nll"), "a shift changes something");
    TS_CHECK(json_object_get(r, "closed_book") &&
                 real_at(json_object_get(r, "closed_book"), "nll") != real_at(r, "nll"),
             "with and without the context");
    json_decref(r);
    t.o.reference = t.other;
    r = run_on(&t, "choices.jsonl", choices);
    TS_CHECK(real_at(r, "kl") > 0 && json_array_size(json_object_get(r, "flips")) == (size_t)real_at(r, "flipped"),
             "flips are listed");
    json_decref(r);
    t.o.slice = "nothing";
    char *text;
    TS_REFUSED(t.p.ctx, lt_eval_run(t.p.ctx, &t.o, &text), LT_EINVAL, "no row has a field 'nothing'");
    close_evals(&t);
}

static void open_book_prompts(void)
{
    evals t;
    if (!open_evals(&t)) return;
    t.o.rows.max_seq_length = 64;
    json_t *with = run_on(&t, "book.jsonl", "{\"prompt\": \"2+2=\", \"completion\": \"4\", \"context\": \"Sums.\"}\n");
    json_t *joined = run_on(&t, "joined.jsonl", "{\"prompt\": \"Sums.\\n2+2=\", \"completion\": \"4\"}\n");
    json_t *without = run_on(&t, "plain.jsonl", "{\"prompt\": \"2+2=\", \"completion\": \"4\"}\n");
    TS_CHECK(real_at(with, "nll") == real_at(joined, "nll"), "the context stands before the prompt");
    TS_CHECK(real_at(json_object_get(with, "closed_book"), "nll") == real_at(without, "nll"), "and is left out");
    TS_CHECK(!json_object_get(without, "closed_book"), "no context, no closed book");
    json_decref(with);
    json_decref(joined);
    json_decref(without);
    close_evals(&t);
}

static void suites(void)
{
    evals t;
    char folder[128], path[256];
    if (!open_evals(&t)) return;
    snprintf(folder, sizeof folder, "%s/suite", t.p.dir);
    mkdir(folder, 0700);
    static const char *const files[][2] = {
        {"pets-one.jsonl", choices},
        {"pets-two.jsonl", "{\"context\": \"The cat sat on\", \"continuation\": \"a mat\"}\n"},
        {"story.txt", story},
        {"topics.csv", "text,label\n\"a cat, asleep\",cats\na dog,dogs\n"},
        {"notes.md", "not a task"}};
    for (int i = 0; i < LTI_COUNT(files); i++) {
        snprintf(path, sizeof path, "suite/%s", files[i][0]);
        ts_put_text(&t.p, path, files[i][1]);
    }
    t.o.suite = folder;
    json_t *r = report_of(t.p.ctx, &t.o);
    TS_CHECK(json_object_size(json_object_get(r, "tasks")) == 4, "four tasks");
    double one = real_at(at(r, "tasks", "pets-one"), "accuracy"), two = real_at(at(r, "tasks", "pets-two"), "accuracy");
    double topics = real_at(at(r, "tasks", "topics"), "accuracy");
    gd_near(real_at(at(r, "families", "pets"), "accuracy"), (4 * one + two) / 5, 1e-12, "a family counts items");
    gd_near(real_at(r, "accuracy"), (one + two + topics) / 3, 1e-12, "on top tasks count");
    double nll = 0, tokens = 0;
    const char *name;
    json_t *task;
    json_object_foreach(json_object_get(r, "tasks"), name, task)
    {
        nll += real_at(task, "nll") * real_at(task, "tokens");
        tokens += real_at(task, "tokens");
    }
    gd_near(real_at(r, "nll"), nll / tokens, 1e-9, "all ids count");
    json_decref(r);
    t.o.suite = t.p.dir;
    char *text;
    TS_REFUSED(t.p.ctx, lt_eval_run(t.p.ctx, &t.o, &text), LT_EINVAL, "files of tasks");
    close_evals(&t);
}

static void samples(void)
{
    evals t;
    if (!open_evals(&t)) return;
    t.o.samples = 10, t.o.sample_tokens = 12;
    json_t *r = run_on(&t, "story.txt", story), *again = run_on(&t, "story.txt", story);
    json_t *d = json_object_get(r, "diversity");
    double distinct = real_at(d, "distinct_1"), repeated = real_at(d, "repetition");
    TS_CHECK(distinct > 0 && distinct <= 1 && repeated >= 0 && repeated <= 1, "diversity");
    TS_CHECK(json_equal(d, json_object_get(again, "diversity")), "samples follow the seed");
    json_decref(r);
    json_decref(again);
    close_evals(&t);
}

/* ---- Refusals ---- */

static void refusals(void)
{
    evals t;
    char *text;
    if (!open_evals(&t)) return;
    t.o.data = ts_put_text(&t.p, "bad.jsonl",
                           "{\"query\": \"q\", \"choices\": [\"a\", \"b\"], \"gold\": 2}\n"
                           "{\"query\": \"q\", \"choices\": [\"a\"], \"gold\": 0}\n"
                           "{\"query\": 3, \"choices\": [\"a\", \"b\"], \"gold\": 0}\n"
                           "{\"query\": \"q\", \"choices\": [\"a\", \"b\"]}\nnonsense\n");
    static const char *const words[] = {"5 of 5 rows",
                                        "bad.jsonl:1: 'gold' names none of the 2 choices",
                                        "bad.jsonl:2: 'choices' has 1",
                                        "bad.jsonl:3: 'query'",
                                        "bad.jsonl:4: 'gold' is missing",
                                        "bad.jsonl:5: not JSON"};
    for (int i = 0; i < LTI_COUNT(words); i++)
        TS_REFUSED(t.p.ctx, lt_eval_run(t.p.ctx, &t.o, &text), LT_EFORMAT, words[i]);
    t.o.data = ts_put_text(&t.p, "rows.jsonl", choices);
    t.o.perturb = "typos,tpyos";
    TS_REFUSED(t.p.ctx, lt_eval_run(t.p.ctx, &t.o, &text), LT_EINVAL, "'tpyos' is none of");
    t.o.perturb = NULL, t.o.task = "quiz";
    TS_REFUSED(t.p.ctx, lt_eval_run(t.p.ctx, &t.o, &text), LT_EINVAL, "'quiz' is none of");
    t.o.task = NULL, t.o.label_prompt = "no place";
    TS_REFUSED(t.p.ctx, lt_eval_run(t.p.ctx, &t.o, &text), LT_EINVAL, "{text}");
    t.o.label_prompt = NULL;
    lt_model *small = NULL;
    TS_OK(t.p.ctx, lt_model_open_frozen(t.p.ctx, "tests/golden/families/llama", &small));
    t.o.reference = small;
    TS_REFUSED(t.p.ctx, lt_eval_run(t.p.ctx, &t.o, &text), LT_EINVAL, "only models of one vocabulary");
    lt_model_free(small);
    t.o.reference = NULL;
    TS_OK(t.p.ctx, lt_model_open_frozen(t.p.ctx, "tests/golden/families/bert", &small));
    t.o.model = small;
    TS_REFUSED(t.p.ctx, lt_eval_run(t.p.ctx, &t.o, &text), LT_EINVAL, "is an encoder");
    t.o.data = ts_put_text(&t.p, "labels.jsonl", "{\"text\": \"ab\", \"label\": \"cats\"}\n");
    TS_REFUSED(t.p.ctx, lt_eval_run(t.p.ctx, &t.o, &text), LT_EINVAL, "none of the model's 3 classes ('LABEL_0'");
    lt_model_free(small);
    close_evals(&t);
}

/* ---- Memory ---- */

static lt_status attempt(lt_ctx *ctx, void *arg, bool *survived)
{
    const char *path = arg;
    lt_model *model = NULL, *other = NULL;
    lt_eval_options o;
    char *report = NULL;
    (void)survived;
    lt_eval_options_init(&o);
    lt_status status = lt_model_create(ctx, TOY_INIT, NULL, 1, &model);
    if (status == LT_OK) status = lt_model_create(ctx, TOY_INIT, NULL, 2, &other);
    o.model = model, o.reference = other, o.data = path, o.slice = "topic", o.perturb = "case", o.resamples = 3;
    o.rows.max_seq_length = 16;
    if (status == LT_OK) status = lt_eval_run(ctx, &o, &report);
    if (status == LT_OK) lt_string_free(ctx, report);
    lt_model_free(model);
    lt_model_free(other);
    return status;
}

static void allocations(void)
{
    ts_place p = ts_open_place();
    char path[256];
    snprintf(path, sizeof path, "%s", ts_put_text(&p, "choices.jsonl", choices));
    toy_allocations_fail("choices", 60, attempt, path);
    snprintf(path, sizeof path, "%s",
             ts_put_text(&p, "rows.jsonl",
                         "{\"prompt\": \"1 + 1 =\", \"completion\": \"2\", \"topic\": \"a\", \"context\": \"c\"}\n"));
    toy_allocations_fail("prompts", 60, attempt, path);
    ts_close_place(&p);
}

int lti_suite_evals(void)
{
    ts_test tests[] = {{"families", families},
                       {"texts", texts},
                       {"threads and batches", threads_and_batches},
                       {"quantized", quantized},
                       {"slices and open books", slices_and_books},
                       {"prompts with context", open_book_prompts},
                       {"suites", suites},
                       {"samples", samples},
                       {"refusals", refusals},
                       {"allocations", allocations}};
    int failed = ts_suite("evals", LTI_COUNT(tests), tests);
    CU_pSuite suite = CU_get_suite("evals");
    if (suite) failed |= ts_add_with_data(suite, "stories260K", "models/stories260K/hf/config.json", stories);
    return failed || toy_one_thread("evals");
}
