/* fuzzing.c - see fuzzing.h.
 *
 * The allocator gives blocks that end where they were asked to end, so that AddressSanitizer sees a read one byte too
 * far; the library's own rounds up to 64. */
#include "tests/fuzz/fuzzing.h"

#include "data/files.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

bool fz_accepted;

void fz_check(bool ok, const char *file, int line, const char *format, ...)
{
    if (ok) return;
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s:%d: ", file, line);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    abort();
}

/* ---- Memory ---- */

#define HEADER 64

typedef struct memory {
    size_t live;
    uint64_t count, fail_at; /* fail_at 0: none; the context itself is allocation 0 */
} memory;

static void *take(void *user, size_t bytes)
{
    memory *m = user;
    uint64_t number = m->count++;
    void *block = NULL;
    if (bytes > FZ_MEMORY - m->live || (number && number == m->fail_at)) return NULL;
    if (posix_memalign(&block, HEADER, bytes + HEADER)) return NULL;
    memcpy(block, &bytes, sizeof bytes);
    m->live += bytes;
    return (char *)block + HEADER;
}

static void give(void *user, void *block)
{
    memory *m = user;
    size_t bytes;
    memcpy(&bytes, (char *)block - HEADER, sizeof bytes);
    m->live -= bytes;
    free((char *)block - HEADER);
}

/* Returns how often the body allocated. */
static uint64_t run_once(fz_body body, const uint8_t *data, size_t size, uint64_t fail_at)
{
    memory m = {.fail_at = fail_at};
    lt_ctx *ctx = lt_ctx_create(&(lt_allocator){take, give, &m});
    FZ_CHECK(ctx != NULL, "no context");
    body(ctx, data, size);
    FZ_CHECK(lt_ctx_live_bytes(ctx) == 0, "%zu bytes leak after: %s", lt_ctx_live_bytes(ctx), lt_ctx_message(ctx));
    lt_ctx_free(ctx);
    return m.count - 1;
}

int fz_run(fz_body body, const uint8_t *data, size_t size)
{
    fz_accepted = false;
    uint64_t allocations = run_once(body, data, size, 0), which = size;
    bool accepted = fz_accepted;
    for (size_t i = 0; i < size; i++) which = which * 31 + data[i];
    if (allocations) run_once(body, data, size, 1 + which % allocations);
    fz_accepted = accepted;
    return 0;
}

bool fz_accept(lt_ctx *ctx, lt_status status)
{
    if (status == LT_OK) return fz_accepted = true;
    FZ_CHECK(lt_ctx_status(ctx) == status, "%s was returned, the context has %s", lt_status_name(status),
             lt_status_name(lt_ctx_status(ctx)));
    FZ_CHECK(lt_ctx_message(ctx)[0], "%s without a sentence", lt_status_name(status));
    return false;
}

bool fz_must(lt_ctx *ctx, lt_status status)
{
    FZ_CHECK(status == LT_OK || status == LT_ENOMEM, "%s: %s", lt_status_name(status), lt_ctx_message(ctx));
    return status == LT_OK;
}

/* ---- Files ---- */

static void write_all(int fd, const char *what, const void *data, size_t size)
{
    FZ_CHECK(fd >= 0, "cannot make %s", what);
    for (size_t done = 0; done < size;) {
        ssize_t n = write(fd, (const char *)data + done, size - done);
        FZ_CHECK(n > 0, "cannot write %s", what);
        done += (size_t)n;
    }
}

const char *fz_file(const uint8_t *data, size_t size)
{
    static int fd = -1;
    static char path[64];
    if (fd >= 0) close(fd);
    fd = memfd_create("input", MFD_CLOEXEC);
    write_all(fd, "a file in memory", data, size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return path;
}

static char directory[512];

static void remove_directory(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    if (ctx && lti_remove_tree(ctx, directory) != LT_OK) fprintf(stderr, "%s\n", lt_ctx_message(ctx));
    lt_ctx_free(ctx);
}

const char *fz_directory(void)
{
    const char *root = getenv("TMPDIR");
    if (*directory) return directory;
    if (!root || !*root) root = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(directory, sizeof directory, "%s/lathe-fuzz-XXXXXX", root);
    FZ_CHECK(mkdtemp(directory) != NULL, "cannot make a directory in %s", root);
    atexit(remove_directory);
    return directory;
}

const char *fz_put(const char *name, const void *data, size_t size)
{
    static char path[600];
    snprintf(path, sizeof path, "%s/%s", fz_directory(), name);
    FILE *file = fopen(path, "wb");
    FZ_CHECK(file && fwrite(data, 1, size, file) == size && fclose(file) == 0, "cannot write %s", path);
    return path;
}
