/* recurrent_layers.c - LSTM and GRU, whose two weights are sites of their own: "<name>.ih" and "<name>.hh".
 *
 * The input's product passes all of its site's hooks, as a linear layer's does. The state's product happens step by
 * step inside an op: a weight hook reaches it, input hooks are not called, and an output hook, which must see the
 * product, is an error. */
#include "nn/sites.h"

#include "autograd/ops/recurrent_parts.h"

typedef struct parts {
    lt_t x;          /* W_ih x [B, T, G H] */
    lt_t w_hh;       /* [G H, H] */
    lt_t b_ih, b_hh; /* [G H] or nil */
} parts;

/* x [B, T, I]. Nil values, and the graph holds the error, when a weight is missing. Its scope stays open. */
static parts open_layer(lt_t x, const char *name)
{
    lt_graph *g = x.graph;
    parts p = {lt_nil(g), lt_nil(g), lt_nil(g), lt_nil(g)};
    lt_scope(g, "%s", name);
    lt_site site = lti_open_site(x, "ih", LT_SITE_RNN, lt_scoped(g, "weight_ih"));
    if (site.param) {
        lt_t w = lt_site_weight(&site), x_in = lt_site_input(&site, x); /* [G H, I], [B, T, I] */
        p.x = lt_site_output(&site, x, x_in, w, lt_matmul(x_in, w, LT_TRANSPOSE_B));
    }
    lt_scope_end(g);
    site = lti_open_site(x, "hh", LT_SITE_RNN, lt_scoped(g, "weight_hh"));
    if (site.param) p.w_hh = lt_site_weight(&site);
    if (site.param && lt_site_has_output(&site))
        lti_graph_fail(g, LT_EUNSUPPORTED,
                       "an output hook on the state's product of a recurrent layer, which never exists as a whole; "
                       "attach to '%s.ih', or a weight hook",
                       name);
    lt_scope_end(g);
    p.b_ih = lti_own(&site, "bias_ih");
    p.b_hh = lti_own(&site, "bias_hh");
    return p;
}

lt_recurrent lt_nn_lstm(lt_t x, const char *name, lt_t h0, lt_t c0)
{
    if (!x.graph || lt_graph_status(x.graph) != LT_OK) return (lt_recurrent){x, x, x};
    parts p = open_layer(x, name);
    lt_recurrent r = lti_lstm_of(p.x, p.w_hh, p.b_ih, p.b_hh, h0, c0);
    lt_scope_end(x.graph);
    return r;
}

lt_recurrent lt_nn_gru(lt_t x, const char *name, lt_t h0)
{
    if (!x.graph || lt_graph_status(x.graph) != LT_OK) return (lt_recurrent){x, x, x};
    parts p = open_layer(x, name);
    lt_recurrent r = lti_gru_of(p.x, p.w_hh, p.b_ih, p.b_hh, h0);
    lt_scope_end(x.graph);
    return r;
}
