/* toy_run.h - trainings of a toy that are stopped, spoiled and gone on with. */
#ifndef TOY_RUN_H
#define TOY_RUN_H

#include "tests/toys.h"

enum { STEPS = 12, SAVE_EVERY = 3, MOST_LINES = 64 };

/* A run whose callback stops it, or spoils and heals a weight, after given steps. 0: never. */
typedef struct toy_run {
    lt_ctx *ctx;
    const char *out, *init;
    lt_train_config config;
    lt_model *model;
    lt_train_result result;
    volatile int stop;
    int64_t stop_after, spoil_after, heal_after;
    int64_t block_after; /* a file lies where checkpoints belong */
    int spoilings;       /* how often to spoil at most */
    int lines;
    double lr[MOST_LINES], loss[MOST_LINES];
    int64_t step[MOST_LINES], first_step;
    char notes[2048], resumed[512], skipped[1024];
} toy_run;

toy_run toy_new_run(ts_place *p, const char *out);
/* Starts or goes on; the model is new each time, as after a restart. It stays in the run, to be freed. */
lt_status toy_go(toy_run *r);
lt_status toy_go_once(toy_run *r); /* and frees the model */
/* The callback, for trainings of other models: the run is its user. */
void toy_on_progress(void *user, const lt_train_progress *progress);
/* Puts a value into one weight. */
void toy_spoil(toy_run *r, double value);

/* metrics.jsonl of two directories, but for the fields that measure time and memory. */
void toy_same_metrics(const char *a, const char *b, const char *what);
/* Stops a run after each step of the list, one after the other, and goes on; compares with a whole run. `change` (may be
 * NULL) sets it up. */
void toy_stopped_and_resumed(const char *what, void (*change)(toy_run *r), int n, const int64_t *stops);
#define TOY_STOPS(...)                                                                                                 \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / 8), (int64_t[])                                                           \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }

#endif
