/* h5_message.h - what lathe and its helper lathe-h5 say to each other about one HDF5 dataset.
 *
 * lathe makes an anonymous shared file and starts `lathe-h5 PATH DATASET` with it as descriptor LTI_H5_FD. The helper
 * writes this message at its beginning and the elements, row-major, from byte LTI_H5_DATA on. Neither prints. The
 * message is believed only after the helper has ended with code 0 or LTI_H5_REFUSED, and its sizes only after they
 * agree with the size of the file. */
#ifndef LTI_H5_MESSAGE_H
#define LTI_H5_MESSAGE_H

#include <stdint.h>

#define LTI_H5_FD 3
#define LTI_H5_MAGIC UINT64_C(0x0031356874616c6c)
#define LTI_H5_DATA 4096
#define LTI_H5_RANK 6
#define LTI_H5_REFUSED 2 /* exit code: the message tells why */

enum { LTI_H5_I32 = 1, LTI_H5_I64, LTI_H5_F32, LTI_H5_F64 };

typedef struct lti_h5_message {
    uint64_t magic;
    uint32_t kind; /* of the elements sent: native, whatever the file stores */
    uint32_t rank;
    int64_t shape[LTI_H5_RANK];
    uint64_t bytes; /* of all elements */
    int32_t status; /* lt_status of a refusal */
    char text[1024];
} lti_h5_message;

#endif
