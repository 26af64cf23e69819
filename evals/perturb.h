/* perturb.h - the same text as a careless person would have typed it. */
#ifndef LTI_PERTURB_H
#define LTI_PERTURB_H

#include "base/text.h"

typedef enum lti_perturbation {
    LTI_PERTURB_NONE,
    LTI_PERTURB_TYPOS,      /* letters swapped, left out or replaced in about one word of twenty */
    LTI_PERTURB_CASE,       /* words in capitals or in small letters, a third each */
    LTI_PERTURB_WHITESPACE, /* one blank of ten doubled, one of twenty left out */
    LTI_PERTURB_SHIFT,      /* a sentence that says nothing stands before the text */
    LTI_PERTURB_COUNT
} lti_perturbation;

const char *lti_perturbation_name(lti_perturbation kind);
/* "typos,shift" or "all" as bits 1 << kind. LT_EINVAL for an unknown name. NULL or "": 0. */
lt_status lti_perturbations(lt_ctx *ctx, const char *list, unsigned *kinds);

/* Appends the perturbed text. What happens to word i depends on (seed, kind, key, i) alone: texts that begin alike and
 * share a key still begin alike. LTI_PERTURB_NONE copies. */
void lti_perturb(lti_perturbation kind, uint64_t seed, const char *key, const char *text, lti_text *out);

#endif
