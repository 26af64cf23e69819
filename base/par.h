/* par.h - the only place that knows OpenMP.
 *
 * Work is cut into tasks by the size of the problem, never by the number of threads; a task always does the same
 * arithmetic in the same order. So results are bitwise equal for any thread count. Providers called inside a task
 * run single-threaded. */
#ifndef LTI_PAR_H
#define LTI_PAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One task. `thread` is in [0, lt_threads()): an index into per-thread scratch. */
typedef void (*lti_task)(void *arg, int64_t task, int thread);

/* Runs tasks 0 .. n-1, in any order, on the process's threads; returns when all are done. */
void lti_par(int64_t n, lti_task run, void *arg);

/* The same with a fixed share of neighbouring tasks for every thread: for touching memory where it will be used. Inside
 * a task, the caller's thread runs them all. */
void lti_par_fixed(int64_t n, lti_task run, void *arg);

/* How many tasks of at least `grain` elements to cut n elements into: depends on n alone, at most 256. */
int64_t lti_par_tasks(int64_t n, int64_t grain);

/* The half-open range of elements of task i of `tasks`, cut at multiples of 16 so that vectors stay whole. */
void lti_par_range(int64_t n, int64_t tasks, int64_t i, int64_t *begin, int64_t *end);

/* ---- How many threads ---- */

/* Lets lt_set_threads pass the cores there are. Tests only: that results do not depend on threads is to be seen on a
 * machine with few cores as well. */
void lti_par_beyond(bool on);

#define LTI_NO_QUOTA (1 << 20)
/* Whole cores that "quota period" grants, at least 1 ("150000 100000": 1); LTI_NO_QUOTA for "max 100000", "-1 100000"
 * and what is no such text. */
int lti_quota_cores(const char *text);
/* First number of a list as OMP_NUM_THREADS may be ("4,2": 4), 0 when there is none. */
int lti_omp_number(const char *text);
/* The path of a controller ("cpu"; "": the unified hierarchy) in the text of /proc/self/cgroup. */
bool lti_cgroup_path(const char *text, const char *controller, char *path, size_t size);
/* Least quota of the process's cgroups and of all above them. `root`: where cgroups are mounted. */
int lti_cgroup_cores(const char *root, const char *text);

#endif
