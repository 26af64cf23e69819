/* attention_parts.h - what the attention files share. */
#ifndef LTI_ATTENTION_PARTS_H
#define LTI_ATTENTION_PARTS_H

#include "autograd/op.h"

/* Makes the graph's error and returns true when the config cannot be. */
bool lti_attention_refused(lt_graph *graph, const lt_attention_config *config);
/* Spans of B rows and T queries: int32 [B, T, 2]. */
bool lti_spans_fit(const lti_shaper *s, const lti_value *spans, int64_t B, int64_t T);

/* Scores [.., T, S] with the future hidden: row t keeps columns 0 .. S - T + t. */
lt_t lti_causal_mask(lt_t scores);
/* Scores or weights x [B, H, T, S] with `hidden` in place of what config's causal, window and spans do not let a query
 * see. */
lt_t lti_attention_mask(lt_t x, const lt_attention_config *config, double hidden);

#endif
