/* par.h - the only place that knows OpenMP.
 *
 * Work is cut into tasks by the size of the problem, never by the number of threads; a task always does the same
 * arithmetic in the same order. So results are bitwise equal for any thread count. Providers called inside a task
 * run single-threaded. */
#ifndef LTI_PAR_H
#define LTI_PAR_H

#include <stdint.h>

/* One task. `thread` is in [0, lt_threads()): an index into per-thread scratch. */
typedef void (*lti_task)(void *arg, int64_t task, int thread);

/* Runs tasks 0 .. n-1, in any order, on the process's threads; returns when all are done. */
void lti_par(int64_t n, lti_task run, void *arg);

/* How many tasks of at least `grain` elements to cut n elements into: depends on n alone, at most 256. */
int64_t lti_par_tasks(int64_t n, int64_t grain);

/* The half-open range of elements of task i of `tasks`, cut at multiples of 16 so that vectors stay whole. */
void lti_par_range(int64_t n, int64_t tasks, int64_t i, int64_t *begin, int64_t *end);

#endif
