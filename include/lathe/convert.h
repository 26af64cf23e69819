/* convert.h - models and files of tensors from one format to another.
 *
 *     lt_convert_options o; char *report;
 *     lt_convert_options_init(&o);
 *     if (lt_convert(ctx, "model", "model.gguf", &o, &report)) return lt_ctx_status(ctx);
 *     puts(report);
 *     lt_string_free(ctx, report);
 *
 * Tensors pass through one at a time: memory stays near the largest one. What GGUF has no place for (the types of single
 * tensors, keys of config.json, bits that 1 + w loses) is carried in keys of lathe's own, so that a Hugging Face
 * directory comes back from GGUF with identical bytes in every tensor. */
#ifndef LATHE_CONVERT_H
#define LATHE_CONVERT_H

#include "lathe/models.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lt_convert_options {
    size_t size;
    /* "f32", "f16", "bf16": the matrices' type; for GGUF files also llama-quantize's names (q4_k_m, q4_0, ...), which say
     * what each tensor gets: rounded to nearest, q8_0 where a type has no encoder. NULL: as they are stored; into a
     * Hugging Face directory lattices are decoded to f32. */
    const char *type;
} lt_convert_options;
LT_API void lt_convert_options_init(lt_convert_options *options);

/* Converts a model: `in` is a Hugging Face directory, a checkpoint directory or a .gguf; `out` a path ending in .gguf,
 * or a directory. Tensors that llama.cpp wants in f32 (norms, biases, 1-D) are. `report` (may be NULL) gets a text:
 * tensors and bytes by type, what was left out, what fell back; free with lt_string_free.
 * Errors: those of opening; LT_EUNSUPPORTED for what the other format cannot express (said with the option's name). */
LT_API LT_MUST_USE lt_status lt_convert(lt_ctx *ctx, const char *in, const char *out, const lt_convert_options *options,
                                        char **report);

/* What a model would weigh in another type, from its config alone: `path` is a config.json, a directory that holds one, or
 * a .gguf. Tensors get the type llama-quantize gives them: norms and biases f32, the head (a tied embedding too) q6_k for
 * lattices other than q8_0, rows that are no whole blocks the next type that fits. */
typedef struct lt_type_forecast {
    int64_t parameters;
    uint64_t bytes;                      /* of all tensors */
    int64_t tensors[LT_DTYPE_COUNT];     /* by type */
    uint64_t type_bytes[LT_DTYPE_COUNT]; /* by type */
} lt_type_forecast;
LT_API LT_MUST_USE lt_status lt_forecast_type(lt_ctx *ctx, const char *path, lt_dtype type, lt_type_forecast *forecast);
/* The same for the name of a type or of a mix: "q4_k_m". */
LT_API LT_MUST_USE lt_status lt_forecast_mix(lt_ctx *ctx, const char *path, const char *name,
                                             lt_type_forecast *forecast);

#ifdef __cplusplus
}
#endif
#endif
