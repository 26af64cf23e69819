/* chat_known.c - the templates lathe can write, and which of them a model's own template is.
 *
 * A template is a program in Jinja, and running programs out of model files is how other loaders were broken into: it
 * is only read here. First its hash is looked up among published ones. If it is not there, its marks decide: every mark
 * it writes must be one of the form, the strings the form needs must be in it, nothing may be in it that stands for a
 * behaviour the form does not have, and outside of its tags it writes nothing. What is left over is refused, because a
 * template that is nearly right trains a model on a format nobody will ever send it.
 *
 * The forms are described in the model cards: ChatML (OpenAI 2023), Llama 3 (Meta), Gemma (Google), Zephyr (Hugging
 * Face), Qwen 3 (Alibaba). What they write is held against Jinja's output (scripts/goldens_chat.py, tests/test_chat.c).
 * Models come with several revisions of a template; a hash is that of one. */
#include "data/chat/chat_parts.h"

#include <string.h>
#include <xxhash.h>

enum { CHATML, LLAMA3, GEMMA, ZEPHYR, QWEN3, NONE, CUSTOM };

static const lti_chat_form forms[] = {
    [CHATML] = {"chatml", "<|im_start|>", "\n", "<|im_end|>", "\n", "assistant", {"<|im_start|>", "<|im_end|>"}, 0},
    [LLAMA3] = {"llama3",
                "<|start_header_id|>",
                "<|end_header_id|>\n\n",
                "<|eot_id|>",
                "",
                "assistant",
                {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"},
                LTI_CHAT_BOS | LTI_CHAT_TRIM},
    [GEMMA] = {"gemma",
               "<start_of_turn>",
               "\n",
               "<end_of_turn>",
               "\n",
               "model",
               {"<start_of_turn>", "<end_of_turn>"},
               LTI_CHAT_BOS | LTI_CHAT_TRIM | LTI_CHAT_FOLD | LTI_CHAT_ALTERNATE},
    [ZEPHYR] = {"zephyr", "<|", "|>\n", "", "\n", "assistant", {NULL}, LTI_CHAT_EOS},
    [QWEN3] = {"qwen3",
               "<|im_start|>",
               "\n",
               "<|im_end|>",
               "\n",
               "assistant",
               {"<|im_start|>", "<|im_end|>"},
               LTI_CHAT_THINK},
    [NONE] = {"none", NULL, NULL, "", "", "", {NULL}, LTI_CHAT_ADDS_BOS | LTI_CHAT_APART},
    [CUSTOM] = {"custom", NULL, NULL, "", "", "", {NULL}, LTI_CHAT_ADDS_BOS | LTI_CHAT_APART},
};

#define WORDS 10
/* What the text of a template must and must not hold to be a form. */
static const struct evidence {
    int form;
    const char *marks[WORDS]; /* the only things in angle brackets it may write */
    const char *needs[WORDS]; /* "a\tb": one of them */
    const char *excludes[WORDS];
} evidence[] = {
    {QWEN3,
     {"<|im_start|>", "<|im_end|>", "<think>", "</think>"},
     {"<|im_start|>assistant", "<|im_end|>", "last_query_index", "</think>"},
     {"eos_token", "bos_token", "strftime", "system_message", "[INST]", "preserve_thinking", "raise_exception"}},
    {CHATML,
     {"<|im_start|>", "<|im_end|>"},
     {"<|im_start|>assistant\\n\t<|im_start|>assistant\n", "<|im_end|>", "content"},
     {"eos_token", "strftime", "system_message", "[INST]", "reasoning", "thinking"}},
    {LLAMA3,
     {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>", "<|begin_of_text|>", "<|python_tag|>"},
     {"<|start_header_id|>assistant<|end_header_id|>\\n\\n\t<|start_header_id|>assistant<|end_header_id|>\n\n",
      "<|eot_id|>", "bos_token\t<|begin_of_text|>"},
     {"eos_token", "[INST]", "reasoning", "thinking"}},
    {GEMMA,
     {"<start_of_turn>", "<end_of_turn>", "<bos>", "<start_of_image>", "<image_soft_token>"},
     {"<start_of_turn>model\\n\t<start_of_turn>model\n", "<end_of_turn>", "trim",
      "first_user_prefix\tSystem role not supported"},
     {"eos_token", "strftime", "[INST]"}},
    {ZEPHYR,
     {"<|system|>", "<|user|>", "<|assistant|>"},
     {"<|assistant|>", "eos_token", "<|user|>\t'<|' +"},
     {"bos_token", "strftime", "system_message", "[INST]"}},
};

/* Tools are not written by lathe; a template that could write them is the same without them. */
static const char *const tool_marks[] = {"<tools>",         "</tools>",          "<tool_call>",
                                         "</tool_call>",    "<tool_response>",   "</tool_response>",
                                         "<function-name>", "<args-json-object>"};

static const struct known {
    uint64_t hash;
    int form;
    unsigned quirks;
    const char *system;
    bool today;
} known[] = {
    /* Of files that other projects publish as copies of the models' own. */
    {0x99ab995e9629dacd, CHATML, 0, "You are a helpful AI assistant named SmolLM, trained by Hugging Face", false},
    {0x2469c9508f79506e, CHATML, 0, "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.", false},
    {0xc3d57e38f5ff0756, LLAMA3, LTI_CHAT_BOS | LTI_CHAT_TRIM | LTI_CHAT_DATE, NULL, true},  /* Llama 3.2 */
    {0x6ca7779b7730196a, LLAMA3, LTI_CHAT_BOS | LTI_CHAT_TRIM | LTI_CHAT_DATE, NULL, false}, /* Llama 3.1 and 3.3 */
    {0x2c2e86beabccd2a4, GEMMA, LTI_CHAT_BOS | LTI_CHAT_TRIM | LTI_CHAT_NO_SYSTEM | LTI_CHAT_ALTERNATE, NULL, false},
    {0x0283f874ff58d644, QWEN3, LTI_CHAT_THINK, NULL, false}, /* its first revision */
    /* Of texts as they are quoted in public code; a model's file was not at hand. */
    {0xa04f41d813a07b13, CHATML, 0, NULL, false},                           /* ChatML as most fine-tunes ship it */
    {0xd5d943bd0bd9082f, CHATML, 0, "You are a helpful assistant.", false}, /* Qwen 2 */
    {0x9799ad6e2dea0594, LLAMA3, LTI_CHAT_BOS | LTI_CHAT_TRIM, NULL, false},
    {0xd927416abefac232, GEMMA, LTI_CHAT_BOS | LTI_CHAT_TRIM | LTI_CHAT_FOLD | LTI_CHAT_ALTERNATE, NULL, false},
    {0x1db34e9fc60441d8, ZEPHYR, LTI_CHAT_EOS, NULL, false},
    {0xc9e0155c80737cf2, QWEN3, LTI_CHAT_THINK, NULL, false}, /* a later revision */
};

const lti_chat_form *lti_chat_form_named(const char *name)
{
    for (int i = 0; i < LTI_COUNT(forms); i++)
        if (strcmp(forms[i].name, name) == 0) return &forms[i];
    return NULL;
}

/* A copy as Jinja reads it: without carriage returns, and here also without blanks at the ends. */
static char *clean(lt_ctx *ctx, const char *jinja)
{
    size_t n = 0;
    char *text = lti_strdup(ctx, jinja + strspn(jinja, " \t\r\n"));
    for (const char *p = text; p && *p; p++)
        if (*p != '\r') text[n++] = *p;
    while (n > 0 && strchr(" \t\n", text[n - 1])) n--;
    if (text) text[n] = 0;
    return text;
}

bool lti_chat_known(uint64_t hash, lti_chat_kind *kind)
{
    for (int i = 0; i < LTI_COUNT(known); i++)
        if (known[i].hash == hash) {
            *kind =
                (lti_chat_kind){&forms[known[i].form], known[i].quirks, known[i].system, NULL, true, known[i].today};
            return true;
        }
    return false;
}

/* ---- By marks ---- */

/* Whether text[0 .. n) is one of a list that ends at its size or with NULL. */
static bool listed(const char *text, size_t n, int count, const char *const *list)
{
    for (int i = 0; i < count && list[i]; i++)
        if (strlen(list[i]) == n && memcmp(list[i], text, n) == 0) return true;
    return false;
}

/* Every <...> without blanks, quotes or braces inside is a mark. */
static bool marks_fit(const struct evidence *e, const char *jinja)
{
    for (const char *p = strchr(jinja, '<'); p; p = strchr(p + 1, '<')) {
        size_t n = 1 + strcspn(p + 1, "<> \t\r\n'\"{}=");
        if (p[n] != '>' || n == 1) continue;
        if (!listed(p, n + 1, WORDS, e->marks) && !listed(p, n + 1, LTI_COUNT(tool_marks), tool_marks)) return false;
    }
    return true;
}

/* Whether one of the words, with tabs between them, is there. */
static bool has(const char *jinja, const char *words)
{
    for (;;) {
        size_t n = strcspn(words, "\t");
        if (memmem(jinja, strlen(jinja), words, n)) return true;
        if (!words[n]) return false;
        words += n + 1;
    }
}

/* Behind the tag that begins at p; *dash: it takes the blanks behind it. NULL: it does not end. */
static const char *tag_end(const char *p, bool *dash)
{
    char kind = p[1], quote = 0;
    for (p += 2; *p; p++) {
        if (quote) {
            if (*p == '\\' && p[1])
                p++;
            else if (*p == quote)
                quote = 0;
        } else if (kind != '#' && (*p == '\'' || *p == '"')) {
            quote = *p;
        } else if (*p == (kind == '{' ? '}' : kind) && p[1] == '}') {
            *dash = p[-1] == '-';
            return p + 2;
        }
    }
    return NULL;
}

/* What a template writes outside of its tags, by the rules Transformers sets: a newline behind a block goes, blanks
 * before one, and whatever a dash takes. The forms write nothing there, but for Zephyr's newlines behind values. */
static bool outside_fits(const char *jinja, bool newlines, int *count)
{
    bool dash = false;
    char before = 0; /* kind of the tag before */
    for (const char *p = jinja; *p;) {
        const char *from = p, *to = strchr(p, '{');
        while (to && (!to[1] || !strchr("{%#", to[1]))) to = strchr(to + 1, '{');
        const char *next = to ? to : p + strlen(p);
        bool block = to && to[1] != '{';
        if (dash)
            while (from < next && strchr(" \t\n", *from)) from++;
        else if ((before == '%' || before == '#') && from < next && *from == '\n')
            from++;
        to = next;
        if (*next && next[2] == '-')
            while (to > from && strchr(" \t\n", to[-1])) to--;
        else if (block)
            while (to > from && strchr(" \t", to[-1])) to--;
        bool line = newlines && before == '{' && to - from == 1 && *from == '\n';
        if (to > from && !line) return false;
        *count += line;
        if (!*next) return true;
        before = next[1];
        p = tag_end(next, &dash);
        if (!p) return false;
    }
    return true;
}

static bool evidence_fits(const struct evidence *e, const char *jinja)
{
    for (int i = 0; i < WORDS && e->needs[i]; i++)
        if (!has(jinja, e->needs[i])) return false;
    for (int i = 0; i < WORDS && e->excludes[i]; i++)
        if (strstr(jinja, e->excludes[i])) return false;
    int lines = 0;
    if (!marks_fit(e, jinja) || !outside_fits(jinja, e->form == ZEPHYR, &lines)) return false;
    return e->form != ZEPHYR || (lines > 0) != has(jinja, "eos_token + '\\n'\teos_token + '\n'\teos_token + \"\\n\"");
}

/* The literal system prompt behind `at`, which lies in a string of Jinja that `quote` ends: its length as written, or
 * -1 when the string ends before <|im_end|> does. */
static int64_t literal_prompt(const char *at, char quote)
{
    static const char end[] = "<|im_end|>";
    for (const char *p = at; *p && *p != quote; p++) {
        if (strncmp(p, end, sizeof end - 1) == 0) return p - at;
        if (*p == '\\' && p[1]) p++;
    }
    return -1;
}

static void unescape(const char *from, int64_t n, char *to)
{
    for (int64_t i = 0; i < n; i++) {
        char c = from[i];
        if (c == '\\' && i + 1 < n) {
            c = from[++i];
            c = c == 'n' ? '\n' : c == 't' ? '\t' : c;
        }
        *to++ = c;
    }
    *to = 0;
}

/* A system turn of ChatML spelled out in the template is what it writes when a conversation has none. Two different
 * ones: *fits is false. */
static lt_status find_prompt(lt_ctx *ctx, const char *jinja, lti_chat_kind *kind, bool *fits)
{
    static const char head[] = "<|im_start|>system";
    const char *found = NULL;
    int64_t length = 0;
    for (const char *p = strstr(jinja, head); p; p = strstr(p + 1, head)) {
        if (p == jinja || (p[-1] != '\'' && p[-1] != '"')) continue;
        const char *at = p + sizeof head - 1;
        if (*at != '\n' && strncmp(at, "\\n", 2) != 0) continue;
        char quote = p[-1];
        at += *at == '\n' ? 1 : 2;
        int64_t n = literal_prompt(at, quote);
        if (n < 0) continue;
        if (found && (n != length || memcmp(found, at, (size_t)n) != 0)) *fits = false;
        found = at;
        length = n;
    }
    if (!found || !*fits) return LT_OK;
    *fits = has(jinja, "!= 'system'\t!= \"system\"\t== 'system'\t== \"system\"");
    kind->owned = lti_alloc(ctx, (size_t)length + 1);
    if (!kind->owned) return LT_ENOMEM;
    unescape(found, length, kind->owned);
    kind->system = kind->owned;
    return LT_OK;
}

static const char date_words[] = "Cutting Knowledge Date: December 2023", date_default[] = "\"26 Jul 2024\"";

/* What the text says about behaviour that forms of one name differ in. */
static lt_status find_quirks(lt_ctx *ctx, const char *jinja, lti_chat_kind *kind, bool *fits)
{
    int form = (int)(kind->form - forms);
    unsigned quirks = form == QWEN3 ? LTI_CHAT_THINK : form == ZEPHYR ? LTI_CHAT_EOS : 0;
    if (has(jinja, "bos_token\t<|begin_of_text|>")) quirks |= LTI_CHAT_BOS;
    if (form != QWEN3 && has(jinja, "trim\tstrip()")) quirks |= LTI_CHAT_TRIM;
    if (strstr(jinja, "must alternate")) quirks |= LTI_CHAT_ALTERNATE;
    if (form == GEMMA) {
        bool refuses = strstr(jinja, "System role not supported");
        quirks |= refuses ? LTI_CHAT_NO_SYSTEM : LTI_CHAT_FOLD;
    }
    if (form == QWEN3 && has(jinja, "<|im_start|>assistant\\n<think>\\n\t<|im_start|>assistant\n<think>\n"))
        quirks |= LTI_CHAT_OPEN_THINK;
    if (form == LLAMA3 && strstr(jinja, "Cutting Knowledge Date")) {
        quirks |= LTI_CHAT_DATE;
        *fits = strstr(jinja, date_words) && strstr(jinja, date_default);
        kind->today = strstr(jinja, "strftime_now");
    } else if (form == LLAMA3 && has(jinja, "system_message\tstrftime\tdate_string")) {
        *fits = false;
    }
    kind->quirks = quirks;
    if (form != CHATML && form != QWEN3) return LT_OK;
    return find_prompt(ctx, jinja, kind, fits);
}

/* The template's first characters on one line, cut between two. */
static lt_status refuse(lt_ctx *ctx, const char *jinja)
{
    char start[61];
    size_t n = 0;
    for (; jinja[n] && n < sizeof start - 1; n++) start[n] = (unsigned char)jinja[n] < 0x20 ? ' ' : jinja[n];
    while (n > 0 && jinja[n] && (jinja[n] & 0xC0) == 0x80) n--;
    start[n] = 0;
    return lti_fail(
        ctx, LT_EUNSUPPORTED,
        "the model's chat template is none that lathe can write (it begins \"%s\"); name the one that fits, "
        "of " LTI_CHAT_NAMES,
        start);
}

static lt_status recognise(lt_ctx *ctx, const char *jinja, lti_chat_kind *kind)
{
    if (lti_chat_known(XXH3_64bits(jinja, strlen(jinja)), kind)) return LT_OK;
    for (int i = 0; i < LTI_COUNT(evidence); i++) {
        if (!evidence_fits(&evidence[i], jinja)) continue;
        bool fits = true;
        kind->form = &forms[evidence[i].form];
        LTI_TRY(find_quirks(ctx, jinja, kind, &fits));
        if (fits) return LT_OK;
        lti_free(ctx, kind->owned);
        *kind = (lti_chat_kind){.form = NULL};
    }
    return refuse(ctx, jinja);
}

lt_status lti_chat_recognise(lt_ctx *ctx, const char *jinja, lti_chat_kind *kind)
{
    *kind = (lti_chat_kind){.form = NULL};
    char *text = clean(ctx, jinja);
    if (!text) return LT_ENOMEM;
    lt_status status = recognise(ctx, text, kind);
    lti_free(ctx, text);
    return status;
}
