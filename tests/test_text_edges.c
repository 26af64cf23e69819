/* test_text_edges.c - what depends on where a text stands: the blank that SentencePiece puts before one, in chats and in
 * completions; texts that no token expresses; limits of added tokens; numbers in a locale with a decimal comma. Ids are
 * those of Hugging Face's tokenizers 0.23 for the rendered text. */
#include "base/text.h"
#include "data/tokenizer/tokenizer.h"
#include "lathe/chat.h"
#include "tests/data_files.h"

#include <locale.h>

#define LOW "\xe2\x96\x81" /* U+2581 */

/* 0 <unk>, 1 <s>, 2 </s>, 3 _, 4 a, 5 b, 6 _a, 7 _b, 8 __ where _ is U+2581. */
#define MODEL                                                                                                          \
    "\"model\":{\"type\":\"BPE\",\"unk_token\":\"<unk>\",\"vocab\":{\"<unk>\":0,\"<s>\":1,\"</s>\":2,\"" LOW           \
    "\":3,\"a\":4,\"b\":5,\"" LOW "a\":6,\"" LOW "b\":7,\"" LOW LOW "\":8},\"merges\":[\"" LOW " a\",\"" LOW           \
    " b\",\"" LOW " " LOW "\"]}"
#define CONTROL "{\"id\":1,\"content\":\"<s>\",\"special\":true},{\"id\":2,\"content\":\"</s>\",\"special\":true}"
#define DECODER                                                                                                        \
    "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"" LOW            \
    "\"},\"content\":\" \"},{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]},"
#define METASPACE(scheme)                                                                                              \
    "{\"added_tokens\":[" CONTROL "],\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"" LOW                 \
    "\",\"prepend_scheme\":\"" scheme "\",\"split\":false}," DECODER MODEL "}"
#define PREPEND                                                                                                        \
    "{\"added_tokens\":[" CONTROL                                                                                      \
    "],\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"" LOW                \
    "\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"" LOW "\"}]}," DECODER MODEL "}"

static lt_tokenizer *open_made(ts_place *p, const char *json)
{
    lt_tokenizer *tok = NULL;
    ts_put_text(p, "tokenizer_config.json", "{\"bos_token\":\"<s>\",\"eos_token\":\"</s>\"}");
    ts_put_text(p, "tokenizer.json", json);
    return TS_OK(p->ctx, lt_tokenizer_open(p->ctx, p->dir, &tok)) ? tok : NULL;
}

/* Ids as digits; those that are learned in parentheses. */
static void spell(const lt_ids *ids, const lt_ids *scored, char text[128])
{
    size_t used = 0;
    text[0] = 0;
    for (int64_t i = 0; i < ids->count && used < 100; i++)
        used += (size_t)snprintf(text + used, 128 - used, scored && scored->ids[i] ? "(%d)" : "%d", ids->ids[i]);
}

/* ---- Chats ---- */

static const struct {
    const char *json, *chat;
    const char *user, *assistant;
    const char *want;
} talks[] = {
    /* behind a control token "first" puts no blank, "always" and a Prepend do */
    {METASPACE("first"), "custom:user=|</s>;assistant=b|</s>", "a", "a", "625(4)(2)"},
    {METASPACE("always"), "custom:user=|</s>;assistant=b|</s>", "a", "a", "627(4)(2)"},
    {METASPACE("never"), "custom:user=|</s>;assistant=b|</s>", "a", "a", "425(4)(2)"},
    {PREPEND, "custom:user=|</s>;assistant=b|</s>", "a", "a", "627(4)(2)"},
    /* a blank that is the text's own counts as its byte */
    {METASPACE("always"), "custom:user=|</s>;assistant= b|</s>", "a", "b", "627(5)(2)"},
    {METASPACE("first"), "custom:user=|</s>;assistant= b|</s>", " a", "b", "627(5)(2)"},
    {METASPACE("first"), "custom:user=|</s>;assistant=b|</s>", "a", " a", "625(6)(2)"},
    {PREPEND, "custom:user=|</s>;assistant= b|</s>", "a", "b", "6237(5)(2)"},
    /* a turn that no control token parts from the one before goes on */
    {METASPACE("always"), "custom:user=|;assistant=|</s>", "a", " b", "6(7)(2)"},
    {METASPACE("always"), "custom:user=|;assistant=|</s>", "a", "b", "6(5)(2)"},
    {PREPEND, "custom:user=|;assistant=|</s>", "a", " b", "6(7)(2)"},
};

static void in_chats(void)
{
    for (int i = 0; i < LTI_COUNT(talks); i++) {
        ts_place p = ts_open_place();
        lt_tokenizer *tok = open_made(&p, talks[i].json);
        lt_chat *chat = NULL;
        lt_ids ids = {0}, scored = {0};
        const lt_message m[] = {{"user", talks[i].user}, {"assistant", talks[i].assistant}};
        char got[128];
        if (tok && TS_OK(p.ctx, lt_chat_open(p.ctx, tok, talks[i].chat, &chat)) &&
            TS_OK(p.ctx, lt_chat_encode(chat, 2, m, false, &ids, &scored))) {
            spell(&ids, &scored, got);
            TS_CHECK(strcmp(got, talks[i].want) == 0, "case %d: %s, not %s", i, got, talks[i].want);
        }
        lt_ids_free(p.ctx, &ids);
        lt_ids_free(p.ctx, &scored);
        lt_chat_free(chat);
        lt_tokenizer_free(tok);
        ts_close_place(&p);
    }
}

/* ---- Completions ---- */

static const struct {
    const char *json, *prompt, *completion, *want;
} completions[] = {
    {PREPEND, "a", " b", "6(7)(2)"},
    {PREPEND, "a", "b", "6(5)(2)"},
    {METASPACE("always"), "a", "b", "6(5)(2)"},
    {METASPACE("first"), "a", " b", "6(7)(2)"},
    {METASPACE("always"), "", "ab", "6(5)(2)"}, /* the first id of a row is not predicted */
};

static void in_completions(void)
{
    for (int i = 0; i < LTI_COUNT(completions); i++) {
        ts_place p = ts_open_place();
        lt_tokenizer *tok = open_made(&p, completions[i].json);
        lt_dataset *set;
        char row[128], got[128];
        snprintf(row, sizeof row, "{\"prompt\":\"%s\",\"completion\":\"%s\"}", completions[i].prompt,
                 completions[i].completion);
        if (tok && TS_OK(p.ctx, lt_dataset_open(p.ctx, ts_put_text(&p, "a.jsonl", row), tok, NULL, &set))) {
            int64_t n;
            lt_ids ids = {0}, scored = {0};
            ids.ids = (int32_t *)(void *)(uintptr_t)lt_dataset_row(set, 0, &n);
            int32_t marks[16] = {0};
            for (int64_t k = 0; k < n && k < 16; k++) marks[k] = lt_dataset_row_scored(set, 0)[k];
            ids.count = n;
            scored.ids = marks;
            spell(&ids, &scored, got);
            TS_CHECK(strcmp(got, completions[i].want) == 0, "case %d: %s, not %s", i, got, completions[i].want);
            lt_dataset_free(set);
        }
        lt_tokenizer_free(tok);
        ts_close_place(&p);
    }
}

/* The first id of a row is never predicted: a row in which nothing else is learned teaches nothing. */
static void nothing_learned(void)
{
    ts_place p = ts_open_place();
    lt_tokenizer *tok = open_made(&p, METASPACE("always"));
    lt_chat *chat = NULL;
    lt_dataset *set;
    lt_dataset_options o;
    lt_dataset_options_init(&o);
    if (tok && TS_OK(p.ctx, lt_chat_open(p.ctx, tok, "none", &chat))) {
        o.chat = chat;
        TS_REFUSED(p.ctx,
                   lt_dataset_open(p.ctx,
                                   ts_put_text(&p, "a.jsonl",
                                               "{\"messages\":[{\"role\":\"assistant\",\"content\":\"a\"},{\"role\":"
                                               "\"user\",\"content\":\"bbb\"}]}"),
                                   tok, &o, &set),
                   LT_EFORMAT, "a.jsonl:1: there is nothing to predict in it");
    }
    lt_chat_free(chat);
    lt_tokenizer_free(tok);
    ts_close_place(&p);
}

/* ---- Texts no token expresses ---- */

static void inexpressible(void)
{
    static const char *const files[] = {
        "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}}",
        "{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true},\"decoder\":{"
        "\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a "
        "b\"]}}"};
    for (int i = 0; i < LTI_COUNT(files); i++) {
        ts_place p = ts_open_place();
        lt_tokenizer *tok;
        lt_ids ids = {0};
        char got[128];
        if (TS_OK(p.ctx, lt_tokenizer_open(p.ctx, ts_put_text(&p, "t.json", files[i]), &tok))) {
            TS_OK(p.ctx, lt_tokenizer_encode(tok, "ab", 2, 0, &ids));
            TS_OK(p.ctx, lt_tokenizer_encode(tok, "z", 1, 0, &ids));
            TS_OK(p.ctx, lt_tokenizer_encode(tok, "\n\n", 2, 0, &ids));
            TS_OK(p.ctx, lt_tokenizer_encode(tok, "zbz", 3, 0, &ids));
            spell(&ids, NULL, got);
            TS_CHECK(strcmp(got, "21") == 0, "file %d: %s", i, got);
            lt_tokenizer_free(tok);
        }
        lt_ids_free(p.ctx, &ids);
        ts_close_place(&p);
    }
}

/* ---- Added tokens ---- */

#define SMALL(added, more, model)                                                                                      \
    "{\"added_tokens\":[{\"id\":5,\"content\":" added ",\"normalized\":false}]," more                                  \
    "\"model\":{\"type\":\"BPE\"," model "\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\" \":3,\"c\":4},\"merges\":[\"a b\"]}}"

static const struct {
    const char *json, *text, *want;
} added[] = {
    /* white space that one token took on its right may be another's too, but not what was taken on the left */
    {SMALL("\"  \",\"rstrip\":true", "", ""), "a    b", "0551"},
    {SMALL("\"  \",\"rstrip\":true", "", ""), "a     b", "0551"},
    {SMALL("\"  \",\"rstrip\":true,\"lstrip\":true", "", ""), "a    b", "051"},
    /* a token that was only added is no word of the model's */
    {SMALL("\"ba\",\"single_word\":true",
           "\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\"c\"},\"behavior\":\"Isolated\"},",
           "\"ignore_merges\":true,"),
     "bac", "104"},
    {SMALL("\"d\",\"single_word\":true", "", ""), "ad", "0"},
};

static void added_tokens(void)
{
    for (int i = 0; i < LTI_COUNT(added); i++) {
        ts_place p = ts_open_place();
        lt_tokenizer *tok;
        lt_ids ids = {0};
        char got[128];
        if (TS_OK(p.ctx, lt_tokenizer_open(p.ctx, ts_put_text(&p, "t.json", added[i].json), &tok))) {
            TS_OK(p.ctx, lt_tokenizer_encode(tok, added[i].text, (int64_t)strlen(added[i].text), 0, &ids));
            spell(&ids, NULL, got);
            TS_CHECK(strcmp(got, added[i].want) == 0, "case %d: %s, not %s", i, got, added[i].want);
            lt_tokenizer_free(tok);
        }
        lt_ids_free(p.ctx, &ids);
        ts_close_place(&p);
    }
}

static void long_tokens(void)
{
    ts_place p = ts_open_place();
    lti_text json = {.ctx = p.ctx};
    lt_tokenizer *tok;
    lti_text_format(&json, "{\"added_tokens\":[{\"id\":3,\"content\":\"");
    for (int i = 0; i <= LTI_ADDED_LIMIT; i++) lti_text_add(&json, "a", 1);
    lti_text_format(&json, "\"}],\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}");
    TS_REFUSED(p.ctx, lt_tokenizer_open(p.ctx, ts_put_text(&p, "t.json", json.data), &tok), LT_ELIMIT,
               "added_tokens[0].content has 1025 bytes; at most 1024 are read");
    lti_text_free(&json);
    ts_close_place(&p);
}

/* ---- Numbers ---- */

static void decimal_comma(void)
{
    static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "de_DE", "fr_FR.UTF-8", "fr_FR.utf8"};
    char before[64], plain[32];
    snprintf(before, sizeof before, "%s", setlocale(LC_NUMERIC, NULL));
    const char *found = NULL;
    for (int i = 0; i < LTI_COUNT(names) && !found; i++) found = setlocale(LC_NUMERIC, names[i]);
    if (!found) printf("  [no locale with a decimal comma is installed: nothing to see]\n");
    lt_ctx *ctx = lt_ctx_create(NULL);
    lti_text text = {.ctx = ctx};
    lti_text_format(&text, "%.9g %s", 0.5, "x");
    TS_CHECK(strcmp(text.data, "0.5 x") == 0, "%s", text.data);
    snprintf(plain, sizeof plain, "%.1f", 0.5);
    TS_CHECK(!found || strcmp(plain, "0,5") == 0, "the caller's locale stays: %s", plain);
    lti_text_free(&text);
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "%zu bytes leak", lt_ctx_live_bytes(ctx));
    lt_ctx_free(ctx);
    setlocale(LC_NUMERIC, before);
}

int lti_suite_text_edges(void)
{
    static const ts_test tests[] = {
        {"blanks at the front in chats", in_chats},
        {"blanks at the front in completions", in_completions},
        {"a row that teaches nothing", nothing_learned},
        {"texts no token expresses", inexpressible},
        {"added tokens", added_tokens},
        {"long added tokens", long_tokens},
        {"a locale with a decimal comma", decimal_comma},
    };
    return ts_suite("text_edges", LTI_COUNT(tests), tests);
}
