/* cache.c - plans by (phase, batch, length): a short list, least recently used out first, one arena for all. */
#include "base/ctx.h"
#include "lathe/plan.h"

typedef struct entry {
    lt_plan_key key;
    lt_plan *plan;
    uint64_t used;
} entry;

struct lt_plan_cache {
    lt_ctx *ctx;
    lt_plan_builder build;
    void *user;
    lt_arena *arena;
    entry *list;
    int count, capacity;
    uint64_t clock;
};

lt_status lt_plan_cache_create(lt_ctx *ctx, int capacity, lt_plan_builder build, void *user, lt_plan_cache **cache)
{
    *cache = NULL;
    if (capacity < 1) return lti_fail(ctx, LT_EINVAL, "a plan cache holds at least one plan, not %d", capacity);
    lt_plan_cache *c = lti_alloc(ctx, sizeof *c);
    if (!c) return LT_ENOMEM;
    *c = (lt_plan_cache){.ctx = ctx, .build = build, .user = user, .capacity = capacity};
    c->list = lti_alloc_array(ctx, (size_t)capacity, sizeof *c->list);
    if (!c->list || lt_arena_create(ctx, &c->arena) != LT_OK) {
        lt_plan_cache_free(c);
        return LT_ENOMEM;
    }
    *cache = c;
    return LT_OK;
}

void lt_plan_cache_free(lt_plan_cache *cache)
{
    if (!cache) return;
    for (int i = 0; i < cache->count; i++) lt_plan_free(cache->list[i].plan);
    lt_arena_free(cache->arena);
    lti_free(cache->ctx, cache->list);
    lti_free(cache->ctx, cache);
}

static bool same_key(lt_plan_key a, lt_plan_key b)
{
    return a.phase == b.phase && a.batch == b.batch && a.length == b.length;
}

/* A free entry, or the one that was not used for longest, emptied. */
static entry *make_room(lt_plan_cache *c)
{
    for (int i = 0; i < c->count; i++)
        if (!c->list[i].plan) return &c->list[i]; /* of a build that failed */
    if (c->count < c->capacity) return &c->list[c->count++];
    entry *oldest = &c->list[0];
    for (int i = 1; i < c->count; i++)
        if (c->list[i].used < oldest->used) oldest = &c->list[i];
    lt_plan_free(oldest->plan);
    oldest->plan = NULL;
    return oldest;
}

lt_status lt_plan_cache_get(lt_plan_cache *cache, lt_plan_key key, lt_plan **plan)
{
    *plan = NULL;
    for (int i = 0; i < cache->count; i++)
        if (cache->list[i].plan && same_key(cache->list[i].key, key)) {
            cache->list[i].used = ++cache->clock;
            *plan = cache->list[i].plan;
            return LT_OK;
        }
    entry *e = make_room(cache);
    *e = (entry){.key = key, .used = ++cache->clock};
    LTI_TRY(cache->build(cache->user, key, cache->arena, &e->plan));
    *plan = e->plan;
    return LT_OK;
}

lt_arena *lt_plan_cache_arena(lt_plan_cache *cache)
{
    return cache->arena;
}

int64_t lt_bucket(int64_t length, int64_t longest)
{
    int64_t step = ((longest + 15) / 16 + 31) / 32 * 32;
    if (step < 32) step = 32;
    int64_t bucket = (length + step - 1) / step * step;
    if (bucket < 1) bucket = step;
    return bucket < longest ? bucket : longest;
}
