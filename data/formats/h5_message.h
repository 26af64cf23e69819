/* h5_message.h - what lathe and its helper lathe-h5 say to each other about one HDF5 file.
 *
 * lathe makes an anonymous shared file and two pipes and starts `lathe-h5 read|write PATH SECONDS` with them as
 * descriptors 3 to 5. A request is a message at the beginning of the shared file and then one byte, its letter, in the
 * first pipe; the answer is the message overwritten and then the same byte in the second pipe. Elements and lists lie
 * in the window behind the message; either side may lengthen the shared file, neither shortens it. When the first pipe
 * closes the helper ends, when the second one does it is dead.
 *
 * Elements travel in slabs of about LTI_H5_SLAB bytes, row-major, one behind the other: whoever wants the next one
 * asks, so memory does not grow with the tensor. lathe believes no number in a message before it has checked it: a
 * helper that a file has taken over can lie, but not more than a file can. */
#ifndef LTI_H5_MESSAGE_H
#define LTI_H5_MESSAGE_H

#include <stdint.h>

#define LTI_H5_MEMORY 3 /* descriptors of the helper */
#define LTI_H5_REQUESTS 4
#define LTI_H5_REPLIES 5

#define LTI_H5_MAGIC UINT64_C(0x0032356874616c6c)
#define LTI_H5_WINDOW 4096
#define LTI_H5_SLAB (UINT64_C(16) << 20)
#define LTI_H5_LARGEST (UINT64_C(1) << 36) /* bytes of one tensor */
#define LTI_H5_RANK 32                     /* the most HDF5 has */
#define LTI_H5_TEXT 1024                   /* names and sentences, with their NUL */
#define LTI_H5_VALUE 64000                 /* bytes of an attribute: one message of an object header */
#define LTI_H5_DEPTH 32                    /* groups on the way to an object, the root too */
#define LTI_H5_LIST_BYTES (UINT64_C(256) << 20)
#define LTI_H5_OBJECTS 262144 /* a file lists at most */

enum {
    LTI_H5_OPEN = 'o',   /* comes first */
    LTI_H5_LIST = 'l',   /* -> window: `bytes` of records */
    LTI_H5_FIND = 'f',   /* name -> dtype, rank, shape, elements; the slabs begin again */
    LTI_H5_NEXT = 'n',   /* -> window: the next slab, `elements` of them */
    LTI_H5_CREATE = 'c', /* name, dtype, rank, shape -> elements of the first slab, 0 when it needs none */
    LTI_H5_DATA = 'd',   /* window: the slab asked for -> elements of the next one */
    LTI_H5_PAIR = 'p',   /* name; window: `bytes` of the value */
    LTI_H5_FINISH = 'e', /* the written file is whole */
};

typedef struct lti_h5_message {
    uint64_t magic;
    int32_t status; /* lt_status */
    uint32_t dtype; /* lt_stored; what is sent is native whatever the file stores */
    uint32_t rank;
    uint32_t reserved;
    int64_t shape[LTI_H5_RANK];
    uint64_t elements, bytes;
    char name[LTI_H5_TEXT];
    char text[LTI_H5_TEXT]; /* of a refusal */
} lti_h5_message;

enum { LTI_H5_TENSOR = 1, LTI_H5_SKIPPED, LTI_H5_METADATA };

/* One object of a list. `name_bytes` and `value_bytes` follow, each with its NUL, then zeros up to a multiple of 8. */
typedef struct lti_h5_record {
    uint32_t kind, dtype, rank, reserved;
    int64_t shape[LTI_H5_RANK];
    uint64_t elements, bytes;
    uint32_t name_bytes, value_bytes; /* the value: why it was skipped, or of the metadata */
} lti_h5_record;

#endif
