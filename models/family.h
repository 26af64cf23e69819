/* family.h - what a model family tells the code that reads and writes its files. */
#ifndef LTI_FAMILY_H
#define LTI_FAMILY_H

#include "lathe/models.h"

typedef struct lti_tensor {
    char name[64]; /* in lathe and in GGUF */
    char hf[96];   /* in Hugging Face files */
    int rank;
    int64_t shape[2];
    double std; /* of the initial values; 0: ones */
} lti_tensor;

typedef lt_status (*lti_tensor_visitor)(void *user, const lti_tensor *tensor);

/* Calls visit for every tensor of the model, in file order; stops at the first failure. */
lt_status lti_llama_each(const lt_llama_config *config, lti_tensor_visitor visit, void *user);
/* LT_EINVAL naming what is out of range or does not divide. */
lt_status lti_llama_check(lt_ctx *ctx, const lt_llama_config *config);

#endif
