/* models.h - the networks: one function a shape of network, and the names of their tensors in each file format.
 *
 * A model is a config, its parameters and a function that records it. It knows nothing of quantization, adapters or
 * pruning: those attach to its sites (attach.h).
 *
 *     lt_transformer_config c;
 *     lt_transformer_config_init(&c, LT_LLAMA);
 *     c.vocab = 258, c.dim = 64, c.hidden = 172, c.layers = 2, c.heads = 4, c.kv_heads = 2;
 *     if (lt_transformer_params(params, &c, 1) != LT_OK) return lt_ctx_status(ctx);
 *     lt_model_input in = {.tokens = lt_index_input(g, "tokens", 2, (int64_t[]){8, 128}, 0, 258)};
 *     lt_t targets = lt_index_input(g, "targets", 2, (int64_t[]){8, 128}, -1, 258);
 *     lt_t loss = lt_transformer_loss(g, &c, &in, targets, lt_nil(g));
 */
#ifndef LATHE_MODELS_H
#define LATHE_MODELS_H

#include "lathe/classes.h"
#include "lathe/networks.h"
#include "lathe/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Transformers ---- */

typedef enum lt_family {
    LT_LLAMA = 0, /* Touvron et al. 2023: pre-norm, rotary, grouped heads, SwiGLU. Llama 2 and 3, SmolLM2, Mistral */
    LT_QWEN2,     /* the same with biases on q, k, v */
    LT_QWEN3,     /* the same with norms on q and k */
    LT_GEMMA3,    /* four norms a block, five local layers to a global one, GeGLU; text only */
    LT_GPT2,      /* Radford et al. 2019: learned positions, LayerNorm, fused qkv, biases everywhere */
    LT_BERT,      /* Devlin et al. 2018: post-norm encoder, pooler and classifier */
    LT_BITNET,    /* BitNet b1.58 (Ma et al. 2024, 2025): Llama with a norm before each projection back */
    LT_FAMILY_COUNT
} lt_family;
LT_API const char *lt_family_name(lt_family family); /* "llama": also general.architecture of GGUF files */

typedef enum lt_activation { LT_SILU = 0, LT_GELU, LT_GELU_TANH, LT_RELU, LT_RELU2 /* max(x, 0)^2 */ } lt_activation;

typedef struct lt_transformer_config {
    size_t size;
    lt_family family;
    int64_t vocab, dim, hidden, layers, heads, kv_heads;
    int64_t head_dim; /* 0: dim / heads */
    int64_t context;  /* longest sequence it was made for; rows of learned positions */
    double norm_eps;
    lt_activation activation;
    /* Rotary positions; not GPT-2, BERT */
    double rope_theta, rope_theta_local; /* local: of layers with a window, 0: the same */
    lt_rope_scaling rope_scaling;        /* of layers without a window where theta_local is set, else of all */
    bool rope_interleaved;               /* q and k rows as GGUF files of llama have them; default halves */
    /* Which keys a layer sees */
    int64_t window;         /* of local layers; 0: none is local */
    int64_t window_first;   /* layers before it are not local */
    int64_t window_pattern; /* every so many layers one is not local; 0: all are */
    double attention_scale; /* 0: 1/sqrt(head_dim) */
    double embedding_scale; /* 1, or sqrt(dim) */
    bool qkv_bias, output_bias, mlp_bias, qk_norm;
    bool norm_plus_one;     /* weights of norms are stored as w of (1 + w), as Hugging Face has Gemma's */
    bool tied;              /* the head is the embedding */
    bool checkpoint;        /* compute each block's activations again in the backward */
    int64_t types, classes; /* BERT: token types; classes of the head, 0: none */
} lt_transformer_config;
/* The family's usual values; sizes are 0 but for context. */
LT_API void lt_transformer_config_init(lt_transformer_config *config, lt_family family);

/* Adds the weights, drawn from `seed`: normal with deviation 0.02, norms 1, biases 0, projections back into the
 * residual stream scaled by 1/sqrt(2 layers). Errors: LT_EINVAL naming what does not divide, LT_ENOMEM. */
LT_API LT_MUST_USE lt_status lt_transformer_params(lt_params *params, const lt_transformer_config *config,
                                                   uint64_t seed);

/* What a recording is made of. What is zero (or nil) is absent. */
typedef struct lt_model_input {
    lt_t tokens;    /* int32 [B, T] */
    lt_t first;     /* rank 0: position of tokens[.., 0]. Keys of earlier positions lie in the caches (below) */
    lt_t spans;     /* int32 [B, T, 2]: which keys each position sees, as lt_attention_config.spans */
    lt_t positions; /* int32 [B, T], learned positions only: place in the document; absent: 0 .. T - 1 */
    lt_t types;     /* int32 [B, T], BERT only: token types; absent: 0 */
    lt_t x;         /* networks that read numbers: [B, ..shape of a row] */
    lt_t last;      /* int32 [B], classifiers of texts: b T + length - 1, where each text ends; absent: the last step */
} lt_model_input;

/* Hidden state after the last norm [B, T, C]. */
LT_API lt_t lt_transformer_hidden(lt_graph *graph, const lt_transformer_config *config, const lt_model_input *input);
/* Adds "blk.N.cache_k" and "blk.N.cache_v" [batch, length, G, D] to params, role LT_SCRATCH: for inputs with `first`.
 * */
LT_API LT_MUST_USE lt_status lt_transformer_caches(lt_params *params, const lt_transformer_config *config,
                                                   int64_t batch, int64_t length);
/* hidden [.., C] -> logits [.., V]; of an encoder hidden [B, T, C] -> logits [B, classes] from its first position. */
LT_API lt_t lt_transformer_head(lt_graph *graph, const lt_transformer_config *config, lt_t hidden);
/* Mean cross-entropy of the next token: targets [B, T], -1 masked; of an encoder that of the class: targets [B].
 * norm as in lt_cross_entropy. */
LT_API lt_t lt_transformer_loss(lt_graph *graph, const lt_transformer_config *config, const lt_model_input *input,
                                lt_t targets, lt_t norm);
LT_API bool lt_transformer_is_encoder(const lt_transformer_config *config);       /* BERT */
LT_API bool lt_transformer_learns_positions(const lt_transformer_config *config); /* GPT-2, BERT */

/* ---- A model as files: a Hugging Face directory, a lathe checkpoint directory or a GGUF file ---- */
typedef struct lt_model lt_model; /* owns its params, its tokenizer and its config */

/* Reads config.json, model.safetensors (or shards) and the tokenizer; or a .gguf, which has all of them. Weights are
 * copied as lt_real, in Hugging Face's layout: to be trained. An option that is not implemented is LT_EUNSUPPORTED,
 * never ignored. */
LT_API LT_MUST_USE lt_status lt_model_open(lt_ctx *ctx, const char *path, lt_model **model);
/* The same to be used, not trained: tensors stay in the file, in its types and its layout. */
LT_API LT_MUST_USE lt_status lt_model_open_frozen(lt_ctx *ctx, const char *path, lt_model **model);
/* A new model from "llama:layers=4,dim=256,hidden=688,heads=8,kv_heads=4" (a family's name; keys as in
 * lt_transformer_config, those the family has), weights from `seed`. `tokenizer`: a model directory, a tokenizer.json
 * or a .gguf, or NULL for bytes. lt_model_create_for without data. */
LT_API LT_MUST_USE lt_status lt_model_create(lt_ctx *ctx, const char *init, const char *tokenizer, uint64_t seed,
                                             lt_model **model);
/* The same for the rows and classes of `data` (may be NULL): also "cnn:filters=16,stages=3,blocks=1,depthwise=1",
 * "mlp:hidden=256/128" (hidden=0: none) and "lstm:dim=64,hidden=128,layers=1" or "gru:..", whose input and number of
 * classes are the data's where `init` leaves them out (keys as in networks.h). Labels of the data are kept
 * (lt_model_label). A cnn takes rows [H, W] and [H, W, C], or [d] when height and width are given; an mlp rows of any
 * shape; a recurrent network rows [T, inputs], of T steps. Of token rows it is a language model, of labelled rows a
 * classifier. A model that reads numbers has no tokenizer. LT_EINVAL when model and data do not fit. */
LT_API LT_MUST_USE lt_status lt_model_create_for(lt_ctx *ctx, const char *init, const char *tokenizer,
                                                 const lt_dataset *data, uint64_t seed, lt_model **model);
LT_API void lt_model_free(lt_model *model); /* NULL is fine */
/* Writes config.json, model.safetensors, the tokenizer's files and generation_config.json into a directory, each
 * atomically; unknown keys of the config that was read are written back. `dtype`: "F32", "F16" or "BF16". Not for
 * models that were opened frozen: convert those (lt_convert). LT_EUNSUPPORTED, and nothing is written, where a GGUF
 * file said what config.json has no words for, or a network's norms were folded by lt_fold_batch_norm or lt_cnn_fold. */
LT_API LT_MUST_USE lt_status lt_model_save(const lt_model *model, const char *directory, const char *dtype);
/* Folds the batch norms of a cnn into its convolutions (lt_cnn_fold), once: what is saved of it says so. For training
 * with rounded weights, behind training in float. LT_EUNSUPPORTED: a model without batch norms; LT_EINVAL: one that was
 * opened frozen. */
LT_API LT_MUST_USE lt_status lt_model_fold(lt_model *model);

/* The model's loss, hidden state and logits, recorded. Language models: targets [B, T], -1 masked, hidden [B, T, C],
 * logits [B, T, vocab]. Classifiers: targets [B], logits [B, classes]; hidden is what the head reads: [B, C] of images
 * and vectors, [B, T, C] of texts and series. norm as in lt_cross_entropy. */
LT_API lt_t lt_model_loss(const lt_model *model, lt_graph *graph, const lt_model_input *input, lt_t targets, lt_t norm);
/* The same with smoothed labels (lt_cross_entropy_smooth). */
LT_API lt_t lt_model_loss_smooth(const lt_model *model, lt_graph *graph, const lt_model_input *input, lt_t targets,
                                 lt_t norm, double smoothing);
LT_API lt_t lt_model_hidden(const lt_model *model, lt_graph *graph, const lt_model_input *input);
LT_API lt_t lt_model_logits(const lt_model *model, lt_graph *graph, const lt_model_input *input);
/* Whether blocks compute their activations again in the backward. Default false; a cnn or mlp never does: its running
 * averages would move twice, or there is nothing to gain. */
LT_API void lt_model_set_checkpoint(lt_model *model, bool on);
LT_API bool lt_model_checkpoints(const lt_model *model);

/* What a model learns: the rows it takes (classes.h), and how an answer is judged. */
LT_API lt_dataset_kind lt_model_reads(const lt_model *model); /* LT_DATA_TOKENS: it predicts the next token */
LT_API int64_t lt_model_vocab(const lt_model *model);         /* 0 for a model that reads numbers */
LT_API int64_t lt_model_context(const lt_model *model);       /* longest sequence it was made for; 0: numbers */
LT_API int64_t lt_model_classes(const lt_model *model);       /* 0 for a language model */
LT_API bool lt_model_is_transformer(const lt_model *model);
/* LT_EINVAL with the reason when the rows of `data` are none the model can read or answer. */
LT_API LT_MUST_USE lt_status lt_model_check_data(const lt_model *model, const lt_dataset *data);

LT_API lt_params *lt_model_params(const lt_model *model);
LT_API const lt_transformer_config *lt_model_config(const lt_model *model); /* NULL unless it is a transformer */
LT_API lt_tokenizer *lt_model_tokenizer(const lt_model *model);             /* NULL: it reads numbers */
LT_API const char *lt_model_family(const lt_model *model);                  /* "llama" */
LT_API int64_t lt_model_parameters(const lt_model *model);                  /* elements of all weights and averages */
LT_API bool lt_model_frozen(const lt_model *model);
/* Ids that end a text: generation_config.json's, config.json's or the tokenizer's; returns how many, at most 8. */
LT_API int lt_model_end_ids(const lt_model *model, int32_t ids[8]);
/* Name of class `index` (config.json's id2label), or NULL. */
LT_API const char *lt_model_label(const lt_model *model, int64_t index);
/* The tensor's name in Hugging Face files ("model.layers.3.mlp.up_proj.weight"), into `name`; false when unknown. */
LT_API bool lt_model_hf_name(const lt_model *model, const char *tensor, char *name, size_t size);

#ifdef __cplusplus
}
#endif
#endif
