/* learned.c - learned positions, and other pieces GPT-2 and BERT share; see learned.h.
 *
 * A recording has no operator that gathers rows at a place only a run-time scalar knows, so a step with a cache names
 * its positions by an index input; whole rows need none, and slice the table. */
#include "models/learned.h"

#include "autograd/op.h"
#include "lathe/nn.h"

lt_status lti_visit_rows(const lti_tensor *rows, int count, int64_t layer, lti_tensor_visitor visit, void *user)
{
    for (int i = 0; i < count; i++) {
        lti_tensor t = rows[i];
        if (layer >= 0) lti_tensor_name(&t, layer, rows[i].name, rows[i].hf);
        LTI_TRY(visit(user, &t));
    }
    return LT_OK;
}

lt_t lti_table_rows(lt_graph *g, const char *name, int64_t begin, int64_t end)
{
    if (lt_graph_status(g) != LT_OK) return lt_nil(g);
    lt_scope(g, "%s", name);
    lt_site site = {.graph = g, .name = lt_scoped(g, ""), .kind = LT_SITE_EMBEDDING};
    const char *weight = lt_scoped(g, "weight");
    lt_params *params = lt_graph_params(g);
    if (params && weight) site.param = lt_params_find(params, weight);
    lt_t table = site.param && site.name ? lt_site_weight(&site) : lt_param_value(g, site.param); /* [N, C] */
    if (lt_dtype_is_lattice(lt_type(table))) table = lt_dequantize(table);
    lt_t rows = lt_slice(table, 0, begin, end);
    lt_scope_end(g);
    return lt_type(rows) == LT_F32 ? rows : lt_cast(rows, LT_F32);
}

lt_t lti_learned_positions(lt_graph *g, const lt_transformer_config *c, const lt_model_input *in)
{
    if (lti_given(in->positions)) return lt_nn_embedding(in->positions, "position_embd"); /* [B, T, C] */
    if (lti_given(in->first))
        return lti_graph_fail(g, LT_EINVAL,
                              "%s has learned positions: an input with `first` must name them (lt_model_input's "
                              "positions, from lt_index_input)",
                              lt_family_name(c->family));
    int64_t T = lt_dim(in->tokens, 1);
    if (T > c->context)
        return lti_graph_fail(g, LT_EINVAL, "%s: rows of %lld tokens, but the model has %lld positions",
                              lt_family_name(c->family), (long long)T, (long long)c->context);
    return lti_table_rows(g, "position_embd", 0, T); /* [T, C] */
}
