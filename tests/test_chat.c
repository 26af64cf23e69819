/* test_chat.c - conversations: texts against those of Transformers (goldens), ids and masks by hand, choosing and
 * refusing. Which template a text is: test_templates.c. */
#include "data/chat/chat_parts.h"
#include "tests/data_files.h"

#include <jansson.h>

#define IM "<|im_start|>"
#define END "<|im_end|>"

/* ---- Tokenizers ---- */

/* The byte tokenizer with more control tokens (from id 258), the merge "\n\n" (258 + count), and a configuration. */
static lt_tokenizer *made_tokenizer(ts_place *p, int count, const char *const *specials, const char *config)
{
    lt_tokenizer *bytes, *tok = NULL;
    const char *name;
    int64_t size;
    if (!TS_OK(p->ctx, lt_tokenizer_bytes(p->ctx, &bytes))) return NULL;
    const char *text = lt_tokenizer_file(bytes, 0, &name, &size);
    json_t *root = json_loadb(text, (size_t)size, 0, NULL);
    json_t *added = json_object_get(root, "added_tokens"), *model = json_object_get(root, "model");
    for (int i = 0; i < count; i++)
        json_array_append_new(added,
                              json_pack("{s:i,s:s,s:b,s:b,s:b,s:b,s:b}", "id", 258 + i, "content", specials[i],
                                        "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0, "special", 1));
    json_object_set_new(json_object_get(model, "vocab"), "\u010a\u010a", json_integer(258 + count));
    json_array_append_new(json_object_get(model, "merges"), json_string("\u010a \u010a"));
    char *dumped = json_dumps(root, JSON_COMPACT);
    ts_put_text(p, "tokenizer.json", dumped ? dumped : "");
    ts_put_text(p, "tokenizer_config.json", config);
    free(dumped);
    json_decref(root);
    lt_tokenizer_free(bytes);
    TS_OK(p->ctx, lt_tokenizer_open(p->ctx, p->dir, &tok));
    return tok;
}

static const char *const im[] = {IM, END};

/* A template as a value of tokenizer_config.json. */
static lt_tokenizer *tokenizer_with(ts_place *p, const char *jinja)
{
    json_t *config = json_pack("{s:s,s:s}", "eos_token", END, "chat_template", jinja);
    char *text = json_dumps(config, JSON_COMPACT);
    lt_tokenizer *tok = made_tokenizer(p, 2, im, text ? text : "{}");
    free(text);
    json_decref(config);
    return tok;
}

/* ---- Goldens ---- */

static const struct {
    const char *name;
    uint64_t hash;
} hashes[] = {{"chatml", 0xa04f41d813a07b13},  {"smollm2", 0x99ab995e9629dacd}, {"qwen2", 0xd5d943bd0bd9082f},
              {"qwen25", 0x2469c9508f79506e},  {"llama3", 0x9799ad6e2dea0594},  {"llama31", 0x6ca7779b7730196a},
              {"llama32", 0xc3d57e38f5ff0756}, {"gemma2", 0x2c2e86beabccd2a4},  {"gemma3", 0xd927416abefac232},
              {"zephyr", 0x1db34e9fc60441d8},  {"qwen3", 0xc9e0155c80737cf2},   {"qwen3_first", 0x0283f874ff58d644}};

static int read_messages(const json_t *list, lt_message *messages, int room)
{
    int n = 0;
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item)
    {
        if (n == room) break;
        messages[n++] = (lt_message){json_string_value(json_object_get(item, "role")),
                                     json_string_value(json_object_get(item, "content"))};
    }
    return n;
}

/* Ids decode to the text, and are those of the whole text wherever no content spells a control token. */
static void check_encoded(ts_place *p, lt_tokenizer *tok, lt_chat *chat, int n, const lt_message *m, bool open,
                          const char *text, bool spelled)
{
    lt_ids ids = {0}, scored = {0}, whole = {0};
    char *back = NULL;
    int64_t bytes;
    if (TS_OK(p->ctx, lt_chat_encode(chat, n, m, open, &ids, &scored)) &&
        TS_OK(p->ctx, lt_tokenizer_decode(tok, ids.ids, ids.count, LT_DECODE_SPECIAL_TOKENS, &back, &bytes)) &&
        TS_OK(p->ctx, lt_tokenizer_encode(tok, text, (int64_t)strlen(text), LT_ENCODE_PARSE_SPECIAL, &whole))) {
        TS_CHECK(strcmp(back, text) == 0, "%s: ids decode to '%s'", lt_chat_name(chat), back);
        TS_CHECK(scored.count == ids.count, "a number an id");
        bool same = ids.count == whole.count && memcmp(ids.ids, whole.ids, (size_t)ids.count * sizeof *ids.ids) == 0;
        TS_CHECK(same != spelled, "%s: '%s': ids %s those of the whole text", lt_chat_name(chat), text,
                 same ? "are" : "are not");
    }
    lt_buffer_free(p->ctx, back);
    lt_ids_free(p->ctx, &ids);
    lt_ids_free(p->ctx, &scored);
    lt_ids_free(p->ctx, &whole);
}

static void check_golden(ts_place *p, lt_tokenizer *tok, lt_chat *chat, const json_t *talks, const json_t *texts)
{
    for (size_t i = 0; i < json_array_size(talks); i++)
        for (int open = 0; open < 2; open++) {
            lt_message m[8];
            int n = read_messages(json_array_get(talks, i), m, 8);
            const char *want = json_string_value(json_array_get(json_array_get(texts, i), (size_t)open));
            bool lost = chat->quirks & LTI_CHAT_FOLD && n == 1 && strcmp(m[0].role, "system") == 0;
            char *got = NULL;
            if (!want || lost) { /* the template refuses it, or forgets the only message, which we refuse */
                TS_CHECK(lt_chat_render(chat, n, m, open, &got) == LT_EINVAL, "conversation %zu is refused", i);
                continue;
            }
            if (!TS_OK(p->ctx, lt_chat_render(chat, n, m, open, &got))) continue;
            TS_CHECK(strcmp(got, want) == 0, "%s, conversation %zu: '%s', not '%s'", lt_chat_name(chat), i, got, want);
            bool spelled = false;
            for (int k = 0; k < n; k++) {
                lti_chat_found found;
                spelled |= lti_chat_mark(chat, m[k].content, 0, strlen(m[k].content), &found) && found.id >= 0;
            }
            check_encoded(p, tok, chat, n, m, open, got, spelled);
            lt_buffer_free(p->ctx, got);
        }
}

static void goldens(void)
{
    json_t *root = json_load_file("tests/golden/chat.json", 0, NULL);
    const json_t *list = json_object_get(root, "templates"), *talks = json_object_get(root, "conversations");
    TS_CHECK(json_array_size(list) == LTI_COUNT(hashes) && json_array_size(talks) > 0, "tests/golden/chat.json");
    for (size_t i = 0; i < json_array_size(list); i++) {
        ts_place p = ts_open_place();
        const json_t *t = json_array_get(list, i);
        const char *bos = json_string_value(json_object_get(t, "bos")), *specials[8], *eos;
        char config[160];
        lti_chat_kind kind;
        lt_chat *chat;
        eos = json_string_value(json_object_get(t, "eos"));
        bool found =
            TS_CHECK(strcmp(hashes[i].name, json_string_value(json_object_get(t, "name"))) == 0, "the order") &&
            TS_CHECK(lti_chat_known(hashes[i].hash, &kind), "%s is known", hashes[i].name);
        int n = 0;
        for (int k = 0; found && k < LTI_CHAT_MARKS && kind.form->marks[k]; k++) specials[n++] = kind.form->marks[k];
        if (*bos && strcmp(bos, IM) != 0) specials[n++] = bos;
        if (strstr("</s><eos>", eos)) specials[n++] = eos;
        snprintf(config, sizeof config, "{\"eos_token\": \"%s\"%s%s%s}", eos, *bos ? ", \"bos_token\": \"" : "", bos,
                 *bos ? "\"" : "");
        lt_tokenizer *tok = found ? made_tokenizer(&p, n, specials, config) : NULL;
        if (tok && TS_OK(p.ctx, lti_chat_create(p.ctx, tok, &kind, &chat))) {
            check_golden(&p, tok, chat, talks, json_object_get(t, "texts"));
            lt_chat_free(chat);
        }
        lt_tokenizer_free(tok);
        ts_close_place(&p);
    }
    json_decref(root);
}

/* ---- Ids and masks ---- */

/* The conversation as text in which what is scored stands in braces. */
static void check_mask(lt_ctx *ctx, lt_chat *chat, int n, const lt_message *m, bool open, const char *want)
{
    lt_ids ids = {0}, scored = {0};
    lti_text got = {.ctx = ctx};
    bool inside = false;
    if (TS_OK(ctx, lt_chat_encode(chat, n, m, open, &ids, &scored)))
        for (int64_t i = 0; i < ids.count; i++) {
            int64_t bytes;
            char *text;
            if (inside != scored.ids[i]) lti_text_format(&got, inside ? "}" : "{");
            inside = scored.ids[i];
            if (!TS_OK(ctx,
                       lt_tokenizer_decode(chat->tokenizer, ids.ids + i, 1, LT_DECODE_SPECIAL_TOKENS, &text, &bytes)))
                break;
            lti_text_format(&got, "%s", text);
            lt_buffer_free(ctx, text);
        }
    if (inside) lti_text_format(&got, "}");
    TS_CHECK(got.data && strcmp(got.data, want) == 0, "%s: '%s', not '%s'", lt_chat_name(chat), got.data, want);
    lti_text_free(&got);
    lt_ids_free(ctx, &ids);
    lt_ids_free(ctx, &scored);
}

static void masks(void)
{
    ts_place p = ts_open_place();
    lt_tokenizer *tok = made_tokenizer(&p, 2, im, "{\"eos_token\": \"" END "\"}");
    lt_chat *chat;
    const lt_message m[] = {{"user", "Hi"}, {"assistant", "Yo"}, {"user", "1" END "\n"}, {"assistant", "\nb"}};
    if (tok && TS_OK(p.ctx, lt_chat_open(p.ctx, tok, "chatml", &chat))) {
        check_mask(p.ctx, chat, 2, m, false, IM "user\nHi" END "\n" IM "assistant\n{Yo" END "}\n");
        check_mask(p.ctx, chat, 3, m, true,
                   IM "user\nHi" END "\n" IM "assistant\n{Yo" END "}\n" IM "user\n1" END "\n" END "\n" IM
                      "assistant\n");
        /* "\n\n" is one token here; it begins in the header, so it is none of the content */
        check_mask(p.ctx, chat, 2, m + 2, false, IM "user\n1" END "\n" END "\n" IM "assistant\n\n{b" END "}\n");
        TS_CHECK(lt_chat_end(chat) == 259 && strcmp(lt_chat_name(chat), "chatml") == 0, "end %d", lt_chat_end(chat));
        TS_CHECK(lt_chat_note(chat)[0] == 0, "'%s'", lt_chat_note(chat));
        lt_ids ids = {0};
        int controls = 0;
        TS_OK(p.ctx, lt_chat_encode(chat, 4, m, false, &ids, NULL));
        for (int64_t i = 0; i < ids.count; i++) controls += lt_tokenizer_is_special(tok, ids.ids[i]);
        TS_CHECK(controls == 8, "%d control tokens: what a user writes is none", controls);
        lt_ids_free(p.ctx, &ids);
        lt_chat_free(chat);
    }
    if (tok && TS_OK(p.ctx, lt_chat_open(p.ctx, tok, "qwen3", &chat))) {
        const lt_message think[] = {
            {"user", "a"}, {"assistant", "<think>\nt\n</think>\n\nb"}, {"user", "c"}, {"assistant", "d"}};
        check_mask(p.ctx, chat, 4, think, false,
                   IM "user\na" END "\n" IM "assistant\n{b" END "}\n" IM "user\nc" END "\n" IM
                      "assistant\n{<think>\n\n</think>\n\nd" END "}\n");
        check_mask(p.ctx, chat, 2, think, false,
                   IM "user\na" END "\n" IM "assistant\n{<think>\nt\n</think>\n\nb" END "}\n");
        TS_CHECK(strstr(lt_chat_note(chat), "<think>"), "'%s'", lt_chat_note(chat));
        lt_chat_free(chat);
    }
    lt_tokenizer_free(tok);
    ts_close_place(&p);
}

/* none, custom, and marks that a vocabulary lacks, on plain bytes: BOS 256, EOS 257. */
static void plain_bytes(void)
{
    static const char bos[] = "<|startoftext|>";
    const lt_message m[] = {{"user", "q"}, {"assistant", "a"}};
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_tokenizer *tok;
    lt_chat *chat;
    char want[256], *text;
    if (!TS_OK(ctx, lt_tokenizer_bytes(ctx, &tok))) return;
    if (TS_OK(ctx, lt_chat_open(ctx, tok, "none", &chat))) {
        snprintf(want, sizeof want, "%sq{a}", bos);
        check_mask(ctx, chat, 2, m, false, want);
        TS_CHECK(lt_chat_end(chat) == -1, "it has no end");
        if (TS_OK(ctx, lt_chat_render(chat, 2, m, true, &text))) TS_CHECK(strcmp(text, "qa") == 0, "'%s'", text);
        lt_buffer_free(ctx, text);
        lt_chat_free(chat);
    }
    if (TS_OK(ctx, lt_chat_open(ctx, tok, "custom:user=Q: |\\n;assistant=A\\|\\\\\\;: |<\\|endoftext\\|>\\n", &chat))) {
        snprintf(want, sizeof want, "%sQ: q\nA|\\;: {a<|endoftext|>}\nQ: q\nA|\\;: ", bos);
        const lt_message more[] = {m[0], m[1], m[0]};
        check_mask(ctx, chat, 3, more, true, want);
        TS_CHECK(lt_chat_end(chat) == 257 && strcmp(lt_chat_name(chat), "custom") == 0, "end %d", lt_chat_end(chat));
        const lt_message system[] = {{"system", "s"}, m[0]};
        TS_REFUSED(ctx, lt_chat_render(chat, 2, system, false, &text), LT_EINVAL, "does not say how 'system'");
        lt_chat_free(chat);
    }
    if (TS_OK(ctx, lt_chat_open(ctx, tok, "custom:user=|\\n;assistant=|.\\n;system=|", &chat))) {
        snprintf(want, sizeof want, "%sq\n{a.\n}", bos);
        check_mask(ctx, chat, 2, m, false, want);
        lt_chat_free(chat);
    }
    if (TS_OK(ctx, lt_chat_open(ctx, tok, "chatml", &chat))) {
        check_mask(ctx, chat, 2, m, false, IM "user\nq" END "\n" IM "assistant\n{a" END "}\n");
        TS_CHECK(strstr(lt_chat_note(chat), "no <|im_start|>, <|im_end|>") && lt_chat_end(chat) == -1, "'%s'",
                 lt_chat_note(chat));
        lt_chat_free(chat);
    }
    if (TS_OK(ctx, lt_chat_open(ctx, tok, "zephyr", &chat))) {
        check_mask(ctx, chat, 2, m, false, "<|user|>\nq<|endoftext|>\n<|assistant|>\n{a<|endoftext|>}\n");
        TS_CHECK(lt_chat_end(chat) == 257, "end %d", lt_chat_end(chat));
        lt_chat_free(chat);
    }
    lt_tokenizer_free(tok);
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "%zu bytes leak", lt_ctx_live_bytes(ctx));
    lt_ctx_free(ctx);
}

/* ---- Which template it is ---- */

#define LOOP                                                                                                           \
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
#define OPEN "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
static lt_status open_close(lt_ctx *ctx, lt_tokenizer *tok, const char *name)
{
    lt_chat *chat;
    lt_status status = lt_chat_open(ctx, tok, name, &chat);
    lt_chat_free(chat);
    return status;
}

static void chosen(void)
{
    ts_place p = ts_open_place();
    lt_chat *chat;
    lt_tokenizer *tok = tokenizer_with(
        &p, "{% if m != 'system' %}{{ '<|im_start|>system\\nBe kind.<|im_end|>\\n' }}{% endif %}" LOOP OPEN);
    const lt_message m[] = {{"user", "q"}};
    if (tok && TS_OK(p.ctx, lt_chat_open(p.ctx, tok, NULL, &chat))) {
        check_mask(p.ctx, chat, 1, m, true, IM "system\nBe kind." END "\n" IM "user\nq" END "\n" IM "assistant\n");
        TS_CHECK(strstr(lt_chat_note(chat), "\"Be kind.\"") && strstr(lt_chat_note(chat), "by its marks"), "'%s'",
                 lt_chat_note(chat));
        lt_chat_free(chat);
    }
    if (tok && TS_OK(p.ctx, lt_chat_open(p.ctx, tok, "chatml", &chat))) {
        check_mask(p.ctx, chat, 1, m, true, IM "user\nq" END "\n" IM "assistant\n");
        TS_CHECK(strstr(lt_chat_note(chat), "does more than the plain chatml"), "'%s'", lt_chat_note(chat));
        lt_chat_free(chat);
    }
    if (tok && TS_OK(p.ctx, lt_chat_open(p.ctx, tok, "llama3", &chat))) {
        TS_CHECK(strstr(lt_chat_note(chat), "own template is chatml") &&
                     strstr(lt_chat_note(chat), "no <|start_header_id|>, <|end"),
                 "'%s'", lt_chat_note(chat));
        lt_chat_free(chat);
    }
    if (tok) TS_REFUSED(p.ctx, open_close(p.ctx, tok, "gpt5"), LT_EINVAL, "unknown chat template 'gpt5'");
    lt_tokenizer_free(tok);
    tok = tokenizer_with(
        &p, "{# over \u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9"
            "\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9 #}");
    if (tok) {
        TS_REFUSED(p.ctx, open_close(p.ctx, tok, "auto"), LT_EUNSUPPORTED,
                   "chatml, llama3, gemma, zephyr, qwen3, none");
        TS_CHECK(strstr(lt_ctx_message(p.ctx), "begins \"{# over \u00e9"), "%s", lt_ctx_message(p.ctx));
    }
    lt_tokenizer_free(tok);
    tok = made_tokenizer(&p, 0, NULL, "{}");
    if (tok) {
        TS_REFUSED(p.ctx, open_close(p.ctx, tok, NULL), LT_EINVAL, "has no chat template");
        TS_REFUSED(p.ctx, open_close(p.ctx, tok, "zephyr"), LT_EINVAL, "the tokenizer has none");
        TS_REFUSED(p.ctx, open_close(p.ctx, tok, "custom"), LT_EINVAL, "unknown chat template");
        TS_REFUSED(p.ctx, open_close(p.ctx, tok, "custom:user=a"), LT_EINVAL, "'|' is missing after 'a'");
        TS_REFUSED(p.ctx, open_close(p.ctx, tok, "custom:tool=a|b"), LT_EINVAL, "'tool=a|b'");
        TS_REFUSED(p.ctx, open_close(p.ctx, tok, "custom:user=a|b;user=a|b"), LT_EINVAL, "has not been");
        TS_REFUSED(p.ctx, open_close(p.ctx, tok, "custom:user=a|b"), LT_EINVAL, "user= and assistant= must");
        TS_REFUSED(p.ctx, open_close(p.ctx, tok, "custom:user=\\t|b"), LT_EINVAL, "\\t is none of");
    }
    lt_tokenizer_free(tok);
    ts_close_place(&p);
}

static void refused(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_tokenizer *tok;
    lt_chat *chat;
    char *text;
    const lt_message tool[] = {{"user", "q"}, {"tool", "5"}}, empty[] = {{"user", NULL}}, nobody[] = {{NULL, "q"}};
    const lt_message twice[] = {{"system", "s"}, {"user", "q"}, {"user", "q"}}, system[] = {{"system", "s"}};
    if (!TS_OK(ctx, lt_tokenizer_bytes(ctx, &tok)) || !TS_OK(ctx, lt_chat_open(ctx, tok, "gemma", &chat))) return;
    TS_REFUSED(ctx, lt_chat_render(chat, 0, tool, false, &text), LT_EINVAL, "without messages");
    TS_REFUSED(ctx, lt_chat_render(chat, 2, tool, false, &text), LT_EINVAL, "message 2: unknown role 'tool'");
    TS_REFUSED(ctx, lt_chat_render(chat, 1, empty, false, &text), LT_EINVAL, "message 1 (user) has no content");
    TS_REFUSED(ctx, lt_chat_render(chat, 1, nobody, false, &text), LT_EINVAL, "unknown role ''");
    TS_REFUSED(ctx, lt_chat_render(chat, 3, twice, false, &text), LT_EINVAL, "message 3 (user): the assistant must");
    TS_REFUSED(ctx, lt_chat_render(chat, 1, system, false, &text), LT_EINVAL, "none follows");
    lt_chat_free(chat);
    lt_tokenizer_free(tok);
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "%zu bytes leak", lt_ctx_live_bytes(ctx));
    lt_ctx_free(ctx);
}

/* BPE with byte fallback puts a blank before each piece and drops it when it decodes: lengths must not count it. */
static void stories(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_tokenizer *tok;
    lt_chat *chat;
    const lt_message m[] = {{"user", "Who was Lily?"}, {"assistant", "a little girl\u00e9"}};
    if (!TS_OK(ctx, lt_tokenizer_open(ctx, ts_data("models/stories260K/hf"), &tok))) return;
    if (TS_OK(ctx, lt_chat_open(ctx, tok, "zephyr", &chat))) {
        lt_ids ids = {0}, scored = {0}, whole = {0};
        char *text, *said;
        int64_t bytes, first = 0;
        TS_OK(ctx, lt_chat_encode(chat, 2, m, false, &ids, &scored));
        TS_OK(ctx, lt_chat_render(chat, 2, m, false, &text));
        TS_OK(ctx, lt_tokenizer_encode(tok, text, (int64_t)strlen(text), LT_ENCODE_PARSE_SPECIAL, &whole));
        TS_CHECK(ids.count == whole.count && memcmp(ids.ids, whole.ids, (size_t)ids.count * sizeof *ids.ids) == 0,
                 "ids are those of the whole text");
        while (first < scored.count && !scored.ids[first]) first++;
        int64_t end = first;
        while (end < scored.count && scored.ids[end]) end++;
        TS_OK(ctx, lt_tokenizer_decode(tok, ids.ids + first, end - first, LT_DECODE_SPECIAL_TOKENS, &said, &bytes));
        TS_CHECK(strcmp(said, "a little girl\u00e9</s>") == 0, "'%s' is scored", said);
        lt_buffer_free(ctx, said);
        lt_buffer_free(ctx, text);
        lt_ids_free(ctx, &ids);
        lt_ids_free(ctx, &scored);
        lt_ids_free(ctx, &whole);
        lt_chat_free(chat);
    }
    lt_tokenizer_free(tok);
    lt_ctx_free(ctx);
}

static lt_status attempt(lt_ctx *ctx, void *arg)
{
    const lt_message m[] = {{"system", "s"}, {"user", "q"}, {"assistant", "<think>t</think>a"}};
    lt_tokenizer *tok;
    lt_chat *chat = NULL;
    char *text = NULL;
    lt_ids ids = {0}, scored = {0};
    LTI_TRY(lt_tokenizer_bytes(ctx, &tok));
    lt_status status = lt_chat_open(ctx, tok, arg, &chat);
    if (status == LT_OK) status = lt_chat_encode(chat, 3, m, true, &ids, &scored);
    if (status == LT_OK) status = lt_chat_render(chat, 3, m, true, &text);
    lt_buffer_free(ctx, text);
    lt_ids_free(ctx, &ids);
    lt_ids_free(ctx, &scored);
    lt_chat_free(chat);
    lt_tokenizer_free(tok);
    return status;
}

static lt_status attempt_recognise(lt_ctx *ctx, void *arg)
{
    lti_chat_kind kind;
    lt_tokenizer *tok;
    lt_chat *chat = NULL;
    LTI_TRY(lt_tokenizer_bytes(ctx, &tok));
    lt_status status = lti_chat_recognise(ctx, arg, &kind);
    if (status == LT_OK) status = lti_chat_create(ctx, tok, &kind, &chat);
    lti_free(ctx, kind.owned);
    lt_chat_free(chat);
    lt_tokenizer_free(tok);
    return status;
}

static void memory(void)
{
    static char jinja[] = "{% if m != 'system' %}{{ '<|im_start|>system\\nA<|im_end|>' }}" LOOP OPEN;
    ts_every_allocation_fails("chat", attempt, "qwen3");
    ts_every_allocation_fails("custom chat", attempt, "custom:user=a|b;assistant=c|<\\|endoftext\\|>d;system=|");
    ts_every_allocation_fails("recognised chat", attempt_recognise, jinja);
}

int lti_suite_chat(void)
{
    static const ts_test tests[] = {
        {"as Transformers renders", goldens},    {"ids and masks", masks},
        {"without control tokens", plain_bytes}, {"chosen templates", chosen},
        {"refused conversations", refused},      {"every allocation fails", memory},
    };
    if (ts_suite("chat", LTI_COUNT(tests), tests) != 0) return 1;
    return ts_add_with_data(CU_get_suite("chat"), "BPE with byte fallback", "models/stories260K/hf/tokenizer.json",
                            stories);
}
