/* attach.c - sites meet attachments. The model's code never sees this; layers call the three lt_site functions.
 *
 * Weight transforms are recorded in segments of their own, so that the backward computes them again instead of keeping
 * a second copy of every weight. A quantized weight is kept all the same: its op says so (LTI_KEEP). */
#include "autograd/node.h"

#include <fnmatch.h>

bool lt_glob(const char *pattern, const char *name)
{
    return fnmatch(pattern, name, 0) == 0;
}

void lt_attach(lt_graph *g, const lt_attachment *attachment)
{
    if (g->status != LT_OK) return;
    if (attachment->size != sizeof *attachment) {
        lti_graph_fail(g, LT_EINVAL, "lt_attach: size %zu is not sizeof(lt_attachment)", attachment->size);
        return;
    }
    if (!lti_graph_grow(g, (void **)&g->attachments, g->n_attachments, &g->attachments_capacity,
                        sizeof *g->attachments))
        return;
    lt_attachment *a = &g->attachments[g->n_attachments];
    *a = *attachment;
    if (!a->kinds) a->kinds = LT_SITE_LINEAR | LT_SITE_HEAD;
    if (a->pattern && !(a->pattern = lti_graph_text(g, a->pattern))) return;
    g->n_attachments++;
}

static bool meant(const lt_attachment *a, const lt_site *site, const char *name)
{
    return a->kinds & (unsigned)site->kind && (!a->pattern || lt_glob(a->pattern, name));
}

/* The hook of attachment i on w, called once however many sites share the parameter. */
static lt_t transformed(const lt_site *site, int i, lt_t w)
{
    lt_graph *g = site->graph;
    for (int k = 0; k < g->n_weights; k++) {
        const lti_weight_of *m = &g->weights[k];
        if (m->attachment == i && m->in.node == w.node && m->in.output == w.output) return m->value;
    }
    lt_attachment a = g->attachments[i];
    uint32_t outer = g->segment;
    g->segment = LTI_TRANSFORM | ++g->segments;
    lt_t value = a.weight(w, site, a.config);
    g->segment = outer;
    if (lt_is_nil(value) ||
        !lti_graph_grow(g, (void **)&g->weights, g->n_weights, &g->weights_capacity, sizeof *g->weights))
        return lt_nil(g);
    g->weights[g->n_weights++] = (lti_weight_of){i, w, value};
    return value;
}

static bool has_weight_hook(const lt_site *site)
{
    const lt_graph *g = site->graph;
    for (int i = 0; i < g->n_attachments; i++)
        if (g->attachments[i].weight && meant(&g->attachments[i], site, lt_param_name(site->param))) return true;
    return false;
}

/* Matrices of 16-bit floats are used in place, by the products and look-ups that read them; a hook, or a norm, gets
 * them as f32. */
lt_t lt_site_weight(const lt_site *site)
{
    lt_graph *g = site->graph;
    lt_t w = lt_param_value(g, site->param);
    bool half = lt_type(w) == LT_BF16 || lt_type(w) == LT_F16;
    if (half && (lt_rank(w) != 2 || has_weight_hook(site))) w = lt_cast(w, LT_F32);
    for (int i = 0; i < g->n_attachments && !lt_is_nil(w); i++)
        if (g->attachments[i].weight && meant(&g->attachments[i], site, lt_param_name(site->param)))
            w = transformed(site, i, w);
    return w;
}

lt_t lt_site_input(const lt_site *site, lt_t x)
{
    lt_graph *g = site->graph;
    for (int i = 0; i < g->n_attachments; i++) {
        lt_attachment a = g->attachments[i];
        if (a.input && meant(&a, site, site->name)) x = a.input(x, site, a.config);
    }
    return x;
}

lt_t lt_site_output(const lt_site *site, lt_t x_raw, lt_t x_in, lt_t w, lt_t y)
{
    lt_graph *g = site->graph;
    for (int i = 0; i < g->n_attachments; i++) {
        lt_attachment a = g->attachments[i];
        if (a.output && meant(&a, site, site->name)) y = a.output(x_raw, x_in, w, y, site, a.config);
    }
    return y;
}

bool lt_site_has_output(const lt_site *site)
{
    const lt_graph *g = site->graph;
    for (int i = 0; i < g->n_attachments; i++)
        if (g->attachments[i].output && meant(&g->attachments[i], site, site->name)) return true;
    return false;
}
