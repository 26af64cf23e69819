/* replay.c - runs a fuzz target without libFuzzer: over its corpus, then over mutations of the valid seeds.
 *
 * Usage: replay CORPUS_DIRECTORY [MUTATIONS]     (10000; LT_TEST_SEED chooses which, 1)
 *
 * Files ok-* must be accepted, bad-* refused; others only survive. The inputs run in a child process: when it dies, by
 * a signal, a sanitizer or because an input took too long, the parent knows which input that was, makes it again and
 * leaves it in a file. An input may take 2 s of this process's own time, so that a busy machine does no harm, and 20 s
 * by the clock, so that one that sleeps is found, too. What the library allocates is bounded by fz_run; the peak of the
 * whole process catches what others allocate for it. */
#include "base/rng.h"
#include "tests/fuzz/fuzzing.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE_LIMIT 65536
#define MUTATIONS 10000
#define BUSY_SECONDS 2 /* of one input: more is a hang */
#define CLOCK_SECONDS 20
#define PEAK_KIB (1L << 20) /* of the process; a sanitizer keeps 256 MiB of freed blocks, and as much for itself */

typedef struct input {
    char name[256];
    size_t size;
    uint8_t *bytes;
} input;

static input *seeds;
static int seed_count, valid_count; /* the valid ones come first: their names begin with "ok-" after sorting */

static int by_name(const void *a, const void *b)
{
    const input *x = a, *y = b;
    int order = (strncmp(y->name, "ok-", 3) == 0) - (strncmp(x->name, "ok-", 3) == 0);
    return order ? order : strcmp(x->name, y->name);
}

static void read_corpus(const char *path)
{
    char name[1024];
    DIR *directory = opendir(path);
    FZ_CHECK(directory != NULL, "cannot read the directory %s", path);
    for (struct dirent *e; (e = readdir(directory));) {
        if (e->d_name[0] == '.') continue;
        seeds = realloc(seeds, (size_t)(seed_count + 1) * sizeof *seeds);
        FZ_CHECK(seeds != NULL, "out of memory");
        input *s = &seeds[seed_count++];
        snprintf(s->name, sizeof s->name, "%s", e->d_name);
        snprintf(name, sizeof name, "%s/%s", path, e->d_name);
        FILE *file = fopen(name, "rb");
        s->bytes = malloc(SIZE_LIMIT);
        FZ_CHECK(file && s->bytes, "cannot read %s", name);
        s->size = fread(s->bytes, 1, SIZE_LIMIT, file);
        fclose(file);
        valid_count += strncmp(e->d_name, "ok-", 3) == 0;
    }
    closedir(directory);
    FZ_CHECK(valid_count > 0, "%s holds no seed ok-*", path);
    qsort(seeds, (size_t)seed_count, sizeof *seeds, by_name);
}

/* ---- Mutations ---- */

/* Replaces bytes[at .. at + old) by `more`, as far as the limit allows. */
static size_t put(uint8_t *bytes, size_t size, size_t at, size_t old, const void *more, size_t count)
{
    if (size - old + count > SIZE_LIMIT) return size;
    memmove(bytes + at + count, bytes + at + old, size - at - old);
    memcpy(bytes + at, more, count);
    return size - old + count;
}

static size_t mutate_once(uint8_t *bytes, size_t size, const uint32_t r[4])
{
    static const char *const numbers[] = {"-1", "0", "4294967296", "9223372036854775807", "1e308", "0.5", "null", "[]"};
    static const uint8_t extremes[] = {0, 1, 0x7f, 0x80, 0xff, '"', '{', ','};
    if (size == 0) return put(bytes, size, 0, 0, &extremes[r[1] % 8], 1);
    size_t at = r[1] % size, length = 1 + r[2] % (size - at), digits = 0;
    const input *other = &seeds[r[3] % (unsigned)valid_count];
    switch (r[0] % 9) {
    case 0:
    case 1: bytes[at] ^= (uint8_t)(1 << r[2] % 8); return size;
    case 2: bytes[at] = extremes[r[2] % 8]; return size;
    case 3: return at; /* cut off */
    case 4: return put(bytes, size, at, length > 64 ? 1 + length % 64 : length, "", 0);
    case 5: { /* the rest comes from another seed */
        if (other->size == 0) return size;
        size_t from = r[2] % other->size;
        return put(bytes, size, at, size - at, other->bytes + from, other->size - from);
    }
    case 6: { /* a part is there twice */
        uint8_t copy[64];
        length = length > sizeof copy ? sizeof copy : length;
        memcpy(copy, bytes + at, length);
        return put(bytes, size, at, 0, copy, length);
    }
    case 7: { /* a binary number is another one: small, or near the ends of its type */
        static const uint64_t whole[] = {0, 1, 32, 1 << 16, INT32_MAX, UINT32_MAX, INT64_MAX, UINT64_MAX};
        uint64_t number = whole[r[2] % 8] + r[3] % 3 - 1;
        size_t count = r[2] & 8 ? 4 : 8;
        return put(bytes, size, at, count < size - at ? count : size - at, &number, count);
    }
    default: /* the next number in letters is another one */
        while (at < size && (bytes[at] < '0' || bytes[at] > '9')) at++;
        while (at + digits < size && bytes[at + digits] >= '0' && bytes[at + digits] <= '9') digits++;
        return put(bytes, size, at, digits, numbers[r[2] % 8], strlen(numbers[r[2] % 8]));
    }
}

/* Mutation `number` in a block of exactly its size, to be freed. */
static uint8_t *mutate(uint64_t seed, int number, size_t *size)
{
    static uint8_t bytes[SIZE_LIMIT];
    lti_rng rng = {seed, lti_rng_stream("fuzz/replay"), (uint32_t)number};
    uint32_t r[4];
    lti_philox(&rng, 0, r);
    const input *from = &seeds[r[0] % (unsigned)valid_count];
    size_t n = from->size;
    memcpy(bytes, from->bytes, n);
    for (uint32_t i = 0, times = 1 + r[1] % 4; i < times; i++) {
        lti_philox(&rng, 1 + i, r);
        n = mutate_once(bytes, n, r);
    }
    uint8_t *exact = malloc(n ? n : 1);
    FZ_CHECK(exact != NULL, "out of memory");
    memcpy(exact, bytes, n);
    *size = n;
    return exact;
}

/* Input `number`: the seeds, then the mutations. */
static uint8_t *make_input(uint64_t seed, int number, size_t *size)
{
    if (number >= seed_count) return mutate(seed, number - seed_count, size);
    *size = seeds[number].size;
    uint8_t *exact = malloc(*size ? *size : 1);
    FZ_CHECK(exact != NULL, "out of memory");
    memcpy(exact, seeds[number].bytes, *size);
    return exact;
}

/* ---- Running ---- */

/* SIGPROF or SIGALRM ends the process unless this is called again in time. */
static void wind_up(void)
{
    const struct itimerval busy = {.it_value.tv_sec = BUSY_SECONDS};
    setitimer(ITIMER_PROF, &busy, NULL);
    alarm(CLOCK_SECONDS);
}

static int run_all(uint64_t seed, int count, volatile int *current, volatile int *accepted)
{
    int wrong = 0;
    for (int i = 0; i < count; i++) {
        size_t size;
        uint8_t *bytes = make_input(seed, i, &size);
        *current = i;
        wind_up();
        LLVMFuzzerTestOneInput(bytes, size);
        *accepted += fz_accepted;
        free(bytes);
        const char *name = i < seed_count ? seeds[i].name : "";
        bool ok = strncmp(name, "ok-", 3) == 0, bad = strncmp(name, "bad-", 4) == 0;
        if ((ok && !fz_accepted) || (bad && fz_accepted)) {
            printf("%s was %s\n", name, ok ? "refused" : "accepted");
            wrong++;
        }
    }
    return wrong != 0;
}

static void leave_input(uint64_t seed, int number)
{
    char path[] = "/tmp/lathe-fuzz-input-XXXXXX";
    size_t size;
    uint8_t *bytes = make_input(seed, number, &size);
    int fd = mkstemp(path);
    bool written = fd >= 0 && write(fd, bytes, size) == (ssize_t)size;
    printf("died at %s %d of seed %llu, %zu bytes%s%s\n", number < seed_count ? seeds[number].name : "mutation",
           number < seed_count ? number : number - seed_count, (unsigned long long)seed, size,
           written ? ", left in " : "", written ? path : "");
    free(bytes);
    if (fd >= 0) close(fd);
}

int main(int argc, char **argv)
{
    const char *chosen = getenv("LT_TEST_SEED");
    uint64_t seed = chosen && *chosen ? strtoull(chosen, NULL, 10) : 1;
    if (argc < 2) return fprintf(stderr, "usage: %s CORPUS_DIRECTORY [MUTATIONS]\n", argv[0]), 2;
    read_corpus(argv[1]);
    int count = seed_count + (argc > 2 ? atoi(argv[2]) : MUTATIONS), status = 0;
    volatile int *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    FZ_CHECK(shared != MAP_FAILED, "out of memory");
    pid_t child = fork();
    FZ_CHECK(child >= 0, "cannot fork");
    if (child == 0) exit(run_all(seed, count, &shared[0], &shared[1]));
    FZ_CHECK(waitpid(child, &status, 0) == child, "cannot wait");
    bool finished = WIFEXITED(status) && shared[0] == count - 1;
    if (!finished || (WIFEXITED(status) && WEXITSTATUS(status) > 1)) leave_input(seed, shared[0]);
    struct rusage usage = {0};
    getrusage(RUSAGE_CHILDREN, &usage);
    if (usage.ru_maxrss > PEAK_KIB) status = 1;
    printf("%d seeds (%d valid), %d mutations of seed %llu (LT_TEST_SEED): %d accepted, at most %ld KiB, %s\n",
           seed_count, valid_count, count - seed_count, (unsigned long long)seed, shared[1], usage.ru_maxrss,
           status ? "FAILED" : "ok");
    for (int i = 0; i < seed_count; i++) free(seeds[i].bytes);
    free(seeds);
    return status != 0;
}
