/* models.h - the networks: one function each, and the names of their tensors in each file format.
 *
 * A model is a config, its parameters and a function that records it. It knows nothing of quantization, adapters or
 * pruning: those attach to its sites (attach.h).
 *
 *     lt_llama_config c;
 *     lt_llama_config_init(&c);
 *     c.vocab = 258, c.dim = 64, c.hidden = 172, c.layers = 2, c.heads = 4, c.kv_heads = 2;
 *     if (lt_llama_params(params, &c, 1) != LT_OK) return lt_ctx_status(ctx);
 *     lt_t tokens = lt_index_input(g, "tokens", 2, (int64_t[]){8, 128}, 0, 258);
 *     lt_t targets = lt_index_input(g, "targets", 2, (int64_t[]){8, 128}, -1, 258);
 *     lt_t loss = lt_llama_loss(g, &c, tokens, targets, lt_nil(g));
 */
#ifndef LATHE_MODELS_H
#define LATHE_MODELS_H

#include "lathe/data.h"
#include "lathe/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Llama (Touvron et al. 2023): pre-norm, rotary positions, grouped heads, SwiGLU ---- */
typedef struct lt_llama_config {
    size_t size;
    int64_t vocab, dim, hidden, layers, heads, kv_heads;
    int64_t head_dim;      /* 0: dim / heads */
    int64_t context;       /* longest sequence it was made for; default 2048 */
    double rope_theta;     /* default 10000 */
    double norm_eps;       /* default 1e-5 */
    bool rope_interleaved; /* as GGUF files have it; default halves, as Hugging Face */
    bool tied;             /* the head is the embedding; default true */
    bool checkpoint;       /* compute each block's activations again in the backward */
} lt_llama_config;
LT_API void lt_llama_config_init(lt_llama_config *config);

/* Adds the weights, drawn from `seed`: normal with deviation 0.02, norms 1, projections back into the residual
 * stream scaled by 1/sqrt(2 layers). Errors: LT_EINVAL naming what does not divide, LT_ENOMEM. */
LT_API LT_MUST_USE lt_status lt_llama_params(lt_params *params, const lt_llama_config *config, uint64_t seed);

/* tokens [B, T] -> hidden state after the last norm [B, T, C]. */
LT_API lt_t lt_llama_hidden(lt_graph *graph, const lt_llama_config *config, lt_t tokens);
/* The same for tokens at positions first .. first + T - 1 (`first` a rank-0 value), with keys and values of earlier
 * positions in the caches that lt_llama_caches made. */
LT_API lt_t lt_llama_hidden_cached(lt_graph *graph, const lt_llama_config *config, lt_t tokens, lt_t first);
/* Adds "blk.N.cache_k" and "blk.N.cache_v" [batch, length, G, D] to params, role LT_SCRATCH. */
LT_API LT_MUST_USE lt_status lt_llama_caches(lt_params *params, const lt_llama_config *config, int64_t batch,
                                             int64_t length);
/* hidden [.., C] -> logits [.., V]. */
LT_API lt_t lt_llama_head(lt_graph *graph, const lt_llama_config *config, lt_t hidden);
/* Mean cross-entropy of the next token; targets [B, T], -1 masked; norm as in lt_cross_entropy. */
LT_API lt_t lt_llama_loss(lt_graph *graph, const lt_llama_config *config, lt_t tokens, lt_t targets, lt_t norm);

/* ---- Multi-layer perceptron with ReLU ---- */
typedef struct lt_mlp_config {
    size_t size;
    int64_t inputs, classes;
    int n_hidden; /* 0 .. 7 */
    int64_t hidden[7];
} lt_mlp_config;
LT_API void lt_mlp_config_init(lt_mlp_config *config);
/* "fc1.weight", "fc1.bias", ...: uniform in +-1/sqrt(inputs of the layer), as torch.nn.Linear. */
LT_API LT_MUST_USE lt_status lt_mlp_params(lt_params *params, const lt_mlp_config *config, uint64_t seed);
/* x [R, inputs] -> logits [R, classes]. */
LT_API lt_t lt_mlp_logits(lt_graph *graph, const lt_mlp_config *config, lt_t x);

/* ---- A model as files: a Hugging Face directory or a lathe checkpoint directory ---- */
typedef struct lt_model lt_model; /* owns its params, its tokenizer and its config */

/* Reads config.json, model.safetensors (or shards) and the tokenizer. An option that is not implemented is
 * LT_EUNSUPPORTED, never ignored. */
LT_API LT_MUST_USE lt_status lt_model_open(lt_ctx *ctx, const char *path, lt_model **model);
/* A new model from "llama:layers=4,dim=256,hidden=688,heads=8,kv_heads=4" (keys as in lt_llama_config), weights from
 * `seed`. `tokenizer`: a model directory or tokenizer.json, or NULL for bytes. */
LT_API LT_MUST_USE lt_status lt_model_create(lt_ctx *ctx, const char *init, const char *tokenizer, uint64_t seed,
                                             lt_model **model);
LT_API void lt_model_free(lt_model *model); /* NULL is fine */
/* Writes config.json, model.safetensors, the tokenizer's files and generation_config.json into a directory, each
 * atomically; unknown keys of the config that was read are written back. `dtype`: "F32", "F16" or "BF16". */
LT_API LT_MUST_USE lt_status lt_model_save(const lt_model *model, const char *directory, const char *dtype);

/* The model's next-token loss, or its hidden state and logits, recorded: targets [B, T], -1 masked; norm as in
 * lt_cross_entropy. */
LT_API lt_t lt_model_loss(const lt_model *model, lt_graph *graph, lt_t tokens, lt_t targets, lt_t norm);
LT_API lt_t lt_model_logits(const lt_model *model, lt_graph *graph, lt_t tokens);
/* Whether blocks compute their activations again in the backward. Default false. */
LT_API void lt_model_set_checkpoint(lt_model *model, bool on);

LT_API lt_params *lt_model_params(const lt_model *model);
LT_API const lt_llama_config *lt_model_config(const lt_model *model);
LT_API lt_tokenizer *lt_model_tokenizer(const lt_model *model);
LT_API const char *lt_model_family(const lt_model *model); /* "llama" */
LT_API int64_t lt_model_parameters(const lt_model *model); /* elements of all weights */
/* The tensor's name in Hugging Face files ("model.layers.3.mlp.up_proj.weight"), into `name`; false when unknown. */
LT_API bool lt_model_hf_name(const lt_model *model, const char *tensor, char *name, size_t size);

#ifdef __cplusplus
}
#endif
#endif
