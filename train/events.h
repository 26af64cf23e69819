/* events.h - scalars for TensorBoard, beside metrics.jsonl. */
#ifndef LTI_EVENTS_H
#define LTI_EVENTS_H

#include "base/ctx.h"
#include "lathe/train.h"

typedef struct lti_events {
    int fd; /* -1: none */
    char path[4096];
} lti_events;

/* A new file "events.out.tfevents.<seconds>.<host>.<pid>" in the directory; points of older files at steps above `step`
 * are declared void. */
lt_status lti_events_open(lt_ctx *ctx, const char *directory, int64_t step, lti_events *events);
lt_status lti_events_add(lt_ctx *ctx, const lti_events *events, const lt_train_progress *p);
void lti_events_close(lti_events *events);

#endif
