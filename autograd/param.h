/* param.h - inside of a durable array. */
#ifndef LTI_PARAM_H
#define LTI_PARAM_H

#include "lathe/params.h"

struct lt_param {
    const lt_params *home; /* the list it is in */
    char *name;
    void *data;
    lt_dtype type;
    lt_role role;
    int rank;
    int64_t shape[LT_MAX_RANK];
    int64_t count;
    size_t bytes;
    uint64_t version;
    bool mapped; /* data belongs to somebody else and is read-only */
    bool trainable;
};

#endif
