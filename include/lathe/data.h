/* data.h - what a model learns from: tokenizers, data sets, batches.
 *
 * A text is split into documents, each document encoded alone and cut into windows that become rows. Batches are
 * drawn in an order that depends on (seed, epoch, rows of a step) alone, so the cursor (epoch, index) is the whole state.
 *
 *     lt_tokenizer *tok; lt_dataset *set; lt_batches *batches; lt_batch batch;
 *     lt_dataset_options o; lt_dataset_options_init(&o); o.max_seq_length = 256;
 *     if (lt_tokenizer_open(ctx, "model", &tok) || lt_dataset_open(ctx, "stories.txt", tok, &o, &set) ||
 *         lt_batches_create(ctx, set, NULL, 8, 42, true, &batches) || lt_batches_next(batches, &batch))
 *         return lt_ctx_status(ctx);
 *     int32_t tokens[8 * 256], targets[8 * 256];
 *     if (lt_batches_fill(batches, 8, batch.longest, tokens, targets)) return lt_ctx_status(ctx);
 */
#ifndef LATHE_DATA_H
#define LATHE_DATA_H

#include "lathe/formats.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Tokenizers ---- */

typedef struct lt_tokenizer lt_tokenizer; /* owned by the caller; used by one thread at a time */

/* Opens a tokenizer.json, the one of a directory (with tokenizer_config.json, special_tokens_map.json and
 * chat_template.jinja beside it when they are there), or the tokenizer inside a .gguf file.
 * Byte-level BPE with the splitting patterns of GPT-2, Llama 3, Qwen 2 and SmolLM (and GPT-NeoX), BPE with byte
 * fallback (Llama 2, Gemma), WordPiece (BERT). Anything else is LT_EUNSUPPORTED by its name; a broken file is
 * LT_EFORMAT. */
LT_API LT_MUST_USE lt_status lt_tokenizer_open(lt_ctx *ctx, const char *path, lt_tokenizer **tokenizer);
/* A byte-level BPE of `vocab` tokens learned from `bytes` bytes of text: the 256 bytes, the special token
 * "<|endoftext|>" and the merges of the most frequent pairs (ties: the pair whose tokens come first in bytes), words
 * split by the pattern of `like`: "gpt2", "llama3", "qwen2" or "smollm". Equal input gives an equal tokenizer.
 * LT_EINVAL: vocab below 257 or above what the text can fill. */
LT_API LT_MUST_USE lt_status lt_tokenizer_train(lt_ctx *ctx, const char *text, int64_t bytes, int32_t vocab,
                                                const char *like, lt_tokenizer **tokenizer);
/* Writes the tokenizer's files into a directory, each atomically. */
LT_API LT_MUST_USE lt_status lt_tokenizer_save(const lt_tokenizer *tokenizer, const char *directory);
/* Bytes: ids 0..255 are bytes, 256 begins a text, 257 ends it; 258 in all. Adds 256 before each text. */
LT_API LT_MUST_USE lt_status lt_tokenizer_bytes(lt_ctx *ctx, lt_tokenizer **tokenizer);
LT_API void lt_tokenizer_free(lt_tokenizer *tokenizer); /* NULL is fine */

/* A growing list of ids. Zero it before its first use. */
typedef struct lt_ids {
    int32_t *ids;
    int64_t count, capacity;
} lt_ids;
LT_API void lt_ids_free(lt_ctx *ctx, lt_ids *ids);

enum {
    LT_ENCODE_SPECIAL_TOKENS = 1, /* add what the tokenizer puts around a text: BOS in most */
    LT_ENCODE_PARSE_SPECIAL = 2   /* "<s>" in the text becomes the control token; else it is three characters */
};
/* Appends the ids of `bytes` bytes of text to `ids`. The text should be UTF-8; a byte that is not becomes its byte
 * token. A character that no token expresses is the unknown token; without one a BPE leaves it out, as Hugging Face's
 * does. Errors: LT_EFORMAT for a word or byte without any token, LT_ELIMIT, LT_ENOMEM. */
LT_API LT_MUST_USE lt_status lt_tokenizer_encode(lt_tokenizer *tokenizer, const char *text, int64_t bytes,
                                                 unsigned flags, lt_ids *ids);

enum { LT_DECODE_SPECIAL_TOKENS = 1 }; /* write control tokens as their names; else they vanish */
/* The text of `count` ids, NUL-terminated; byte tokens give their bytes even where those are not UTF-8. Free it with
 * lt_buffer_free. Errors: LT_EINVAL for an id outside the vocabulary, LT_ELIMIT, LT_ENOMEM. */
LT_API LT_MUST_USE lt_status lt_tokenizer_decode(lt_tokenizer *tokenizer, const int32_t *ids, int64_t count,
                                                 unsigned flags, char **text, int64_t *bytes);
LT_API void lt_buffer_free(lt_ctx *ctx, void *buffer); /* NULL is fine */

LT_API int32_t lt_tokenizer_vocab_size(const lt_tokenizer *tokenizer);              /* largest id + 1 */
LT_API int32_t lt_tokenizer_bos(const lt_tokenizer *tokenizer);                     /* -1: none */
LT_API int32_t lt_tokenizer_eos(const lt_tokenizer *tokenizer);                     /* -1: none */
LT_API bool lt_tokenizer_adds_bos(const lt_tokenizer *tokenizer);                   /* a text begins with bos */
LT_API int32_t lt_tokenizer_find(const lt_tokenizer *tokenizer, const char *token); /* id of a token's text, or -1 */
LT_API bool lt_tokenizer_is_special(const lt_tokenizer *tokenizer, int32_t id);
/* The token as the vocabulary spells it (byte-level ones as bytes), not NUL-terminated; NULL for a hole. */
LT_API const char *lt_tokenizer_token(const lt_tokenizer *tokenizer, int32_t id, int64_t *bytes);
LT_API bool lt_tokenizer_adds_eos(const lt_tokenizer *tokenizer);   /* a text ends with eos */
LT_API int32_t lt_tokenizer_unknown(const lt_tokenizer *tokenizer); /* -1: none */
LT_API int32_t lt_tokenizer_pad(const lt_tokenizer *tokenizer);     /* -1: none */
/* The model's own chat template, NUL-terminated and unchanged; NULL when it has none. */
LT_API const char *lt_tokenizer_chat_template(const lt_tokenizer *tokenizer);
LT_API const char *lt_tokenizer_hash(const lt_tokenizer *tokenizer); /* XXH3-128 of tokenizer.json, 32 hex digits */

/* The files it was made from, word for word, to be copied beside a trained model. */
LT_API int lt_tokenizer_files(const lt_tokenizer *tokenizer);
LT_API const char *lt_tokenizer_file(const lt_tokenizer *tokenizer, int index, const char **name, int64_t *bytes);

/* ---- Text data sets ---- */

typedef enum lt_split { LT_SPLIT_ALL = 0, LT_SPLIT_TRAIN, LT_SPLIT_VALID, LT_SPLIT_TEST } lt_split;

typedef struct lt_dataset_options {
    size_t size;            /* sizeof(lt_dataset_options), set by the _init */
    int64_t max_seq_length; /* positions a window, BOS included. Default 512; at least 2 */
    lt_split split;         /* default all */
    double valid_fraction;  /* of the documents, for train and valid of a single file. Default 0.1 */
    bool append_eos;        /* end every document with eos. Default false, as perplexity is defined */
    /* The rest is for .jsonl. */
    struct lt_chat *chat; /* how conversations are written (chat.h); NULL: rows that need one are refused. Borrowed */
    bool score_prompt;    /* prompts are learned too. Default false: only completions and assistants' turns count */
    bool pack;            /* whole rows behind one another in one window, each seeing itself alone; .txt too */
    bool skip_bad_rows;   /* leave out rows that are refused, and count them. Default false: the first is an error */
    const char *prompt_key, *completion_key; /* default "prompt", "completion" */
    const char *slice_key;                   /* a field kept of each row (lt_dataset_slice); NULL: none */
} lt_dataset_options;
LT_API void lt_dataset_options_init(lt_dataset_options *options);

typedef struct lt_dataset lt_dataset; /* rows of ids; owned by the caller, independent of the tokenizer afterwards */

/* `options` may be NULL for the defaults. Opens
 * - a .txt: documents are separated by lines that hold <|endoftext|> alone; each is encoded alone and cut into windows
 *   that do not overlap, each with BOS first if the tokenizer adds one; a window of one position is dropped.
 * - a .jsonl, or a .json that is an array of the same objects. The form is that of the first row with known fields:
 *   {"text"}, {"prompt", "completion"}, {"messages": [{"role", "content"}]}, {"instruction", "input", "output"}
 *   (alpaca), {"conversations": [{"from", "value"}]} (sharegpt: system, human, gpt). "text" rows are documents as
 *   above; each of the others becomes one row, cut at max_seq_length from the end of the completion (a row whose prompt
 *   alone fills it is refused). With a chat, prompts and instructions become a user's turn, completions an assistant's;
 *   without, ids are BOS if the tokenizer adds one, the prompt's, the completion's, and eos if the tokenizer has one;
 *   alpaca's prompt is then "### Instruction:\n..\n\n### Input:\n..\n\n### Response:\n", the input where there is one.
 *   Every row is checked before anything is returned: the error lists "file:line: reason" of the first 10 and a count.
 * - a directory with train, valid and test as .txt, .jsonl or .json; of one part only one may be there.
 * From a single file (or a directory without valid), valid takes the valid_fraction of the documents whose hashes are
 * smallest, train the rest; of a single document valid takes the last lines. Errors: LT_EIO, LT_EFORMAT (not UTF-8:
 * file:line and byte; bad rows), LT_EINVAL (an empty split, an option, conversations without a chat), LT_EUNSUPPORTED
 * (another kind of file), LT_ENOMEM. */
LT_API LT_MUST_USE lt_status lt_dataset_open(lt_ctx *ctx, const char *path, lt_tokenizer *tokenizer,
                                             const lt_dataset_options *options, lt_dataset **dataset);
/* The same from memory, as a .txt. */
LT_API LT_MUST_USE lt_status lt_dataset_from_text(lt_ctx *ctx, const char *text, int64_t bytes, lt_tokenizer *tokenizer,
                                                  const lt_dataset_options *options, lt_dataset **dataset);
LT_API void lt_dataset_free(lt_dataset *dataset); /* NULL is fine */

/* "text", "prompt/completion", "messages", "alpaca", "sharegpt", "labelled", "numbers": what the rows were read as. */
LT_API const char *lt_dataset_form(const lt_dataset *dataset);
LT_API int64_t lt_dataset_skipped(const lt_dataset *dataset); /* rows left out by skip_bad_rows */
/* Per position: 1 when the id there is to be predicted. NULL: all but the first of the row are. [length] */
LT_API const uint8_t *lt_dataset_row_scored(const lt_dataset *dataset, int64_t row);
/* Per position: where its document begins in the row. NULL: at 0, all of them (the row is not packed). [length] */
LT_API const int32_t *lt_dataset_row_starts(const lt_dataset *dataset, int64_t row);
LT_API bool lt_dataset_packed(const lt_dataset *dataset);                         /* any row holds several documents */
LT_API const char *lt_dataset_slice(const lt_dataset *dataset, int64_t document); /* value of slice_key; "" if absent */

/* The text of a row, control tokens by name, with each stretch that is not predicted between the two strings: what a
 * terminal shows dimmed. Its class stands behind it; of numbers the shape stands for them, and `tokenizer` may be NULL.
 * NUL-terminated; free with lt_buffer_free. */
LT_API LT_MUST_USE lt_status lt_dataset_show(const lt_dataset *dataset, lt_tokenizer *tokenizer, int64_t row,
                                             const char *before_masked, const char *after_masked, char **text);

LT_API int64_t lt_dataset_rows(const lt_dataset *dataset);
LT_API const int32_t *lt_dataset_row(const lt_dataset *dataset, int64_t row, int64_t *length); /* ids[length] */
LT_API int64_t lt_dataset_row_document(const lt_dataset *dataset, int64_t row); /* of a packed row: the first */
LT_API int64_t lt_dataset_documents(const lt_dataset *dataset);                 /* of this split */
LT_API int64_t lt_dataset_tokens(const lt_dataset *dataset);                    /* positions of all rows */
LT_API int64_t lt_dataset_scored(const lt_dataset *dataset);                    /* predictions that count */
LT_API int64_t lt_dataset_longest(const lt_dataset *dataset);                   /* length of the longest row */
/* XXH3-128 of row lengths and ids, masks and beginnings, classes and their names, or shape, numbers and classes: of
 * what there is; 32 hex digits. */
LT_API const char *lt_dataset_hash(const lt_dataset *dataset);

/* ---- Numeric data sets ---- */

typedef struct lt_arrays {
    int64_t n, d;    /* rows, numbers a row */
    lt_real *x;      /* [n, d] */
    int32_t *y;      /* [n], classes from 0 */
    int32_t classes; /* largest y + 1 */
    int rank;        /* shape of one row: [28, 28] of an image, [d] of a CSV */
    int64_t shape[LT_MAX_RANK];
    char hash[33]; /* XXH3-128 of x and y as stored here */
} lt_arrays;

/* Opens by content: CSV of numbers with the class in the last column (gzip too; a first line without any number is a
 * heading), IDX images (gzip too; labels in the file whose name has "labels-idx1" for "images-idx3"), or HDF5 with
 * /x and /y. Values stay as stored: images go to 255. Errors: LT_EIO, LT_EFORMAT (CSV: file:line), LT_ENOMEM. */
LT_API LT_MUST_USE lt_status lt_arrays_open(lt_ctx *ctx, const char *path, lt_arrays **arrays);
/* Copies of two parts: valid gets round(n * fraction) rows, drawn by the seed. LT_EINVAL when one were empty. */
LT_API LT_MUST_USE lt_status lt_arrays_split(lt_ctx *ctx, const lt_arrays *arrays, double fraction, uint64_t seed,
                                             lt_arrays **train, lt_arrays **valid);
LT_API void lt_arrays_free(lt_ctx *ctx, lt_arrays *arrays); /* NULL is fine */

/* ---- Batches ---- */

typedef struct lt_batches lt_batches; /* borrows its data set */

/* Where the next batch begins; all there is to save. */
typedef struct lt_cursor {
    int64_t epoch; /* from 0 */
    int64_t index; /* rows of this epoch already used */
} lt_cursor;

typedef struct lt_batch {
    int64_t rows;           /* at most the batch size; less in the last batch of an epoch */
    int64_t longest;        /* positions of its longest row; of numbers 1 */
    int64_t targets;        /* predictions that count: scored positions; rows where they have a class */
    int64_t epoch;          /* the epoch it belongs to */
    bool last;              /* of its epoch */
    const int64_t *indices; /* [rows] which rows; valid until the next lt_batches_next */
} lt_batch;

/* From one of `dataset` (of any kind: classes.h) and `arrays`; the other is NULL. Unshuffled batches come in order of
 * the rows. LT_EINVAL. */
LT_API LT_MUST_USE lt_status lt_batches_create(lt_ctx *ctx, const lt_dataset *dataset, const lt_arrays *arrays,
                                               int64_t batch_size, uint64_t seed, bool shuffle, lt_batches **batches);
LT_API void lt_batches_free(lt_batches *batches); /* NULL is fine */
/* How many batches are one optimizer step (1 unless said; before the first batch is drawn): text is shuffled in units of
 * steps, so 2 batches of 2 rows are the rows of 1 batch of 4. LT_EINVAL. */
LT_API LT_MUST_USE lt_status lt_batches_of_step(lt_batches *batches, int64_t count);

/* Chooses the next batch and moves the cursor; after the last batch of an epoch comes the next epoch. */
LT_API LT_MUST_USE lt_status lt_batches_next(lt_batches *batches, lt_batch *batch);

/* Writes the chosen text batch as tokens[B, T] and targets[B, T]: the next id at each position, -1 (not counted) where
 * the next is not scored or of another document, at the last position of a row, in padding and in rows beyond
 * batch.rows; padded tokens are 0. LT_EINVAL when B or T is too
 * small. */
LT_API LT_MUST_USE lt_status lt_batches_fill(const lt_batches *batches, int64_t B, int64_t T, int32_t *tokens,
                                             int32_t *targets);
/* Which keys each position sees, for lt_attention_config.spans: [B, T, 2], {start of its document, T}, of a text with a
 * class {0, its length}. Padding sees itself alone. */
LT_API LT_MUST_USE lt_status lt_batches_fill_spans(const lt_batches *batches, int64_t B, int64_t T, int32_t *spans);
/* Writes the chosen array batch as x[B, d] and y[B]; rows beyond batch.rows are 0 and -1. */
LT_API LT_MUST_USE lt_status lt_batches_fill_arrays(const lt_batches *batches, int64_t B, lt_real *x, int32_t *y);

LT_API lt_cursor lt_batches_cursor(const lt_batches *batches);
/* LT_EINVAL when the cursor lies outside the data. */
LT_API LT_MUST_USE lt_status lt_batches_seek(lt_batches *batches, lt_cursor cursor);
LT_API int64_t lt_batches_per_epoch(const lt_batches *batches);

#ifdef __cplusplus
}
#endif
#endif
