/* loader.h - the arrays of the next micro-batch, filled by a thread of its own while a step runs. */
#ifndef LTI_LOADER_H
#define LTI_LOADER_H

#include "train/feed.h"

typedef struct lti_loader lti_loader; /* borrows the data set */

/* For batches of up to B rows and T positions. `ahead` false: no thread, all is filled when it is asked for; that is
 * also what remains where no thread can be had. */
lt_status lti_loader_create(lt_ctx *ctx, const lti_row_layout *layout, const lt_dataset *data, int64_t B, int64_t T,
                            bool ahead, lti_loader **loader);
void lti_loader_free(lti_loader *loader); /* waits for the thread. NULL is fine */

/* The arrays of these rows, padded to T positions; valid until the next call. Waits for them where they were asked for,
 * else fills them. */
const lti_feed *lti_loader_take(lti_loader *loader, const lt_batch *batch, int64_t T);
/* Asks for rows that will probably be taken next. */
void lti_loader_ask(lti_loader *loader, const lt_batch *batch, int64_t T);
int64_t lti_loader_hits(const lti_loader *loader); /* how often what was taken had been asked for */

#endif
