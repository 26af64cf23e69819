/* network.h - what a network that is no transformer tells the code that makes, opens and saves models: one descriptor a
 * network, as family.h has one a family.
 *
 * Its sizes have one table of names: the keys of --init and of config.json. A config.json of lathe's own is read
 * strictly (every key is there, no other is): nobody else writes one. */
#ifndef LTI_NETWORK_H
#define LTI_NETWORK_H

#include "lathe/classes.h"
#include "models/family.h"

typedef union lti_network_config {
    lt_cnn_config cnn;
    lt_mlp_config mlp;
    lt_rnn_config rnn;
} lti_network_config;

/* A key and where its value lies: one of the pointers is set. */
typedef struct lti_network_key {
    const char *name;
    int64_t *count; /* from 0 */
    double *number;
    bool *flag;
    bool optional;          /* a flag that is left out of files where it is false */
    lt_cnn_kind *depthwise; /* a flag */
    lt_mlp_config *widths;  /* 256/128; in config.json a list */
} lti_network_key;
enum { LTI_NETWORK_KEYS = 12 };

/* What it learns, of a config whose sizes are filled in. */
typedef struct lti_network_facts {
    lt_dataset_kind reads;
    int64_t vocab, context, classes; /* as lt_model_vocab, .. */
    int64_t width;                   /* last axis of the hidden state */
} lti_network_facts;

typedef struct lti_network {
    const char *name;       /* "cnn": lt_model_family and --init */
    const char *model_type; /* of config.json: "lathe-cnn" */
    void (*defaults)(lti_network_config *config);
    int (*keys)(lti_network_config *config, lti_network_key keys[LTI_NETWORK_KEYS]); /* returns how many */
    /* Rows [shape] of numbers: fills the sizes that are 0; LT_EINVAL where it cannot read such rows. */
    lt_status (*take_rows)(lt_ctx *ctx, lti_network_config *config, int rank, const int64_t *shape);
    lt_status (*check)(lt_ctx *ctx, const lti_network_config *config); /* LT_EINVAL naming what is out of range */
    lti_network_facts (*facts)(const lti_network_config *config);
    lt_status (*each)(const lti_network_config *config, lti_tensor_visitor visit, void *user);
    lt_status (*params)(lt_params *params, const lti_network_config *config, uint64_t seed);
    lt_t (*hidden)(lt_graph *graph, const lti_network_config *config, const lt_model_input *input);
    lt_t (*head)(lt_graph *graph, const lti_network_config *config, lt_t hidden, lt_t last);
    /* Its loss where it may predict tokens; NULL: the cross entropy of its classes. */
    lt_t (*loss)(lt_graph *graph, const lti_network_config *config, const lt_model_input *input, lt_t targets,
                 lt_t norm, double smoothing);
    /* Of such a network: its states for `batch` rows, LT_SCRATCH, and the hidden state [B, T, C] of tokens [B, T] that
     * goes on from them and leaves the new ones there; keep [B, 1] is 0 for rows that begin here, else 1. */
    lt_status (*caches)(lt_params *params, const lti_network_config *config, int64_t batch);
    lt_t (*step)(lt_graph *graph, const lti_network_config *config, lt_t tokens, lt_t keep);
    bool *(*recomputes)(lti_network_config *config); /* its `checkpoint`; NULL: it has none */
} lti_network;

extern const lti_network lti_network_cnn, lti_network_mlp, lti_network_lstm, lti_network_gru;

const lti_network *lti_network_named(const char *name);         /* NULL when there is none */
const lti_network *lti_network_of_model_type(const char *type); /* likewise */
const char *lti_network_names(void);                            /* "cnn, mlp, ..." for messages */

/* "filters=16" of --init into the config; LT_EINVAL naming the keys there are. */
lt_status lti_network_set(lt_ctx *ctx, const lti_network *network, lti_network_config *config, const char *key,
                          const char *text);
/* The place of a count key, or NULL. */
int64_t *lti_network_count(const lti_network *network, lti_network_config *config, const char *key);

/* config.json of a network. LT_EFORMAT naming the key. */
lt_status lti_network_from_json(lt_ctx *ctx, const char *path, const json_t *json, const lti_network **network,
                                lti_network_config *config);
/* NULL: memory is out. `labels` (may be NULL) becomes id2label. */
json_t *lti_network_to_json(const lti_network *network, const lti_network_config *config, const json_t *labels,
                            const char *dtype);

/* LT_EINVAL unless `value`, called `key`, lies in 1 .. limit. */
lt_status lti_network_range(lt_ctx *ctx, const char *network, const char *key, int64_t value, int64_t limit);
/* A size that rows have: fills *size where it is 0; LT_EINVAL where it is another. */
lt_status lti_network_take(lt_ctx *ctx, const char *network, const char *key, int64_t *size, int64_t found);
/* A whole or broken number of --init. */
lt_status lti_init_number(lt_ctx *ctx, const char *key, const char *text, bool whole, double *value);
/* Calls the visitor with the tensor `name` of rank numbers in `shape`, whose initial values are t's. */
lt_status lti_visit_tensor(lti_tensor t, const char *name, int rank, const int64_t *shape, lti_tensor_visitor visit,
                           void *user);

#endif
