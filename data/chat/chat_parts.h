/* chat_parts.h - inside of lt_chat: what a template is, how one is recognised, a conversation cut into spans.
 *
 * A template is a row of a table (what stands before a role, behind it, behind a content) and some quirks. A
 * conversation becomes a script: its text, with spans that say which bytes the template wrote and which a person did.
 * Rendering gives the text; encoding goes over the spans. So both say the same. */
#ifndef LTI_CHAT_PARTS_H
#define LTI_CHAT_PARTS_H

#include "base/text.h"
#include "lathe/chat.h"

enum { LTI_SYSTEM, LTI_USER, LTI_ASSISTANT, LTI_ROLES };

/* What a template does besides writing its marks. */
enum {
    LTI_CHAT_BOS = 1,          /* writes BOS first */
    LTI_CHAT_TRIM = 2,         /* contents lose the blanks at both ends */
    LTI_CHAT_DATE = 4,         /* the first turn is a system turn with two dates, whoever begins */
    LTI_CHAT_FOLD = 8,         /* the system's text begins the first user turn */
    LTI_CHAT_NO_SYSTEM = 16,   /* system turns are refused */
    LTI_CHAT_ALTERNATE = 32,   /* user and assistant take turns, the user begins */
    LTI_CHAT_THINK = 64,       /* Qwen 3: see chat_turns.c */
    LTI_CHAT_OPEN_THINK = 128, /* an opened reply begins to think */
    LTI_CHAT_ADDS_BOS = 256,   /* BOS when the tokenizer adds one, though no template asks for it */
    LTI_CHAT_EOS = 512,        /* turns end with the tokenizer's eos */
    LTI_CHAT_APART = 1024      /* each turn is encoded alone: no control token need stand between two */
};

#define LTI_CHAT_MARKS 4
typedef struct lti_chat_form {
    const char *name;
    const char *open, *middle;         /* around the name of a role */
    const char *end, *after;           /* behind a content: what ends the turn, and what follows it */
    const char *assistant;             /* what the template calls it */
    const char *marks[LTI_CHAT_MARKS]; /* control tokens it needs; they are always encoded apart */
    unsigned quirks;                   /* of the plain form */
} lti_chat_form;

/* A form as one model's template has it. */
typedef struct lti_chat_kind {
    const lti_chat_form *form;
    unsigned quirks;
    const char *system; /* the system prompt it writes when there is none; NULL */
    char *owned;        /* NULL, or `system`: to be freed with lti_free */
    bool exact;         /* word for word a template that is known */
    bool today;         /* the original writes the date of the day */
} lti_chat_kind;

const lti_chat_form *lti_chat_form_named(const char *name); /* NULL */
#define LTI_CHAT_NAMES "chatml, llama3, gemma, zephyr, qwen3, none, custom:ROLE=PREFIX|SUFFIX;..."

/* What a model's template is, by its hash and then by its marks. LT_EUNSUPPORTED. */
lt_status lti_chat_recognise(lt_ctx *ctx, const char *jinja, lti_chat_kind *kind);
/* By XXH3-64 of a template without carriage returns and without blanks at its ends. */
bool lti_chat_known(uint64_t hash, lti_chat_kind *kind);
/* Makes a chat of a kind; takes nothing of it over. */
lt_status lti_chat_create(lt_ctx *ctx, lt_tokenizer *tokenizer, const lti_chat_kind *kind, lt_chat **chat);

struct lt_chat {
    lt_ctx *ctx;
    lt_tokenizer *tokenizer; /* borrowed */
    const lti_chat_form *form;
    unsigned quirks;
    char *prefix[LTI_ROLES]; /* NULL: a role the template does not have */
    char *end[LTI_ROLES];
    char *after[LTI_ROLES];
    char *system;    /* the default system prompt, or NULL */
    char *bos, *eos; /* their texts; "" when there is none */
    int32_t end_id;
    lti_text note;
};

/* What one hand wrote without a break. */
typedef struct lti_chat_span {
    size_t begin, end; /* bytes of the text */
    int32_t id;        /* >= 0: the control token it is */
    bool ours;         /* the template's, where control tokens are looked for */
    bool scored;
    bool turn; /* a turn begins here */
} lti_chat_span;

typedef struct lti_chat_script {
    lti_text text;
    lti_chat_span *spans;
    int count, room;
    bool turn; /* the next span begins one */
} lti_chat_script;

/* Checks the order of roles and writes the script; to be freed also on failure. */
lt_status lti_chat_write(lt_chat *chat, int count, const lt_message *messages, bool open_reply,
                         lti_chat_script *script);
void lti_chat_script_free(lti_chat_script *script);

typedef struct lti_chat_found {
    size_t begin, end;
    int32_t id; /* -1: the vocabulary lacks it */
} lti_chat_found;
/* The first mark in text[from .. to), of the shape "<..>" or "[..]": a control token, or one that the form needs. */
bool lti_chat_mark(const lt_chat *chat, const char *text, size_t from, size_t to, lti_chat_found *found);

/* The bytes that ids[i] decodes to behind another id. */
lt_status lti_id_bytes(lt_tokenizer *tokenizer, const int32_t *ids, int64_t i, int64_t *bytes);

#endif
