/* fuzzing.h - what the fuzz targets share. Names here begin with fz_.
 *
 * A target is a file fuzz_<name>.c that hands a body to fz_run. libFuzzer calls it (LT_FUZZ, scripts/soak.sh), and so
 * does replay.c, which goes through tests/fuzz/corpus/<name> in every build. A body checks more than that nothing
 * crashes: a refusal has its sentence, what was accepted keeps the promises of the header, nothing stays allocated. */
#ifndef FZ_FUZZING_H
#define FZ_FUZZING_H

#include "base/ctx.h"

/* The function libFuzzer looks for. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef void (*fz_body)(lt_ctx *ctx, const uint8_t *data, size_t size);

/* Runs the body twice: once with an allocator of at most FZ_MEMORY bytes, once with one allocation failing whose
 * number the input decides. Returns 0, as libFuzzer wants. */
#define FZ_MEMORY ((size_t)32 << 20)
int fz_run(fz_body body, const uint8_t *data, size_t size);

/* Whether the body of the last fz_run called fz_accept with LT_OK, without a failing allocation. */
extern bool fz_accepted;
/* True for LT_OK. A refusal must have left its status and a sentence in the context. */
bool fz_accept(lt_ctx *ctx, lt_status status);
/* The same for what may fail only because memory is out. */
bool fz_must(lt_ctx *ctx, lt_status status);

/* Ends the program with the text when `ok` is false: both drivers count that as a crash. */
void fz_check(bool ok, const char *file, int line, const char *format, ...) LTI_PRINTF(4, 5);
#define FZ_CHECK(ok, ...) fz_check((ok), __FILE__, __LINE__, __VA_ARGS__)

/* The path of a file in memory that holds the bytes; valid until the next call. */
const char *fz_file(const uint8_t *data, size_t size);
/* A directory of this process, removed when it exits; in $TMPDIR, /dev/shm or /tmp. */
const char *fz_directory(void);
/* Writes a file there; its path, valid until the next call. */
const char *fz_put(const char *name, const void *data, size_t size);

#endif
