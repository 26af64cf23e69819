/* par.c - tasks over OpenMP threads, and how many of those there may be.
 *
 * oneDNN asks the OpenMP runtime how many threads it may use; inside a task the answer must be one, also when the
 * team has a single thread and OpenMP says "not in parallel". So every team member sets its own nthreads-var.
 *
 * Never more threads than cores: a step meets at some thousand barriers, and at each the rest would wait for the
 * thread that has no core. The cores are those of the affinity mask and of the CPU quota (cgroup v2 cpu.max, v1
 * cpu.cfs_quota_us), which holds for a cgroup and everything in it, so that every level up from our own counts. A quota
 * of 1.5 cores is one thread: two would use it up in three quarters of each period and then stand still together. */
#include "base/par.h"
#include "lathe/base.h"

#include <fcntl.h>
#include <omp.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static atomic_int thread_count;
static atomic_bool beyond;

/* ---- Quotas ---- */

int lti_quota_cores(const char *text)
{
    long long quota, period = 100000;
    int found = sscanf(text, "%lld %lld", &quota, &period);
    if (found < 1 || quota <= 0 || period <= 0) return LTI_NO_QUOTA;
    long long cores = quota / period;
    return cores < 1 ? 1 : cores < LTI_NO_QUOTA ? (int)cores : LTI_NO_QUOTA;
}

int lti_omp_number(const char *text)
{
    char *end;
    long n = text ? strtol(text, &end, 10) : 0;
    if (n <= 0 || n >= LTI_NO_QUOTA) return 0;
    while (*end == ' ') end++;
    return *end == 0 || *end == ',' ? (int)n : 0;
}

/* Whether `name` is in the list "cpu,cpuacct" of `length` bytes; the empty list has the empty name. */
static bool lists(const char *list, size_t length, const char *name)
{
    size_t n = strlen(name);
    for (size_t at = 0; at <= length;) {
        const char *comma = memchr(list + at, ',', length - at);
        size_t end = comma ? (size_t)(comma - list) : length;
        if (end - at == n && memcmp(list + at, name, n) == 0) return true;
        at = end + 1;
    }
    return false;
}

bool lti_cgroup_path(const char *text, const char *controller, char *path, size_t size)
{
    while (*text) { /* "4:cpu,cpuacct:/a/b" */
        size_t line = strcspn(text, "\n");
        const char *names = memchr(text, ':', line);
        const char *at = names ? memchr(names + 1, ':', line - (size_t)(names + 1 - text)) : NULL;
        if (at && lists(names + 1, (size_t)(at - names - 1), controller)) {
            size_t length = (size_t)(text + line - at - 1);
            if (length >= size || at[1] != '/') return false;
            memcpy(path, at + 1, length);
            path[length] = 0;
            return true;
        }
        text += line + (text[line] == '\n');
    }
    return false;
}

/* A small file as text; false when it cannot be read. */
static bool read_text(char *text, size_t size, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);
    if (fd >= 0) close(fd);
    text[n > 0 ? n : 0] = 0;
    return n > 0;
}

/* The quota of one cgroup; v1 keeps its two numbers in two files. */
static int quota_in(const char *directory, bool v2)
{
    char file[1400], text[128] = "", period[64];
    snprintf(file, sizeof file, "%s/%s", directory, v2 ? "cpu.max" : "cpu.cfs_quota_us");
    if (!read_text(text, 64, file)) return LTI_NO_QUOTA;
    if (v2) return lti_quota_cores(text);
    snprintf(file, sizeof file, "%s/cpu.cfs_period_us", directory);
    text[strcspn(text, "\n")] = 0;
    if (read_text(period, sizeof period, file)) {
        strcat(text, " ");
        strcat(text, period);
    }
    return lti_quota_cores(text);
}

/* Least quota from `path` up to the mount. A path that is not there, as in a container, is passed on the way up. */
static int quota_up(const char *root, const char *mount, const char *path, bool v2)
{
    char directory[1300];
    int least = LTI_NO_QUOTA, base = snprintf(directory, sizeof directory, "%s%s", root, mount);
    if (base < 0 || (size_t)base + strlen(path) >= sizeof directory) return least;
    strcpy(directory + base, path);
    for (;;) {
        int cores = quota_in(directory, v2);
        if (cores < least) least = cores;
        char *slash = strrchr(directory + base, '/');
        if (!slash) return least;
        *slash = 0;
    }
}

int lti_cgroup_cores(const char *root, const char *text)
{
    static const struct {
        const char *mount, *controller;
    } places[] = {{"", ""}, {"/unified", ""}, {"/cpu", "cpu"}, {"/cpu,cpuacct", "cpu"}};
    int least = LTI_NO_QUOTA;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        char path[1024];
        bool v2 = !*places[i].controller;
        if (!lti_cgroup_path(text, places[i].controller, path, sizeof path)) strcpy(path, "/");
        int cores = quota_up(root, places[i].mount, path, v2);
        if (cores < least) least = cores;
    }
    return least;
}

/* ---- Threads ---- */

/* CPUs of the affinity mask: more than cpu_set_t's 1024 when the machine has them. */
static int affinity_cores(void)
{
    cpu_set_t sets[16];
    if (sched_getaffinity(0, sizeof sets, sets) == 0) return CPU_COUNT_S(sizeof sets, sets);
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int)online : 1;
}

/* What no setting may pass. OMP_THREAD_LIMIT is the runtime's to read. */
static int usable_cores(void)
{
    char text[4096];
    read_text(text, sizeof text, "/proc/self/cgroup");
    int cores = affinity_cores(), quota = lti_cgroup_cores("/sys/fs/cgroup", text), limit = omp_get_thread_limit();
    if (quota < cores) cores = quota;
    if (limit < cores) cores = limit;
    return cores > 0 ? cores : 1;
}

void lti_par_beyond(bool on)
{
    atomic_store(&beyond, on);
}

void lt_set_threads(int threads)
{
    int most = atomic_load(&beyond) ? LTI_NO_QUOTA : usable_cores();
    if (threads > most) threads = most;
    atomic_store(&thread_count, threads > 0 ? threads : 1);
}

int lt_threads(void)
{
    int n = atomic_load(&thread_count);
    if (n == 0) {
        n = usable_cores();
        int asked = lti_omp_number(getenv("OMP_NUM_THREADS"));
        if (asked > 0 && asked < n) n = asked;
        atomic_store(&thread_count, n);
    }
    return n;
}

static void run_tasks(int64_t n, lti_task run, void *arg, int threads, bool fixed)
{
    if (threads > n) threads = (int)n;
#pragma omp parallel num_threads(threads)
    {
        int thread = omp_get_thread_num(), all = omp_get_num_threads();
        omp_set_num_threads(1);
        if (fixed) {
            for (int64_t i = n * thread / all; i < n * (thread + 1) / all; i++) run(arg, i, thread);
        } else {
#pragma omp for schedule(dynamic, 1)
            for (int64_t i = 0; i < n; i++) run(arg, i, thread);
        }
    }
}

void lti_par(int64_t n, lti_task run, void *arg)
{
    if (n > 0) run_tasks(n, run, arg, lt_threads(), false);
}

void lti_par_fixed(int64_t n, lti_task run, void *arg)
{
    if (n > 0) run_tasks(n, run, arg, omp_in_parallel() ? 1 : lt_threads(), true);
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
