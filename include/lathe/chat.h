/* chat.h - conversations as the text a model was trained on.
 *
 * A template says how messages become tokens. There is no Jinja interpreter: the known templates are written in C, and
 * a model's own template text chooses among them by its marks. Where none fits, lathe refuses to guess.
 *
 *     lt_chat *chat; lt_ids ids = {0}, scored = {0};
 *     lt_message m[] = {{"user", "What is 2 + 2?"}, {"assistant", "4"}};
 *     if (lt_chat_open(ctx, tok, NULL, &chat)) return lt_ctx_status(ctx);
 *     if (lt_chat_encode(chat, 2, m, false, &ids, &scored)) return lt_ctx_status(ctx); // scored: 1 where "4" is
 *     lt_chat_free(chat);
 */
#ifndef LATHE_CHAT_H
#define LATHE_CHAT_H

#include "lathe/data.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lt_message {
    const char *role; /* "system", "user", "assistant" */
    const char *content;
} lt_message;

typedef struct lt_chat lt_chat; /* borrows its tokenizer; owned by the caller */

/* `name`: "chatml", "llama3", "gemma", "zephyr", "qwen3", "none" (contents alone, one behind the other), or
 * "custom:ROLE=PREFIX|SUFFIX;ROLE=PREFIX|SUFFIX;..." with \n, \\, \| and \; as escapes; NULL or "auto": the one that
 * the tokenizer's own chat template is, with its quirks: the default system prompts of SmolLM2 and Qwen 2.5, the dates
 * in Llama 3.1's system turn (always 26 Jul 2024, the template's own default, never today's), Gemma 1 and 2's refusal
 * of system turns. A name means the plain form, without those. Errors: LT_EUNSUPPORTED when the model's template is
 * none of these (the message shows how it begins and lists the names), LT_EINVAL for an unknown name, when the model
 * has no template, or when the tokenizer has no eos and zephyr ends its turns with it. */
LT_API LT_MUST_USE lt_status lt_chat_open(lt_ctx *ctx, lt_tokenizer *tokenizer, const char *name, lt_chat **chat);
LT_API void lt_chat_free(lt_chat *chat); /* NULL is fine */
LT_API const char *lt_chat_name(const lt_chat *chat);
/* What the template adds by itself and a user should know ("the default system prompt of Qwen2.5 is added"); "". */
LT_API const char *lt_chat_note(const lt_chat *chat);

/* Appends the ids of a conversation to `ids`. `open_reply`: ends where the assistant is to begin. `scored` (may be
 * NULL) gets one number an id: 1 for what an assistant says, its end mark included, 0 for the rest. Text between
 * control tokens is encoded as one piece, as in the whole rendered text; an id counts as the assistant's when its first
 * byte does. Control tokens are those of the template alone: text in contents never becomes one. Ids begin with the BOS
 * the template writes; for "none" and "custom" with BOS when the tokenizer adds one. Qwen 3: thinking of earlier turns
 * is left out and the last reply has a <think> block, empty where there is none, as its template has it; it is scored.
 * Both lists are of the tokenizer's context. LT_EINVAL: an unknown role, an order the template refuses. */
LT_API LT_MUST_USE lt_status lt_chat_encode(lt_chat *chat, int count, const lt_message *messages, bool open_reply,
                                            lt_ids *ids, lt_ids *scored);
/* The same as text, NUL-terminated, without the BOS of "none" and "custom"; free with lt_buffer_free. */
LT_API LT_MUST_USE lt_status lt_chat_render(lt_chat *chat, int count, const lt_message *messages, bool open_reply,
                                            char **text);
/* The id that ends an assistant's turn, where generation stops; -1 when the template has none of its own. */
LT_API int32_t lt_chat_end(const lt_chat *chat);

#ifdef __cplusplus
}
#endif
#endif
