/* train.h - the loop: training, evaluation, checkpoints and resume, forecast, report.
 *
 * The library prints nothing: what there is to say arrives in callbacks, and goes to files under `out`.
 *
 *     lt_train_config c;
 *     lt_train_config_init(&c);
 *     c.out = "run1", c.steps = 500, c.learning_rate = 1e-3;
 *     lt_train_result r;
 *     if (lt_train(model, train_set, valid_set, &c, &r) != LT_OK) return lt_ctx_status(ctx);
 */
#ifndef LATHE_TRAIN_H
#define LATHE_TRAIN_H

#include "lathe/cluster.h"
#include "lathe/data.h"
#include "lathe/models.h"
#include "lathe/optim.h"
#include "lathe/qat.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What a run needs, computed before anything large is allocated. Bytes. */
typedef struct lt_forecast {
    uint64_t weights, gradients, optimizer, activations, data,
        process;        /* process: what is resident already + libraries */
    uint64_t total;     /* expected peak RSS */
    uint64_t available; /* min(MemAvailable + what is resident, cgroup limit, memory_limit) */
} lt_forecast;

/* Told once before step 1. Pointers are valid during the call. */
typedef struct lt_train_start {
    int64_t parameters, trainable, steps, first_step; /* first_step > 0: resumed */
    int64_t train_rows, train_tokens, valid_rows;     /* tokens: scored ones an epoch */
    const char *resumed_from;                         /* the checkpoint directory, or NULL */
    const char *skipped;                              /* checkpoints that did not verify, "" if none */
    int64_t classes;                                  /* 0: a language model */
    const char *compute;                              /* type of the factors of products: "f32", "bf16" */
    const char *compute_note;                         /* how "auto" was decided; "" when it was not */
    const char *qat_table;                            /* one line a type and a line a fallback; "" without QAT */
    const char *sample; /* one decoded training row; what is not learned from stands between \x01 and \x02 */
    lt_forecast forecast;
} lt_train_start;

/* Share of the time that an operator took. */
typedef struct lt_op_share {
    const char *op;
    double share;
} lt_op_share;

typedef struct lt_train_progress {
    int64_t step, steps, tokens; /* tokens: scored so far */
    double loss, valid_loss;     /* valid_loss: the last one, NaN before the first */
    double lr, grad_norm;        /* grad_norm: NaN in fused steps */
    double tokens_per_second, seconds, eta;
    uint64_t rss_bytes;
    double accuracy;          /* of the last validation, for models with classes; NaN without */
    double flips;             /* QAT: share of (a sample of) codes that changed since the last report; else NaN */
    const lt_op_share *times; /* [n_times], largest first: of the time in operators since the last report */
    int n_times;
    bool skipped;     /* a non-finite gradient: the update was left out */
    const char *note; /* "checkpoint saved", "rolled back to step 40", ... or NULL */
} lt_train_progress;

typedef struct lt_train_config {
    size_t size;
    const char *out;                 /* directory for everything the run writes; NULL: write nothing */
    int64_t steps;                   /* 0: from epochs */
    double epochs;                   /* default 1 */
    int64_t batch_size;              /* rows a micro-batch, default 4 */
    int64_t grad_accumulation_steps; /* micro-batches a step, weighed by unmasked tokens; default 1 */
    int64_t max_seq_length;          /* default 512: rows are cut there (the dataset's) */
    double learning_rate;            /* default 1e-3 */
    const char *lr_schedule;         /* "cosine" (default), "linear", "constant", "wsd" */
    double warmup_ratio;             /* of the steps, default 0.05 */
    double lr_min_ratio;             /* of the learning rate at the end, default 0 */
    const char *optimizer;           /* "adamw" (default), "adamw_8bit", "lion", "muon", "sgd" */
    double weight_decay;             /* default 0 */
    double beta1, beta2, eps;        /* negative (default): the optimizer's own */
    double momentum;                 /* sgd; default 0 */
    double max_grad_norm;            /* default 1; 0: no clipping, updates fused into the backward */
    uint64_t seed;                   /* data order and dropout */
    const char *freeze;              /* comma-separated globs of parameters that stay; NULL */
    const char *train_only;          /* comma-separated globs of the only ones to train; NULL: all */
    int64_t save_every;              /* steps between checkpoints; 0: at the end and when interrupted */
    int64_t keep;                    /* checkpoints kept, default 2 */
    int64_t eval_every;              /* steps between validations; 0: at the end only */
    int64_t log_every;               /* steps between progress calls and metrics lines, default 1 */
    const char *resume;              /* "auto" (default), a checkpoint directory, or "never" (NULL): removes old ones */
    bool checkpoint_activations;
    const char *compute; /* factors of products: "f32" (default), "bf16", or "auto": the faster one, measured */
    const char *store_activations; /* what the backward reads is kept in "f32" (default) or "bf16" */
    const char *frozen_type;       /* frozen matrices are held in "f32" (default) or "bf16" */
    double layer_decay;            /* learning rates fall by this factor a layer from the head down; default 1 */
    double ema_decay;              /* average the weights, evaluate and save the averages; default 0: not */
    double label_smoothing;        /* of the labels, default 0 */
    const char *compare;           /* comma-separated directories of other runs, drawn into report.html; NULL */
    bool prefetch;                 /* a thread fills the next batch while a step runs: same bits. Default true */
    uint64_t memory_limit;         /* bytes; 0: what the machine has */
    double max_seconds;            /* save and return LT_EINTERRUPTED after; 0: none */
    lt_quant_policy quant;         /* QAT; empty, the default: none */
    double qat_start;              /* share of the steps trained (and validated) in float first, default 0 */
    const char *qat_init; /* how the caller prepared the weights (a method of ptq.h): a resume asks the same. NULL */
    lt_cluster_config cluster; /* weight clustering: at the end weights are centroids (cluster.h); default: none */
    const volatile int *stop;  /* checked between micro-steps: nonzero saves and returns LT_EINTERRUPTED */
    void (*on_start)(void *user, const lt_train_start *start);
    void (*on_progress)(void *user, const lt_train_progress *progress);
    void *user;
    const char *command;     /* for run.json; NULL */
    const char *config_yaml; /* the resolved configuration, written to config.yaml; NULL: not written */
} lt_train_config;
LT_API void lt_train_config_init(lt_train_config *config);

typedef struct lt_train_result {
    int64_t steps, tokens;
    double first_loss, last_loss, valid_loss, seconds, tokens_per_second;
    double accuracy; /* of the last validation, for models with classes; NaN without */
    int64_t skipped_steps, rollbacks;
    uint64_t peak_rss_bytes;
    lt_forecast forecast;
} lt_train_result;

/* Trains the model in place on the rows it takes: tokens, labelled texts or numbers (a row with a class counts as one
 * token in every count and rate). With `out`: checkpoints/, metrics.jsonl, run.json, config.yaml, report.html there;
 * the model itself is written by the caller (lt_model_save). Errors: LT_ELIMIT when the forecast passes what is
 * available (the message says what would fit), LT_ENONFINITE when the run diverged, LT_EINTERRUPTED (state saved),
 * LT_EIO, LT_EINVAL (options; rows the model cannot read; a model opened frozen), LT_EUNSUPPORTED (with `out`:
 * config.json has no words for the model). */
LT_API LT_MUST_USE lt_status lt_train(lt_model *model, const lt_dataset *train, const lt_dataset *valid,
                                      const lt_train_config *config, lt_train_result *result);
/* The forecast of that call alone. */
LT_API LT_MUST_USE lt_status lt_train_forecast(lt_model *model, const lt_dataset *train, const lt_dataset *valid,
                                               const lt_train_config *config, lt_forecast *forecast);

typedef struct lt_eval_result {
    double perplexity, nll; /* nll: mean over scored tokens (or rows with a class), natural logarithm */
    double accuracy;        /* share of rows whose class is the likeliest; NaN for language models */
    int64_t tokens, documents, rows;
    double seconds, tokens_per_second;
    uint64_t peak_rss_bytes, model_bytes;
    int64_t parameters, nonzero_parameters;
} lt_eval_result;

/* Perplexity of the model on the rows of a dataset, or accuracy and loss on rows with classes; always computed in f32.
 * `quant` (may be NULL) quantizes weights on the way, as training does. batch_size 0: chosen. LT_EINVAL for rows the
 * model cannot read, or when no position is scored. */
LT_API LT_MUST_USE lt_status lt_evaluate(lt_model *model, const lt_dataset *data, const lt_quant_policy *quant,
                                         int64_t batch_size, lt_eval_result *result);

/* Types under a budget: for every linear layer (those that `policy` has rules or no targets for are left to it) the
 * lattice is chosen that keeps the rise of the loss smallest at `bits` bits a weight, over all those layers. The rise is
 * measured on rows of `data`: half the squared rounding error weighed with squared gradients. The same data, weights and
 * kernels choose the same. LT_EINVAL: nothing to choose for, a budget no types reach; LT_ELIMIT: memory. */
typedef struct lt_auto_bits lt_auto_bits;
LT_API LT_MUST_USE lt_status lt_auto_bits_choose(lt_model *model, const lt_dataset *data, const lt_quant_policy *policy,
                                                 double bits, lt_auto_bits **chosen);
/* Bytes that choosing takes for a while, beside the model: a double a weight, and the gradients of a row. */
LT_API LT_MUST_USE lt_status lt_auto_bits_memory(lt_model *model, const lt_dataset *data, const lt_quant_policy *policy,
                                                 uint64_t *bytes);
LT_API void lt_auto_bits_free(lt_auto_bits *chosen); /* NULL is fine */
/* The policy's rules and one for each layer; patterns are the model's names. */
LT_API const lt_quant_rule *lt_auto_bits_rules(const lt_auto_bits *chosen, int *count);
/* tensor, type, bytes and rise, a line each, cells between tabs; and the sums. */
LT_API const char *lt_auto_bits_table(const lt_auto_bits *chosen, double *bits, double *rise);

/* How codes become a file, and what the file and its card say about them. */
typedef struct lt_export_options {
    size_t size;
    const lt_quant_policy
        *other;                /* other grids than the trained ones: the trained values are rounded again. NULL: no */
    bool allow_other;          /* do it although values change; false: only where `other` holds the same ones */
    const char *name;          /* of the model; NULL: "model" */
    const char *base, *recipe; /* the model training began with; its configuration as YAML; NULL */
    int64_t steps, tokens;     /* of training; 0: unknown */
    const char *data_hash, *valid_hash; /* lt_dataset_hash; NULL */
    double valid_nll;                   /* of the final evaluation; 0: unknown */
    const lt_params *codes;             /* these, in the place of the policy's own (ptq.h). NULL; not with `other` */
    const char *method;                 /* that made them: "gptq"; NULL */
    double before_nll;                  /* as valid_nll, before the training or the rounding; 0: unknown */
    const char *measured_on;            /* what both, and a card's rows, are of. NULL: "the validation data" */
    const char *calibration_hash;       /* of the data that `method` read, up to so many rows; NULL */
    int64_t calibration_rows;
    const char *importance; /* the imatrix file that `method` read; NULL */
} lt_export_options;
LT_API void lt_export_options_init(lt_export_options *options);

typedef struct lt_exported {
    int64_t tensors, weights; /* read back and found identical */
    uint64_t bytes;
    bool other; /* on another grid, where values changed: by `moved`, root mean square over root mean square */
    double moved;
    char *report; /* tensors and bytes by grid, fallbacks, the proof; free with lt_string_free */
} lt_exported;

/* Writes the model's codes, the very ones of an evaluation with this policy, and reads them back: every byte and every
 * number is compared. `path` ends in .gguf: a file as llama.cpp reads it, rows moved and never quantized anew; or in
 * .safetensors: with every tensor under lathe's name, lattice blocks as bytes, other grids as packed codes and scales
 * (docs/quantization.md), types in the metadata. Steps, hashes and the policy go into keys "lathe.*". options NULL:
 * defaults. Errors: LT_EINVAL (`other` changes values; another ending), LT_EUNSUPPORTED (GGUF has no such type),
 * LT_ENONFINITE names the tensor, LT_EIO. */
LT_API LT_MUST_USE lt_status lt_export(lt_model *model, const lt_quant_policy *policy, const char *path,
                                       const lt_export_options *options, lt_exported *exported);
/* Whether the format that the path's ending means has types for the policy's grids; LT_EUNSUPPORTED names the tensor,
 * LT_EINVAL the endings that there are. */
LT_API LT_MUST_USE lt_status lt_export_check(const lt_model *model, const lt_quant_policy *policy, const char *path);
/* The same with defaults; `report` may be NULL. */
LT_API LT_MUST_USE lt_status lt_export_codes(lt_model *model, const lt_quant_policy *policy, const char *path,
                                             char **report);

/* ---- Quantized safetensors, as Transformers and vLLM read them ---- */
typedef enum lt_quant_format {
    LT_QUANT_GPTQ = 0,  /* int4 in groups of 128 (or others), with zero points or not */
    LT_QUANT_AWQ,       /* the same with zero points, in another order of bytes */
    LT_QUANT_BNB,       /* NF4 of bitsandbytes, with double quantization or not */
    LT_QUANT_COMPRESSED /* compressed-tensors W8A8: int8 rows, int8 activations a token */
} lt_quant_format;
LT_API const char *lt_quant_format_name(lt_quant_format format); /* "gptq", "awq", "bnb", "compressed-tensors" */
LT_API bool lt_quant_format_parse(const char *name, lt_quant_format *format);
/* To be called before training: a policy without a grid for linear layers gets the format's usual one; integer grids of gptq and
 * awq get scales in f16, as their files have them. LT_EINVAL says what the format holds where it is not the policy's. */
LT_API LT_MUST_USE lt_status lt_quant_format_policy(lt_ctx *ctx, lt_quant_format format, lt_quant_policy *policy);
/* Whether the model's shapes and the policy go with the format: to be asked before hours of work. LT_EINVAL,
 * LT_EUNSUPPORTED: the family's files are not packed, or no weight of the model can be. */
LT_API LT_MUST_USE lt_status lt_quant_format_check(const lt_model *model, const lt_quant_policy *policy,
                                                   lt_quant_format format);
/* Writes a Hugging Face directory whose linear layers have the codes of an evaluation with this policy, packed as the
 * format has them, and reads it back: every byte, and every number it stands for against that evaluation's. Weights whose
 * shape the format does not take, or on other grids, are written as numbers and named as not converted. A directory like
 * that opens as any model (lt_model_open), dequantized. options->other is not for this. Errors: as lt_export; LT_EINVAL:
 * the format cannot hold the policy. */
LT_API LT_MUST_USE lt_status lt_export_quantized(lt_model *model, const lt_quant_policy *policy, lt_quant_format format,
                                                 const char *directory, const lt_export_options *options,
                                                 lt_exported *exported);

/* README.md beside an export: types, proof, results, where it comes from (FILE.README.md where somebody else's README
 * is). A result whose `tokens` is 0 is left out. */
typedef struct lt_card_row {
    const char *name;
    const lt_eval_result *result;
} lt_card_row;
LT_API LT_MUST_USE lt_status lt_export_card(const lt_model *model, const char *path, const lt_export_options *options,
                                            const lt_exported *exported, int n, const lt_card_row *rows);
/* A model with the same config and tokenizer whose weights are the codes in the file, used in place (mapped): for
 * reading, as one opened frozen; rows of a .gguf that lie in another order are copied, packed codes become f32. Borrows the
 * model's tokenizer: free it first. LT_EFORMAT names a tensor that is missing, of other sizes, or damaged. */
LT_API LT_MUST_USE lt_status lt_model_with_codes(lt_model *model, const char *path, lt_model **coded);

/* Beside a model that lt_model_save wrote: quantization.safetensors with the grids of static activations
 * ("<site>:act_scale") and the words of the policy. Without such grids, or policy NULL: an older file is removed. */
LT_API LT_MUST_USE lt_status lt_model_save_grids(const lt_model *model, const lt_quant_policy *policy,
                                                 const char *directory);
/* Takes the grids of static activations from there, or from a checkpoint, into the params of a model opened from `path`;
 * *taken: how many there are, 0 also where there is no such file. */
LT_API LT_MUST_USE lt_status lt_model_take_grids(lt_model *model, const char *path, int *taken);

/* Scales that training on a grid has beside the weights: learned ones, and K-quants' that are kept (scale_every). For a
 * model just opened from `path` and a policy to quantize it by. TAKEN: path is a checkpoint of a training on these grids;
 * the scales are among the model's params, and the policy reads them. Or path is of a training, finished or not, whose
 * scales were searched (mse) or in f16: the policy makes them like that. OTHER: they are of other grids, and not read.
 * LT_EINVAL: path is the run's directory, which has the weights alone; the message names the checkpoint. */
typedef enum lt_run_scales { LT_RUN_SCALES_NONE = 0, LT_RUN_SCALES_TAKEN, LT_RUN_SCALES_OTHER } lt_run_scales;
LT_API LT_MUST_USE lt_status lt_model_take_scales(lt_model *model, const char *path, lt_quant_policy *policy,
                                                  lt_run_scales *found);

/* report.html from metrics.jsonl files: SVG curves of loss, validation loss, learning rate, gradient norm; `table` is
 * an optional HTML-free table: rows of cells separated by tabs, the first row the header. */
LT_API LT_MUST_USE lt_status lt_report_write(lt_ctx *ctx, const char *path, const char *title, int runs,
                                             const char *const *names, const char *const *metrics_paths,
                                             const char *table);

/* A range test of the learning rate (Smith, 2017): from `low` to `high`, growing by a factor each of `steps` steps, on
 * copies of the weights; the model is as before afterwards. `svg` (may be NULL): where the picture goes. */
typedef struct lt_lr_found {
    double steepest;  /* rate in the middle of the smoothed loss's fall, where it is steepest */
    double suggested; /* a tenth of the rate where the loss was lowest, or `steepest` when that is lower */
    double lowest_loss, diverged_at; /* diverged_at: the rate of the last step when it stopped early, else NaN */
    int64_t steps;
} lt_lr_found;
LT_API LT_MUST_USE lt_status lt_lr_find(lt_model *model, const lt_dataset *train, const lt_train_config *config,
                                        double low, double high, int64_t steps, const char *svg, lt_lr_found *found);

/* Resident bytes now and at their highest, anonymous and file-backed apart. */
typedef struct lt_memory {
    uint64_t rss, peak_rss, anonymous, file, available;
} lt_memory;
LT_API lt_memory lt_memory_now(void);

#ifdef __cplusplus
}
#endif
#endif
