/* rope_frequencies.h - the frequencies of rotary embedding, stretched or not. */
#ifndef LTI_ROPE_FREQUENCIES_H
#define LTI_ROPE_FREQUENCIES_H

#include "lathe/ops.h"

/* The angle of pair i at position t is t inverse_frequency[i], i < D/2; cos and sin are multiplied by *amplitude. The
 * config is one that lti_rope_problem has nothing against. */
void lti_rope_frequencies(const lt_rope_config *config, int64_t D, double *inverse_frequency, double *amplitude);

/* Why there are no such frequencies, "llama3: factor is 0; ...", into a buffer of LTI_ROPE_TEXT bytes; NULL: all is
 * well. */
#define LTI_ROPE_TEXT 160
const char *lti_rope_problem(const lt_rope_config *config, int64_t D, char *buffer);

#endif
