/* test_threads.c - how many threads there may be: texts of quotas and settings, cgroups up to their mount; large blocks
 * that are zeroed by several threads. */
#include "base/par.h"
#include "tests/data_files.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void quotas_are_whole_cores(void)
{
    static const struct {
        const char *text;
        int cores;
    } cases[] = {{"max 100000\n", LTI_NO_QUOTA},
                 {"200000 100000\n", 2},
                 {"150000 100000", 1},
                 {"399999 100000", 3},
                 {"50000 100000", 1},
                 {"300000", 3},
                 {"-1 100000", LTI_NO_QUOTA},
                 {"0 100000", LTI_NO_QUOTA},
                 {"1000 0", LTI_NO_QUOTA},
                 {"", LTI_NO_QUOTA},
                 {"9000000000000000000 1", LTI_NO_QUOTA}};
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        int cores = lti_quota_cores(cases[i].text);
        TS_CHECK(cores == cases[i].cores, "'%s' is %d cores, not %d", cases[i].text, cores, cases[i].cores);
    }
}

static void numbers_of_openmp(void)
{
    static const struct {
        const char *text;
        int number;
    } cases[] = {{"4", 4},  {"4,2", 4}, {" 3 , 2,1", 3}, {"", 0},   {"0", 0},
                 {"-2", 0}, {"two", 0}, {"4x", 0},       {NULL, 0}, {"99999999999", 0}};
    for (int i = 0; i < LTI_COUNT(cases); i++)
        TS_CHECK(lti_omp_number(cases[i].text) == cases[i].number, "OMP_NUM_THREADS='%s' is %d, not %d",
                 cases[i].text ? cases[i].text : "(none)", lti_omp_number(cases[i].text), cases[i].number);
}

static void paths_of_controllers(void)
{
    static const char text[] = "12:cpuset:/a\n4:cpu,cpuacct:/jobs/7:x\n1:name=systemd:/user\n0::/user.slice/my\n";
    static const struct {
        const char *controller, *path;
    } cases[] = {
        {"cpu", "/jobs/7:x"}, {"cpuacct", "/jobs/7:x"}, {"", "/user.slice/my"}, {"memory", NULL}, {"cp", NULL}};
    char path[64];
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        bool found = lti_cgroup_path(text, cases[i].controller, path, sizeof path);
        TS_CHECK(found == (cases[i].path != NULL) && (!found || !strcmp(path, cases[i].path)), "'%s': %s",
                 cases[i].controller, found ? path : "(none)");
    }
    TS_CHECK(!lti_cgroup_path(text, "cpu", path, 9), "a path that does not fit is none");
    TS_CHECK(!lti_cgroup_path("4:cpu", "cpu", path, sizeof path) && !lti_cgroup_path("", "", path, sizeof path),
             "lines without a path");
}

static void put(ts_place *p, const char *directory, const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s%s%s", directory, *directory ? "/" : "", name);
    ts_put_text(p, path, text);
}

static void quotas_hold_for_all_below(void)
{
    ts_place p = ts_open_place();
    static const char *const directories[] = {"v2", "v2/a", "v2/a/b", "v1", "v1/cpu", "v1/cpu/jobs"};
    for (int i = 0; i < LTI_COUNT(directories); i++) mkdir(ts_at(&p, directories[i]), 0700);
    put(&p, "v2/a", "cpu.max", "300000 100000\n");
    put(&p, "v2/a/b", "cpu.max", "max 100000\n");
    put(&p, "v1/cpu", "cpu.cfs_quota_us", "-1\n");
    put(&p, "v1/cpu", "cpu.cfs_period_us", "100000\n");
    put(&p, "v1/cpu/jobs", "cpu.cfs_quota_us", "500000\n");
    put(&p, "v1/cpu/jobs", "cpu.cfs_period_us", "250000\n");
    static const struct {
        const char *root, *text;
        int cores;
    } cases[] = {{"v2", "0::/a/b\n", 3},
                 {"v2", "0::/a/b/gone/gone\n", 3},
                 {"v2", "0::/\n", LTI_NO_QUOTA},
                 {"v2", "", LTI_NO_QUOTA},
                 {"v1", "3:cpu,cpuacct:/jobs/x\n0::/\n", 2},
                 {"v1", "3:cpu,cpuacct:/other\n", LTI_NO_QUOTA},
                 {"none", "0::/a\n", LTI_NO_QUOTA}};
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        char root[512];
        snprintf(root, sizeof root, "%s", ts_at(&p, cases[i].root));
        int cores = lti_cgroup_cores(root, cases[i].text);
        TS_CHECK(cores == cases[i].cores, "%s, '%s': %d cores, not %d", cases[i].root, cases[i].text, cores,
                 cases[i].cores);
    }
    ts_close_place(&p);
}

static void more_threads_than_cores_are_refused(void)
{
    int before = lt_threads();
    lti_par_beyond(false);
    lt_set_threads(1 << 19);
    int most = lt_threads();
    lt_set_threads(0);
    TS_CHECK(lt_threads() == 1, "at least one thread");
    lti_par_beyond(true);
    lt_set_threads(most + 3);
    TS_CHECK(most >= 1 && most < 1 << 19 && lt_threads() == most + 3, "%d cores", most);
    lt_set_threads(before);
}

typedef struct inner {
    lt_ctx *ctx[4];
    bool zero[4];
} inner;

static bool all_zero(const char *block, size_t n)
{
    return block && block[0] == 0 && memcmp(block, block + 1, n - 1) == 0;
}

static void allocate_in_task(void *arg, int64_t task, int thread)
{
    inner *in = arg;
    enum { BYTES = 3 << 20 };
    (void)thread;
    char *block = lti_alloc(in->ctx[task], BYTES);
    in->zero[task] = all_zero(block, BYTES);
    lti_free(in->ctx[task], block);
}

static void *dirty_alloc(void *user, size_t bytes)
{
    (void)user;
    void *block = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (block) memset(block, 0xA5, bytes);
    return block;
}

static void plain_free(void *user, void *block)
{
    (void)user;
    free(block);
}

static void large_blocks_are_zero(void)
{
    lt_allocator dirty = {dirty_alloc, plain_free, NULL};
    int before = lt_threads();
    static const size_t sizes[] = {1, (1 << 20) - 64, (1 << 20) + 1, (5 << 20) + 7, 9 << 20};
    for (int threads = 1; threads <= 3; threads += 2) {
        lt_ctx *ctx = lt_ctx_create(&dirty);
        lt_set_threads(threads);
        for (int i = 0; ctx && i < LTI_COUNT(sizes); i++) {
            char *block = lti_alloc(ctx, sizes[i]);
            TS_CHECK(all_zero(block, sizes[i]), "%zu bytes are not zero with %d threads", sizes[i], threads);
            lti_free(ctx, block);
        }
        lt_ctx_free(ctx);
    }
    inner in = {.zero = {false}};
    for (int i = 0; i < 4; i++) in.ctx[i] = lt_ctx_create(&dirty);
    lti_par(4, allocate_in_task, &in);
    for (int i = 0; i < 4; i++) {
        TS_CHECK(in.zero[i], "a block made in task %d is not zero", i);
        lt_ctx_free(in.ctx[i]);
    }
    lt_set_threads(before);
}

int lti_suite_threads(void)
{
    const ts_test tests[] = {{"quotas", quotas_are_whole_cores},
                             {"OMP_NUM_THREADS", numbers_of_openmp},
                             {"paths of controllers", paths_of_controllers},
                             {"quotas of cgroups above", quotas_hold_for_all_below},
                             {"more threads than cores", more_threads_than_cores_are_refused},
                             {"large blocks are zero", large_blocks_are_zero}};
    return ts_suite("threads", LTI_COUNT(tests), tests);
}
