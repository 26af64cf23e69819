/* attach.h - sites and hooks: changing what a model computes without changing the model.
 *
 * Every layer obtains its weight at a site ("blk.3.attn_q"). An attachment is a name pattern, hooks and a config,
 * registered on the graph before the model is recorded. Order of registration is meaning: mask, then quantize.
 *
 *     static lt_t half(lt_t w, const lt_site *site, void *config) { return lt_scale(w, 0.5); }
 *     lt_attach(g, &(lt_attachment){.size = sizeof(lt_attachment), .pattern = "*.attn_q", .weight = half});
 */
#ifndef LATHE_ATTACH_H
#define LATHE_ATTACH_H

#include "lathe/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum lt_site_kind {
    LT_SITE_LINEAR = 1,
    LT_SITE_EMBEDDING = 2,
    LT_SITE_NORM = 4,
    LT_SITE_HEAD = 8,
    LT_SITE_CONV = 16,
    LT_SITE_RNN = 32,
    LT_SITE_ANY = 0xff
} lt_site_kind;

typedef struct lt_site {
    lt_graph *graph;
    const char *name; /* of the site: "blk.3.attn_q"; a tied head is "output" */
    lt_site_kind kind;
    lt_param *param; /* whose name is the parameter's: a tied head and the embedding share one */
} lt_site;

/* Input and output hooks are called at linear layers, convolutions and heads, output hooks also at embeddings (x is the index there);
 * weight hooks everywhere.
 * Hooks may be NULL and return the value to go on with. They record nodes; they must not keep handles.
 *   weight: once per parameter and attachment, however many sites use it. w: [out, in] or as stored.
 *   input:  x as the layer gets it; what it returns enters the product.
 *   output: x_raw before, x_in after the input hooks; w after the weight hooks; y without bias. Bias is added after. */
typedef struct lt_attachment {
    size_t size;         /* sizeof(lt_attachment) */
    const char *pattern; /* glob over the site's name, or the parameter's for `weight`: * ? [..]; NULL: every one */
    unsigned kinds;      /* lt_site_kind bits; 0: linear and head */
    lt_t (*weight)(lt_t w, const lt_site *site, void *config);
    lt_t (*input)(lt_t x, const lt_site *site, void *config);
    lt_t (*output)(lt_t x_raw, lt_t x_in, lt_t w, lt_t y, const lt_site *site, void *config);
    void *config; /* borrowed until the graph is freed */
} lt_attachment;

/* Registers a copy. To be called before the sites it is meant for are recorded. Errors become the graph's. */
LT_API void lt_attach(lt_graph *graph, const lt_attachment *attachment);

/* ---- For layers (nn.h): how a site meets its attachments ---- */
/* The parameter as the layer must use it: all weight hooks applied. A matrix of 16 bits that no hook is meant for comes as
 * it is, for products read it so; else it comes as f32. */
LT_API lt_t lt_site_weight(const lt_site *site);
/* `x` after the input hooks. */
LT_API lt_t lt_site_input(const lt_site *site, lt_t x);
/* y after the output hooks. */
LT_API lt_t lt_site_output(const lt_site *site, lt_t x_raw, lt_t x_in, lt_t w, lt_t y);
/* Whether an attachment has output hooks for the site: then its product must exist as a value. */
LT_API bool lt_site_has_output(const lt_site *site);
/* True when the pattern matches the whole name. */
LT_API bool lt_glob(const char *pattern, const char *name);

#ifdef __cplusplus
}
#endif
#endif
