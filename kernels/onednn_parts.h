/* onednn_parts.h - what products and convolutions by oneDNN share: descriptors of versions 2.6 and 3.x, the engine, and
 * slots: for each caller at a time a stream, and memory objects without memory that a run points at the caller's. */
#ifndef LTI_ONEDNN_PARTS_H
#define LTI_ONEDNN_PARTS_H

#include "base/ctx.h"

#include <dnnl.h>
#include <pthread.h>

/* Two operands, the result, and the scratchpad. */
enum { A, B, C, SCRATCH, MEMORIES };

typedef dnnl_memory_desc_t descriptor;
#if DNNL_VERSION_MAJOR >= 3
typedef const_dnnl_memory_desc_t described;
#define DESCRIBED(d) (d)
#else
typedef const dnnl_memory_desc_t *described;
#define DESCRIBED(d) (&(d))
#endif

static inline void forget(descriptor *d)
{
#if DNNL_VERSION_MAJOR >= 3
    if (*d) dnnl_memory_desc_destroy(*d);
#else
    (void)d;
#endif
}

static dnnl_engine_t engine; /* the CPU: lives as long as the process */

static void create_engine(void)
{
    if (dnnl_engine_create(&engine, dnnl_cpu, 0) != dnnl_success) engine = NULL;
}

/* False when there is none. */
static inline bool have_engine(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, create_engine);
    return engine != NULL;
}

typedef struct onednn_slots {
    int count;
    dnnl_stream_t *streams;              /* [count] */
    dnnl_memory_t (*memories)[MEMORIES]; /* [count] */
    size_t scratch;                      /* bytes of a scratchpad; 0: there is no such object */
} onednn_slots;

static inline void slots_free(lt_ctx *ctx, onednn_slots *s)
{
    for (int slot = 0; s->memories && slot < s->count; slot++) {
        for (int i = 0; i < MEMORIES; i++)
            if (s->memories[slot][i]) dnnl_memory_destroy(s->memories[slot][i]);
        if (s->streams[slot]) dnnl_stream_destroy(s->streams[slot]);
    }
    lti_free(ctx, s->memories);
    lti_free(ctx, s->streams);
}

/* Empty slots; slots_free in any case. */
static inline lt_status slots_alloc(lt_ctx *ctx, int count, onednn_slots *s)
{
    s->count = count;
    s->streams = lti_alloc_array(ctx, (size_t)count, sizeof *s->streams);
    if (s->streams) s->memories = lti_alloc_array(ctx, (size_t)count, sizeof *s->memories);
    return s->memories ? LT_OK : LT_ENOMEM;
}

/* all[SCRATCH]: as the primitive's descriptor answers, NULL or empty when it wants none. */
static inline dnnl_status_t slots_fill(onednn_slots *s, const described all[MEMORIES])
{
    if (all[SCRATCH]) s->scratch = dnnl_memory_desc_get_size(all[SCRATCH]);
    dnnl_status_t status = dnnl_success;
    for (int slot = 0; slot < s->count && status == dnnl_success; slot++) {
        status = dnnl_stream_create(&s->streams[slot], engine, dnnl_stream_default_flags);
        for (int i = 0; i < MEMORIES && status == dnnl_success; i++)
            if (i != SCRATCH || s->scratch)
                status = dnnl_memory_create(&s->memories[slot][i], all[i], engine, DNNL_MEMORY_NONE);
    }
    return status;
}

#endif
