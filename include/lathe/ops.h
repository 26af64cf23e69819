/* ops.h - the operators. Each appends a node and returns its value; see graph.h for errors.
 *
 * Values are row-major and contiguous. Arithmetic broadcasts as NumPy does: shapes are aligned at the end and a
 * dimension of 1 repeats. Shapes below: R rows, C columns, B batch, T positions, H heads, D head dimension.
 *
 *     lt_t h = lt_rms_norm(x, gain, 1e-5);                       // [B, T, C]
 *     lt_t a = lt_swiglu(lt_matmul(h, wg, LT_TRANSPOSE_B), lt_matmul(h, wu, LT_TRANSPOSE_B));
 *     lt_t y = lt_add(x, lt_matmul(a, wd, LT_TRANSPOSE_B));      // the feed-forward half of a Llama block
 */
#ifndef LATHE_OPS_H
#define LATHE_OPS_H

#include "lathe/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Arithmetic ---- */
LT_API lt_t lt_add(lt_t a, lt_t b);
LT_API lt_t lt_sub(lt_t a, lt_t b);
LT_API lt_t lt_mul(lt_t a, lt_t b);
LT_API lt_t lt_div(lt_t a, lt_t b);
LT_API lt_t lt_scale(lt_t x, double c); /* c x */
LT_API lt_t lt_shift(lt_t x, double c); /* x + c */

/* ---- Element-wise ---- */
LT_API lt_t lt_exp(lt_t x);
LT_API lt_t lt_log(lt_t x);
LT_API lt_t lt_sqrt(lt_t x);
LT_API lt_t lt_square(lt_t x);
LT_API lt_t lt_relu(lt_t x);
LT_API lt_t lt_sigmoid(lt_t x);
LT_API lt_t lt_tanh(lt_t x);
LT_API lt_t lt_silu(lt_t x);               /* x sigmoid(x) */
LT_API lt_t lt_gelu(lt_t x);               /* x Phi(x), with erf */
LT_API lt_t lt_gelu_tanh(lt_t x);          /* its tanh approximation (GPT-2's gelu_new) */
LT_API lt_t lt_swiglu(lt_t gate, lt_t up); /* silu(gate) up; equal shapes */

/* ---- Reductions ---- */
/* Over n distinct axes (negative: from the end); kept as size 1 when `keep`. */
LT_API lt_t lt_sum(lt_t x, int n, const int *axes, bool keep);
LT_API lt_t lt_mean(lt_t x, int n, const int *axes, bool keep);
LT_API lt_t lt_max(lt_t x, int axis, bool keep); /* the gradient goes to the first maximum */
LT_API lt_t lt_sum_all(lt_t x);                  /* rank 0 */
LT_API lt_t lt_mean_all(lt_t x);                 /* rank 0 */

/* ---- Shape ---- */
LT_API lt_t lt_reshape(lt_t x, int rank, const int64_t *shape); /* one dimension may be -1; no copy */
LT_API lt_t lt_permute(lt_t x, const int *axes);                /* y's axis i is x's axis axes[i] */
LT_API lt_t lt_slice(lt_t x, int axis, int64_t begin, int64_t end);
LT_API lt_t lt_concat(int n, const lt_t *xs, int axis);        /* n <= 16 */
LT_API lt_t lt_expand(lt_t x, int rank, const int64_t *shape); /* broadcast to a shape */
LT_API lt_t lt_cast(lt_t x, lt_dtype type);                    /* f32, bf16, f16 among each other */
/* Rows of a table: table [N, ...], index int32 of any shape -> index's shape x [...]. A lattice or
 * 16-bit table [N, C] gives f32 rows. Indices outside [0, N) are refused when bound (lt_index_input). */
LT_API lt_t lt_gather(lt_t table, lt_t index);

/* ---- Products ---- */
typedef enum lt_matmul_flags { LT_TRANSPOSE_A = 1, LT_TRANSPOSE_B = 2 } lt_matmul_flags;
/* [.., M, K] x [.., K, N] -> [.., M, N] after the transposes of the last two axes. Batch axes are equal, or b has none
 * (then a's leading axes are rows). b may be a lattice, bf16 or f16 value of two axes: [N, K]
 * with LT_TRANSPOSE_B (or [K, N] without). Both may be bf16, of any axes; sums and the result are f32 (lt_compute).
 * LT_I8 codes are multiplied with their scales, which are found at the node that made them. */
LT_API lt_t lt_matmul(lt_t a, lt_t b, unsigned flags);
/* x [.., K] as the activations that integer products take: LT_Q8_0, LT_Q8_1 or LT_Q8_K blocks, rounded as llama.cpp's
 * runtime does (to nearest even; scales stored as the blocks store them), or LT_I8: codes -127 .. 127 with one scale a
 * row, absmax / 127, f32, output 1 of the same node. lt_matmul of the result and a lattice (or LT_I8) value [N, K] with
 * LT_TRANSPOSE_B sums in integers. The gradient passes straight through. K: whole blocks. */
LT_API lt_t lt_quantize_activations(lt_t x, lt_dtype type);
/* w [N, K] as LT_I8 codes -127 .. 127 with one scale a row, absmax / 127: what lt_quantize is for lattices. */
LT_API lt_t lt_quantize_rows(lt_t w);
/* The type llama.cpp gives the activations that meet a lattice: LT_Q8_0, LT_Q8_1 or LT_Q8_K; LT_F32 for types that are not
 * multiplied in integers. */
LT_API lt_dtype lt_activation_type(lt_dtype lattice);
/* On: what integer products recorded so far and from here on pass back to x is summed in integers as well, of dy as int8 by
 * rows and the weight as int8 by columns. Off, the default: in the type of lt_compute. Counts for calls of lt_grad from
 * here on. */
LT_API void lt_integer_backward(lt_graph *graph, bool on);

/* ---- Normalisation: over the last axis C; w, b: [C] ---- */
LT_API lt_t lt_rms_norm(lt_t x, lt_t w, double eps);           /* x / sqrt(mean x^2 + eps) w */
LT_API lt_t lt_layer_norm(lt_t x, lt_t w, lt_t b, double eps); /* b may be nil (lt_nil) */
LT_API lt_t lt_softmax(lt_t x);
LT_API lt_t lt_log_softmax(lt_t x);

/* ---- Attention ---- */
/* How trained frequencies f_i = theta^(-2i/D) are stretched to longer texts. It holds at every length. */
typedef enum lt_rope_scaling_kind {
    LT_ROPE_PLAIN = 0,
    LT_ROPE_LINEAR, /* f / factor */
    LT_ROPE_LLAMA3, /* by wavelength 2 pi / f: short kept, long divided by factor, blended between */
    LT_ROPE_YARN,   /* by dimension: a ramp between beta_fast and beta_slow; cos and sin times attention_factor */
    LT_ROPE_FACTORS /* f_i / factors[i], as the tensor rope_freqs of GGUF files has them */
} lt_rope_scaling_kind;
typedef struct lt_rope_scaling {
    lt_rope_scaling_kind kind;
    double factor;
    double low_freq_factor, high_freq_factor; /* llama3 */
    double beta_fast, beta_slow;              /* yarn: 32, 1 */
    double attention_factor;                  /* yarn; 0: 0.1 ln(factor) + 1 */
    int64_t original_context;                 /* llama3, yarn: the length it was trained for */
    const float *factors;                     /* [D/2], copied when recorded */
} lt_rope_scaling;

typedef struct lt_rope_config {
    size_t size;
    double theta;     /* base of the frequencies: theta^(-2i/D), i < D/2 */
    bool interleaved; /* pairs (2i, 2i+1), as GGUF's llama; default pairs (i, i + D/2), as Hugging Face */
    lt_rope_scaling scaling;
} lt_rope_config;
LT_API void lt_rope_config_init(lt_rope_config *config); /* theta 10000, halves, plain */
/* Rotary embedding (Su et al. 2021) of x [B, T, H, D], D even. Row t has position first + t, where `first` is a
 * rank-0 value or nil (0). */
LT_API lt_t lt_rope(lt_t x, lt_t first, const lt_rope_config *config);

typedef struct lt_attention_config {
    size_t size;
    double scale;   /* 0: 1/sqrt(D) */
    bool causal;    /* default true */
    int64_t window; /* causal: a query sees at most so many keys, its own position the last; 0: all */
    /* int32 [B, T, 2] or nil: query (b, t) sees only keys in [spans[b,t,0], spans[b,t,1]), besides what causal and
     * window allow: documents packed into one row, padding on either side. A query that sees no key gives 0. */
    lt_t spans;
} lt_attention_config;
LT_API void lt_attention_config_init(lt_attention_config *config);
/* q [B, T, H, D]; k, v [B, S, G, D], H a multiple of G -> [B, T, H, D]. Causal: query t sees keys 0 .. first + t, where
 * `first` is a rank-0 value or nil (S - T). Memory is linear in T and S (FlashAttention). */
LT_API lt_t lt_attention(lt_t q, lt_t k, lt_t v, lt_t first, const lt_attention_config *config);
/* The same from matmul and softmax, with the [B, H, T, S] probabilities; *weights (may be NULL) receives them. */
LT_API lt_t lt_attention_composite(lt_t q, lt_t k, lt_t v, const lt_attention_config *config, lt_t *weights);

/* ---- Regularisation ---- */
/* Zeroes with probability p and scales the rest by 1/(1-p). Numbers depend on the graph's seed, the scope's name and
 * the run-time scalar "step" alone; p = 0 is x. */
LT_API lt_t lt_dropout(lt_t x, double p);

/* ---- Losses (rank 0) ---- */
/* Mean of -log softmax(z)[target] over rows whose target is >= 0. z [.., V], target int32 [..]. `norm`, a rank-0 value,
 * divides the sum instead of the number of unmasked rows; nil for that number. */
LT_API lt_t lt_cross_entropy(lt_t z, lt_t target, lt_t norm);
/* The same against (1 - smoothing) onehot + smoothing / V (Szegedy et al. 2016), smoothing in [0, 1). */
LT_API lt_t lt_cross_entropy_smooth(lt_t z, lt_t target, lt_t norm, double smoothing);
/* Mean of -t log sigmoid(z) - (1 - t) log(1 - sigmoid(z)) over all elements; z and t of one shape, t in [0, 1]. */
LT_API lt_t lt_bce(lt_t z, lt_t t);
/* Mean over rows with target >= 0 of 1/V sum over j != target of max(0, margin - z[target] + z[j]), as
 * torch.nn.MultiMarginLoss. z [.., V], target int32 [..]; margin finite; norm as in lt_cross_entropy. */
LT_API lt_t lt_hinge(lt_t z, lt_t target, lt_t norm, double margin);
LT_API lt_t lt_mse(lt_t a, lt_t b); /* mean (a - b)^2 */
/* T^2 mean over rows of KL(softmax(teacher/T) || softmax(student/T)); no gradient to the teacher. [.., V] both. */
LT_API lt_t lt_kl_div(lt_t student, lt_t teacher, double temperature);

/* One term of a head loss: a row kernel that reads a row of logits and adds to loss and dz. More kinds come with
 * distillation; see autograd/ops/head_loss.c for what a kind must give. */
typedef struct lt_head_term {
    const struct lti_head_kind *kind; /* lt_head_cross_entropy() or lt_head_kl() */
    double weight;
    double temperature; /* kl */
    lt_t input;         /* cross entropy: int32 target [..]; kl: the teacher's logits [.., V] */
    double smoothing;   /* cross entropy: of the labels, in [0, 1) */
} lt_head_term;
LT_API const struct lti_head_kind *lt_head_cross_entropy(void);
LT_API const struct lti_head_kind *lt_head_kl(void);
/* Loss of the head x W^T, without ever holding [R, V] logits: a chunk of rows is multiplied once, every term reads
 * it, and dX and dW are made on the spot. x [.., C], w [V, C] (f32, 16 bit or lattice), at most 4 terms. Returns
 * sum over terms of weight * (sum over rows) / norm; norm: rank-0 value, or nil for the number of rows whose
 * cross-entropy target is >= 0 (all rows without such a term). Rows masked in a cross-entropy term are masked in all. */
LT_API lt_t lt_head_loss(lt_t x, lt_t w, int n, const lt_head_term *terms, lt_t norm);

/* ---- Quantization ---- */
/* x on the grid of a lattice type: the value has that type, its cotangent is f32 and passes straight through. Possible
 * for types with an encoder: q4_0, q4_1, q5_0, q5_1, q8_0.
 * LT_EINVAL when the last axis is no multiple of the block. */
LT_API lt_t lt_quantize(lt_t x, lt_dtype lattice);
LT_API lt_t lt_dequantize(lt_t x); /* lattice, or LT_I8 codes whose node has their scales -> f32 */

/* ---- Side effects: they write params, return the new value, and run in the current phase (graph.h) ---- */
LT_API lt_t lt_assign(lt_param *param, lt_t x); /* param = x; x of param's shape and type */
/* param = x + (fresh == 0 ? param : 0); fresh: a rank-0 value, or nil (always add). */
LT_API lt_t lt_accumulate(lt_param *param, lt_t x, lt_t fresh);
/* Rows first .. first + T - 1 of the cache [B, S, ...] become x [B, T, ...]; returns the whole cache. LT_EINVAL at
 * run when first + T > S. */
LT_API lt_t lt_cache_write(lt_param *cache, lt_t x, lt_t first);
/* A copy of the weight in another type (bf16, a lattice), kept in params under "<name>:<type>", made again only when the
 * weight's version has changed. Its cotangent is f32 and passes straight through. */
LT_API lt_t lt_derived(lt_graph *graph, lt_param *source, lt_dtype type);

#ifdef __cplusplus
}
#endif
#endif
