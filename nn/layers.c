/* layers.c - linear, embedding, norms and the head, each through its site's hooks. */
#include "nn/sites.h"

#include "autograd/op.h"

static lt_t product(const lt_site *site, lt_t x)
{
    lt_t w = lt_site_weight(site);               /* [out, in] */
    lt_t x_in = lt_site_input(site, x);          /* [.., in] */
    lt_t y = lt_matmul(x_in, w, LT_TRANSPOSE_B); /* [.., out] */
    y = lt_site_output(site, x, x_in, w, y);
    lt_t bias = lti_own(site, "bias");
    return lt_is_nil(bias) ? y : lt_add(y, bias);
}

lt_t lt_nn_linear(lt_t x, const char *name)
{
    if (!x.graph || lt_graph_status(x.graph) != LT_OK) return x;
    lt_site site = lti_open_site(x, name, LT_SITE_LINEAR, NULL);
    lt_t y = site.param ? product(&site, x) : lt_nil(x.graph);
    lt_scope_end(x.graph);
    return y;
}

lt_t lt_nn_head(lt_t x, const char *name, const char *weight)
{
    if (!x.graph || lt_graph_status(x.graph) != LT_OK) return x;
    lt_site site = lti_open_site(x, name, LT_SITE_HEAD, weight);
    lt_t y = site.param ? product(&site, x) : lt_nil(x.graph);
    lt_scope_end(x.graph);
    return y;
}

/* Terms on logits that exist as a whole, for heads with a bias or with output hooks that must see them. */
static lt_t terms_on_logits(lt_t z, int n, const lt_head_term *terms, lt_t norm)
{
    lt_t loss = lt_nil(z.graph);
    for (int i = 0; i < n; i++) {
        bool ce = terms[i].kind == lt_head_cross_entropy();
        if (!ce)
            return lti_graph_fail(z.graph, LT_EUNSUPPORTED,
                                  "a head with a bias or output hooks takes cross-entropy terms only");
        lt_t term = lt_cross_entropy_smooth(z, terms[i].input, norm, terms[i].smoothing);
        term = lt_scale(term, terms[i].weight);
        loss = i ? lt_add(loss, term) : term;
    }
    return loss;
}

lt_t lt_nn_head_loss(lt_t x, const char *name, const char *weight, int n, const lt_head_term *terms, lt_t norm)
{
    if (!x.graph || lt_graph_status(x.graph) != LT_OK) return x;
    lt_site site = lti_open_site(x, name, LT_SITE_HEAD, weight);
    lt_t loss = lt_nil(x.graph);
    if (site.param && (lt_site_has_output(&site) || !lt_is_nil(lti_own(&site, "bias"))))
        loss = terms_on_logits(product(&site, x), n, terms, norm);
    else if (site.param)
        loss = lt_head_loss(lt_site_input(&site, x), lt_site_weight(&site), n, terms, norm);
    lt_scope_end(x.graph);
    return loss;
}

lt_t lt_nn_embedding(lt_t index, const char *name)
{
    if (!index.graph || lt_graph_status(index.graph) != LT_OK) return index;
    lt_site site = lti_open_site(index, name, LT_SITE_EMBEDDING, NULL);
    lt_t y = lt_nil(index.graph);
    if (site.param) {
        lt_t w = lt_site_weight(&site); /* [N, C] */
        y = lt_site_output(&site, index, index, w, lt_gather(w, index));
    }
    lt_scope_end(index.graph);
    return y;
}

static lt_t rms_norm(lt_t x, const char *name, double eps, double offset)
{
    if (!x.graph || lt_graph_status(x.graph) != LT_OK) return x;
    lt_site site = lti_open_site(x, name, LT_SITE_NORM, NULL);
    lt_t y = lt_nil(x.graph);
    if (site.param) {
        lt_t gain = lt_site_weight(&site); /* [C] */
        y = lt_rms_norm(x, offset == 0 ? gain : lt_shift(gain, offset), eps);
    }
    lt_scope_end(x.graph);
    return y;
}

lt_t lt_nn_rms_norm(lt_t x, const char *name, double eps)
{
    return rms_norm(x, name, eps, 0);
}

lt_t lt_nn_rms_norm_plus_one(lt_t x, const char *name, double eps)
{
    return rms_norm(x, name, eps, 1);
}

lt_t lt_nn_layer_norm(lt_t x, const char *name, double eps)
{
    if (!x.graph || lt_graph_status(x.graph) != LT_OK) return x;
    lt_site site = lti_open_site(x, name, LT_SITE_NORM, NULL);
    lt_t y = site.param ? lt_layer_norm(x, lt_site_weight(&site), lti_own(&site, "bias"), eps) : lt_nil(x.graph);
    lt_scope_end(x.graph);
    return y;
}
