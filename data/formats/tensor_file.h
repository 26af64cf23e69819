/* tensor_file.h - inside of lt_tensors: what a checked safetensors header says. */
#ifndef LTI_TENSOR_FILE_H
#define LTI_TENSOR_FILE_H

#include "data/files.h"
#include "data/json.h"
#include "lathe/formats.h"

typedef struct lti_tensor {
    const char *name; /* owned by the header's JSON */
    lt_stored dtype;
    int rank, shard;
    const int64_t *shape; /* in the shard's pool */
    int64_t elements;
    uint64_t begin, end; /* in the byte buffer */
} lti_tensor;

typedef struct lti_shard {
    char *path;
    lti_map map;
    uint64_t base;    /* where the byte buffer begins: 8 + header size */
    json_t *header;   /* lives as long as the names */
    int64_t *shapes;  /* all shapes, one behind the other */
    lti_tensor *list; /* by offset */
    int count;
} lti_shard;

/* Maps one .safetensors file and checks every rule of the format. On failure nothing is left in `shard`. */
lt_status lti_shard_open(lt_ctx *ctx, const char *path, lti_shard *shard);
void lti_shard_close(lt_ctx *ctx, lti_shard *shard);

#endif
