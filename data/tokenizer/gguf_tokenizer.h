/* gguf_tokenizer.h - the tokenizer.* keys of GGUF files, in both directions.
 *
 * The two ends describe a tokenizer differently: GGUF gives lists (token, type, score) and a name for everything that
 * happens around them (tokenizer.ggml.model, tokenizer.ggml.pre); a tokenizer.json spells the steps out. */
#ifndef LTI_GGUF_TOKENIZER_H
#define LTI_GGUF_TOKENIZER_H

#include "data/tokenizer/tokenizer.h"
#include "lathe/gguf.h"

enum { /* tokenizer.ggml.token_type */
       LTI_TYPE_NORMAL = 1,
       LTI_TYPE_UNKNOWN,
       LTI_TYPE_CONTROL,
       LTI_TYPE_USER,
       LTI_TYPE_UNUSED,
       LTI_TYPE_BYTE
};

/* Our own key, of "llama" tokenizers: Metaspace's prepend_scheme where the tokenizer.json has Metaspace. Without it the
 * text gets a blank in front as tokenizer.ggml.add_space_prefix says, whatever it begins with. */
#define LTI_PREPEND_KEY "tokenizer.lathe.prepend_scheme"

#define LTI_WHOLE_KEY "tokenizer.huggingface.json"            /* the text of tokenizer.json */
#define LTI_WHOLE_CONFIG_KEY "lathe.hf.tokenizer_config.json" /* and of tokenizer_config.json */

/* Fills an empty tokenizer: from the lists, or, where tokenizer.ggml.model is "none", from the whole file. A file
 * without tokenizer.ggml.pre is read as GPT-2, which such old files were. LT_EUNSUPPORTED names a model or
 * pre-tokenizer that is not implemented; LT_EFORMAT, LT_ELIMIT, LT_ENOMEM. */
lt_status lti_tokenizer_from_gguf(lt_tokenizer *tok, const lt_gguf *gguf);

/* The keys of a model with `vocab_rows` rows in its embedding: tokens beyond the vocabulary become "[PADi]". 0 rows: as
 * many as there are tokens. LT_EINVAL: more tokens than rows; LT_EUNSUPPORTED: what has no form in GGUF, by its name.
 * A BERT file also needs tokenizer.ggml.token_type_count, which is a number of the model. */
lt_status lti_tokenizer_gguf_pairs(lt_ctx *ctx, const lt_tokenizer *tok, int64_t vocab_rows, lt_gguf_pair **pairs,
                                   int *count);
void lti_gguf_pairs_free(lt_ctx *ctx, lt_gguf_pair *pairs, int count); /* NULL is fine */

#endif
