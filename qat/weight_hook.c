/* weight_hook.c - the weight hook: a parameter on its grid, with the gradient rule of the policy.
 *
 * The value is what products read: codes of a lattice, int8 codes with a scale a row, or f32 numbers on an integer grid.
 * All of it is recorded in the segment of weight transforms: f32 copies are made again for the backward. */
#include "autograd/ops/grids.h"
#include "autograd/ops/lattice_clip.h"
#include "base/text.h"
#include "lathe/ops.h"
#include "qat/kept_scales.h"
#include "qat/learned_scales.h"

#include <string.h>

bool lti_qat_rows(const lt_quant_policy *p, const lt_site *site)
{
    lt_scheme s = lt_quant_scheme(p, site->param);
    const char *name = lt_param_name(site->param);
    bool product = (site->kind == LT_SITE_LINEAR || site->kind == LT_SITE_HEAD) && lt_param_rank(site->param) == 2 &&
                   !lti_ends_with(name, ".weight_ih") && !lti_ends_with(name, ".weight_hh") &&
                   strcmp(name, "token_embd.weight") != 0;
    return product && p->activations == LT_ACT_INT8_TOKEN && s.kind == LT_SCHEME_INT && s.bits == 8 &&
           s.per == LT_PER_CHANNEL && !s.asymmetric && !s.full_range && p->scale == LT_SCALE_DYNAMIC &&
           p->gradient == LT_ROUND_STE && p->damping == 0;
}

static lt_t on_type(lt_t w, const lt_scheme *s, const lt_quant_policy *p, const lt_param *param)
{
    if (!lt_dtype_is_lattice(s->type)) return lt_cast(lt_cast(w, s->type), LT_F32);
    lt_param *kept = lti_kept_find(lt_graph_params(w.graph), p, param);
    lt_t codes = kept ? lti_requantize(w, lt_param_value(w.graph, kept)) : lti_quantize_type(w, s);
    bool clips = p->gradient == LT_ROUND_CLIP_X || p->gradient == LT_ROUND_CLIP_CODE;
    return clips ? lti_lattice_clip(codes, w, p->gradient) : codes;
}

static lt_t on_integers(lt_t w, const lt_scheme *s, const lt_quant_policy *p, const lt_param *param)
{
    lt_graph *g = w.graph;
    lt_fake_quant_config c;
    lt_fake_quant_config_init(&c);
    if (lt_rank(w) > 2) { /* filters: a group runs along all numbers of a filter */
        lt_t rows = lt_reshape(w, 2, (int64_t[]){lt_dim(w, 0), -1});
        return lt_reshape(on_integers(rows, s, p, param), lt_param_rank(param), lt_param_shape(param));
    }
    c.scale = s->kind == LT_SCHEME_FP8 ? LT_SCALE_DYNAMIC : p->scale;
    c.gradient = p->gradient;
    c.learned = c.offset = lt_nil(g);
    if (lti_rule_learned(c.scale)) {
        lti_grid_attr attr = lti_grid_attr_of(s, c.scale);
        c.learned = lti_learned_value(g, param, "scale");
        if (lti_rule_has_offset(&attr)) c.offset = lti_learned_value(g, param, "offset");
    }
    return lt_fake_quant(w, s, &c);
}

/* Ternary numbers that a block of TQ2_0 holds to the last bit: products read its codes, as they will the file's. */
static bool in_blocks(const lt_scheme *s, const lt_quant_policy *p, const lt_param *w)
{
    int64_t block = lt_dtype_block(LT_TQ2_0);
    bool shared = s->per != LT_PER_GROUP || s->group % block == 0; /* all of a block have one scale */
    return s->kind == LT_SCHEME_TERNARY && s->half_scales && shared && p->scale != LT_SCALE_LSQ_PLUS &&
           p->gradient != LT_ROUND_PROX && lt_param_rank(w) == 2 && lt_param_shape(w)[1] % block == 0 &&
           lti_ends_with(lt_param_name(w), ".weight");
}

lt_dtype lti_qat_product_type(const lt_quant_policy *p, const lt_site *site)
{
    lt_scheme s = lt_quant_scheme(p, site->param);
    if (lt_param_type(site->param) != LT_F32) return lt_param_type(site->param);
    if (lti_qat_rows(p, site)) return LT_I8;
    if (in_blocks(&s, p, site->param)) return LT_TQ2_0;
    if (p->on_grid) return LT_F32;
    return s.kind == LT_SCHEME_TYPE && lt_dtype_is_lattice(s.type) ? s.type : LT_F32;
}

lt_t lti_qat_weight(lt_t w, const lt_site *site, void *config)
{
    const lt_quant_policy *p = config;
    lt_scheme s = lt_quant_scheme(p, site->param);
    if (lt_type(w) != LT_F32 || lt_scheme_is_float(&s)) return w;
    if (lti_qat_rows(p, site)) return lt_quantize_rows(w); /* the same codes, of numbers on the grid */
    if (p->on_grid) return in_blocks(&s, p, site->param) ? lt_quantize(w, LT_TQ2_0) : w;
    lt_t y = s.kind == LT_SCHEME_TYPE ? on_type(w, &s, p, site->param) : on_integers(w, &s, p, site->param);
    if (in_blocks(&s, p, site->param)) y = lt_quantize(y, LT_TQ2_0);
    if (p->damping == 0 || !lt_is_training(w.graph) || lt_is_nil(y)) return y;
    return lti_weight_damping(y, w, lt_scalar(w.graph, "qat_damping", 0));
}
