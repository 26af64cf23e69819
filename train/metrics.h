/* metrics.h - metrics.jsonl: one JSON object a logged step, appended, whole lines only. */
#ifndef LTI_METRICS_H
#define LTI_METRICS_H

#include "base/ctx.h"
#include "lathe/train.h"

/* Cuts the file back to its first `bytes` and the line of `step` behind them (a checkpoint is made before its step's
 * line), or makes it empty (bytes < 0). Of a file that is not the run's, whole lines up to `step` stay. */
lt_status lti_metrics_open(lt_ctx *ctx, const char *path, int64_t bytes, int64_t step, int *fd);
/* The size of the file; 0 without one. */
int64_t lti_metrics_size(int fd);
lt_status lti_metrics_add(lt_ctx *ctx, int fd, const char *path, const lt_train_progress *p);
void lti_metrics_close(int fd); /* -1 is fine */

/* One curve read back: values of `key` by step; NaN-free. Arrays are the caller's (lti_free). */
typedef struct lti_curve {
    double *step, *value;
    int count;
} lti_curve;
lt_status lti_metrics_curve(lt_ctx *ctx, const char *path, const char *key, lti_curve *curve);
void lti_curve_free(lt_ctx *ctx, lti_curve *curve);

/* Shares of the time by operator in the last line that has them, largest first. */
typedef struct lti_shares {
    struct {
        char op[40];
        double share;
    } list[12];
    int count;
} lti_shares;
lt_status lti_metrics_shares(lt_ctx *ctx, const char *path, lti_shares *shares);

#endif
