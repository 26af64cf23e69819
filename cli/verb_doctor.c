/* verb_doctor.c - lathe doctor: what this machine gives, what lathe made of it, and what is slow and why.
 *
 * Two short measurements (a square product in f32, a pass over memory larger than any cache) stand beside what the CPU
 * could be expected to do, so that "it is slow" becomes a sentence with a cause. */
#include "cli/cli.h"
#include "lathe/ops.h"
#include "lathe/plan.h"

#include <inttypes.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct doctor_options {
    cli_common common;
} doctor_options;

static int verb_doctor(cli *cli, void *target);

const cli_verb cli_verb_doctor = {
    .name = "doctor",
    .summary = "CPU, kernels, threads, memory: what is in use, and what is slow and why",
    .usage = "[options]",
    .target_bytes = sizeof(doctor_options),
    .run = verb_doctor,
};

enum { PRODUCT = 768, BANDWIDTH_BYTES = 96 << 20, MAX_NOTES = 12 };

typedef struct findings {
    char cpu[96], isa[64], quota[64];
    const char *core_type;
    int cpus, affinity, cores; /* logical CPUs online, those this process may use, physical cores (0: unknown) */
    double gflops, gbytes;
    lt_memory memory;
    char notes[MAX_NOTES][256];
    int n_notes;
} findings;

static void note(findings *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void note(findings *f, const char *format, ...)
{
    if (f->n_notes == MAX_NOTES) return;
    va_list list;
    va_start(list, format);
    vsnprintf(f->notes[f->n_notes++], sizeof f->notes[0], format, list);
    va_end(list);
}

/* ---- What the system says ---- */

static void read_cpu(findings *f)
{
    char line[4096];
    FILE *file = fopen("/proc/cpuinfo", "re");
    snprintf(f->cpu, sizeof f->cpu, "unknown");
    int per_socket = 0, sockets = 0;
    while (file && fgets(line, sizeof line, file)) {
        char *value = strchr(line, ':');
        if (!value) continue;
        value += strspn(value, ": ");
        value[strcspn(value, "\n")] = 0;
        if (!strncmp(line, "processor", 9)) f->cpus++;
        if (!strncmp(line, "model name", 10)) snprintf(f->cpu, sizeof f->cpu, "%.90s", value);
        if (!strncmp(line, "cpu cores", 9)) per_socket = atoi(value);
        if (!strncmp(line, "physical id", 11) && atoi(value) + 1 > sockets) sockets = atoi(value) + 1;
    }
    if (file) fclose(file);
    f->cores = per_socket * sockets;
    cpu_set_t set;
    f->affinity = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : f->cpus;
}

static void read_isa(findings *f)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    snprintf(f->isa, sizeof f->isa, "%s%s%s%s%s%s", __builtin_cpu_supports("avx2") ? "avx2 " : "",
             __builtin_cpu_supports("fma") ? "fma " : "", __builtin_cpu_supports("avx512f") ? "avx512 " : "",
             __builtin_cpu_supports("avx512vnni") ? "vnni " : "", __builtin_cpu_supports("avx512bf16") ? "bf16 " : "",
             __builtin_cpu_supports("avx2") ? "" : "sse2 ");
    f->isa[strlen(f->isa) - 1] = 0;
#else
    snprintf(f->isa, sizeof f->isa, "not x86-64");
#endif
}

/* CPU quota of the cgroup (v2), as text; "none" without. */
static void read_quota(findings *f)
{
    char line[64] = "";
    long quota, period;
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "re");
    bool known = file && fgets(line, sizeof line, file) && sscanf(line, "%ld %ld", &quota, &period) == 2 && period > 0;
    if (file) fclose(file);
    if (known)
        snprintf(f->quota, sizeof f->quota, "%.2f cores", (double)quota / (double)period);
    else
        snprintf(f->quota, sizeof f->quota, "none");
}

/* ---- Measuring ---- */

/* The fastest of the runs of a plan that fit into `limit` seconds (at least two, the first does not count). */
static lt_status best_run(lt_plan *plan, double limit, double *best)
{
    double begin = cli_seconds();
    *best = 1e30;
    for (int i = 0; i < 2 || (cli_seconds() - begin < limit && i < 1000); i++) {
        double start = cli_seconds();
        lt_status status = lt_run(plan);
        double seconds = cli_seconds() - start;
        if (status != LT_OK) return status;
        if (i > 0 && seconds < *best) *best = seconds;
    }
    return LT_OK;
}

/* Times y = a b [n, n] (product) or y = 1.0001 a over [n] numbers. */
static lt_status time_plan(lt_ctx *ctx, bool product, int64_t n, double *best)
{
    int64_t shape[] = {n, n};
    int rank = product ? 2 : 1;
    size_t count = (size_t)(product ? n * n : n);
    lt_real *data = malloc(count * sizeof *data);
    lt_graph *g = NULL;
    lt_plan *plan = NULL;
    lt_status status = data ? lt_graph_create(ctx, NULL, &g) : LT_ENOMEM;
    if (status == LT_OK) {
        for (size_t i = 0; i < count; i++) data[i] = (lt_real)(i % 97) / 97;
        lt_t a = lt_input(g, "a", LT_F32, rank, shape);
        lt_t y = product ? lt_matmul(a, lt_input(g, "b", LT_F32, rank, shape), 0) : lt_scale(a, 1.0001);
        status = lt_compile(g, NULL, 1, &y, &plan);
    }
    if (status == LT_OK) status = lt_bind(plan, "a", data);
    if (status == LT_OK && product) status = lt_bind(plan, "b", data);
    if (status == LT_OK) status = best_run(plan, 0.2, best);
    lt_plan_free(plan);
    lt_graph_free(g);
    free(data);
    return status;
}

static lt_status measure(lt_ctx *ctx, findings *f)
{
    double seconds;
    int64_t numbers = BANDWIDTH_BYTES / (int64_t)sizeof(lt_real);
    lt_status status = time_plan(ctx, true, PRODUCT, &seconds);
    if (status != LT_OK) return status;
    f->gflops = 2.0 * PRODUCT * PRODUCT * PRODUCT / seconds / 1e9;
    status = time_plan(ctx, false, numbers, &seconds);
    if (status == LT_OK) f->gbytes = 2.0 * BANDWIDTH_BYTES / seconds / 1e9;
    return status;
}

/* ---- Judging ---- */

static void judge_kernels(findings *f)
{
    const char *kernels = lt_kernels_in_use(), *forced = getenv("LT_ISA"), *gemm = getenv("LT_GEMM");
    bool wide = strstr(f->isa, "avx512"), avx2 = strstr(f->isa, "avx2");
    if (forced && *forced) note(f, "LT_ISA=%.20s forces the kernels; unset it for the fastest this CPU has", forced);
    if (gemm && *gemm) note(f, "LT_GEMM=%.20s forces the matrix products; unset it for the default", gemm);
    if (!strstr(kernels, "onednn") && !strstr(kernels, "openblas"))
        note(f, "neither oneDNN nor OpenBLAS is built in: matrix products run in plain C, ten times slower or more; "
                "build with libdnnl-dev and libopenblas-dev");
    if (!avx2) note(f, "the CPU has no AVX2: plain C kernels");
    if (avx2 && !wide) note(f, "no AVX-512 on this CPU: 8 numbers an instruction instead of 16");
    if (strstr(kernels, "openblas") && wide && f->core_type && strcasecmp(f->core_type, "SkylakeX"))
        note(f, "OPENBLAS_CORETYPE=%.20s; SkylakeX has the AVX-512 kernels", f->core_type);
    double expected = (wide ? 60.0 : avx2 ? 30.0 : 2.0) * lt_threads();
    if (f->gflops < expected / 2)
        note(f,
             "f32 products reach %.0f GFLOP/s where %d threads of this kind usually give %.0f or more; another program "
             "on the same cores, a power limit, or a virtual machine that shares them?",
             f->gflops, lt_threads(), expected);
}

static void judge_machine(findings *f)
{
    const char *omp = getenv("OMP_NUM_THREADS");
    if (f->affinity < f->cpus)
        note(f, "this process may use %d of %d CPUs (taskset, cgroup cpuset)", f->affinity, f->cpus);
    if (omp && atoi(omp) > 0 && atoi(omp) < f->affinity)
        note(f, "OMP_NUM_THREADS=%.10s holds the threads below the %d CPUs there are", omp, f->affinity);
    if (strcmp(f->quota, "none") && atof(f->quota) < f->affinity)
        note(f, "the cgroup grants %s: threads beyond it wait", f->quota);
    if (f->cores > 0 && lt_threads() > f->cores)
        note(f, "%d threads on %d cores: hyperthreads share the vector units; try --threads %d", lt_threads(), f->cores,
             f->cores);
    if (f->memory.available < (2ull << 30))
        note(f, "less than 2 GiB of memory free: models above some 100 million parameters will not train");
    if (f->gbytes < 4) note(f, "memory moves %.1f GB/s: optimizer updates and norms will be slow", f->gbytes);
}

/* ---- Telling ---- */

static int tell_json(cli *c, const findings *f)
{
    json_t *notes = json_array();
    for (int i = 0; i < f->n_notes; i++) json_array_append_new(notes, json_string(f->notes[i]));
    return cli_answer(c, json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:s, s:I, s:I, s:o, s:o, s:o}",
                                   "version", lt_version(), "cpu", f->cpu, "isa", f->isa, "kernels",
                                   lt_kernels_in_use(), "openblas_core_type", f->core_type ? f->core_type : "", "cpus",
                                   f->cpus, "cores", f->cores, "affinity", f->affinity, "threads", lt_threads(),
                                   "cgroup_quota", f->quota, "memory_available_bytes", (json_int_t)f->memory.available,
                                   "rss_bytes", (json_int_t)f->memory.rss, "f32_gflops", cli_real(f->gflops),
                                   "memory_gbytes_per_second", cli_real(f->gbytes), "notes", notes));
}

static void tell(const findings *f)
{
    char b[2][32];
    printf("lathe       %s\ncpu         %s\nisa         %s\nkernels     %s\n", lt_version(), f->cpu, f->isa,
           lt_kernels_in_use());
    printf("openblas    core type %s\n", f->core_type ? f->core_type : "left to OpenBLAS");
    printf("threads     %d of %d CPUs (this process may use %d", lt_threads(), f->cpus, f->affinity);
    if (f->cores > 0) printf("; %d cores", f->cores);
    printf("; cgroup quota %s)\n", f->quota);
    printf("memory      %s free, %s in use by lathe\n", cli_bytes(b[0], f->memory.available),
           cli_bytes(b[1], f->memory.rss));
    printf("f32         %.0f GFLOP/s in a product of %d x %d\n", f->gflops, PRODUCT, PRODUCT);
    printf("bandwidth   %.1f GB/s read and written\n", f->gbytes);
    for (int i = 0; i < f->n_notes; i++) printf("%-11s %s\n", i ? "" : "slow", f->notes[i]);
    if (f->n_notes == 0) puts("slow        nothing found");
}

static int verb_doctor(cli *c, void *target)
{
    (void)target;
    findings f = {.core_type = getenv("OPENBLAS_CORETYPE")};
    read_cpu(&f);
    read_isa(&f);
    read_quota(&f);
    f.memory = lt_memory_now();
    lt_status status = measure(c->ctx, &f);
    if (status != LT_OK) return cli_fail_status(c, status, false);
    judge_kernels(&f);
    judge_machine(&f);
    if (c->json) return tell_json(c, &f);
    tell(&f);
    return EXIT_DONE;
}
