/* gguf_file.h - inside of lt_gguf: what a checked header says, and the types of the format. */
#ifndef LTI_GGUF_FILE_H
#define LTI_GGUF_FILE_H

#include "data/files.h"
#include "lathe/gguf.h"

/* What llama.cpp allows. */
#define LTI_GGUF_VERSION 3
#define LTI_GGUF_DIMS 4
#define LTI_GGUF_NAME 63                    /* bytes of a tensor's name */
#define LTI_GGUF_STRING (UINT64_C(1) << 30) /* bytes of a string */
#define LTI_GGUF_ARRAY (UINT64_C(1) << 30)  /* items of an array */
#define LTI_GGUF_ALIGNMENT 32               /* unless general.alignment says otherwise */
#define LTI_GGUF_ALIGNMENT_KEY "general.alignment"

typedef struct lti_gguf_key {
    lt_gguf_pair pair;
    lt_gguf_string text; /* what pair.strings points to when the value is one string */
    uint64_t at;         /* byte where the key begins */
    uint64_t name;       /* offset in `names`, which moves while it grows */
} lti_gguf_key;

typedef struct lti_gguf_slot {
    lt_gguf_tensor_info info;
    uint64_t at, name;
} lti_gguf_slot;

struct lt_gguf {
    lt_ctx *ctx;
    char *path;
    lti_map map;
    char *names; /* all keys, then all names of tensors, each with a NUL */
    uint64_t names_used, names_room;
    lti_gguf_key *keys;
    int key_count, key_room;
    int *keys_sorted; /* indices by name */
    lti_gguf_slot *tensors;
    int tensor_count, tensor_room;
    int *tensors_sorted;
    uint64_t alignment;
};

/* Fills everything but ctx, path and map; on failure what is there is for lt_gguf_close. */
lt_status lti_gguf_parse(lt_gguf *g);

/* Bytes of a number; 0 for a string, an array and what is no type. */
size_t lti_gguf_number_bytes(lt_gguf_type type);

/* How ggml stores the elements of a tensor. */
typedef struct lti_ggml_type {
    const char *name;
    int64_t block;  /* elements */
    uint64_t bytes; /* of a block */
    bool known;     /* lathe has the type, too: `type` */
    lt_dtype type;
} lti_ggml_type;
/* False when the size of the type is not known: it was removed from ggml, or it is newer than lathe. */
bool lti_ggml_type_of(uint32_t number, lti_ggml_type *type);
/* Bytes of a block in a file: LT_F32 is 4 in every build. */
uint64_t lti_gguf_block_bytes(lt_dtype type);

/* The smallest multiple of the alignment (a power of two) that is not less; false when it passes 64 bits. */
static inline bool lti_gguf_pad(uint64_t size, uint64_t alignment, uint64_t *padded)
{
    if (__builtin_add_overflow(size, alignment - 1, padded)) return false;
    *padded &= ~(alignment - 1);
    return true;
}

#endif
