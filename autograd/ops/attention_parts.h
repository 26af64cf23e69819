/* attention_parts.h - what the attention files share. */
#ifndef LTI_ATTENTION_PARTS_H
#define LTI_ATTENTION_PARTS_H

#include "lathe/ops.h"

/* Scores [.., T, S] with the future hidden: row t keeps columns 0 .. S - T + t. */
lt_t lti_causal_mask(lt_t scores);

#endif
