/* network_kinds.h - a small model of every kind of network that is no transformer, for the suites about their files and
 * their work. Names begin with nk_. */
#ifndef NK_NETWORK_KINDS_H
#define NK_NETWORK_KINDS_H

#include "tests/toys.h"

enum { NK_KINDS = 12, NK_STEPS = 5 };

/* Which of them are what. */
enum { NK_CNN = 0, NK_MLP = 5, NK_LSTM_OF_SERIES = 7, NK_GRU_OF_TOKENS = 10, NK_LSTM_OF_TOKENS = 11 };

typedef enum nk_source { NK_NOTHING, NK_IMAGES, NK_COLOURS, NK_VECTORS, NK_SERIES, NK_TEXTS } nk_source;

typedef struct nk_kind {
    const char *init;
    nk_source data;
    lt_dataset_kind reads;
    int64_t classes, parameters; /* the latter counted by hand, running averages included */
} nk_kind;
extern const nk_kind nk_kinds[NK_KINDS];

/* A few rows with classes; NULL for NK_NOTHING. */
lt_dataset *nk_data(ts_place *place, nk_source source);
extern const char nk_texts[]; /* NK_TEXTS: three lines of .jsonl */
/* From its data, with running averages that are neither 0 nor 1. NULL, and a failed check, when it cannot be made. */
lt_model *nk_make(ts_place *place, const nk_kind *kind);
/* Logits of two rows, to be freed; *count of them. Two texts end at steps 3 and 5. */
lt_real *nk_logits(lt_model *model, const nk_kind *kind, int64_t *count);
const char *nk_exact(void); /* the type of files that lose nothing */

#endif
