/* fuzz_chat.c - a chat template: the text of a model's own, or custom:...; then, behind a NUL, a conversation, a turn a
 * line: s, u or a and what is said. Without it the conversation is a fixed one. */
#include "data/chat/chat_parts.h"
#include "tests/fuzz/fuzzing.h"

#include <stdlib.h>
#include <string.h>

#define TURNS 16

static lt_tokenizer *bytes;
static lt_ctx *own; /* not that of the chats: the two may differ */

static void drop(void)
{
    lt_tokenizer_free(bytes);
    lt_ctx_free(own);
}

static lt_tokenizer *tokenizer(void)
{
    if (bytes) return bytes;
    own = lt_ctx_create(NULL);
    atexit(drop);
    FZ_CHECK(lt_tokenizer_bytes(own, &bytes) == LT_OK, "%s", lt_ctx_message(own));
    return bytes;
}

/* Cuts a text into turns; returns how many. */
static int read_turns(char *text, lt_message turns[TURNS])
{
    static const char *const roles[] = {"system", "user", "assistant"};
    int count = 0;
    for (char *line = text; line && *line && count < TURNS;) {
        char *end = strchr(line, '\n');
        if (end) *end = 0;
        turns[count++] = (lt_message){roles[*line == 's' ? 0 : *line == 'u' ? 1 : 2], line + 1};
        line = end ? end + 1 : NULL;
    }
    return count;
}

/* What is rendered is what the ids decode to: bytes keep every letter, and marks they lack are text. */
static void compare(lt_chat *chat, const lt_ids *ids, const char *text)
{
    char *back;
    int64_t length;
    bool bos = ids->count && ids->ids[0] == lt_tokenizer_bos(bytes) && chat->quirks & LTI_CHAT_ADDS_BOS;
    FZ_CHECK(lt_tokenizer_decode(bytes, ids->ids + bos, ids->count - bos, LT_DECODE_SPECIAL_TOKENS, &back, &length) ==
                 LT_OK,
             "%s", lt_ctx_message(own));
    FZ_CHECK((size_t)length == strlen(text) && memcmp(back, text, strlen(text)) == 0, "'%s' is encoded as '%s'", text,
             back);
    lt_buffer_free(own, back);
}

static void speak(lt_ctx *ctx, lt_chat *chat, int count, const lt_message *turns, bool open_reply)
{
    lt_ids ids = {0}, scored = {0};
    char *text;
    if (fz_accept(ctx, lt_chat_render(chat, count, turns, open_reply, &text))) {
        if (fz_must(ctx, lt_chat_encode(chat, count, turns, open_reply, &ids, &scored))) {
            FZ_CHECK(ids.count == scored.count, "%lld ids, %lld scores", (long long)ids.count, (long long)scored.count);
            compare(chat, &ids, text);
        }
        lt_buffer_free(ctx, text);
    }
    lt_ids_free(own, &ids);
    lt_ids_free(own, &scored);
}

static lt_status open_chat(lt_ctx *ctx, const char *template, lt_chat **chat)
{
    lti_chat_kind kind;
    if (strncmp(template, "custom:", 7) == 0) return lt_chat_open(ctx, tokenizer(), template, chat);
    LTI_TRY(lti_chat_recognise(ctx, template, &kind));
    lt_status status = lti_chat_create(ctx, tokenizer(), &kind, chat);
    lti_free(ctx, kind.owned);
    return status;
}

static void body(lt_ctx *ctx, const uint8_t *data, size_t size)
{
    char fixed[] = "sBe brief.\nuHi\na<think>\nhm\n</think>\n\n Hello.\nu\nabye", *said = fixed;
    lt_message turns[TURNS];
    char *template = calloc(1, size + 1);
    FZ_CHECK(template, "out of memory");
    if (size) memcpy(template, data, size);
    size_t n = strlen(template);
    if (n < size) said = template + n + 1;
    int count = read_turns(said, turns);
    lt_chat *chat = NULL;
    if (fz_accept(ctx, open_chat(ctx, template, &chat)))
        for (int open_reply = 0; open_reply < 2; open_reply++) speak(ctx, chat, count, turns, open_reply);
    lt_chat_free(chat);
    free(template);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fz_run(body, data, size);
}
