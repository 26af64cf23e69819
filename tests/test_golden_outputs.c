/* test_golden_outputs.c - goldens written and compared, every row that is refused.
 * Differences are checked against a tokenizer's prefixes of the same text and against values by hand. */
#include "evals/golden_outputs.h"
#include "tests/data_files.h"

#include <jansson.h>
#include <math.h>

#define PROMPT "Once upon a time"
#define INIT "llama:layers=1,dim=16,hidden=16,heads=2,kv_heads=1,context=48"

typedef struct golden_bench {
    ts_place p;
    lt_model *model;
    lt_golden_options o;
    char prompts[300], golden[300], written[300];
} golden_bench;

static bool open_golden(golden_bench *b, const char *path)
{
    *b = (golden_bench){.p = ts_open_place()};
    lt_golden_options_init(&b->o);
    snprintf(b->prompts, sizeof b->prompts, "%s/p.jsonl", b->p.dir);
    snprintf(b->golden, sizeof b->golden, "%s/g.jsonl", b->p.dir);
    snprintf(b->written, sizeof b->written, "%s/w.jsonl", b->p.dir);
    b->o.prompts = b->prompts;
    b->o.max_tokens = 12;
    return TS_OK(b->p.ctx, path ? lt_model_open_frozen(b->p.ctx, path, &b->model)
                                : lt_model_create(b->p.ctx, INIT, NULL, 3, &b->model));
}

static void close_golden(golden_bench *b)
{
    lt_model_free(b->model);
    ts_close_place(&b->p);
}

/* The report as an object, without what differs from run to run; NULL when the call fails. */
static json_t *run(golden_bench *b)
{
    char *text = NULL;
    if (!TS_OK(b->p.ctx, lt_golden_run(b->p.ctx, b->model, &b->o, &text))) return NULL;
    json_t *report = json_loads(text, JSON_ALLOW_NUL, NULL);
    TS_CHECK(report != NULL, "the report is JSON: %s", text);
    lt_string_free(b->p.ctx, text);
    json_object_del(report, "seconds");
    return report;
}

static double at(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : json_is_boolean(value) ? json_is_true(value) : NAN;
}

static void is_number(const json_t *object, const char *key, double want)
{
    double got = at(object, key);
    TS_CHECK(fabs(got - want) <= 1e-9 || (isnan(got) && isnan(want)), "%s is %.12g, not %.12g", key, got, want);
}

/* ---- Writing and comparing ---- */

static const char plain_prompts[] = "{\"id\": \"one\", \"prompt\": \"ab c\"}\n"
                                    "{\"prompt\": \"cab\", \"max_tokens\": 5, \"kind\": \"x\"}\n"
                                    "{\"id\": 3, \"prompt\": \"a\", \"stop\": [\"zz\", \"q\"]}\n";

/* What a model writes it finds again, and writes again byte for byte. */
static void round_trip(const char *path)
{
    golden_bench b;
    char *first = NULL, *second = NULL;
    uint64_t sizes[2] = {0, 0};
    if (!open_golden(&b, path)) return close_golden(&b);
    ts_put_text(&b.p, "p.jsonl", plain_prompts);
    b.o.write = b.golden;
    json_t *wrote = run(&b);
    is_number(wrote, "prompts", 3);
    is_number(wrote, "items", 0);
    is_number(wrote, "unchecked", 3);
    is_number(wrote, "passed", NAN);
    b.o.golden = b.golden;
    b.o.write = b.written;
    b.o.max_tokens = 0; /* the header has it */
    json_t *report = run(&b), *again = run(&b);
    TS_CHECK(json_equal(report, again), "%s: the report is the same again", path);
    is_number(report, "items", 3);
    is_number(report, "exact", 1);
    is_number(report, "passed", 1);
    is_number(report, "diverged", 0);
    is_number(report, "contains", NAN);
    is_number(report, "first_divergence_mean", NAN);
    is_number(json_object_get(report, "source"), "same_model", 1);
    is_number(json_object_get(report, "source"), "same_tokenizer", 1);
    json_t *row = json_array_get(json_object_get(report, "rows"), 1);
    TS_CHECK(strcmp(json_string_value(json_object_get(row, "prompt")), "cab") == 0, "%s: a row's prompt", path);
    TS_CHECK(at(row, "tokens") <= 5, "%s: a row's own max_tokens", path);
    TS_OK(b.p.ctx, lti_file_read(b.p.ctx, b.golden, 1 << 20, &first, &sizes[0]));
    TS_OK(b.p.ctx, lti_file_read(b.p.ctx, b.written, 1 << 20, &second, &sizes[1]));
    TS_CHECK(sizes[0] == sizes[1] && first && second && !memcmp(first, second, sizes[0]), "%s: the same file", path);
    TS_CHECK(first && !strncmp(first, "{\"lathe_golden\": 1, \"model\": \"", 29), "the header: %.60s", first);
    lti_free(b.p.ctx, first);
    lti_free(b.p.ctx, second);
    json_decref(wrote);
    json_decref(report);
    json_decref(again);
    close_golden(&b);
}

static void families(void)
{
    static const char *const names[] = {"llama", "gpt2", "qwen2", "qwen3", "gemma3", "mistral"};
    for (int i = 0; i < LTI_COUNT(names); i++) {
        char path[64];
        snprintf(path, sizeof path, "tests/golden/families/%s", names[i]);
        round_trip(path);
    }
    round_trip(NULL); /* plain bytes: texts with NUL characters and U+FFFD */
}

/* The model's text for the prompt "ab", as JSON without quotes; and its tokens as bytes each. */
static json_t *text_of(golden_bench *b)
{
    ts_put_text(&b->p, "p.jsonl", "{\"id\": \"x\", \"prompt\": \"" PROMPT "\"}\n");
    b->o.write = b->written;
    json_t *report = run(b);
    json_t *text = json_incref(json_object_get(json_array_get(json_object_get(report, "rows"), 0), "output"));
    b->o.write = NULL;
    b->o.golden = b->golden;
    json_decref(report);
    return text;
}

/* Runs with one golden row {"id": "x", "output": ...,  the rest}. */
static json_t *run_against(golden_bench *b, const char *output, size_t bytes, const char *more)
{
    json_t *row = json_loads(more, 0, NULL);
    json_object_set_new(row, "id", json_string("x"));
    if (output) json_object_set_new(row, "output", json_stringn(output, bytes));
    char *text = json_dumps(row, 0);
    ts_put_text(&b->p, "g.jsonl", text);
    free(text);
    json_decref(row);
    return run(b);
}

/* Each character of a real text changed in turn: where it is found, of which token it is. */
static void differences(void)
{
    golden_bench b;
    if (!open_golden(&b, ts_data("models/stories260K/hf"))) return close_golden(&b);
    json_t *text = text_of(&b);
    const char *got = json_string_value(text);
    size_t n = json_string_length(text);
    lt_tokenizer *tok = lt_model_tokenizer(b.model);
    lt_ids ids = {0};
    char whole[512];
    int64_t before = (int64_t)strlen(PROMPT), skip;
    TS_CHECK(n > 12, "a text comes: '%s'", got);
    /* a usual text: its ids are those the model gives */
    TS_OK(b.p.ctx, lt_tokenizer_encode(tok, PROMPT, before, 0, &ids));
    skip = ids.count;
    ids.count = 0;
    snprintf(whole, sizeof whole, "%s%s", PROMPT, got);
    TS_OK(b.p.ctx, lt_tokenizer_encode(tok, whole, (int64_t)strlen(whole), 0, &ids));
    for (size_t i = 0; i < n; i += 3) {
        char changed[512];
        memcpy(changed, got, n + 1);
        changed[i] = '#';
        json_t *report = run_against(&b, changed, n, "{}");
        json_t *row = json_array_get(json_object_get(report, "rows"), 0);
        json_t *first = json_object_get(row, "first_divergence");
        is_number(report, "exact", 0);
        is_number(report, "passed", 0);
        is_number(report, "diverged", 1);
        is_number(first, "byte", (double)i);
        is_number(row, "divergence", (double)(n - i) / (double)n);
        TS_CHECK(!strncmp(json_string_value(json_object_get(first, "got")), got + i, 30), "what came at %zu", i);
        TS_CHECK(!strncmp(json_string_value(json_object_get(first, "expected")), changed + i, 30), "what was expected");
        int64_t token = skip;
        for (char *part = NULL; token < ids.count; token++) {
            int64_t bytes = 0;
            TS_OK(b.p.ctx, lt_tokenizer_decode(tok, ids.ids, token + 1, 0, &part, &bytes));
            lt_buffer_free(b.p.ctx, part);
            if (bytes > before + (int64_t)i) break;
        }
        is_number(first, "token", (double)(token - skip));
        is_number(report, "first_divergence_mean", (double)(token - skip));
        json_decref(report);
    }
    lt_ids_free(b.p.ctx, &ids);
    json_decref(text);
    close_golden(&b);
}

static void checks(void)
{
    static const struct {
        const char *more;
        double contains, regex, passed;
    } cases[] = {
        {"{\"must_contain\": \"time\"}", NAN, NAN, NAN}, /* filled below: depends on the text */
        {"{\"must_contain\": \"\\u2603\"}", 0, NAN, 0},
        {"{\"must_not_contain\": [\"\\u2603\", \"###\"]}", 1, NAN, 1},
        {"{\"regex\": \"^[\\\\x{0}-\\\\x{10FFFF}]*$\"}", NAN, 1, 1},
        {"{\"regex\": \"\\u2603{2}\"}", NAN, 0, 0},
        {"{\"regex\": \"(?i)[a-z,. ]\", \"must_not_contain\": \"\\u2603\"}", 1, 1, 1},
        {"{\"regex\": \".\", \"must_contain\": \"\\u2603\"}", 0, 1, 0},
    };
    golden_bench b;
    if (!open_golden(&b, ts_data("models/stories260K/hf"))) return close_golden(&b);
    json_t *text = text_of(&b);
    for (int i = 1; i < LTI_COUNT(cases); i++) {
        json_t *report = run_against(&b, NULL, 0, cases[i].more);
        is_number(report, "contains", cases[i].contains);
        is_number(report, "regex", cases[i].regex);
        is_number(report, "passed", cases[i].passed);
        is_number(report, "exact", NAN);
        json_decref(report);
    }
    const char *got = json_string_value(text);
    size_t n = json_string_length(text);
    char longer[600];
    snprintf(longer, sizeof longer, "%.*s!!", (int)n, got);
    json_t *report = run_against(&b, longer, n + 2, "{\"max_divergence\": 0.5, \"note\": \"n\"}");
    json_t *first = json_object_get(json_array_get(json_object_get(report, "rows"), 0), "first_divergence");
    is_number(report, "exact", 0);
    is_number(report, "passed", 1);
    is_number(first, "byte", (double)n); /* what came ends there */
    is_number(first, "token", 12);
    TS_CHECK(!strcmp(json_string_value(json_object_get(first, "got")), ""), "nothing more came");
    json_decref(report);
    json_decref(text);
    close_golden(&b);
}

/* ---- Rows ---- */

#define MANY(x) x x x x x x x x x x

static void bad_prompts(void)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"\n\n", "there is no prompt in it"},
        {"{\"prompt\": \"a\"\n", "p.jsonl:1: not JSON at byte"},
        {"{\"prompt\": \"a\"}\n[1]\n", "p.jsonl:2: the row is an array, not an object"},
        {"{\"prompt\": \"a\", \"prompt\": \"b\"}", "p.jsonl:1: not JSON"},
        {"{\"text\": \"a\"}", "p.jsonl:1: a row has 'prompt' or 'messages', one of them"},
        {"{\"prompt\": \"a\", \"messages\": []}", "'prompt' or 'messages', one of them"},
        {"{\"prompt\": 7}", "'prompt' is an integer, not a string"},
        {"{\"prompt\": \"a\", \"id\": 1.5}", "'id' is a fraction"},
        {"{\"prompt\": \"a\", \"id\": 1}\n{\"prompt\": \"b\", \"id\": \"1\"}", "p.jsonl:2: id 1 stands in line 1 too"},
        {"{\"prompt\": \"a\"}\n\n{\"prompt\": \"a\"}", "p.jsonl:3: prompt a stands in line 1 too; give both an id"},
        {"{\"prompt\": \"a\", \"max_tokens\": 0}", "'max_tokens' is to be a whole number from 1"},
        {"{\"prompt\": \"a\", \"max_tokens\": \"9\"}", "'max_tokens' is to be a whole number"},
        {"{\"prompt\": \"a\", \"stop\": 1}", "'stop' is an integer, not a string or an array"},
        {"{\"prompt\": \"a\", \"stop\": []}", "'stop' holds 0 strings"},
        {"{\"prompt\": \"a\", \"stop\": [\"x\", \"\"]}", "'stop' holds an empty string"},
        {"{\"prompt\": \"a\", \"stop\": \"\\u0000\"}", "'stop' holds a NUL character"},
        {"{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}", "'messages' need a chat template"},
        {"{\"prompt\": \"" MANY("abcdefgh") "\"}", "the prompt has 81 tokens; the model has room for 47"},
        {"{\"prompt\": \"\xff\"}", "byte 13 of the row is not UTF-8"},
        {MANY("{}\n") "{}", "11 of 11 rows of"},
    };
    golden_bench b;
    char *report;
    if (!open_golden(&b, NULL)) return close_golden(&b);
    b.o.write = b.written;
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        ts_put_text(&b.p, "p.jsonl", cases[i].text);
        TS_REFUSED(b.p.ctx, lt_golden_run(b.p.ctx, b.model, &b.o, &report), LT_EFORMAT, cases[i].says);
    }
    TS_CHECK(strstr(lt_ctx_message(b.p.ctx), "the first 10"), "%s", lt_ctx_message(b.p.ctx));
    TS_CHECK(!lti_file_exists(b.written), "nothing was written");
    b.o.prompts = "/nonexistent.jsonl";
    TS_REFUSED(b.p.ctx, lt_golden_run(b.p.ctx, b.model, &b.o, &report), LT_EIO, "/nonexistent.jsonl");
    close_golden(&b);
}

static void bad_goldens(void)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"{\"output\": \"a\"}", "g.jsonl:1: 'id', 'prompt' or 'messages' must name a prompt"},
        {"{\"id\": \"y\", \"output\": \"a\"}", "g.jsonl:1: no prompt has the id y"},
        {"{\"prompt\": \"b\", \"output\": \"a\"}", "g.jsonl:1: no prompt has the prompt b"},
        {"{\"id\": \"x\", \"prompt\": \"old\", \"output\": \"a\"}", "has another text now"},
        {"{\"prompt\": \"twice\", \"output\": \"a\"}", "several prompts have this text"},
        {"{\"id\": \"x\"}", "g.jsonl:1: nothing is expected"},
        {"{\"id\": \"x\", \"must_contains\": \"a\"}", "'must_contains' is no field of a golden"},
        {"{\"id\": \"x\", \"output\": 1}", "'output' is an integer"},
        {"{\"id\": \"x\", \"regex\": [\"a\"]}", "'regex' is an array"},
        {"{\"id\": \"x\", \"output\": \"\"}\n{\"id\": \"x\", \"regex\": \"a(b\"}",
         "g.jsonl:2: 'regex' is no pattern: missing closing parenthesis at its byte 3"},
        {"{\"id\": \"x\", \"must_contain\": [\"a\", 1]}", "'must_contain' is an integer, not a string"},
        {"{\"id\": \"x\", \"must_not_contain\": \"\"}", "'must_not_contain' holds an empty string"},
        {"{\"id\": \"x\", \"output\": \"a\", \"max_divergence\": 2}", "'max_divergence' is to be a number from 0 to 1"},
        {"{\"id\": \"x\", \"regex\": \"a\", \"max_divergence\": 0}", "'max_divergence' needs an 'output'"},
        {"{\"id\": \"x\", \"output\": \"a\"}\n{\"id\": \"x\", \"output\": \"b\"}",
         "g.jsonl:2: the prompt has a golden in line 1 already"},
        {"{\"id\": \"x\", \"output\": \"a\"}\n{\"lathe_golden\": 1}", "g.jsonl:2: a first row of another file"},
        {"{\"lathe_golden\": 1}", "there is no golden in it"},
        {"{\"lathe_golden\": 1, \"sampling\": {\"max_tokens\": 0}}\n{\"id\": \"x\", \"output\": \"a\"}",
         ":1: sampling"},
    };
    golden_bench b;
    char *report;
    if (!open_golden(&b, NULL)) return close_golden(&b);
    ts_put_text(&b.p, "p.jsonl",
                "{\"id\": \"x\", \"prompt\": \"a\"}\n{\"id\": 1, \"prompt\": \"twice\"}\n"
                "{\"id\": 2, \"prompt\": \"twice\"}\n");
    b.o.golden = b.golden;
    b.o.max_tokens = 0;
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        ts_put_text(&b.p, "g.jsonl", cases[i].text);
        TS_REFUSED(b.p.ctx, lt_golden_run(b.p.ctx, b.model, &b.o, &report), LT_EFORMAT, cases[i].says);
    }
    ts_put_text(&b.p, "g.jsonl", "{\"lathe_golden\": 2}\n");
    TS_REFUSED(b.p.ctx, lt_golden_run(b.p.ctx, b.model, &b.o, &report), LT_EUNSUPPORTED, "goldens of version 2");
    b.o.max_tokens = 9;
    ts_put_text(&b.p, "g.jsonl",
                "{\"lathe_golden\": 1, \"sampling\": {\"max_tokens\": 7}}\n"
                "{\"id\": \"x\", \"output\": \"a\"}");
    TS_REFUSED(b.p.ctx, lt_golden_run(b.p.ctx, b.model, &b.o, &report), LT_EINVAL, "written with 7 new tokens");
    close_golden(&b);
}

static void bad_options(void)
{
    golden_bench b;
    char *report;
    volatile int stop = 1;
    lt_ctx *other = lt_ctx_create(NULL);
    if (!open_golden(&b, NULL)) return close_golden(&b);
    lt_ctx *ctx = b.p.ctx;
    ts_put_text(&b.p, "p.jsonl", "{\"prompt\": \"a\"}");
    TS_REFUSED(ctx, lt_golden_run(ctx, b.model, &b.o, &report), LT_EINVAL, "neither goldens");
    b.o.write = "/nonexistent/g.jsonl"; /* found out before the first text */
    TS_REFUSED(ctx, lt_golden_run(ctx, b.model, &b.o, &report), LT_EIO, "/nonexistent/g.jsonl");
    TS_REFUSED(other, lt_golden_run(other, b.model, &b.o, &report), LT_EINVAL, "the model's");
    b.o.write = b.written;
    b.o.stop = &stop;
    TS_REFUSED(ctx, lt_golden_run(ctx, b.model, &b.o, &report), LT_EINTERRUPTED, "asked to stop");
    TS_CHECK(!lti_file_exists(b.written), "nothing was written");
    b.o.max_tokens = -1;
    TS_REFUSED(ctx, lt_golden_run(ctx, b.model, &b.o, &report), LT_EINVAL, "max_tokens is -1");
    b.o.size = 0;
    TS_REFUSED(ctx, lt_golden_run(ctx, b.model, &b.o, &report), LT_EINVAL, "lt_golden_options_init");
    close_golden(&b);
    if (open_golden(&b, "tests/golden/families/bert")) {
        b.o.write = b.written;
        TS_REFUSED(b.p.ctx, lt_golden_run(b.p.ctx, b.model, &b.o, &report), LT_EUNSUPPORTED, "encoder");
    }
    close_golden(&b);
    lt_ctx_free(other);
}

/* Conversations: what stands in a template, and the turn that has to be open. */
static void conversations(void)
{
    golden_bench b;
    char *report;
    lt_chat *chat = NULL;
    if (!open_golden(&b, NULL)) return close_golden(&b);
    TS_OK(b.p.ctx, lt_chat_open(b.p.ctx, lt_model_tokenizer(b.model), "custom:user=Q|;assistant=A|", &chat));
    b.o.chat = chat;
    b.o.write = b.golden;
    ts_put_text(&b.p, "p.jsonl",
                "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}\n{\"prompt\": \"QHiA\"}\n");
    json_t *wrote = run(&b), *rows = json_object_get(wrote, "rows");
    TS_CHECK(json_equal(json_object_get(json_array_get(rows, 0), "output"),
                        json_object_get(json_array_get(rows, 1), "output")),
             "the template's text is what is continued");
    b.o.write = NULL;
    b.o.golden = b.golden;
    json_t *compared = run(&b); /* found by its messages */
    is_number(compared, "items", 2);
    is_number(compared, "passed", 1);
    json_decref(wrote);
    json_decref(compared);
    static const struct {
        const char *messages, *says;
    } cases[] = {
        {"[]", "an array of 1 to"},
        {"{}", "an array of 1 to"},
        {"[{\"role\": \"user\"}]", "message 1: 'role' and 'content' are to be strings"},
        {"[{\"role\": \"user\", \"content\": \"\\u0000\"}]", "message 1 holds a NUL character"},
        {"[{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": \"b\"}]",
         "nothing to answer"},
        {"[{\"role\": \"pirate\", \"content\": \"a\"}]", "pirate"},
    };
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        char text[300];
        snprintf(text, sizeof text, "{\"messages\": %s}", cases[i].messages);
        ts_put_text(&b.p, "p.jsonl", text);
        TS_REFUSED(b.p.ctx, lt_golden_run(b.p.ctx, b.model, &b.o, &report), LT_EFORMAT, cases[i].says);
    }
    lt_chat_free(chat);
    close_golden(&b);
}

/* ---- Memory ---- */

static lt_status read_once(lt_ctx *ctx, void *arg)
{
    const golden_bench *b = arg;
    lti_golden_set set = {0};
    lt_tokenizer *tok;
    lt_status status = lt_tokenizer_bytes(ctx, &tok);
    if (status != LT_OK) return status;
    status = lti_golden_set_read(ctx, &b->o, tok, 40, &set);
    lti_golden_set_free(&set);
    lt_tokenizer_free(tok);
    return status;
}

static lt_status run_once(lt_ctx *ctx, void *arg)
{
    const golden_bench *b = arg;
    lt_model *model;
    char *report = NULL;
    lt_golden_options o = b->o;
    lt_status status = lt_model_create(ctx, "llama:layers=1,dim=8,hidden=8,heads=1,context=32", NULL, 3, &model);
    if (status != LT_OK) return status;
    o.write = b->written;
    o.max_tokens = 2;
    status = lt_golden_run(ctx, model, &o, &report);
    lt_string_free(ctx, report);
    lt_model_free(model);
    return status;
}

static void no_memory(void)
{
    golden_bench b;
    if (!open_golden(&b, NULL)) return close_golden(&b);
    ts_put_text(&b.p, "p.jsonl",
                "{\"id\": 1, \"prompt\": \"a\", \"stop\": [\"b\", \"c\"]}\n{\"id\": 2, \"prompt\": \"a\"}");
    ts_put_text(&b.p, "g.jsonl", "{\"lathe_golden\": 1}\n{\"id\": 1, \"output\": \"x\", \"regex\": \"a|b\"}\n");
    b.o.golden = b.golden;
    ts_every_allocation_fails("reading goldens", read_once, &b);
    ts_put_text(&b.p, "g.jsonl", "{\"id\": 1, \"output\": \"x\", \"regex\": \"a|b\"}\n");
    int64_t n = ts_every_allocation_fails("golden outputs", run_once, &b);
    TS_CHECK(n > 100, "%lld allocations", (long long)n);
    close_golden(&b);
}

int lti_suite_golden_outputs(void)
{
    static const ts_test tests[] = {{"families", families},           {"bad prompts", bad_prompts},
                                    {"bad goldens", bad_goldens},     {"bad options", bad_options},
                                    {"conversations", conversations}, {"no memory", no_memory}};
    CU_pSuite suite = CU_add_suite("golden_outputs", NULL, NULL);
    if (!suite) return 1;
    for (int i = 0; i < LTI_COUNT(tests); i++)
        if (!CU_add_test(suite, tests[i].name, tests[i].run)) return 1;
    const char *model = "models/stories260K/hf/config.json";
    return ts_add_with_data(suite, "differences", model, differences) ||
           ts_add_with_data(suite, "checks", model, checks);
}
