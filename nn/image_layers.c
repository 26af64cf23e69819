/* image_layers.c - convolution as a layer, through its site's hooks as a linear layer's product. */
#include "nn/sites.h"

#include "autograd/op.h"

/* Filters that a hook left as a lattice are convolved as the numbers they stand for. */
static lt_t filters(const lt_site *site)
{
    lt_t w = lt_site_weight(site); /* [O, I/groups, KH, KW] */
    return lt_is_nil(w) || lt_type(w) == LT_F32 ? w : lt_dequantize(w);
}

lt_t lti_conv2d_given(lt_t x, const char *name, const lt_conv_config *config, lt_t *given)
{
    *given = x;
    if (!x.graph || lt_graph_status(x.graph) != LT_OK) return x;
    lt_site site = lti_open_site(x, name, LT_SITE_CONV, NULL);
    lt_t y = lt_nil(x.graph);
    if (site.param) {
        lt_t w = filters(&site), x_in = lt_site_input(&site, x); /* [B, H, W, I] */
        *given = x_in;
        y = lt_site_output(&site, x, x_in, w, lt_conv2d(x_in, w, config)); /* [B, OH, OW, O] */
        lt_t bias = lti_own(&site, "bias");
        if (!lt_is_nil(bias)) y = lt_add(y, bias);
    }
    lt_scope_end(x.graph);
    return y;
}

lt_t lt_nn_conv2d(lt_t x, const char *name, const lt_conv_config *config)
{
    lt_t given;
    return lti_conv2d_given(x, name, config, &given);
}
