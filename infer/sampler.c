/* sampler.c - the next id from logits: penalty, temperature, top k, top p, min p, in this order, each seeing what the
 * one before left, as the processors of Transformers do.
 *
 *     z' = z > 0 ? z / penalty : z penalty   of ids in the history (Keskar et al. 2019)
 *     w  = exp((z' - max z') / temperature)
 *
 * Weights w are probabilities up to one factor, and the filters compare them with sums and maxima of themselves:
 * nothing is normalised. The most likely one weighs 1, so min p compares with w itself. Top k and top p take the
 * largest from a heap: a vocabulary has many thousand ids, of which few matter, and a sort would order all. Ids are
 * drawn by one number from Philox keyed by (seed, row) at index `token`, whatever was drawn before. */
#include "infer/sampler.h"

#include "base/rng.h"
#include "data/utf8.h"
#include "kernels/kernels.h"

#include <math.h>
#include <string.h>

void lt_sampling_init(lt_sampling *sampling)
{
    *sampling =
        (lt_sampling){.size = sizeof *sampling, .max_tokens = 128, .top_p = 1, .repetition_penalty = 1, .n_end = -1};
}

static lt_status check_stops(lt_ctx *ctx, const lt_sampling *how)
{
    if (how->n_stop < 0 || (how->n_stop > 0 && !how->stop))
        return lti_fail(ctx, LT_EINVAL, "sampling: %d stop texts", how->n_stop);
    for (int i = 0; i < how->n_stop; i++) {
        const char *text = how->stop[i];
        if (!text || !*text) return lti_fail(ctx, LT_EINVAL, "sampling: stop text %d is empty", i);
        size_t length = strlen(text);
        if (lti_utf8_check((const unsigned char *)text, length) != length)
            return lti_fail(ctx, LT_EINVAL, "sampling: stop text %d is not UTF-8", i);
    }
    return LT_OK;
}

lt_status lti_sampling_check(lt_ctx *ctx, const lt_sampling *how)
{
    if (how->size != sizeof *how) return lti_fail(ctx, LT_EINVAL, "sampling: call lt_sampling_init first");
    const struct {
        const char *name;
        double value, low, high;
    } ranges[] = {{"max_tokens", (double)how->max_tokens, 1, 1e15},
                  {"temperature", how->temperature, 0, 1e6},
                  {"top_k", (double)how->top_k, 0, 1e15},
                  {"top_p", how->top_p, 0, 1},
                  {"min_p", how->min_p, 0, 1},
                  {"repetition_penalty", how->repetition_penalty, 0.01, 100}};
    for (int i = 0; i < LTI_COUNT(ranges); i++)
        if (!(ranges[i].value >= ranges[i].low && ranges[i].value <= ranges[i].high))
            return lti_fail(ctx, LT_EINVAL, "sampling: %s is %g; it must be in %g to %g", ranges[i].name,
                            ranges[i].value, ranges[i].low, ranges[i].high);
    if (how->n_end > LTI_COUNT(how->end))
        return lti_fail(ctx, LT_EINVAL, "sampling: %d ids that end a text; at most %d fit", how->n_end,
                        LTI_COUNT(how->end));
    return check_stops(ctx, how);
}

lt_status lti_sampler_open(lt_ctx *ctx, const lt_sampling *how, int64_t vocab, lti_sampler *sampler)
{
    *sampler = (lti_sampler){.ctx = ctx, .how = how, .vocab = vocab};
    size_t n = (size_t)vocab;
    bool draws = how->temperature > 0, penalty = how->repetition_penalty != 1;
    sampler->scores = lti_alloc_array(ctx, n, sizeof *sampler->scores);
    if (draws) sampler->list = lti_alloc_array(ctx, n, sizeof *sampler->list);
    if (penalty) sampler->seen = lti_alloc_array(ctx, n, sizeof *sampler->seen);
    if (sampler->scores && (sampler->list || !draws) && (sampler->seen || !penalty)) return LT_OK;
    lti_sampler_close(sampler);
    return LT_ENOMEM;
}

void lti_sampler_close(lti_sampler *sampler)
{
    if (!sampler->ctx) return;
    lti_free(sampler->ctx, sampler->scores);
    lti_free(sampler->ctx, sampler->list);
    lti_free(sampler->ctx, sampler->seen);
    *sampler = (lti_sampler){0};
}

/* ---- Scores ---- */

static void penalise(lti_sampler *s, const lt_ids *history)
{
    double penalty = s->how->repetition_penalty;
    for (int64_t i = 0; i < history->count; i++) {
        int32_t id = history->ids[i];
        if (id < 0 || id >= s->vocab || s->seen[id]) continue;
        s->seen[id] = 1;
        s->scores[id] = s->scores[id] > 0 ? s->scores[id] / penalty : s->scores[id] * penalty;
    }
    for (int64_t i = 0; i < history->count; i++)
        if (history->ids[i] >= 0 && history->ids[i] < s->vocab) s->seen[history->ids[i]] = 0;
}

static int32_t first_largest(int64_t n, const double *scores)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (scores[i] > scores[best]) best = i;
    return (int32_t)best;
}

/* ---- The likeliest ---- */

static bool comes_before(const lti_candidate *a, const lti_candidate *b)
{
    return a->weight > b->weight || (a->weight == b->weight && a->id < b->id);
}

/* Moves list[at] down until the n candidates are a heap again, the one that comes first at its top. */
static void sift(lti_candidate *list, int64_t n, int64_t at)
{
    lti_candidate moved = list[at];
    for (int64_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && comes_before(&list[child + 1], &list[child])) child++;
        if (!comes_before(&list[child], &moved)) break;
        list[at] = list[child];
    }
    list[at] = moved;
}

/* Puts the likeliest to the end of the list, the first of them last, until there are `most` of them or their sum
 * reaches `enough`. How many there are. */
static int64_t take_likeliest(lti_candidate *list, int64_t n, int64_t most, double enough)
{
    double sum = 0;
    int64_t taken = 0;
    for (int64_t i = n / 2 - 1; i >= 0; i--) sift(list, n, i);
    while (taken < most && (taken == 0 || sum < enough)) {
        lti_candidate top = list[0];
        int64_t left = n - ++taken;
        list[0] = list[left];
        list[left] = top;
        if (left > 1) sift(list, left, 0);
        sum += top.weight;
    }
    return taken;
}

/* Reduces the list to what top k and top p leave; *kept candidates begin at the result, likeliest last. */
static lti_candidate *likeliest(lti_sampler *s, double sum, int64_t *kept)
{
    const lt_sampling *how = s->how;
    int64_t n = s->vocab, k = how->top_k > 0 && how->top_k < n ? how->top_k : n;
    *kept = n;
    if (k == n && how->top_p >= 1) return s->list;
    if (k == n) {
        *kept = take_likeliest(s->list, n, n, how->top_p * sum);
    } else {
        *kept = take_likeliest(s->list, n, k, INFINITY);
        double of_k = 0, reached = 0;
        for (int64_t i = n - k; i < n; i++) of_k += s->list[i].weight;
        if (how->top_p < 1)
            for (*kept = 0; *kept < k && (*kept == 0 || reached < how->top_p * of_k); ++*kept)
                reached += s->list[n - 1 - *kept].weight;
    }
    return s->list + n - *kept;
}

/* ---- Drawing ---- */

static double draw_uniform(const lt_sampling *how, int row, int64_t token)
{
    lti_rng rng = {.seed = how->seed, .stream = lti_rng_stream("sampling"), .step = (uint32_t)row};
    uint32_t word[4];
    lti_philox(&rng, (uint64_t)token, word);
    return ((double)(word[0] >> 5) * 0x1p26 + (double)(word[1] >> 6)) * 0x1p-53; /* [0, 1) */
}

static int32_t draw(const lt_sampling *how, int64_t n, const lti_candidate *list, double uniform)
{
    double sum = 0, reached = 0;
    int32_t last = list[n - 1].id;
    for (int64_t i = 0; i < n; i++) sum += list[i].weight >= how->min_p ? list[i].weight : 0;
    for (int64_t i = 0; i < n; i++) {
        if (list[i].weight < how->min_p || list[i].weight == 0) continue;
        last = list[i].id;
        reached += list[i].weight;
        if (uniform * sum < reached) break;
    }
    return last;
}

int32_t lti_sampler_draw(lti_sampler *s, const lt_real *logits, const lt_ids *history, int row, int64_t token)
{
    const lt_sampling *how = s->how;
    for (int64_t i = 0; i < s->vocab; i++) s->scores[i] = (double)logits[i];
    if (how->repetition_penalty != 1 && history) penalise(s, history);
    int32_t best = first_largest(s->vocab, s->scores);
    if (how->temperature == 0) return best;
    double sum = 0, top = s->scores[best];
    for (int64_t i = 0; i < s->vocab; i++) {
        s->list[i] = (lti_candidate){exp((s->scores[i] - top) / how->temperature), (int32_t)i};
        sum += s->list[i].weight;
    }
    int64_t kept;
    const lti_candidate *list = likeliest(s, sum, &kept);
    return draw(how, kept, list, draw_uniform(how, row, token));
}

lt_status lt_sample(lt_ctx *ctx, const lt_sampling *sampling, int64_t vocab, const lt_real *logits,
                    const lt_ids *history, int row, int64_t token, int32_t *id)
{
    LTI_TRY(lti_sampling_check(ctx, sampling));
    if (vocab < 1 || vocab > INT32_MAX)
        return lti_fail(ctx, LT_EINVAL, "sampling: a vocabulary of %lld ids", (long long)vocab);
    if (!lti_k()->all_finite(vocab, logits))
        return lti_fail(ctx, LT_ENONFINITE, "sampling: the logits hold a NaN or an infinity");
    lti_sampler sampler;
    LTI_TRY(lti_sampler_open(ctx, sampling, vocab, &sampler));
    *id = lti_sampler_draw(&sampler, logits, history, row, token);
    lti_sampler_close(&sampler);
    return LT_OK;
}
