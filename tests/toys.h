/* toys.h - what the suites of models, QAT and training share: tiny models, a text from memory, files to look into and to
 * spoil. Names begin with toy_. */
#ifndef TOY_TOYS_H
#define TOY_TOYS_H

#include "lathe/train.h"
#include "tests/data_files.h"

#include <jansson.h>

/* Two layers, 32 wide, bytes as tokens: about 30,000 numbers. */
#define TOY_INIT "llama:layers=2,dim=32,hidden=64,heads=4,kv_heads=2,context=64"

/* NULL, and a failed check, when it cannot be made. */
lt_model *toy_model(lt_ctx *ctx, const char *init, uint64_t seed);
/* Rows of at most 32 positions from a fixed text of 24 documents. */
lt_dataset *toy_text(lt_ctx *ctx, const lt_model *model, lt_split split);

/* Whether all weights are equal bit for bit; the first difference is named in a failed check. */
bool toy_same_weights(const lt_model *a, const lt_model *b, const char *what);
/* Logits of one row [1, T] of tokens as [T, vocab], by a graph without attachments; free() them. */
lt_real *toy_logits(lt_model *model, const int32_t *tokens, int64_t T);

/* Runs the suite on one thread: on machines with other work, threads that wait for each other in tiny products are many
 * times slower. Returns what a suite returns. */
int toy_one_thread(const char *suite);

/* ---- Files ---- */
bool toy_exists(const char *path);
/* A file's bytes with a NUL behind; free() them. NULL, and a failed check, when it cannot be read. */
char *toy_read(const char *path, size_t *size);
void toy_flip(const char *path, long offset); /* a bit of the byte; from the end when negative */
void toy_cut(const char *path, long bytes);   /* the last `bytes` bytes go */
/* Sets key in the object of a JSON file to a value written as JSON; NULL removes it. */
void toy_set_json(const char *path, const char *key, const char *value);

/* Copies a safetensors file with one change. */
typedef struct toy_edit {
    const char *drop;    /* a tensor left out */
    const char *reshape; /* a tensor written as one row of its bytes */
    const char *add;     /* a tensor of one element more */
    const char *retype;  /* a tensor said to be of the type `as`, half its elements when that is wider */
    lt_stored as;
    const char *meta_key, *meta_value; /* one pair of metadata for another value; value NULL: left out */
    const char *const *copied;         /* metadata keys to keep, ended by NULL */
} toy_edit;
void toy_rewrite(lt_ctx *ctx, const char *from, const char *to, const toy_edit *edit);

/* ---- Memory ---- */
/* As ts_every_allocation_fails, for attempts with more allocations than there is time for: about `most` of them, evenly
 * spread. An attempt may also succeed although an allocation failed when it says so in *survived. */
void toy_allocations_fail(const char *what, int64_t most, lt_status (*attempt)(lt_ctx *ctx, void *arg, bool *survived),
                          void *arg);

#endif
