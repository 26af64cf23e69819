/* conv.c - cuts the batch of a convolution into chunks and runs them, behind conv.h.
 *
 * The number of chunks is a power of two, so that 2, 4, 8 threads have equal shares, and follows from the sizes alone.
 * A kernel is made for a whole chunk and one for the last when it is shorter. When a provider cannot give both the same
 * packing of filters, the batch is one chunk.
 *
 * Cutting images by rows would help a single large image, and cost a border of rows read twice; training has batches.
 * Cutting the filters' gradient by output channels was rejected: providers want whole pixels. */
#include "kernels/conv.h"
#include "base/par.h"
#include "kernels/conv_backend.h"
#include "kernels/kernels.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Measured: a call of a provider costs about a microsecond, and single images are no slower than many. */
static const double CHUNK_WORK = 1e6; /* multiplications */
enum { MOST_CHUNKS = 64, MOST_PARTIALS = 32, FEW_PARTIALS = 8, PIXELS_OF_PARTIAL = 512, GRAIN = 16384 };

struct lti_conv {
    lt_ctx *ctx;
    lti_conv_shape shape;
    lti_conv_kind kind;
    const lti_conv_backend *backend;
    void *kernel[2]; /* of a whole chunk; of the last one, or NULL when that is whole */
    int64_t images, chunks;
    size_t packed, slot_bytes; /* multiples of 64 */
    int slots;
};

typedef struct run_state {
    const lti_conv *conv;
    const lt_real *a, *b;
    lt_real *c;
    char *packed, *slots; /* scratch: packed filters, or the chunks' packed gradients; then the slots */
    atomic_llong next;
    atomic_int failed;
} run_state;

/* By preference. */
static const lti_conv_backend *const providers[] = {
    &lti_conv_depthwise,
#ifdef LT_WITH_ONEDNN
    &lti_conv_onednn,
#endif
    &lti_conv_ref,
};

static const lti_conv_backend *_Atomic forced;
static const lti_conv_backend *by_environment;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static const lti_conv_backend *find(const char *name)
{
    for (int i = 0; name && i < LTI_COUNT(providers); i++)
        if (!strcmp(providers[i]->name, name)) return providers[i];
    return NULL;
}

static void read_environment(void)
{
    by_environment = find(getenv("LT_CONV"));
}

bool lti_conv_force(const char *provider)
{
    const lti_conv_backend *p = find(provider);
    if (provider && !p) return false;
    atomic_store(&forced, p);
    return true;
}

/* What somebody has asked for, or NULL. */
static const lti_conv_backend *wanted(void)
{
    pthread_once(&once, read_environment);
    const lti_conv_backend *p = atomic_load(&forced);
    return p ? p : by_environment;
}

const char *lti_conv_forced(void)
{
    const lti_conv_backend *p = wanted();
    return p ? p->name : NULL;
}

static const lti_conv_backend *choose(const lti_conv_shape *s, lti_conv_kind kind)
{
    const lti_conv_backend *p = wanted();
    if (p && p->can(s, kind)) return p;
    for (int i = 0; i < LTI_COUNT(providers); i++)
        if (providers[i]->prefers(s, kind)) return providers[i];
    return &lti_conv_ref;
}

const char *lti_conv_provider(const lti_conv *conv)
{
    return conv->backend->name;
}

int64_t lti_conv_outputs(const lti_conv_shape *s, int axis, int64_t size)
{
    int64_t taps = axis ? s->kw : s->kh, room = size + 2 * s->pad[axis] - s->dilation[axis] * (taps - 1) - 1;
    return room < 0 ? 0 : room / s->stride[axis] + 1;
}

static lt_status check(lt_ctx *ctx, const lti_conv_shape *s)
{
    bool good = s->b >= 0 && s->h > 0 && s->w > 0 && s->i > 0 && s->o > 0 && s->kh > 0 && s->kw > 0 && s->groups > 0;
    for (int k = 0; k < 2; k++) good = good && s->stride[k] > 0 && s->pad[k] >= 0 && s->dilation[k] > 0;
    good = good && s->oh > 0 && s->oh == lti_conv_outputs(s, 0, s->h);
    good = good && s->ow > 0 && s->ow == lti_conv_outputs(s, 1, s->w);
    if (good && s->i % s->groups == 0 && s->o % s->groups == 0) return LT_OK;
    return lti_fail(ctx, LT_EINVAL,
                    "conv: [%lld,%lld,%lld,%lld] with %lld groups of [%lld,%lld] to [%lld,%lld,%lld]: sizes do not fit",
                    (long long)s->b, (long long)s->h, (long long)s->w, (long long)s->i, (long long)s->groups,
                    (long long)s->kh, (long long)s->kw, (long long)s->oh, (long long)s->ow, (long long)s->o);
}

static void cut(lti_conv *c)
{
    const lti_conv_shape *s = &c->shape;
    double pixels = (double)s->oh * (double)s->ow, taps = (double)s->kh * (double)s->kw;
    double image = pixels * (double)s->o * (double)(s->i / s->groups) * taps,
           wanted = (double)s->b * image / CHUNK_WORK;
    double most = MOST_CHUNKS;
    if (c->kind == LTI_CONV_WEIGHT) { /* summing them must stay small beside making them, and so must their memory */
        most = (double)s->b * pixels / PIXELS_OF_PARTIAL;
        most = most < FEW_PARTIALS ? FEW_PARTIALS : most > MOST_PARTIALS ? MOST_PARTIALS : most;
    }
    if (wanted > most) wanted = most;
    if (wanted > (double)s->b) wanted = (double)s->b;
    int64_t chunks = 1;
    while ((double)(2 * chunks) <= wanted) chunks *= 2;
    c->images = (s->b + chunks - 1) / chunks;
    c->chunks = c->images ? (s->b + c->images - 1) / c->images : 0;
}

static size_t round64(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static lt_status create_kernels(lti_conv *c)
{
    lti_conv_shape part = c->shape;
    part.b = c->images;
    LTI_TRY(c->backend->create(c->ctx, &part, c->kind, c->slots, NULL, &c->kernel[0]));
    part.b = c->shape.b - (c->chunks - 1) * c->images;
    if (part.b == c->images) return LT_OK;
    lt_status status = c->backend->create(c->ctx, &part, c->kind, c->slots, c->kernel[0], &c->kernel[1]);
    if (status != LT_EPROVIDER) return status;
    c->backend->free(c->ctx, c->kernel[0]);
    c->kernel[0] = c->kernel[1] = NULL;
    c->images = c->shape.b;
    c->chunks = 1;
    return c->backend->create(c->ctx, &c->shape, c->kind, c->slots, NULL, &c->kernel[0]);
}

typedef struct creation {
    lti_conv *conv;
    lt_status status;
} creation;

/* As in gemm.c: a provider that asks for the number of threads must be told of one. */
static void create_as_task(void *arg, int64_t task, int thread)
{
    (void)task;
    (void)thread;
    creation *c = arg;
    c->status = create_kernels(c->conv);
}

lt_status lti_conv_create(lt_ctx *ctx, const lti_conv_shape *shape, lti_conv_kind kind, lti_conv **conv)
{
    *conv = NULL;
    LTI_TRY(check(ctx, shape));
    lti_conv *c = lti_alloc(ctx, sizeof *c);
    if (!c) return LT_ENOMEM;
    c->ctx = ctx;
    c->shape = *shape;
    c->kind = kind;
    c->backend = choose(shape, kind);
    cut(c);
    c->slots = c->chunks < lt_threads() ? (int)c->chunks : lt_threads();
    if (c->chunks) {
        creation make = {c, LT_OK};
        lti_par(1, create_as_task, &make);
        if (make.status != LT_OK) {
            lti_conv_free(ctx, c);
            return make.status;
        }
        c->packed = round64(c->backend->packed(c->kernel[0]));
        for (int k = 0; k < 2 && c->kernel[k]; k++) {
            size_t bytes = round64(c->backend->scratch(c->kernel[k]));
            if (bytes > c->slot_bytes) c->slot_bytes = bytes;
        }
    }
    *conv = c;
    return LT_OK;
}

void lti_conv_free(lt_ctx *ctx, lti_conv *conv)
{
    if (!conv) return;
    for (int k = 0; k < 2; k++) conv->backend->free(ctx, conv->kernel[k]);
    lti_free(ctx, conv);
}

static int64_t packs(const lti_conv *c)
{
    return c->kind == LTI_CONV_WEIGHT ? c->chunks : 1;
}

size_t lti_conv_scratch(const lti_conv *conv)
{
    return conv->packed * (size_t)packs(conv) + conv->slot_bytes * (size_t)conv->slots;
}

static void note(run_state *r, lt_status status)
{
    if (status != LT_OK) atomic_store(&r->failed, 1);
}

static void run_chunk(run_state *r, int64_t chunk, int slot)
{
    const lti_conv *c = r->conv;
    const lti_conv_shape *s = &c->shape;
    void *kernel = chunk == c->chunks - 1 && c->kernel[1] ? c->kernel[1] : c->kernel[0];
    int64_t x = chunk * c->images * s->h * s->w * s->i, y = chunk * c->images * s->oh * s->ow * s->o;
    char *scratch = r->slots + (size_t)slot * c->slot_bytes;
    const lt_real *a = r->a + (c->kind == LTI_CONV_DATA ? y : x), *b = (const lt_real *)(void *)r->packed;
    lt_real *out = r->c + (c->kind == LTI_CONV_DATA ? x : y);
    if (c->kind == LTI_CONV_WEIGHT) {
        b = r->b + y;
        out = (lt_real *)(void *)(r->packed + (size_t)chunk * c->packed);
    }
    note(r, c->backend->run(kernel, slot, a, b, out, scratch));
}

/* Task = a slot: it takes chunks until none is left. */
static void work(void *arg, int64_t slot, int thread)
{
    run_state *r = arg;
    (void)thread;
    for (;;) {
        int64_t chunk = atomic_fetch_add(&r->next, 1);
        if (chunk >= r->conv->chunks) return;
        run_chunk(r, chunk, (int)slot);
    }
}

static void pack(void *arg, int64_t task, int thread)
{
    run_state *r = arg;
    (void)task;
    (void)thread;
    for (int k = 0; k < 2; k++)
        if (r->conv->kernel[k] && (k == 0 || !atomic_load(&r->failed)))
            note(r,
                 r->conv->backend->pack(r->conv->kernel[k], k ? NULL : r->b, (lt_real *)(void *)r->packed, r->slots));
}

/* A range of the sum over chunks, into the first. */
static void sum(void *arg, int64_t task, int thread)
{
    run_state *r = arg;
    const lti_conv *c = r->conv;
    (void)thread;
    int64_t n = (int64_t)(c->packed / sizeof(lt_real)), begin, end;
    lti_par_range(n, lti_par_tasks(n, GRAIN), task, &begin, &end);
    lt_real *first = (lt_real *)(void *)r->packed + begin;
    for (int64_t i = 1; i < c->chunks; i++) lti_k()->add(end - begin, first, 1, first + i * n, 1, first);
}

static void unpack(void *arg, int64_t task, int thread)
{
    run_state *r = arg;
    (void)task;
    (void)thread;
    note(r, r->conv->backend->unpack(r->conv->kernel[0], (lt_real *)(void *)r->packed, r->c, r->slots));
}

lt_status lti_conv_run(lti_conv *conv, const lt_real *a, const lt_real *b, lt_real *c, void *scratch)
{
    const lti_conv_shape *s = &conv->shape;
    bool weight = conv->kind == LTI_CONV_WEIGHT;
    if (!conv->chunks) { /* an empty batch */
        if (weight) memset(c, 0, (size_t)(s->o * (s->i / s->groups) * s->kh * s->kw) * sizeof *c);
        return LT_OK;
    }
    run_state r = {.conv = conv, .a = a, .b = b, .c = c, .packed = scratch};
    r.slots = r.packed + conv->packed * (size_t)packs(conv);
    atomic_init(&r.next, 0);
    atomic_init(&r.failed, 0);
    if (!weight) lti_par(1, pack, &r);
    lti_par(conv->slots, work, &r);
    if (weight && conv->chunks > 1) lti_par(lti_par_tasks((int64_t)(conv->packed / sizeof(lt_real)), GRAIN), sum, &r);
    if (weight) lti_par(1, unpack, &r);
    if (!atomic_load(&r.failed)) return LT_OK;
    return lti_fail(conv->ctx, LT_EPROVIDER, "conv: %s failed on images of [%lld,%lld,%lld]; try LT_CONV=ref",
                    conv->backend->name, (long long)s->h, (long long)s->w, (long long)s->i);
}
