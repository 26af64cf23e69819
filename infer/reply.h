/* reply.h - the text of one generation as it grows: whole characters, cut at the first stop text. */
#ifndef LTI_REPLY_H
#define LTI_REPLY_H

#include "base/text.h"
#include "lathe/infer.h"

typedef struct lti_reply {
    lt_tokenizer *tokenizer;
    const lt_sampling *how;
    lti_text text;          /* UTF-8 */
    unsigned char begun[4]; /* bytes of a character that is not whole yet */
    int n_begun;
    size_t character;    /* where in the text that of the last byte begins */
    int32_t before;      /* the last id that shows, which decides about blanks; -1: none */
    size_t shown;        /* bytes of text that were given away */
    size_t longest_stop; /* bytes */
    int64_t *starts;     /* [capacity]: where in the text the character begins that each id begins in */
    int64_t count;       /* ids; with a stop text: those that begin before it */
} lti_reply;

/* For at most `capacity` ids that follow those of the prompt. `how` and the tokenizer are borrowed. */
lt_status lti_reply_open(lt_ctx *ctx, lt_tokenizer *tokenizer, const lt_sampling *how, const lt_ids *prompt,
                         int64_t capacity, lti_reply *reply);
void lti_reply_close(lti_reply *reply); /* a zeroed one is fine */

/* *stopped: a stop text is complete, and the text ends before it. */
lt_status lti_reply_add(lti_reply *reply, int32_t id, bool *stopped);
/* No id follows: half a character becomes U+FFFD. */
lt_status lti_reply_end(lti_reply *reply);
/* The bytes from `shown` on that no later id can change; all of them after the end. They then count as shown. */
const char *lti_reply_take(lti_reply *reply, bool ended, int64_t *bytes);

#endif
