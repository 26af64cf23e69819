/* int8_cnn.c - a convolutional network in integers, as the plain list of what happens to a few images.
 *
 *     images -> codes -> stem -> blocks (codes in one buffer, the inner convolution's in another) -> floats -> mean
 *     -> codes -> head -> logits
 *
 * A block's sum is made by its last convolution: codes that it passes on are added in place, a shortcut's floats from a
 * buffer of their own, unrounded, as training adds them. The last block gives floats, for the mean is taken of
 * unrounded numbers. A thread takes a few images through all layers: their codes stay in its cache, and there is no
 * barrier between layers; a single image is cut no further. */
#include "infer/int8_layers.h"

#include "models/cnn_blocks.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* R: floats (images, then features). P, Q: codes. S: floats that are added, and means. */
enum { R, P, Q, S, BUFFERS };
enum { MOST_IMAGES = 64, CACHE = 1 << 18 };

typedef enum step_kind { QUANTIZE, REALS, CONV, MEAN } step_kind;

typedef struct cnn_step {
    step_kind kind;
    int from, to;
    int64_t n;           /* numbers an image of `from` (REALS, QUANTIZE); of MEAN: positions */
    int64_t channels;    /* MEAN */
    float scale, lowest; /* QUANTIZE, REALS */
    lti_conv_int8 *conv;
    bool adds;
} cnn_step;

typedef struct cnn_program {
    lti_int8_program base;
    lt_ctx *ctx;
    lt_int8 *net;
    int count, capacity;
    cnn_step *steps;
    lti_conv_int8 **convs;
    int64_t pixels, classes;
    size_t image[BUFFERS];  /* bytes an image */
    size_t at[BUFFERS + 1]; /* in a slot's memory; the last: scratch */
    size_t scratch;
} cnn_program;

/* ---- Layers ---- */

/* A norm that folding has left, or nothing. Files keep its variance, 1 - eps, as f32 or in 16 bits. */
static bool is_identity(const lt_params *params, const char *norm, double eps)
{
    static const char *const parts[] = {"weight", "bias", "running_mean", "running_var"};
    for (int i = 0; i < 4; i++) {
        char name[128];
        snprintf(name, sizeof name, "%s.%s", norm, parts[i]);
        const lt_param *p = lt_params_find(params, name);
        if (!p) continue;
        const lt_real *x = lt_param_read(p);
        lt_real want = i == 0 ? 1 : i == 3 ? (lt_real)(1 - eps) : 0;
        for (int64_t k = 0; k < lt_param_count(p); k++)
            if (lt_param_type(p) != LT_F32 || fabs((double)(x[k] - want)) > (i == 3 ? 1e-4 : 0)) return false;
    }
    return true;
}

static lt_status take_conv(lt_int8 *net, const lt_params *params, const lt_quant_policy *policy, const char *prefix,
                           const char *conv, const char *norm)
{
    char site[LTI_INT8_NAME], weight[LTI_INT8_NAME + 8], bias[LTI_INT8_NAME + 8], behind[LTI_INT8_NAME];
    snprintf(site, sizeof site, "%s%s", prefix, conv);
    snprintf(behind, sizeof behind, "%s%s", prefix, norm);
    snprintf(weight, sizeof weight, "%s.weight", site);
    snprintf(bias, sizeof bias, "%s.bias", site);
    if (!is_identity(params, behind, net->config.cnn.norm_eps))
        return lti_fail(
            net->ctx, LT_EINVAL,
            "int8: the norm '%s' is not folded into '%s': call lt_cnn_fold (train --qat-fold-norms) before training "
            "under the policy",
            behind, site);
    return lti_int8_take(&net->layers, params, policy, site, weight, (const char *const[2]){bias, NULL}, false);
}

lt_status lti_int8_cnn_layers(lt_int8 *net, const lt_params *params, const lt_quant_policy *policy)
{
    const lt_cnn_config *c = &net->config.cnn;
    LTI_TRY(take_conv(net, params, policy, "stem.", "conv", "bn"));
    for (int64_t stage = 0; stage < c->stages; stage++)
        for (int64_t block = 0; block < c->blocks; block++) {
            lti_cnn_block b = lti_cnn_block_at(c, stage, block);
            char prefix[32];
            snprintf(prefix, sizeof prefix, "%s.", b.name);
            LTI_TRY(take_conv(net, params, policy, prefix, "conv1", "bn1"));
            LTI_TRY(take_conv(net, params, policy, prefix, "conv2", "bn2"));
            if (b.projects) LTI_TRY(take_conv(net, params, policy, prefix, "shortcut.conv", "shortcut.bn"));
        }
    return lti_int8_take(&net->layers, params, policy, "head", "head.weight", (const char *const[2]){"head.bias", NULL},
                         false);
}

/* ---- The list of steps ---- */

static size_t most(size_t a, size_t b)
{
    return a > b ? a : b;
}

static cnn_step *add_step(cnn_program *p, cnn_step step)
{
    if (p->count == p->capacity) return NULL; /* counted before: cannot be */
    p->steps[p->count] = step;
    return &p->steps[p->count++];
}

static void quantize(cnn_program *p, int from, int to, int64_t n, const lti_int8_layer *by)
{
    add_step(
        p, (cnn_step){.kind = QUANTIZE, .from = from, .to = to, .n = n, .scale = by->x_scale, .lowest = by->x_lowest});
    p->image[from] = most(p->image[from], (size_t)n * sizeof(float));
    p->image[to] = most(p->image[to], (size_t)n);
}

/* Where the image is now. */
typedef struct place {
    int64_t h, w, channels;
} place;

typedef struct conv_how {
    const lti_int8_layer *layer;
    int64_t kernel, stride, groups;
    int from, to;
    float next; /* scale of what comes out; 0: 1 */
    bool relu, codes;
    lti_int8_add add;
    float ratio;
} conv_how;

static lt_status convolve(cnn_program *p, conv_how how, place *at)
{
    const lti_int8_layer *l = how.layer;
    lti_conv_int8_shape s = {.relu = how.relu, .codes = how.codes, .add = how.add, .ratio = how.ratio};
    s.conv = (lti_conv_shape){.b = p->base.group, .h = at->h, .w = at->w, .i = at->channels, .o = l->O};
    s.conv.kh = s.conv.kw = how.kernel;
    s.conv.groups = how.groups;
    for (int k = 0; k < 2; k++) s.conv.stride[k] = how.stride, s.conv.pad[k] = how.kernel / 2, s.conv.dilation[k] = 1;
    s.conv.oh = lti_conv_outputs(&s.conv, 0, at->h);
    s.conv.ow = lti_conv_outputs(&s.conv, 1, at->w);
    cnn_step *step =
        add_step(p, (cnn_step){.kind = CONV, .from = how.from, .to = how.to, .adds = how.add == LTI_ADD_REALS});
    if (!step) return lti_fail(p->ctx, LT_EINVAL, "int8: too many steps");
    LTI_TRY(lti_int8_conv(p->ctx, l, s, how.next, p->net->slots, &step->conv));
    p->convs[p->base.n_convs++] = step->conv;
    p->scratch = most(p->scratch, lti_conv_int8_scratch(step->conv));
    int64_t n = s.conv.oh * s.conv.ow * l->O;
    p->image[how.to] = most(p->image[how.to], (size_t)n * (how.codes ? 1 : sizeof(float)));
    *at = (place){s.conv.oh, s.conv.ow, l->O};
    return LT_OK;
}

static const lti_int8_layer *layer_at(const cnn_program *p, const lti_cnn_block *b, const char *name)
{
    char site[LTI_INT8_NAME];
    snprintf(site, sizeof site, "%s.%s", b->name, name);
    return lti_int8_find(&p->net->layers, site);
}

/* Codes of P through the block; next: the scale that its output has in P, or 0: floats in R. */
static lt_status add_residual(cnn_program *p, const lti_cnn_block *b, float next, place *at)
{
    const lti_int8_layer *one = layer_at(p, b, "conv1"), *two = layer_at(p, b, "conv2"), *by = NULL;
    place before = *at;
    conv_how first = {.layer = one, .kernel = 3, .stride = b->stride, .groups = 1, .from = P, .to = Q, .relu = true};
    conv_how second = {.layer = two, .kernel = 3, .stride = 1, .groups = 1, .from = Q, .to = next > 0 ? P : R};
    if (b->projects) by = layer_at(p, b, "shortcut.conv");
    if (!one || !two || (b->projects && !by))
        return lti_fail(p->ctx, LT_EFORMAT, "int8: block '%s' lacks a layer", b->name);
    if (by && (by->x_scale != one->x_scale || by->x_lowest != one->x_lowest))
        return lti_fail(
            p->ctx, LT_EINVAL,
            "int8: '%s' and '%s' are given the same image and have scales %g and %g: observe both all the time",
            one->site, by->site, (double)one->x_scale, (double)by->x_scale);
    first.next = two->x_scale, first.codes = true;
    LTI_TRY(convolve(p, first, at));
    if (by) {
        conv_how shortcut = {
            .layer = by, .kernel = 1, .stride = b->stride, .groups = 1, .from = P, .to = S, .next = next};
        LTI_TRY(convolve(p, shortcut, &before));
    } else if (next <= 0 || one->x_lowest < 0) {
        int64_t n = before.h * before.w * before.channels;
        float scale = next > 0 ? one->x_scale / next : one->x_scale;
        add_step(p, (cnn_step){.kind = REALS, .from = P, .to = S, .n = n, .scale = scale, .lowest = one->x_lowest});
        p->image[S] = most(p->image[S], (size_t)n * sizeof(float));
    }
    second.next = next, second.relu = true, second.codes = next > 0;
    second.add = !by && next > 0 && one->x_lowest == 0 ? LTI_ADD_CODES : LTI_ADD_REALS;
    second.ratio = one->x_scale;
    return convolve(p, second, at);
}

static lt_status add_depthwise(cnn_program *p, const lti_cnn_block *b, float next, place *at)
{
    const lti_int8_layer *one = layer_at(p, b, "conv1"), *two = layer_at(p, b, "conv2");
    if (!one || !two) return lti_fail(p->ctx, LT_EFORMAT, "int8: block '%s' lacks a layer", b->name);
    conv_how first = {.layer = one, .kernel = 3, .stride = b->stride, .groups = b->inputs, .from = P, .to = Q};
    conv_how second = {.layer = two, .kernel = 1, .stride = 1, .groups = 1, .from = Q, .to = next > 0 ? P : R};
    first.next = two->x_scale, second.next = next;
    first.relu = second.relu = first.codes = true, second.codes = next > 0;
    LTI_TRY(convolve(p, first, at));
    return convolve(p, second, at);
}

/* The scale of the codes that the block's input has; 0 behind the last one. */
static float scale_before(const cnn_program *p, int64_t block)
{
    const lt_cnn_config *c = &p->net->config.cnn;
    if (block == c->stages * c->blocks) return 0;
    lti_cnn_block b = lti_cnn_block_at(c, block / c->blocks, block % c->blocks);
    const lti_int8_layer *l = layer_at(p, &b, "conv1");
    return l ? l->x_scale : 0;
}

static lt_status add_steps(cnn_program *p)
{
    const lt_cnn_config *c = &p->net->config.cnn;
    const lti_int8_layer *stem = lti_int8_find(&p->net->layers, "stem.conv"),
                         *head = lti_int8_find(&p->net->layers, "head");
    if (!stem || !head) return lti_fail(p->ctx, LT_EFORMAT, "int8: the network lacks its stem or its head");
    place at = {c->height, c->width, c->channels};
    quantize(p, R, Q, p->pixels, stem);
    conv_how first = {.layer = stem, .kernel = 3, .stride = 1, .groups = 1, .from = Q, .to = P, .relu = true};
    first.next = scale_before(p, 0), first.codes = true;
    LTI_TRY(convolve(p, first, &at));
    for (int64_t i = 0; i < c->stages * c->blocks; i++) {
        lti_cnn_block b = lti_cnn_block_at(c, i / c->blocks, i % c->blocks);
        float next = scale_before(p, i + 1);
        LTI_TRY(c->kind == LT_CNN_DEPTHWISE ? add_depthwise(p, &b, next, &at) : add_residual(p, &b, next, &at));
    }
    add_step(p, (cnn_step){.kind = MEAN, .from = R, .to = S, .n = at.h * at.w, .channels = at.channels});
    p->image[S] = most(p->image[S], (size_t)at.channels * sizeof(float));
    quantize(p, S, Q, at.channels, head);
    at.h = at.w = 1;
    return convolve(p, (conv_how){.layer = head, .kernel = 1, .stride = 1, .groups = 1, .from = Q, .to = R}, &at);
}

/* ---- At work ---- */

static void reals(const cnn_step *s, int64_t n, const void *codes, float *y)
{
    const uint8_t *above = codes;
    const int8_t *below = codes;
    for (int64_t i = 0; i < n; i++) y[i] = (s->lowest < 0 ? (float)below[i] : (float)above[i]) * s->scale;
}

/* [images, n, channels] -> [images, channels] */
static void means(const cnn_step *s, int64_t images, const float *x, float *y)
{
    int64_t C = s->channels;
    for (int64_t b = 0; b < images; b++, y += C) {
        memset(y, 0, (size_t)C * sizeof *y);
        for (int64_t i = 0; i < s->n; i++, x += C)
            for (int64_t k = 0; k < C; k++) y[k] += x[k];
        for (int64_t k = 0; k < C; k++) y[k] *= 1 / (float)s->n;
    }
}

static lt_status run_group(const lti_int8_program *base, lti_int8_slot slot, int64_t first, int64_t n, const void *x,
                           const int32_t *lengths, lt_real *logits)
{
    const cnn_program *p = (const cnn_program *)(const void *)base;
    char *m = slot.memory;
    float *in = (float *)(void *)(m + p->at[R]);
    const lt_real *from = (const lt_real *)x + first * p->pixels;
    (void)lengths;
    for (int64_t i = 0; i < p->base.group * p->pixels; i++) in[i] = i < n * p->pixels ? (float)from[i] : 0;
    for (int i = 0; i < p->count; i++) {
        const cnn_step *s = &p->steps[i];
        const void *a = m + p->at[s->from];
        void *y = m + p->at[s->to];
        if (s->kind == QUANTIZE) lti_int8_codes(p->base.group * s->n, a, s->scale, s->lowest, y);
        if (s->kind == REALS) reals(s, p->base.group * s->n, a, y);
        if (s->kind == MEAN) means(s, p->base.group, a, y);
        if (s->kind != CONV) continue;
        const float *add = s->adds ? (const float *)(const void *)(m + p->at[S]) : NULL;
        LTI_TRY(lti_conv_int8_run(s->conv, slot.index, a, add, y, m + p->at[BUFFERS]));
    }
    const float *z = (const float *)(const void *)(m + p->at[R]);
    for (int64_t i = 0; i < n * p->classes; i++) logits[first * p->classes + i] = (lt_real)z[i];
    return LT_OK;
}

static void free_program(lt_ctx *ctx, lti_int8_program *base)
{
    cnn_program *p = (cnn_program *)(void *)base;
    for (int i = 0; i < p->base.n_convs; i++) lti_conv_int8_free(ctx, p->convs[i]);
    lti_free(ctx, p->steps);
    lti_free(ctx, p->convs);
    lti_free(ctx, p);
}

/* As many as keep the largest layer's codes in the nearest cache but one. */
static int64_t group_of(const lt_int8 *net)
{
    const lt_cnn_config *c = &net->config.cnn;
    int64_t image = c->height * c->width * c->filters, fits = CACHE / (image > 0 ? image : 1);
    int64_t size = net->size > 0 ? net->size : fits;
    return size < 1 ? 1 : size > MOST_IMAGES ? MOST_IMAGES : size;
}

lt_status lti_int8_cnn_program(lt_int8 *net)
{
    lt_ctx *ctx = net->ctx;
    const lt_cnn_config *c = &net->config.cnn;
    cnn_program *p = lti_alloc(ctx, sizeof *p);
    if (!p) return LT_ENOMEM;
    net->program = &p->base;
    p->base = (lti_int8_program){.group = group_of(net), .run = run_group, .free = free_program};
    p->ctx = ctx, p->net = net, p->pixels = c->height * c->width * c->channels, p->classes = c->classes;
    p->capacity = 5 + 4 * (int)(c->stages * c->blocks);
    p->steps = lti_alloc_array(ctx, (size_t)p->capacity, sizeof *p->steps);
    if (p->steps) p->convs = lti_alloc_array(ctx, (size_t)p->capacity, sizeof *p->convs);
    if (!p->convs) return LT_ENOMEM;
    p->base.convs = p->convs;
    LTI_TRY(add_steps(p));
    size_t at = 0;
    for (int i = 0; i < BUFFERS; i++) {
        p->at[i] = at;
        at += (p->image[i] * (size_t)p->base.group + 127) / 64 * 64; /* 64 bytes behind: kernels read whole vectors */
    }
    p->at[BUFFERS] = at;
    p->base.slot_bytes = at + p->scratch;
    return LT_OK;
}
