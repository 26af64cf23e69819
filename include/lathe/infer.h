/* infer.h - a model at work: next-token logits with a cache of keys and values, and generation.
 *
 *     lt_session *s; lt_ids prompt = {0}; lt_generation g;
 *     lt_sampling how; lt_sampling_init(&how); how.max_tokens = 64; // temperature 0: greedy
 *     if (lt_session_create(model, NULL, &s)) return lt_ctx_status(ctx);
 *     if (lt_tokenizer_encode(lt_model_tokenizer(model), "Once", 4, LT_ENCODE_SPECIAL_TOKENS, &prompt))
 *         return lt_ctx_status(ctx);
 *     if (lt_generate(s, 1, &prompt, &how, NULL, NULL, &g)) return lt_ctx_status(ctx);
 *     puts(g.text);
 *     lt_generation_free(ctx, &g);
 *     lt_session_free(s);
 */
#ifndef LATHE_INFER_H
#define LATHE_INFER_H

#include "lathe/models.h"
#include "lathe/qat.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Sessions ---- */

typedef struct lt_session_options {
    size_t size;
    int64_t batch;  /* most rows at a time; default 1 */
    int64_t length; /* positions of the cache; 0: the model's context, 4096 at most */
    /* Weights quantized on the way, and activations, as in training; NULL: as they are. What it points to is borrowed. */
    const lt_quant_policy *quant;
} lt_session_options;
LT_API void lt_session_options_init(lt_session_options *options);

/* The caches and plans of one model; owned by the caller. Borrows the model and leaves its params as they are; weights
 * that `quant` rounds are copies of when it was created. A recurrent network's cache is its state, of one size at any
 * length. LT_EUNSUPPORTED for a model that writes no text (an encoder, a classifier), LT_EINVAL, LT_ENOMEM. */
typedef struct lt_session lt_session;
LT_API LT_MUST_USE lt_status lt_session_create(lt_model *model, const lt_session_options *options,
                                               lt_session **session);
LT_API void lt_session_free(lt_session *session); /* NULL is fine */
LT_API int64_t lt_session_length(const lt_session *session);
LT_API uint64_t lt_session_cache_bytes(const lt_session *session); /* of `batch` rows */

/* Forgets what was there and reads `n` prompts (at most `batch`), of 1 to length - 1 ids each; shorter ones are padded
 * on the left, unseen. *logits: [n, vocab] after the last id of each, valid until the next call. Results are bitwise
 * equal for any number of threads. A row of a batch differs from the same row alone by rounding: products of another
 * size may add in another order, and padding shifts rotary angles. Steps of up to 8 rows do not differ. LT_EINVAL,
 * LT_ENONFINITE, LT_ENOMEM. */
LT_API LT_MUST_USE lt_status lt_session_prefill(lt_session *session, int n, const lt_ids *prompts,
                                                const lt_real **logits);
/* Appends one id to each of the n rows; allocates nothing after its first call. LT_ELIMIT when the cache is full. */
LT_API LT_MUST_USE lt_status lt_session_step(lt_session *session, const int32_t *ids, const lt_real **logits);
LT_API int64_t lt_session_room(const lt_session *session); /* steps that still fit */

/* ---- Generation ---- */

/* What is left of the vocabulary after one line is what the next one sees, its probabilities made to sum to 1 again:
 * penalty, temperature, top k, top p, min p, as in Transformers. Equals are taken in order of their ids. */
typedef struct lt_sampling {
    size_t size;
    int64_t max_tokens;        /* new ones; default 128 */
    double temperature;        /* 0 (default): greedy, the first of equals */
    int64_t top_k;             /* so many of the most likely; 0: all */
    double top_p;              /* the fewest whose probabilities reach it (Holtzman et al. 2020); 1: all */
    double min_p;              /* of the most likely one's probability; 0: all */
    double repetition_penalty; /* 1 (default): none; of every id in prompt and text (Keskar et al. 2019) */
    uint64_t seed;             /* row r, token t draw from (seed, r, t) alone: a batch does not change its rows */
    int n_stop;
    const char *const *stop; /* UTF-8 text that ends the generation, left out of the result. Borrowed */
    int n_end;
    int32_t end[16]; /* ids that end it; n_end < 0 (default): the model's (lt_model_end_ids) */
} lt_sampling;
LT_API void lt_sampling_init(lt_sampling *sampling);

typedef struct lt_generation {
    lt_ids ids; /* the new ones, without the id that ended it; with a stop text: those that begin before it */
    char *text; /* what they add to the prompt's, NUL-terminated; bytes that are no UTF-8 are U+FFFD */
    int64_t bytes, prompt_tokens;
    const char *reason;   /* "end", "stop", "length" (max_tokens), "context" (the cache is full), "asked" (on_text) */
    double first_seconds; /* from the start of its batch to its first id */
    double seconds;       /* to its last */
} lt_generation;
LT_API void lt_generation_free(lt_ctx *ctx, lt_generation *generation); /* a zeroed one is fine */

/* Text of row `row` as it comes, whole characters, never what may still become a stop text. Called after each id, also
 * with 0 bytes. False ends that row. */
typedef bool (*lt_on_text)(void *user, int row, const char *text, int64_t bytes);

/* Generates for n prompts, at most the session's batch at a time. `results` [n]; on failure nothing is left in them. */
LT_API LT_MUST_USE lt_status lt_generate(lt_session *session, int n, const lt_ids *prompts, const lt_sampling *sampling,
                                         lt_on_text on_text, void *user, lt_generation *results);
/* Draws the next id from logits [vocab] as lt_generate would for (row, token); `history` counts for the penalty. */
LT_API LT_MUST_USE lt_status lt_sample(lt_ctx *ctx, const lt_sampling *sampling, int64_t vocab, const lt_real *logits,
                                       const lt_ids *history, int row, int64_t token, int32_t *id);

#ifdef __cplusplus
}
#endif
#endif
