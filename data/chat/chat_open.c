/* chat_open.c - lt_chat: which template a model speaks, by its own text or by name.
 *
 * A name means the plain form; "auto" means the model's template with all it does by itself. Whatever a user could
 * trip over (a system prompt nobody wrote, a date, marks the vocabulary lacks) is said in the note. */
#include "data/chat/chat_parts.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void lt_chat_free(lt_chat *chat)
{
    if (!chat) return;
    for (int i = 0; i < LTI_ROLES; i++) {
        lti_free(chat->ctx, chat->prefix[i]);
        lti_free(chat->ctx, chat->end[i]);
        lti_free(chat->ctx, chat->after[i]);
    }
    lti_free(chat->ctx, chat->system);
    lti_free(chat->ctx, chat->bos);
    lti_free(chat->ctx, chat->eos);
    lti_text_free(&chat->note);
    lti_free(chat->ctx, chat);
}

const char *lt_chat_name(const lt_chat *chat)
{
    return chat->form->name;
}

const char *lt_chat_note(const lt_chat *chat)
{
    return chat->note.data ? chat->note.data : "";
}

int32_t lt_chat_end(const lt_chat *chat)
{
    return chat->end_id;
}

/* Three texts as one; NULL: memory is out. */
static char *joined(lt_ctx *ctx, const char *a, const char *b, const char *c)
{
    lti_text text = {.ctx = ctx};
    lti_text_format(&text, "%s%s%s", a, b, c);
    if (!text.failed) return text.data;
    lti_text_free(&text);
    return NULL;
}

static char *token_text(lt_chat *chat, int32_t id)
{
    int64_t bytes = 0;
    const char *token = id >= 0 ? lt_tokenizer_token(chat->tokenizer, id, &bytes) : NULL;
    char *text = lti_alloc(chat->ctx, (size_t)bytes + 1);
    if (text && token) memcpy(text, token, (size_t)bytes);
    return text;
}

/* ---- The note ---- */

static void note(lt_chat *chat, const char *format, ...) LTI_PRINTF(2, 3);

static void note(lt_chat *chat, const char *format, ...)
{
    char sentence[512];
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    lti_text_format(&chat->note, "%s%s", chat->note.length ? "; " : "", sentence);
}

static void note_kind(lt_chat *chat, const lti_chat_kind *kind)
{
    if (kind->system)
        note(chat, "a conversation without a system message gets the template's own: \"%.200s\"", kind->system);
    if (kind->quirks & LTI_CHAT_DATE)
        note(chat, "the template always writes a system turn with dates; today's is always 26 Jul 2024%s",
             kind->today ? ", where Transformers writes the day it runs" : "");
    if (kind->quirks & LTI_CHAT_THINK)
        note(chat,
             "thinking is left out of earlier replies; the last one has a <think> block, empty if it did not think");
    char missing[160] = "";
    for (int i = 0; i < LTI_CHAT_MARKS && kind->form->marks[i]; i++)
        if (lt_tokenizer_find(chat->tokenizer, kind->form->marks[i]) < 0)
            snprintf(missing + strlen(missing), sizeof missing - strlen(missing), "%s%s", *missing ? ", " : "",
                     kind->form->marks[i]);
    if (*missing) note(chat, "the vocabulary has no %s: written as plain text", missing);
    if (kind->quirks & LTI_CHAT_BOS && lt_tokenizer_bos(chat->tokenizer) < 0)
        note(chat, "the tokenizer has no BOS: it is left out");
}

/* ---- Making one ---- */

static lt_status fill_form(lt_chat *chat)
{
    static const char *const roles[LTI_ROLES] = {"system", "user", "assistant"};
    const lti_chat_form *f = chat->form;
    for (int i = 0; i < LTI_ROLES; i++) {
        chat->prefix[i] = f->open ? joined(chat->ctx, f->open, i == LTI_ASSISTANT ? f->assistant : roles[i], f->middle)
                                  : lti_strdup(chat->ctx, "");
        chat->end[i] = lti_strdup(chat->ctx, f->end);
        chat->after[i] = lti_strdup(chat->ctx, f->after);
        if (!chat->prefix[i] || !chat->end[i] || !chat->after[i]) return LT_ENOMEM;
    }
    return LT_OK;
}

static lt_status fill(lt_chat *chat, const lti_chat_kind *kind)
{
    if (kind->quirks & LTI_CHAT_EOS && lt_tokenizer_eos(chat->tokenizer) < 0)
        return lti_fail(chat->ctx, LT_EINVAL, "%s ends turns with eos, and the tokenizer has none", kind->form->name);
    chat->bos = token_text(chat, lt_tokenizer_bos(chat->tokenizer));
    chat->eos = token_text(chat, lt_tokenizer_eos(chat->tokenizer));
    if (!chat->bos || !chat->eos) return LT_ENOMEM;
    if (kind->system && !(chat->system = lti_strdup(chat->ctx, kind->system))) return LT_ENOMEM;
    LTI_TRY(fill_form(chat));
    chat->end_id = kind->quirks & LTI_CHAT_EOS ? lt_tokenizer_eos(chat->tokenizer)
                   : *kind->form->end          ? lt_tokenizer_find(chat->tokenizer, kind->form->end)
                                               : -1;
    note_kind(chat, kind);
    return chat->note.failed ? LT_ENOMEM : LT_OK;
}

lt_status lti_chat_create(lt_ctx *ctx, lt_tokenizer *tok, const lti_chat_kind *kind, lt_chat **chat)
{
    *chat = NULL;
    lt_chat *c = lti_alloc(ctx, sizeof *c);
    if (!c) return LT_ENOMEM;
    *c = (lt_chat){
        .ctx = ctx, .tokenizer = tok, .form = kind->form, .quirks = kind->quirks, .end_id = -1, .note = {.ctx = ctx}};
    lt_status status = fill(c, kind);
    if (status != LT_OK)
        lt_chat_free(c);
    else
        *chat = c;
    return status;
}

/* ---- custom:ROLE=PREFIX|SUFFIX;... ---- */

/* Reads up to an unescaped `stop` or the end, and moves behind it; false where `stop` is missing and needed. */
static lt_status read_part(lt_ctx *ctx, const char **at, char stop, bool needed, char **part)
{
    lti_text text = {.ctx = ctx};
    const char *p = *at;
    for (; *p && *p != stop; p++) {
        char c = *p;
        if (c == '\\') {
            c = *++p;
            if (!c || !strchr("n\\|;", c)) {
                lti_text_free(&text);
                return lti_fail(ctx, LT_EINVAL, "custom template: \\%c is none of \\n, \\\\, \\| and \\;", c ? c : ' ');
            }
            c = c == 'n' ? '\n' : c;
        }
        lti_text_add(&text, &c, 1);
    }
    lti_text_add(&text, "", 0);
    bool missing = needed && *p != stop;
    if (missing || text.failed) {
        lti_text_free(&text);
        return missing ? lti_fail(ctx, LT_EINVAL, "custom template: '%c' is missing after '%.30s'", stop, *at)
                       : LT_ENOMEM;
    }
    *at = *p ? p + 1 : p;
    *part = text.data;
    return LT_OK;
}

/* A suffix ends its turn up to its first control token; what follows is not learned. Without one it all does. */
static lt_status divide_suffix(lt_chat *chat, int role, char *suffix)
{
    lti_chat_found found;
    size_t n = strlen(suffix);
    if (lti_chat_mark(chat, suffix, 0, n, &found)) {
        if (role == LTI_ASSISTANT) chat->end_id = found.id;
        n = found.end;
    }
    lti_free(chat->ctx, chat->after[role]);
    lti_free(chat->ctx, chat->end[role]);
    chat->end[role] = suffix;
    chat->after[role] = lti_strdup(chat->ctx, suffix + n);
    if (!chat->after[role]) return LT_ENOMEM;
    suffix[n] = 0;
    return LT_OK;
}

static lt_status read_role(lt_chat *chat, const char **at)
{
    static const char *const roles[LTI_ROLES] = {"system=", "user=", "assistant="};
    int role = 0;
    char *suffix;
    while (role < LTI_ROLES && strncmp(*at, roles[role], strlen(roles[role])) != 0) role++;
    if (role == LTI_ROLES || chat->prefix[role])
        return lti_fail(chat->ctx, LT_EINVAL, "custom template: '%.30s' is no system=, user= or assistant=%s", *at,
                        role < LTI_ROLES ? " that has not been" : "");
    *at += strlen(roles[role]);
    LTI_TRY(read_part(chat->ctx, at, '|', true, &chat->prefix[role]));
    LTI_TRY(read_part(chat->ctx, at, ';', false, &suffix));
    return divide_suffix(chat, role, suffix);
}

static lt_status read_custom(lt_chat *chat, const char *text)
{
    for (int i = 0; i < LTI_ROLES; i++) {
        lti_free(chat->ctx, chat->prefix[i]);
        chat->prefix[i] = NULL;
    }
    while (*text) LTI_TRY(read_role(chat, &text));
    if (chat->prefix[LTI_USER] && chat->prefix[LTI_ASSISTANT]) return LT_OK;
    return lti_fail(chat->ctx, LT_EINVAL, "custom template: user= and assistant= must be in it");
}

/* ---- Opening ---- */

static lt_status open_own(lt_ctx *ctx, lt_tokenizer *tok, lt_chat **chat)
{
    const char *jinja = lt_tokenizer_chat_template(tok);
    lti_chat_kind kind;
    if (!jinja || !*jinja)
        return lti_fail(ctx, LT_EINVAL, "the model has no chat template; name one of " LTI_CHAT_NAMES);
    LTI_TRY(lti_chat_recognise(ctx, jinja, &kind));
    lt_status status = lti_chat_create(ctx, tok, &kind, chat);
    if (status == LT_OK && !kind.exact) {
        note(*chat, "recognised as %s by its marks, not word for word: look at a sample", kind.form->name);
        if ((*chat)->note.failed) status = LT_ENOMEM;
    }
    lti_free(ctx, kind.owned);
    return status;
}

/* Says so when the model's own template is another one than the user named. */
static lt_status compare_own(lt_chat *chat)
{
    const char *jinja = lt_tokenizer_chat_template(chat->tokenizer);
    lti_chat_kind kind;
    if (!jinja || !*jinja) return LT_OK;
    lt_status status = lti_chat_recognise(chat->ctx, jinja, &kind);
    if (status == LT_ENOMEM) return status;
    if (status != LT_OK)
        note(chat, "the model's own template is another one"), lt_ctx_clear(chat->ctx);
    else if (kind.form != chat->form)
        note(chat, "the model's own template is %s", kind.form->name);
    else if (kind.quirks != chat->quirks || kind.system)
        note(chat, "the model's own template does more than the plain %s; auto does it too", kind.form->name);
    lti_free(chat->ctx, kind.owned);
    return chat->note.failed ? LT_ENOMEM : LT_OK;
}

static lt_status open_named(lt_ctx *ctx, lt_tokenizer *tok, const char *name, lt_chat **chat)
{
    static const char custom[] = "custom:";
    bool own = strncmp(name, custom, sizeof custom - 1) == 0;
    const lti_chat_form *form = lti_chat_form_named(own ? "custom" : name);
    if (!form || (!own && strcmp(name, "custom") == 0))
        return lti_fail(ctx, LT_EINVAL, "unknown chat template '%.40s': it is auto or one of " LTI_CHAT_NAMES, name);
    lti_chat_kind kind = {.form = form, .quirks = form->quirks};
    LTI_TRY(lti_chat_create(ctx, tok, &kind, chat));
    if (own) LTI_TRY(read_custom(*chat, name + sizeof custom - 1));
    return compare_own(*chat);
}

lt_status lt_chat_open(lt_ctx *ctx, lt_tokenizer *tokenizer, const char *name, lt_chat **chat)
{
    *chat = NULL;
    bool own = !name || strcmp(name, "auto") == 0;
    lt_status status = own ? open_own(ctx, tokenizer, chat) : open_named(ctx, tokenizer, name, chat);
    if (status != LT_OK) {
        lt_chat_free(*chat);
        *chat = NULL;
    }
    return status;
}
