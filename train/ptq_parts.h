/* ptq_parts.h - inside of quantization after training: one matrix, of a model or of a file. */
#ifndef LTI_PTQ_PARTS_H
#define LTI_PTQ_PARTS_H

#include "lathe/ptq.h"
#include "qat/rounding.h"

struct lt_ptq {
    lt_ctx *ctx;
    lt_params *codes;
    lt_ptq_tensor *tensors; /* [count]; room for as many as there are codes */
    int count;
};

typedef struct lti_ptq_matrix {
    const char *name;
    lt_scheme scheme;
    const lt_real *w;
    lt_real *values;          /* gets what the codes stand for */
    lt_real *start;           /* as lti_round_gptq; or NULL */
    const lti_inputs *inputs; /* NULL: unknown */
    bool folded;              /* its columns were scaled by the method */
    lt_param *code;           /* of `p`'s codes */
} lti_ptq_matrix;
/* Rounds it and adds its line to the report. */
lt_status lti_ptq_tensor(lt_ptq *p, const lti_ptq_matrix *matrix, const lt_ptq_config *config);

#endif
