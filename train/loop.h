/* loop.h - inside of a training run; shared by the files of train/ that make one. */
#ifndef LTI_LOOP_H
#define LTI_LOOP_H

#include "train/events.h"
#include "train/loader.h"
#include "train/op_times.h"
#include "train/recipe.h"

#include <jansson.h>

/* What changes from step to step, and is saved. Everything else follows from the configuration. */
typedef struct lti_progress {
    int64_t step;    /* finished optimizer steps */
    int64_t tokens;  /* scored so far */
    int64_t skipped; /* updates left out, ever and in a row */
    int64_t skipped_in_row;
    int64_t rollbacks;
    double lr_factor;                                   /* halved by a rollback */
    double first_loss, last_loss, valid_loss, accuracy; /* the last two: of the last validation */
} lti_progress;

typedef struct lti_loop {
    lt_ctx *ctx;
    const lt_train_config *config;
    lt_model *model;
    const lt_dataset *train, *valid;
    lti_recipe recipe;
    lt_optimizer *optimizer;
    lt_batches *batches;
    lti_loader *loader;
    lt_schedule schedule;
    int64_t steps;       /* of the whole run */
    int64_t float_steps; /* before QAT starts */
    bool *was_trainable; /* [params of the model]: restored at the end */
    int n_params;
    bool was_checkpointed; /* the model's flag, restored at the end */
    lti_progress at;
    char *checkpoints, *metrics_path; /* NULL without `out` */
    int metrics;                      /* file descriptor or -1 */
    int64_t metrics_bytes; /* of the file when the checkpoint was made that the run was resumed from; -1: none was */
    lti_events events;
    lti_op_times times; /* since the last report */
    double started;     /* clock, and tokens then: for throughput */
    int64_t tokens_at_start;
    char skipped[1024], note[256];
    char *resumed_from;
    char compute_note[64]; /* how "auto" was decided; "" when it was not */
} lti_loop;

/* loop_open.c */
lti_loop lti_loop_new(lt_model *model, const lt_dataset *train, const lt_dataset *valid, const lt_train_config *config);
lt_status lti_loop_open(lti_loop *loop);           /* all that needs no decision yet, in memory */
lt_status lti_loop_choose_compute(lti_loop *loop); /* what "auto" is, unless a checkpoint has said so */
lt_status lti_loop_open_files(lti_loop *loop);
lt_status lti_loop_tell_start(lti_loop *loop, const lt_forecast *forecast);
lt_status lti_loop_report(lti_loop *loop);
/* report.html in `out`: that run, called `name`, and those of the list `compare` (may be NULL), with a table or NULL. */
lt_status lti_report_runs(lt_ctx *ctx, const char *out, const char *name, const char *compare, const char *table);
void lti_loop_close(lti_loop *loop);

/* loop.c: one optimizer step of an open loop; *finite: it was made, and not stopped or left out. */
lt_status lti_loop_step(lti_loop *loop, lt_train_progress *progress, bool *finite);

/* config.c: LT_EINVAL names the option. */
lt_status lti_config_check(lt_ctx *ctx, const lt_train_config *config);
lt_status lti_config_optimizer(lt_ctx *ctx, const lt_train_config *config, lt_optimizer_config *optimizer);
bool lti_config_type(const char *name, lt_dtype *type); /* "f32" or "bf16" */
lt_status lti_config_schedule(lt_ctx *ctx, const lt_train_config *config, lt_schedule *schedule);

/* forecast.c */
lt_status lti_forecast(lti_loop *loop, lt_forecast *forecast);
lt_status lti_forecast_check(lt_ctx *ctx, const lt_train_config *config, const lt_forecast *forecast);

/* resume.c: the state as JSON and back; what must be equal for a bitwise resume is compared, and named when not. */
lt_status lti_loop_save(lti_loop *loop);
/* Which checkpoint to go on from, if any: resumed_from. With compute "auto" its type of products is taken. */
lt_status lti_loop_find(lti_loop *loop);
lt_status lti_loop_resume(lti_loop *loop);
/* Goes back to the newest checkpoint of this run; LT_EINVAL when there is none. */
lt_status lti_loop_rollback(lti_loop *loop);

/* runinfo.c: run.json and config.yaml. */
lt_status lti_write_run_info(lti_loop *loop, const lt_train_result *result);

/* resume.c: the grids and how they are trained, as the checkpoint and run.json have them. A new reference or NULL. */
json_t *lti_policy_json(lt_ctx *ctx, const lt_quant_policy *policy);
json_t *lti_cluster_json(const lt_cluster_config *cluster);

#endif
