/* ctx.c - contexts: one allocator, one message.
 *
 * The message lives in a fixed buffer, so that a failure to allocate can still be told. Each block carries a hidden
 * 64-byte header with its size: that keeps the count of live bytes exact without asking the caller for sizes.
 *
 * Blocks from 1 MB on are zeroed by all threads, each its share: a page belongs to the memory node of the thread that
 * touches it first, so weights, moments and the arena come to lie on all nodes whose cores will work on them, and not
 * on that of the thread that asked. */
#include "base/ctx.h"

#include "base/par.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HEADER 64
#define HUGE_PAGE ((size_t)2 << 20)
#define LARGE (2 * HUGE_PAGE)
#define SHARED ((size_t)1 << 20) /* zeroed by all threads */

struct lt_ctx {
    lt_allocator allocator;
    lt_status status;
    char message[1024];
    uint64_t allocations;
    size_t live, peak;
};

/* Large blocks ask for huge pages: an arena of a gigabyte otherwise costs a second of page faults, and every pass over
 * it the misses of its page table. */
static void *default_alloc(void *user, size_t bytes)
{
    (void)user;
    if (bytes < LARGE) return aligned_alloc(64, (bytes + 63) / 64 * 64);
    bytes = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    void *block = aligned_alloc(HUGE_PAGE, bytes);
    if (block) madvise(block, bytes, MADV_HUGEPAGE);
    return block;
}

static void default_free(void *user, void *memory)
{
    (void)user;
    free(memory);
}

lt_ctx *lt_ctx_create(const lt_allocator *allocator)
{
    lt_allocator a = allocator ? *allocator : (lt_allocator){default_alloc, default_free, NULL};
    lt_ctx *ctx = a.alloc(a.user, sizeof *ctx);
    if (!ctx) return NULL;
    memset(ctx, 0, sizeof *ctx);
    ctx->allocator = a;
    return ctx;
}

void lt_ctx_free(lt_ctx *ctx)
{
    if (!ctx) return;
    lt_allocator a = ctx->allocator;
    a.free(a.user, ctx);
}

lt_status lt_ctx_status(const lt_ctx *ctx)
{
    return ctx->status;
}

const char *lt_ctx_message(const lt_ctx *ctx)
{
    return ctx->message;
}

void lt_ctx_clear(lt_ctx *ctx)
{
    ctx->status = LT_OK;
    ctx->message[0] = 0;
}

uint64_t lt_ctx_allocations(const lt_ctx *ctx)
{
    return ctx->allocations;
}

size_t lt_ctx_live_bytes(const lt_ctx *ctx)
{
    return ctx->live;
}

size_t lt_ctx_peak_bytes(const lt_ctx *ctx)
{
    return ctx->peak;
}

lt_status lti_fail(lt_ctx *ctx, lt_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    ctx->status = status;
    vsnprintf(ctx->message, sizeof ctx->message, format, args);
    va_end(args);
    return status;
}

lt_status lti_fail_in(lt_ctx *ctx, const char *format, ...)
{
    char old[sizeof ctx->message + 2];
    int old_length = snprintf(old, sizeof old, ": %s", ctx->message);
    va_list args;
    va_start(args, format);
    int n = vsnprintf(ctx->message, sizeof ctx->message, format, args);
    va_end(args);
    if (n >= 0 && (size_t)n + 1 < sizeof ctx->message) {
        size_t room = sizeof ctx->message - 1 - (size_t)n,
               count = (size_t)old_length < room ? (size_t)old_length : room;
        memcpy(ctx->message + n, old, count);
        ctx->message[(size_t)n + count] = 0;
    }
    return ctx->status;
}

typedef struct zero_job {
    char *block;
    size_t bytes, piece;
} zero_job;

static void zero_task(void *arg, int64_t task, int thread)
{
    const zero_job *job = arg;
    size_t begin = (size_t)task * job->piece, left = job->bytes - begin;
    (void)thread;
    memset(job->block + begin, 0, left < job->piece ? left : job->piece);
}

/* In pieces of a huge page, which would otherwise be touched by two threads. */
static void zero(char *block, size_t bytes)
{
    zero_job job = {block, bytes, bytes < LARGE ? HUGE_PAGE / 8 : HUGE_PAGE};
    if (bytes < SHARED)
        memset(block, 0, bytes);
    else
        lti_par_fixed((int64_t)((bytes + job.piece - 1) / job.piece), zero_task, &job);
}

void *lti_alloc(lt_ctx *ctx, size_t bytes)
{
    ctx->allocations++;
    char *block = NULL;
    if (bytes <= SIZE_MAX / 2) block = ctx->allocator.alloc(ctx->allocator.user, bytes + HEADER);
    if (!block) {
        lti_fail(ctx, LT_ENOMEM, "out of memory: %zu bytes were asked for, %zu are in use; try a smaller batch", bytes,
                 ctx->live);
        return NULL;
    }
    zero(block, bytes + HEADER);
    memcpy(block, &bytes, sizeof bytes);
    ctx->live += bytes;
    if (ctx->live > ctx->peak) ctx->peak = ctx->live;
    return block + HEADER;
}

void *lti_alloc_array(lt_ctx *ctx, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        lti_fail(ctx, LT_ENOMEM, "out of memory: %zu elements of %zu bytes pass the address space", count, size);
        return NULL;
    }
    return lti_alloc(ctx, bytes);
}

void *lti_realloc(lt_ctx *ctx, void *memory, size_t old_bytes, size_t new_bytes)
{
    void *grown = lti_alloc(ctx, new_bytes);
    if (!grown) return NULL;
    if (memory) memcpy(grown, memory, old_bytes < new_bytes ? old_bytes : new_bytes);
    lti_free(ctx, memory);
    return grown;
}

char *lti_strdup(lt_ctx *ctx, const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = lti_alloc(ctx, bytes);
    if (copy) memcpy(copy, text, bytes);
    return copy;
}

void lti_free(lt_ctx *ctx, void *memory)
{
    if (!memory) return;
    char *block = (char *)memory - HEADER;
    size_t bytes;
    memcpy(&bytes, block, sizeof bytes);
    ctx->live -= bytes;
    ctx->allocator.free(ctx->allocator.user, block);
}
