/* ptq.h - quantization after training: codes for a model that is done, without a training step.
 *
 * The grids are those of a policy (qat.h). Methods differ in what they know: the weights alone, or also what the layers
 * read on rows of calibration data.
 *
 *     lt_ptq_config c;
 *     lt_quant_policy policy;
 *     lt_ptq *done;
 *     lt_exported file;
 *     lt_ptq_config_init(&c);
 *     lt_quant_policy_init(&policy);
 *     c.method = LT_PTQ_GPTQ;
 *     if (lt_quant_policy_parse(ctx, "q4_k_m", &policy) != LT_OK) return lt_ctx_status(ctx);
 *     if (lt_ptq_run(model, train_set, &policy, &c, &done) != LT_OK) return lt_ctx_status(ctx);
 *     lt_export_options o;
 *     lt_export_options_init(&o);
 *     o.codes = lt_ptq_codes(done);
 *     if (lt_export(model, &policy, "model.gguf", &o, &file) != LT_OK) return lt_ctx_status(ctx);
 *     lt_ptq_free(done);
 */
#ifndef LATHE_PTQ_H
#define LATHE_PTQ_H

#include "lathe/train.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum lt_ptq_method {
    LT_PTQ_RTN = 0,    /* rounded to nearest, scales as the type's encoder makes them */
    LT_PTQ_MSE,        /* scales with the least squared error */
    LT_PTQ_IMATRIX,    /* the same with columns weighed by the mean x^2 of what they are multiplied with */
    LT_PTQ_GPTQ,       /* column by column, later ones making up for earlier ones (Frantar et al. 2023) */
    LT_PTQ_AWQ,        /* channels that matter are scaled up before (Lin et al. 2023); then as IMATRIX */
    LT_PTQ_SMOOTHQUANT /* outliers of activations go over to weights (Xiao et al. 2022); then as RTN */
} lt_ptq_method;
LT_API const char *lt_ptq_method_name(lt_ptq_method method); /* "rtn", "mse", "imatrix", "gptq", "awq", "smoothquant" */
LT_API bool lt_ptq_method_parse(const char *name, lt_ptq_method *method);
LT_API bool lt_ptq_method_reads_data(lt_ptq_method method);

/* How much each column of each matrix counts: llama-imatrix's numbers, and its files. */
typedef struct lt_imatrix lt_imatrix;
/* From up to `rows` rows of the data, evenly spread. */
LT_API LT_MUST_USE lt_status lt_imatrix_measure(lt_model *model, const lt_dataset *data, int64_t rows,
                                                lt_imatrix **imatrix);
/* A GGUF file with "<tensor>.in_sum2" and "<tensor>.counts". LT_EIO, LT_EFORMAT. */
LT_API LT_MUST_USE lt_status lt_imatrix_read(lt_ctx *ctx, const char *path, lt_imatrix **imatrix);
/* `data`: the name of what was read, for the file's keys; may be NULL. */
LT_API LT_MUST_USE lt_status lt_imatrix_write(const lt_imatrix *imatrix, const char *path, const char *data);
LT_API int lt_imatrix_count(const lt_imatrix *imatrix); /* tensors it has numbers for */
LT_API void lt_imatrix_free(lt_imatrix *imatrix);       /* NULL is fine */

/* One tensor that is done. */
typedef struct lt_ptq_tensor {
    const char *name;   /* the parameter's */
    lt_scheme scheme;   /* it is on */
    const char *method; /* what was done to it: a method's where the grid knows it, else "rtn", .. */
    size_t bytes;       /* deployed */
    double error;       /* root mean square of the change, of the weights' own; of what the method had scaled before */
    double seconds;
} lt_ptq_tensor;

typedef struct lt_ptq_config {
    size_t size;
    lt_ptq_method method;
    int64_t rows;              /* of calibration data; default 128 */
    double damping;            /* GPTQ: added to the diagonal, of its mean; default 0.01 */
    bool act_order;            /* GPTQ: columns in falling order of x^2 */
    double alpha;              /* SMOOTHQUANT: how much of the outliers moves, default 0.5 */
    const lt_imatrix *imatrix; /* IMATRIX: in place of data; NULL */
    bool start;                /* leave floats that training on the grid begins with, not the codes' values */
    const volatile int *stop;  /* nonzero: LT_EINTERRUPTED between tensors; the model is then not to be used */
    void (*on_tensor)(void *user, const lt_ptq_tensor *tensor);
    void *user;
} lt_ptq_config;
LT_API void lt_ptq_config_init(lt_ptq_config *config);

/* Quantizes the model. Afterwards its weights are the values of the codes; with `start` they are the floats the codes
 * were made of: scaled channels (AWQ, SMOOTHQUANT: the same function), corrected columns (GPTQ). `data` may be NULL for
 * methods that read none. Blocks are done in the model's order, and what a block reads is measured with those before it
 * quantized. Tensors whose grid the method does not know are done by the next simpler one (`method` of lt_ptq_tensor).
 * The same data, weights and kernels give the same bytes for any number of threads.
 * LT_EINVAL (no data, a model opened frozen), LT_ENONFINITE names a tensor, LT_EUNSUPPORTED: SMOOTHQUANT on a model whose
 * norms cannot be scaled. */
typedef struct lt_ptq lt_ptq;
LT_API LT_MUST_USE lt_status lt_ptq_run(lt_model *model, const lt_dataset *data, const lt_quant_policy *policy,
                                        const lt_ptq_config *config, lt_ptq **done);
LT_API void lt_ptq_free(lt_ptq *done); /* NULL is fine */
/* Every weight in its deployed type, as lt_quantize_params gives them: for lt_export_options.codes. */
LT_API const lt_params *lt_ptq_codes(const lt_ptq *done);
LT_API const lt_ptq_tensor *lt_ptq_tensors(const lt_ptq *done, int *count);

/* A file of tensors (.safetensors, .h5, .gguf) with its matrices on the policy's grids, by RTN or MSE: `out` ends in
 * .gguf, or is a safetensors file as lt_export writes it. Matrices keep their names; names that do not end in ".weight"
 * are matched as if they did. LT_EINVAL when the policy means none of them. */
LT_API LT_MUST_USE lt_status lt_ptq_tensors_file(lt_ctx *ctx, const char *in, const char *out,
                                                 const lt_quant_policy *policy, const lt_ptq_config *config,
                                                 lt_ptq **done);

#ifdef __cplusplus
}
#endif
#endif
