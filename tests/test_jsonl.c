/* test_jsonl.c - rows of JSON as data sets: forms, masks by hand on plain bytes, refusals with their lines, splits,
 * slices, samples. What packing makes of them is in test_packing.c. */
#include "base/text.h"
#include "tests/json_bench.h"

#include <stdlib.h>

/* ---- Forms ---- */

static void check_rows(bench *b, const char *file, const char *form, int count, const char *const *want)
{
    char path[64];
    lt_dataset *set;
    snprintf(path, sizeof path, "tests/files_jsonl/%s", file);
    if (!TS_OK(b->p.ctx, lt_dataset_open(b->p.ctx, path, b->tok, &b->o, &set))) return;
    TS_CHECK(strcmp(lt_dataset_form(set), form) == 0, "%s: %s", file, lt_dataset_form(set));
    TS_CHECK(lt_dataset_rows(set) == count && lt_dataset_documents(set) == count && lt_dataset_skipped(set) == 0,
             "%s: %lld rows", file, (long long)lt_dataset_rows(set));
    for (int i = 0; i < count && i < lt_dataset_rows(set); i++) check_row(b, set, i, want[i]);
    lt_dataset_free(set);
}

static void forms(void)
{
    bench b;
    if (!open_bench(&b, NULL)) return;
    check_rows(&b, "text.jsonl", "text", 3,
               (const char *[]){"(" BOS ")The kettle sang before the whistle did.",
                                "(" BOS ")Two herons stood in the shallow water.\nNeither moved.",
                                "(" BOS ")A late train is still a train."});
    check_rows(&b, "prompt.jsonl", "prompt/completion", 3,
               (const char *[]){"(" BOS "2 + 2 = )4" EOS, "(" BOS "The opposite of cold is )warm" EOS,
                                "(" BOS "Capital of Norway: )Oslo" EOS});
    check_rows(&b, "alpaca.json", "alpaca", 2,
               (const char *[]){"(" BOS "### Instruction:\nName a colour.\n\n### Response:\n)Blue" EOS,
                                "(" BOS
                                "### Instruction:\nAdd the numbers.\n\n### Input:\n3, 4\n\n### Response:\n)7" EOS});
    lt_dataset *set;
    TS_REFUSED(b.p.ctx, lt_dataset_open(b.p.ctx, "tests/files_jsonl/messages.jsonl", b.tok, &b.o, &set), LT_EINVAL,
               "conversations (messages): a chat template must say");
    b.o.score_prompt = true;
    check_rows(&b, "prompt.jsonl", "prompt/completion", 3,
               (const char *[]){"(" BOS ")2 + 2 = 4" EOS, "(" BOS ")The opposite of cold is warm" EOS,
                                "(" BOS ")Capital of Norway: Oslo" EOS});
    close_bench(&b);
    if (!open_bench(&b, "custom:system=[|]\\n;user=Q: |\\n;assistant=A: |\\n")) return;
    check_rows(&b, "messages.jsonl", "messages", 2,
               (const char *[]){"(" BOS "[Answer in one word.]\nQ: Which planet is red?\nA: )Mars\n",
                                "(" BOS "Q: Hi\nA: )Hello.\n(Q: Bye\nA: )See you.\n"});
    check_rows(&b, "sharegpt.jsonl", "sharegpt", 2,
               (const char *[]){"(" BOS "Q: How many legs has a spider?\nA: )Eight.\n",
                                "(" BOS "[Be brief.]\nQ: And an ant?\nA: )Six.\n"});
    check_rows(
        &b, "alpaca.json", "alpaca", 2,
        (const char *[]){"(" BOS "Q: Name a colour.\nA: )Blue\n", "(" BOS "Q: Add the numbers.\n\n3, 4\nA: )7\n"});
    check_rows(&b, "prompt.jsonl", "prompt/completion", 3,
               (const char *[]){"(" BOS "Q: 2 + 2 = \nA: )4\n", "(" BOS "Q: The opposite of cold is \nA: )warm\n",
                                "(" BOS "Q: Capital of Norway: \nA: )Oslo\n"});
    close_bench(&b);
}

/* Keys by other names, a byte order mark, CRLF, blank lines, escapes, further fields. */
static void spellings(void)
{
    bench b;
    lt_dataset *set;
    if (!open_bench(&b, NULL)) return;
    b.o.prompt_key = "question";
    b.o.completion_key = "answer";
    b.o.slice_key = "kind";
    if (TS_OK(b.p.ctx,
              open_text(&b, "a.jsonl",
                        "\xEF\xBB\xBF\r\n{\"question\":\"a\\u00e9\",\"answer\":\"\\ud83d\\ude00\",\"kind\":\"x y\"}"
                        "\r\n  \r\n\t{ \"answer\" : \"c\", \"question\" : \"\", \"kind\" : 7, \"more\": "
                        "[123456789012345678901234567890]} \r\n"
                        "{\"question\":\"d\",\"answer\":\"e\",\"kind\":0.5}\n{\"question\":\"f\",\"answer\":\"g\","
                        "\"kind\":true}\n{\"question\":\"h\",\"answer\":\"i\",\"kind\":null}",
                        &set))) {
        static const char *const slices[] = {"x y", "7", "0.5", "true", ""};
        check_row(&b, set, 0, "(" BOS "a\u00e9)\U0001f600" EOS);
        check_row(&b, set, 1, "(" BOS ")c" EOS);
        for (int i = 0; i < 5; i++)
            TS_CHECK(strcmp(lt_dataset_slice(set, i), slices[i]) == 0, "slice %d: '%s'", i, lt_dataset_slice(set, i));
        TS_CHECK(lt_dataset_scored(set) == 5 + 4 * 2, "%lld scored", (long long)lt_dataset_scored(set));
        lt_dataset_free(set);
    }
    /* a text of JSON is the same document as one of a .txt */
    lt_dataset_options_init(&b.o);
    lt_dataset *plain;
    b.o.max_seq_length = 6;
    if (TS_OK(b.p.ctx, open_text(&b, "a.json", " [ {\"text\": \"abcdefgh\"} , {\"text\":\"[{\\\"]\"}]\n", &set)) &&
        TS_OK(b.p.ctx, open_text(&b, "a.txt", "abcdefgh\n<|endoftext|>\n[{\"]", &plain))) {
        TS_CHECK(strcmp(lt_dataset_hash(set), lt_dataset_hash(plain)) == 0 && lt_dataset_rows(set) == 3,
                 "the same rows");
        TS_CHECK(!lt_dataset_row_scored(set, 0) && !lt_dataset_row_starts(set, 0) && !lt_dataset_packed(set),
                 "no mask");
        lt_dataset_free(plain);
        lt_dataset_free(set);
    }
    close_bench(&b);
}

static void cut(void)
{
    bench b;
    lt_dataset *set;
    if (!open_bench(&b, NULL)) return;
    b.o.max_seq_length = 6;
    if (TS_OK(b.p.ctx, open_text(&b, "a.jsonl", "{\"prompt\":\"abc\",\"completion\":\"defgh\"}", &set))) {
        check_row(&b, set, 0, "(" BOS "abc)de");
        lt_dataset_free(set);
    }
    TS_REFUSED(b.p.ctx, open_text(&b, "a.jsonl", "{\"prompt\":\"abcde\",\"completion\":\"f\"}", &set), LT_EFORMAT,
               "a.jsonl:1: the prompt alone fills max_seq_length 6 with 6 tokens");
    close_bench(&b);
}

/* ---- Refusals ---- */

static const struct {
    const char *row, *reason;
} bad_texts[] = {
    {"{\"text\": 5}", "'text' is an integer, not a string"},
    {"{\"text\": \" \\n\"}", "'text' is empty"},
    {"{\"text\": \"a\\u0000b\"}", "'text' contains a NUL character"},
    {"{\"txt\": \"a\"}", "'text' is missing, not a string"},
    {"{\"text\": \"a\"", "not JSON at byte 12"},
    {"{\"text\": \"a\", \"text\": \"b\"}", "duplicate"},
    {"{\"text\": \"a\"} {}", "not JSON"},
    {"{\"text\": \"\\ud800\"}", "not JSON"},
    {"{\"text\": \"a\xff\"}", "byte 12 of the row is not UTF-8"},
    {"[1]", "the row is an array, not an object"},
    {"7", "the row is an integer, not an object"},
    {"{\"prompt\": \"a\", \"completion\": \"b\"}", "it is of the form prompt/completion, the first row was text"},
};

static const struct {
    const char *row, *reason;
} bad_talks[] = {
    {"{\"messages\": {}}", "'messages' is an object, not an array"},
    {"{\"messages\": []}", "'messages' has 0 messages"},
    {"{\"messages\": [5]}", "message 1: it is an integer, not an object"},
    {"{\"messages\": [{\"role\": \"tool\", \"content\": \"\"}]}", "message 1: unknown role 'tool'"},
    {"{\"messages\": [{\"role\": \"user\", \"content\": null}]}", "message 1: 'content' is null, not a string"},
    {"{\"messages\": [{\"content\": \"\"}]}", "message 1: 'role' is missing"},
    {"{\"messages\": [{\"role\": \"user\", \"content\": \"q\"}]}", "the assistant says nothing in it"},
    {"{\"messages\": [{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", \"content\": \"\"}]}",
     "message 2: 'content' is empty"},
    {"{\"messages\": [{\"role\": \"assistant\", \"content\": \"q\"}, {\"role\": \"user\", \"content\": \"a\"}]}",
     "message 1 (assistant): the user must speak here"},
    {"{\"conversations\": []}", "it is of the form sharegpt, the first row was messages"},
};

static void bad_rows(void)
{
    bench b;
    lt_dataset *set;
    char text[512], words[256];
    if (!open_bench(&b, "gemma")) return;
    for (int i = 0; i < LTI_COUNT(bad_texts); i++) {
        snprintf(text, sizeof text, "{\"text\": \"good\"}\n\n%s\n{\"text\": \"good\"}\n", bad_texts[i].row);
        snprintf(words, sizeof words, "x.jsonl:3: %s", bad_texts[i].reason);
        if (i == 5) snprintf(words, sizeof words, "x.jsonl:3: not JSON");
        TS_REFUSED(b.p.ctx, open_text(&b, "x.jsonl", text, &set), LT_EFORMAT, words);
        TS_CHECK(strncmp(lt_ctx_message(b.p.ctx), "1 of 3 rows of ", 15) == 0, "%s", lt_ctx_message(b.p.ctx));
    }
    for (int i = 0; i < LTI_COUNT(bad_talks); i++) {
        static const char good[] =
            "{\"messages\": [{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", \"content\": \"a\"}]}";
        snprintf(text, sizeof text, "[\n%s,\n\n%s]", good, bad_talks[i].row);
        snprintf(words, sizeof words, "x.json:4: %s", bad_talks[i].reason);
        TS_REFUSED(b.p.ctx, open_text(&b, "x.json", text, &set), LT_EFORMAT, words);
    }
    TS_REFUSED(b.p.ctx, open_text(&b, "x.jsonl", "{\"a\": 1, \"b\": 2}", &set), LT_EFORMAT,
               "x.jsonl:1: no text, prompt + completion, messages or instruction + output; it has a, b");
    TS_REFUSED(b.p.ctx, open_text(&b, "x.jsonl", "{\"conversations\":[{\"from\":\"bot\",\"value\":\"a\"}]}", &set),
               LT_EFORMAT, "unknown role 'bot'; it is system, human or gpt");
    TS_REFUSED(b.p.ctx, open_text(&b, "x.jsonl", "{\"instruction\": \"\", \"output\": \"a\"}", &set), LT_EFORMAT,
               "'instruction' is empty");
    TS_REFUSED(b.p.ctx, open_text(&b, "x.jsonl", "{\"instruction\": \"a\", \"input\": 1, \"output\": \"\"}", &set),
               LT_EFORMAT, "'input' is an integer");
    TS_REFUSED(b.p.ctx, open_text(&b, "x.jsonl", "{\"prompt\": \"a\", \"completion\": \"\"}", &set), LT_EFORMAT,
               "'completion' is empty");
    close_bench(&b);
}

static void broken_files(void)
{
    static const struct {
        const char *name, *text, *words;
    } cases[] = {
        {"x.jsonl", "\n \r\n", "x.jsonl: there is no row"},
        {"x.json", "[]", "x.json: there is no row"},
        {"x.json", "\n{\"text\": \"a\"}\n{}", "x.json:2: one object, where an array"},
        {"x.json", "\n5", "x.json:2: an array of rows"},
        {"x.json", " ", "x.json:1: an array of rows"},
        {"x.json", "[{\"text\": \"a\"},\n{\"text\": \"a\"", "x.json:2: the array does not end"},
        {"x.json", "[{\"text\": \"a\n]", "x.json:2: the array does not end"},
        {"x.json", "[{\"text\": \"a\"}]\n;", "x.json:2: something follows the array"},
        {"x.json", "[{\"text\": \"a\"},\n]", "x.json:2: not JSON"},
        {"x.json", "[{\"text\": \"a\"}\n{\"text\": \"b\"}]", "x.json:1: not JSON"},
    };
    bench b;
    lt_dataset *set;
    if (!open_bench(&b, NULL)) return;
    for (int i = 0; i < LTI_COUNT(cases); i++)
        TS_REFUSED(b.p.ctx, open_text(&b, cases[i].name, cases[i].text, &set), LT_EFORMAT, cases[i].words);
    ts_put_text(&b.p, "train.jsonl", "{\"text\": \"a\"}");
    ts_put_text(&b.p, "train.txt", "a");
    b.o.split = LT_SPLIT_TRAIN;
    TS_REFUSED(b.p.ctx, lt_dataset_open(b.p.ctx, b.p.dir, b.tok, &b.o, &set), LT_EINVAL,
               "has both train.txt and train.jsonl");
    TS_REFUSED(b.p.ctx, open_text(&b, "x.jsonl", "{\"text\": \"a\"}", &set), LT_EINVAL,
               "a single row cannot be divided");
    close_bench(&b);
}

/* The first 10 of many, and leaving them out. */
static void many_bad_rows(void)
{
    bench b;
    lt_dataset *set;
    lti_text text;
    if (!open_bench(&b, NULL)) return;
    text = (lti_text){.ctx = b.p.ctx};
    for (int i = 0; i < 30; i++)
        lti_text_format(&text, i % 2 ? "{\"text\": \"row %d\"}\n" : "{\"an uncommonly long field name indeed\": %d}\n",
                        i);
    TS_REFUSED(b.p.ctx, open_text(&b, "x.jsonl", text.data, &set), LT_EFORMAT, "15 of 30 rows of ");
    const char *message = lt_ctx_message(b.p.ctx);
    TS_CHECK(strstr(message, "the first 10:\n") && strstr(message, "x.jsonl:19: 'text' is missing") &&
                 !strstr(message, "x.jsonl:21:"),
             "%s", message);
    b.o.skip_bad_rows = true;
    if (TS_OK(b.p.ctx, open_text(&b, "x.jsonl", text.data, &set))) {
        TS_CHECK(lt_dataset_rows(set) == 15 && lt_dataset_skipped(set) == 15, "15 are left");
        check_row(&b, set, 14, "(" BOS ")row 29");
        lt_dataset_free(set);
    }
    TS_REFUSED(b.p.ctx, open_text(&b, "x.jsonl", "{\"text\": 5}\n{\"text\": 6}", &set), LT_EFORMAT, "2 of 2 rows");
    lti_text_free(&text);
    close_bench(&b);
}

/* ---- Splits ---- */

static lt_dataset *part(bench *b, const char *path, lt_split split)
{
    lt_dataset *set = NULL;
    b->o.split = split;
    TS_OK(b->p.ctx, lt_dataset_open(b->p.ctx, path, b->tok, &b->o, &set));
    return set;
}

/* Every row is one letter; returns which ones. A bad row does not move the others. */
static unsigned letters(const lt_dataset *set)
{
    unsigned bits = 0;
    int64_t n;
    for (int64_t r = 0; r < lt_dataset_rows(set); r++) bits |= 1u << (lt_dataset_row(set, r, &n)[1] - 'a');
    return bits;
}

static void splits(void)
{
    bench b;
    if (!open_bench(&b, NULL)) return;
    lti_text rows = {.ctx = b.p.ctx}, texts = {.ctx = b.p.ctx};
    for (int i = 0; i < 20; i++) {
        lti_text_format(&rows, "{\"prompt\": \"%c\", \"completion\": \"%d\", \"n\": %d}\r\n", 'a' + i, i, i);
        lti_text_format(&texts, "{\"text\": \"%c%d\", \"n\": %d}\n", 'a' + i, i, i);
        if (i == 7) lti_text_format(&rows, "{\"prompt\": 5}\n\n");
    }
    b.o.slice_key = "n";
    b.o.skip_bad_rows = true;
    for (int kind = 0; kind < 2; kind++) {
        const char *path = ts_put_text(&b.p, "train.jsonl", kind ? texts.data : rows.data);
        lt_dataset *all = part(&b, path, LT_SPLIT_ALL), *train = part(&b, path, LT_SPLIT_TRAIN);
        lt_dataset *valid = part(&b, path, LT_SPLIT_VALID), *again = part(&b, b.p.dir, LT_SPLIT_VALID);
        if (all && train && valid && again) {
            TS_CHECK(lt_dataset_rows(train) == 18 && lt_dataset_documents(valid) == 2 && lt_dataset_rows(valid) == 2,
                     "18 and 2");
            TS_CHECK(lt_dataset_skipped(valid) == !kind && lt_dataset_skipped(train) == !kind, "one is left out");
            TS_CHECK((letters(train) & letters(valid)) == 0 && (letters(train) | letters(valid)) == letters(all),
                     "divided");
            TS_CHECK(strcmp(lt_dataset_hash(valid), lt_dataset_hash(again)) == 0,
                     "a directory's train is divided alike");
            TS_CHECK(lt_dataset_tokens(train) + lt_dataset_tokens(valid) == lt_dataset_tokens(all), "ids of all rows");
            for (int64_t r = 0; r < lt_dataset_rows(valid); r++) {
                int64_t n;
                int letter = lt_dataset_row(valid, r, &n)[1] - 'a';
                const uint8_t *scored = lt_dataset_row_scored(valid, r);
                TS_CHECK(atoi(lt_dataset_slice(valid, r)) == letter, "slices go with their rows");
                if (!kind) TS_CHECK(scored && !scored[0] && !scored[1] && scored[2] && scored[n - 1], "masks too");
            }
        }
        lt_dataset_free(all);
        lt_dataset_free(train);
        lt_dataset_free(valid);
        lt_dataset_free(again);
    }
    lti_text_free(&rows);
    lti_text_free(&texts);
    close_bench(&b);
}

/* ---- Memory, and real data ---- */

typedef struct recipe {
    const char *path, *chat;
    bool pack;
} recipe;

static lt_status attempt(lt_ctx *ctx, void *arg)
{
    const recipe *how = arg;
    lt_tokenizer *tok;
    lt_chat *chat = NULL;
    lt_dataset *set = NULL;
    char *text = NULL;
    lt_dataset_options o;
    lt_dataset_options_init(&o);
    o.pack = how->pack;
    o.split = LT_SPLIT_TRAIN;
    o.slice_key = "topic";
    LTI_TRY(lt_tokenizer_bytes(ctx, &tok));
    lt_status status = how->chat ? lt_chat_open(ctx, tok, how->chat, &chat) : LT_OK;
    o.chat = chat;
    if (status == LT_OK) status = lt_dataset_open(ctx, how->path, tok, &o, &set);
    if (status == LT_OK) status = lt_dataset_show(set, tok, 0, "", "", &text);
    lt_buffer_free(ctx, text);
    lt_dataset_free(set);
    lt_chat_free(chat);
    lt_tokenizer_free(tok);
    return status;
}

static void memory(void)
{
    static recipe recipes[] = {{"tests/files_jsonl/text.jsonl", NULL, true},
                               {"tests/files_jsonl/alpaca.json", NULL, false},
                               {"tests/files_jsonl/messages.jsonl", "none", true}};
    for (int i = 0; i < LTI_COUNT(recipes); i++) ts_every_allocation_fails(recipes[i].path, attempt, &recipes[i]);
}

static void instructions(void)
{
    bench b;
    lt_dataset *set, *valid;
    if (!open_bench(&b, "chatml")) return;
    b.o.split = LT_SPLIT_TRAIN;
    if (TS_OK(b.p.ctx,
              lt_dataset_open(b.p.ctx, ts_data("instruct/llms-from-scratch-instruct-1100.json"), b.tok, &b.o, &set))) {
        b.o.split = LT_SPLIT_VALID;
        TS_OK(b.p.ctx,
              lt_dataset_open(b.p.ctx, ts_data("instruct/llms-from-scratch-instruct-1100.json"), b.tok, &b.o, &valid));
        TS_CHECK(lt_dataset_rows(set) == 990 && lt_dataset_rows(valid) == 110 &&
                     !strcmp(lt_dataset_form(set), "alpaca"),
                 "%lld rows to learn", (long long)lt_dataset_rows(set));
        lt_dataset_free(valid);
        lt_dataset_free(set);
    }
    close_bench(&b);
}

int lti_suite_jsonl(void)
{
    static const ts_test tests[] = {
        {"forms and masks", forms}, {"spellings", spellings},           {"long rows", cut},
        {"bad rows", bad_rows},     {"broken files", broken_files},     {"many bad rows", many_bad_rows},
        {"splits", splits},         {"every allocation fails", memory},
    };
    if (ts_suite("jsonl", LTI_COUNT(tests), tests) != 0) return 1;
    return ts_add_with_data(CU_get_suite("jsonl"), "1,100 instructions",
                            "instruct/llms-from-scratch-instruct-1100.json", instructions);
}
