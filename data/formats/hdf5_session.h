/* hdf5_session.h - a running lathe-h5 and the talk with it (data/formats/h5_message.h). */
#ifndef LTI_HDF5_SESSION_H
#define LTI_HDF5_SESSION_H

#include "data/files.h"
#include "data/formats/h5_message.h"
#include "data/formats/stored_real.h"

#include <sys/types.h>

/* Zero-initialise; lti_h5_stop is then always fine. */
typedef struct lti_h5_session {
    lt_ctx *ctx;
    const char *name; /* the file as messages call it; lives as long as the session */
    pid_t child;      /* 0: none is running */
    int memory, requests[2], replies;
    int seconds; /* a request may take, and a second for each 10 MB */
    bool writing;
    lti_h5_message message;
} lti_h5_session;

/* Starts the helper and has it open `path`. On failure nothing is left. */
lt_status lti_h5_start(lt_ctx *ctx, const char *path, const char *name, bool writing, lti_h5_session *session);
/* Sends session->message and waits for the answer in the same place. `about` (a dataset, may be NULL) is for the
 * sentences only. LT_EFORMAT when the helper dies, LT_EIO when it does not answer; then it is gone. */
lt_status lti_h5_ask(lti_h5_session *session, char request, const char *about);
/* Bytes of the window. */
lt_status lti_h5_take(lti_h5_session *session, uint64_t at, void *bytes, uint64_t count);
lt_status lti_h5_give(lti_h5_session *session, uint64_t at, const void *bytes, uint64_t count);
void lti_h5_stop(lti_h5_session *session);

/* Bytes of an element as it is sent, 0 for types that HDF5 files do not hold. */
int lti_h5_width(lt_stored type);
/* Product of a shape and the bytes of its elements; false when it overflows or a dimension is negative. */
bool lti_h5_measure(lt_stored type, uint32_t rank, const int64_t *shape, int64_t *elements, uint64_t *bytes);

/* Asks for a dataset; the answer, checked, is in session->message. */
lt_status lti_h5_find(lti_h5_session *session, const char *dataset);
/* Takes all elements of the dataset found, a block at a time. `use` gets blocks in order. */
typedef lt_status (*lti_h5_use)(void *arg, int64_t first, int64_t count, const void *elements);
lt_status lti_h5_each_block(lti_h5_session *session, const char *dataset, lti_h5_use use, void *arg);

#endif
