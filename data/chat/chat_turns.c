/* chat_turns.c - a conversation as a script: what the template writes, and what people said.
 *
 * Here stand the rules in which templates differ: who may speak when, what is trimmed, what is added. Trimming follows
 * Python's str.strip, which is what Jinja calls.
 *
 * Qwen 3: after the last question, a reply begins with a <think> block that holds what stood in the content's own, and
 * the very last reply has one even when it is empty; in replies before it, thinking is left out. */
#include "data/chat/chat_parts.h"
#include "data/utf8.h"

#include <string.h>

/* ---- The script ---- */

void lti_chat_script_free(lti_chat_script *script)
{
    lti_free(script->text.ctx, script->spans);
    lti_text_free(&script->text);
}

/* A failure is seen in text.failed. */
static void add_span(lti_chat_script *s, const char *text, size_t n, lti_chat_span span)
{
    if (s->count == s->room) {
        int wider = s->room ? 2 * s->room : 32;
        lti_chat_span *grown =
            lti_realloc(s->text.ctx, s->spans, (size_t)s->count * sizeof *grown, (size_t)wider * sizeof *grown);
        if (!grown) {
            s->text.failed = true;
            return;
        }
        s->spans = grown;
        s->room = wider;
    }
    span.begin = s->text.length;
    span.end = s->text.length + n;
    span.turn = s->turn;
    s->turn = false;
    lti_text_add(&s->text, text, n);
    s->spans[s->count++] = span;
}

static void write_ours(lti_chat_script *s, const char *text, bool scored)
{
    if (*text) add_span(s, text, strlen(text), (lti_chat_span){.id = -1, .ours = true, .scored = scored});
}

static void write_said(lti_chat_script *s, const char *text, size_t n, bool scored)
{
    if (n) add_span(s, text, n, (lti_chat_span){.id = -1, .scored = scored});
}

static void write_token(lti_chat_script *s, const char *text, int32_t id, bool scored)
{
    if (id >= 0) add_span(s, text, strlen(text), (lti_chat_span){.id = id, .ours = true, .scored = scored});
}

/* ---- Python's strings ---- */

typedef struct slice {
    const char *text;
    size_t n;
} slice;

static bool is_blank(uint32_t c)
{
    return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

/* The blank at the front, or at the back, in bytes; 0: none. */
static size_t blank_at(slice s, bool back)
{
    size_t at = 0;
    if (back) {
        at = s.n - 1;
        while (at > 0 && s.n - at < 4 && ((unsigned char)s.text[at] & 0xC0) == 0x80) at--;
    }
    const unsigned char *p = (const unsigned char *)s.text + at;
    int length = lti_utf8_length(p, s.n - at);
    if (!length || (back && (size_t)length != s.n - at)) return 0;
    return is_blank(lti_utf8_point(p, length)) ? (size_t)length : 0;
}

static slice strip(slice s)
{
    for (size_t b; s.n && (b = blank_at(s, false)); s.n -= b) s.text += b;
    for (size_t b; s.n && (b = blank_at(s, true));) s.n -= b;
    return s;
}

static slice strip_newlines(slice s, bool front, bool back)
{
    for (; front && s.n && *s.text == '\n'; s.n--) s.text++;
    while (back && s.n && s.text[s.n - 1] == '\n') s.n--;
    return s;
}

/* The part before the first mark, or behind the last; all of it without one. */
static slice part(slice s, const char *mark, bool last)
{
    size_t m = strlen(mark), from = 0, hits = 0;
    for (;;) {
        const char *hit = memmem(s.text + from, s.n - from, mark, m);
        if (!hit) break;
        if (!last) return (slice){s.text, (size_t)(hit - s.text)};
        from = (size_t)(hit - s.text) + m;
        hits++;
    }
    return hits ? (slice){s.text + from, s.n - from} : s;
}

/* ---- Who may speak ---- */

static int role_of(const char *name)
{
    static const char *const names[LTI_ROLES] = {"system", "user", "assistant"};
    for (int i = 0; name && i < LTI_ROLES; i++)
        if (strcmp(names[i], name) == 0) return i;
    return -1;
}

static lt_status check_message(lt_chat *chat, int i, const lt_message *m)
{
    int role = role_of(m->role);
    if (role < 0)
        return lti_fail(chat->ctx, LT_EINVAL, "message %d: unknown role '%.20s'; it is system, user or assistant",
                        i + 1, m->role ? m->role : "");
    if (!m->content) return lti_fail(chat->ctx, LT_EINVAL, "message %d (%s) has no content", i + 1, m->role);
    if (!chat->prefix[role])
        return lti_fail(chat->ctx, LT_EINVAL, "message %d: the custom template does not say how '%s' is written", i + 1,
                        m->role);
    if (role == LTI_SYSTEM && chat->quirks & LTI_CHAT_NO_SYSTEM)
        return lti_fail(chat->ctx, LT_EINVAL, "message %d: this model's template refuses system messages", i + 1);
    return LT_OK;
}

static lt_status check_order(lt_chat *chat, int count, const lt_message *messages)
{
    if (count < 1) return lti_fail(chat->ctx, LT_EINVAL, "a conversation without messages");
    for (int i = 0; i < count; i++) LTI_TRY(check_message(chat, i, &messages[i]));
    int first = role_of(messages[0].role) == LTI_SYSTEM;
    if (chat->quirks & LTI_CHAT_FOLD && first == count)
        return lti_fail(chat->ctx, LT_EINVAL, "message 1: %s writes a system message into a user's turn; none follows",
                        chat->form->name);
    for (int i = first; chat->quirks & LTI_CHAT_ALTERNATE && i < count; i++) {
        int due = (i - first) % 2 ? LTI_ASSISTANT : LTI_USER;
        if (role_of(messages[i].role) != due)
            return lti_fail(chat->ctx, LT_EINVAL, "message %d (%s): %s must speak here, user and assistant take turns",
                            i + 1, messages[i].role, due == LTI_USER ? "the user" : "the assistant");
    }
    return LT_OK;
}

/* ---- Turns ---- */

static void begin_turn(lt_chat *chat, lti_chat_script *s, int role)
{
    s->turn = true;
    write_ours(s, chat->prefix[role], false);
}

static void end_turn(lt_chat *chat, lti_chat_script *s, int role)
{
    bool scored = role == LTI_ASSISTANT;
    if (chat->quirks & LTI_CHAT_EOS)
        write_token(s, chat->eos, lt_tokenizer_eos(chat->tokenizer), scored);
    else
        write_ours(s, chat->end[role], scored);
    write_ours(s, chat->after[role], false);
}

/* Qwen 3's reply; `question`: where the last question was asked. */
static void write_reply(lti_chat_script *s, slice content, bool behind_question, bool last)
{
    slice thought = {"", 0};
    if (memmem(content.text, content.n, "</think>", 8)) {
        thought = strip_newlines(part(content, "</think>", false), false, true);
        thought = strip_newlines(part(thought, "<think>", true), true, false);
        content = strip_newlines(part(content, "</think>", true), true, false);
    }
    if (behind_question && (last || thought.n)) {
        thought = strip_newlines(thought, true, true);
        write_ours(s, "<think>\n", true);
        write_said(s, thought.text, thought.n, true);
        write_ours(s, "\n</think>\n\n", true);
        content = strip_newlines(content, true, false);
    }
    write_said(s, content.text, content.n, true);
}

/* The last user message that is not a tool's answer; the last message when there is none. */
static int last_question(int count, const lt_message *messages)
{
    static const char open[] = "<tool_response>", close[] = "</tool_response>";
    for (int i = count - 1; i >= 0; i--) {
        const char *c = messages[i].content;
        size_t n = strlen(c), m = sizeof close - 1;
        bool tool = strncmp(c, open, sizeof open - 1) == 0 && n >= m && strcmp(c + n - m, close) == 0;
        if (role_of(messages[i].role) == LTI_USER && !tool) return i;
    }
    return count - 1;
}

/* What stands before the first message: BOS, dates, a default system prompt. Returns how many messages it used up. */
static int write_head(lt_chat *chat, const lt_message *messages, lti_chat_script *s)
{
    bool system = role_of(messages[0].role) == LTI_SYSTEM;
    s->turn = true;
    if (chat->quirks & LTI_CHAT_BOS) write_token(s, chat->bos, lt_tokenizer_bos(chat->tokenizer), false);
    if (chat->quirks & LTI_CHAT_DATE) {
        slice content = strip((slice){system ? messages[0].content : "", system ? strlen(messages[0].content) : 0});
        begin_turn(chat, s, LTI_SYSTEM);
        write_ours(s, "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n", false);
        write_said(s, content.text, content.n, false);
        end_turn(chat, s, LTI_SYSTEM);
        return system;
    }
    if (chat->system && !system) {
        begin_turn(chat, s, LTI_SYSTEM);
        write_said(s, chat->system, strlen(chat->system), false);
        end_turn(chat, s, LTI_SYSTEM);
    }
    return system && chat->quirks & LTI_CHAT_FOLD;
}

lt_status lti_chat_write(lt_chat *chat, int count, const lt_message *messages, bool open_reply, lti_chat_script *s)
{
    *s = (lti_chat_script){.text = {.ctx = chat->ctx}};
    LTI_TRY(check_order(chat, count, messages));
    int question = chat->quirks & LTI_CHAT_THINK ? last_question(count, messages) : 0;
    int first = write_head(chat, messages, s);
    for (int i = first; i < count; i++) {
        int role = role_of(messages[i].role);
        slice content = {messages[i].content, strlen(messages[i].content)};
        if (chat->quirks & LTI_CHAT_TRIM) content = strip(content);
        begin_turn(chat, s, role);
        if (i == first && first == 1 && chat->quirks & LTI_CHAT_FOLD) {
            write_said(s, messages[0].content, strlen(messages[0].content), false);
            write_ours(s, "\n\n", false);
        }
        if (chat->quirks & LTI_CHAT_THINK && role == LTI_ASSISTANT)
            write_reply(s, content, i > question, i == count - 1);
        else
            write_said(s, content.text, content.n, role == LTI_ASSISTANT);
        end_turn(chat, s, role);
    }
    if (open_reply) begin_turn(chat, s, LTI_ASSISTANT);
    if (open_reply && chat->quirks & LTI_CHAT_OPEN_THINK) write_ours(s, "<think>\n", false);
    lti_text_add(&s->text, "", 0); /* a text also where nothing was said */
    return s->text.failed ? LT_ENOMEM : LT_OK;
}
