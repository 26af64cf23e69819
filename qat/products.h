/* products.h - what a model's products are under a policy: sums of integers, or of numbers that activations were rounded
 * to. The refusal of a policy that would do nothing and the table before the first step count here. */
#ifndef LTI_PRODUCTS_H
#define LTI_PRODUCTS_H

#include "base/text.h"
#include "lathe/qat.h"

typedef struct lti_products {
    int layers;  /* linear layers, and the inputs of recurrent ones; of static activations convolutions, too */
    int rounded; /* of these: their activations are rounded */
    int integer, simulated;   /* products of rounded activations, the head's among them: in integers, of f32 numbers */
    const lt_param *unpaired; /* the first on a grid that the runtime rounds nothing for; NULL */
    const lt_param *rests;    /* the first of the layers whose activations stay; NULL */
    const lt_param *lattice;  /* the first on a lattice; NULL */
} lti_products;

lti_products lti_products_of(const lt_params *params, const lt_quant_policy *policy);
/* Two lines at most, each with its end; nothing where activations stay. */
void lti_products_describe(const lt_params *params, const lt_quant_policy *policy, lti_text *text);
/* "activations are rounded at N of M linear layers; ..", and why. */
void lti_products_rest(const lti_products *products, const lt_quant_policy *policy, char *text, size_t size);

#endif
