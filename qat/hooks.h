/* hooks.h - the two hooks of a policy; `config` is the lt_quant_policy. */
#ifndef LTI_QAT_HOOKS_H
#define LTI_QAT_HOOKS_H

#include "lathe/qat.h"

/* w [out, in] on the grid of its parameter. */
lt_t lti_qat_weight(lt_t w, const lt_site *site, void *config);
/* x [.., in] on the grid that the policy pairs with the site's weight. */
lt_t lti_qat_input(lt_t x, const lt_site *site, void *config);
/* Whether the weight is multiplied as int8 codes with a scale a row: int8:channel with int8 activations, no learned scales.
 * Of embeddings it is not: their rows are looked up. Nor are filters and the weights of recurrent layers, by their shape and
 * name: who knows the weight alone may ask for it as a linear layer's. */
bool lti_qat_rows(const lt_quant_policy *policy, const lt_site *site);
/* What the input hook makes of rows of `columns` numbers; LT_F32: they stay. Static grids: LT_I8, of which the numbers are
 * made again. */
lt_dtype lti_qat_input_type(const lt_quant_policy *policy, const lt_site *site, int64_t columns);
/* The type in which products read the weight that lti_qat_weight leaves: a lattice's, LT_I8 for rows, LT_F32, or its own. */
lt_dtype lti_qat_product_type(const lt_quant_policy *policy, const lt_site *site);

#endif
