/* par.c - tasks over OpenMP threads.
 *
 * oneDNN asks the OpenMP runtime how many threads it may use; inside a task the answer must be one, also when the
 * team has a single thread and OpenMP says "not in parallel". So every team member sets its own nthreads-var. */
#include "base/par.h"
#include "lathe/base.h"

#include <fcntl.h>
#include <omp.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static atomic_int thread_count;

/* CPU quota of the cgroup (v2), in cores rounded up; a large number where there is none. */
static int cgroup_cores(void)
{
    char text[64] = {0};
    int fd = open("/sys/fs/cgroup/cpu.max", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 1 << 20;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    long quota, period;
    if (n <= 0 || sscanf(text, "%ld %ld", &quota, &period) != 2 || quota <= 0 || period <= 0) return 1 << 20;
    return (int)((quota + period - 1) / period);
}

static int usable_cores(void)
{
    cpu_set_t set;
    int cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    int quota = cgroup_cores();
    if (quota < cores) cores = quota;
    const char *wanted = getenv("OMP_NUM_THREADS");
    int asked = wanted ? atoi(wanted) : 0;
    if (asked > 0 && asked < cores) cores = asked;
    return cores > 0 ? cores : 1;
}

void lt_set_threads(int threads)
{
    atomic_store(&thread_count, threads > 0 ? threads : 1);
}

int lt_threads(void)
{
    int n = atomic_load(&thread_count);
    if (n == 0) {
        n = usable_cores();
        atomic_store(&thread_count, n);
    }
    return n;
}

void lti_par(int64_t n, lti_task run, void *arg)
{
    if (n <= 0) return;
    int threads = lt_threads();
    if (threads > n) threads = (int)n;
#pragma omp parallel num_threads(threads)
    {
        omp_set_num_threads(1);
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = 0; i < n; i++) run(arg, i, omp_get_thread_num());
    }
}

int64_t lti_par_tasks(int64_t n, int64_t grain)
{
    int64_t tasks = grain > 0 ? n / grain : n;
    if (tasks > 256) tasks = 256;
    return tasks > 0 ? tasks : 1;
}

void lti_par_range(int64_t n, int64_t tasks, int64_t i, int64_t *begin, int64_t *end)
{
    int64_t size = (n + tasks - 1) / tasks;
    size = (size + 15) / 16 * 16;
    *begin = i * size < n ? i * size : n;
    *end = *begin + size < n ? *begin + size : n;
}
