/* export_quantized.c - a model as a Hugging Face directory of quantized weights, and the proof that it holds what was
 * evaluated.
 *
 * The numbers of the final evaluation (lt_quantize_params) are the measure: the directory is read by what opens such
 * directories from anybody (models/packed.h), and each number must be theirs. So a mistake in the packing is found even
 * where the same mistake in unpacking would hide it from a comparison of codes alone. */
#include "train/quantized.h"

#include "autograd/ops/lattice_convert.h"
#include "data/files.h"
#include "data/json.h"

#include <stdio.h>
#include <string.h>

typedef struct quantized {
    lt_model *model;
    lt_ctx *ctx;
    const lt_quant_policy *policy;
    lt_quant_format format;
    const char *directory;
    const lt_params *codes; /* what ships */
    const lt_params *given; /* the caller's, or NULL: they are the policy's own */
    lti_pack pack;
    json_t *left, *packed;       /* modules by name, and endings */
    int unfit;                   /* of the policy's grid, and of a shape that the format does not take */
    const lt_param *first_unfit; /* the first of them */
    lti_packed how;              /* reading back */
    lti_weights weights;
    lt_exported *exported;
} quantized;

/* ---- What is possible ---- */

static bool is_linear(const lti_tensor *t)
{
    return t->rank == 2 && lti_ends_with(t->name, ".weight") && strncmp(t->name, "blk.", 4) == 0;
}

typedef struct shapes {
    const lt_model *model;
    const lt_quant_policy *policy;
    lt_quant_format format;
    int packed;
} shapes;

static lt_status check_tensor(void *user, const lti_tensor *t)
{
    shapes *s = user;
    const lt_model *m = s->model;
    const lt_param *w = lt_params_find(m->params, t->name);
    if (!w) return lti_fail(m->ctx, LT_EINVAL, "cannot export: parameter '%s' is missing", t->name);
    if (t->layout == LTI_CONV1D || lti_layout_differs(t, lti_side_params(&m->config), lti_side_hf(&m->config)))
        return lti_fail(m->ctx, LT_EUNSUPPORTED,
                        "%s: '%s' lies otherwise in Hugging Face's files of this family, which is not implemented for "
                        "packed weights; export to .safetensors or .gguf",
                        lt_quant_format_name(s->format), t->name);
    s->packed += is_linear(t) && lti_format_packs(s->format, s->policy, w);
    return LT_OK;
}

lt_status lt_quant_format_check(const lt_model *m, const lt_quant_policy *policy, lt_quant_format format)
{
    const char *name = lt_quant_format_name(format);
    shapes s = {.model = m, .policy = policy, .format = format};
    LTI_TRY(lti_format_check(m->ctx, format, policy));
    if (m->network)
        return lti_fail(m->ctx, LT_EUNSUPPORTED, "%s is for transformers, and this is a %s; export to .safetensors",
                        name, lt_model_family(m));
    if (m->frozen)
        return lti_fail(m->ctx, LT_EINVAL,
                        "%s: the model was opened frozen, with a file's tensors; open it to be trained", name);
    LTI_TRY(lti_model_each(m, check_tensor, &s));
    if (s.packed) return LT_OK;
    return lti_fail(m->ctx, LT_EUNSUPPORTED,
                    "%s: no weight of the model can be packed: it takes %s; take smaller groups (int4:g64, g32)", name,
                    lti_format_shapes(format));
}

static lt_status check_options(const quantized *x, const lt_export_options *o)
{
    if (o->size != sizeof *o)
        return lti_fail(x->ctx, LT_EINVAL, "lt_export_quantized: call lt_export_options_init first");
    if (o->other)
        return lti_fail(x->ctx, LT_EINVAL, "%s: another grid than the trained one is for lt_export",
                        lt_quant_format_name(x->format));
    return lt_quant_format_check(x->model, x->policy, x->format);
}

/* ---- Listing ---- */

/* "model.layers.0.mlp.up_proj.weight" -> "model.layers.0.mlp.up_proj"; and behind the layer's number "mlp.up_proj". */
static const char *module_of(char *name)
{
    char *dot = strrchr(name, '.');
    if (dot) *dot = 0;
    for (char *c = name; *c; c++)
        if (c[0] == '.' && c[1] >= '0' && c[1] <= '9') {
            char *end = strchr(c + 1, '.');
            if (end) return end + 1;
        }
    return name;
}

static lt_status no_memory(const quantized *x)
{
    return lti_fail(x->ctx, LT_ENOMEM, "out of memory while listing tensors");
}

static lt_status list_plain(quantized *x, const lti_tensor *t, const lt_param *w, const char *name)
{
    lt_scheme s = lt_quant_scheme(x->policy, w);
    char module[160];
    if (is_linear(t)) {
        snprintf(module, sizeof module, "%s", name);
        (void)module_of(module);
        if (json_array_append_new(x->left, json_string(module))) return no_memory(x);
        if (lt_scheme_same(&s, &x->policy->weights) && !x->unfit++) x->first_unfit = w;
    }
    bool widen = x->format == LT_QUANT_BNB; /* Transformers leaves types beside bitsandbytes' as they are stored */
    return lti_pack_plain(&x->pack, lt_params_find(x->codes, t->name), widen, name);
}

static lt_status list_tensor(void *user, const lti_tensor *t)
{
    quantized *x = user;
    const lt_param *w = lt_params_find(x->model->params, t->name);
    char name[160], module[160];
    if (!lt_params_find(x->codes, t->name))
        return lti_fail(x->ctx, LT_EINVAL, "cannot export: there are no codes of '%s'", t->name);
    lti_hf_name(t, x->model->prefix, name, sizeof name);
    if (!is_linear(t) || !lti_format_packs(x->format, x->policy, w)) return list_plain(x, t, w, name);
    snprintf(module, sizeof module, "%s", name);
    if (json_object_set_new(x->packed, module_of(module), json_true())) return no_memory(x);
    const lt_param *given = x->given ? lt_params_find(x->given, t->name) : NULL;
    return lti_pack_weight(&x->pack, x->format, x->model->params, x->policy, w, given, name);
}

static lt_status count_tensor(void *user, const lti_tensor *t)
{
    (void)t;
    ++*(int *)user;
    return LT_OK;
}

static lt_status list_all(quantized *x)
{
    int count = 0;
    LTI_TRY(lti_model_each(x->model, count_tensor, &count));
    LTI_TRY(lti_pack_open(x->ctx, count, &x->pack));
    x->left = json_array();
    x->packed = json_object();
    if (!x->left || !x->packed || json_array_append_new(x->left, json_string("lm_head"))) return no_memory(x);
    return lti_model_each(x->model, list_tensor, x);
}

/* ---- Writing ---- */

static lt_status write_files(quantized *x, const lt_export_options *o)
{
    const char *torch = sizeof(lt_real) == sizeof(double) ? "float64" : "float32";
    lt_quant_policy policy = *x->policy;
    if (x->given) policy.weights.double_scales = false; /* quantized_pack.c */
    json_t *config = lti_quantization_config(x->format, &policy, x->left, x->packed);
    if (!config) return no_memory(x);
    lti_facts facts = {.rules = {.ctx = x->ctx}};
    lt_status status = lti_facts_make(x->policy, o, &facts);
    if (status == LT_OK) status = lti_model_describe(x->model, x->directory, torch, config);
    json_decref(config);
    char *path = status == LT_OK ? lti_path_join(x->ctx, x->directory, "model.safetensors") : NULL;
    if (status == LT_OK && !path) status = LT_ENOMEM;
    if (status == LT_OK)
        status = lt_tensors_write(x->ctx, path, x->pack.entries, x->pack.count, facts.pairs, facts.count, NULL);
    lti_free(x->ctx, path);
    lti_text_free(&facts.rules);
    return status;
}

/* ---- The proof ---- */

static lt_status differs(const quantized *x, const char *tensor, int64_t at)
{
    return lti_fail(x->ctx, LT_EIO, "%s: '%s' reads back differently at %lld from what the final evaluation had",
                    x->directory, tensor, (long long)at);
}

static lt_status compare_bytes(const quantized *x)
{
    const lti_pack *pack = &x->pack;
    if (lt_tensors_count(x->weights.tensors) != pack->count) return differs(x, "number of tensors", pack->count);
    for (int i = 0; i < pack->count; i++) {
        const lt_tensor_entry *e = &pack->entries[i];
        int k = lt_tensors_find(x->weights.tensors, e->name);
        const unsigned char *is = k >= 0 ? lt_tensors_data(x->weights.tensors, k) : NULL, *was = e->data;
        uint64_t bytes = k >= 0 ? lt_tensors_bytes(x->weights.tensors, k) : 0;
        if (k < 0) return differs(x, e->name, 0);
        for (uint64_t b = 0; b < bytes; b++)
            if (is[b] != was[b]) return differs(x, e->name, (int64_t)b);
        x->exported->bytes += bytes;
    }
    return LT_OK;
}

static lt_status compare_numbers(quantized *x, const lti_tensor *t, lt_real *is, lt_real *meant)
{
    const lt_param *code = lt_params_find(x->codes, t->name);
    char name[160];
    lti_weight w;
    lti_hf_name(t, x->model->prefix, name, sizeof name);
    if (lti_packed_has(&x->how, &x->weights, name))
        LTI_TRY(lti_packed_read(&x->how, &x->weights, t, name, is));
    else if (lti_weights_find(&x->weights, name, &w) && w.elements == lt_param_count(code))
        LTI_TRY(lti_weights_real(&x->weights, &w, is));
    else
        return differs(x, name, 0);
    if (lt_param_type(code) == LT_F32)
        memcpy(meant, lt_param_read(code), lt_param_bytes(code));
    else
        lti_decode(lt_param_count(code), lt_param_type(code), lt_param_read(code), meant);
    for (int64_t i = 0; i < lt_param_count(code); i++)
        if (is[i] != meant[i]) return differs(x, name, i);
    x->exported->tensors++;
    x->exported->weights += lt_param_count(code);
    return LT_OK;
}

static lt_status prove_tensor(void *user, const lti_tensor *t)
{
    quantized *x = user;
    size_t n = (size_t)lt_param_count(lt_params_find(x->codes, t->name));
    lt_real *is = lti_alloc_array(x->ctx, n, sizeof *is), *meant = lti_alloc_array(x->ctx, n, sizeof *meant);
    lt_status status = is && meant ? compare_numbers(x, t, is, meant) : LT_ENOMEM;
    lti_free(x->ctx, is);
    lti_free(x->ctx, meant);
    return status;
}

static lt_status prove(quantized *x)
{
    json_t *config = NULL;
    char *path = lti_path_join(x->ctx, x->directory, "config.json");
    lt_status status = path ? lti_json_read(x->ctx, path, 8u << 20, &config) : LT_ENOMEM;
    if (status == LT_OK) status = lti_packed_take(x->ctx, path, config, &x->how);
    json_decref(config);
    lti_free(x->ctx, path);
    LTI_TRY(status);
    x->weights.ctx = x->ctx;
    LTI_TRY(lt_tensors_open(x->ctx, x->directory, &x->weights.tensors));
    LTI_TRY(compare_bytes(x));
    return lti_model_each(x->model, prove_tensor, x);
}

/* ---- The whole ---- */

static void tell(const quantized *x, lti_text *report)
{
    char t[3][32];
    const lt_exported *e = x->exported;
    if (x->unfit)
        lti_text_format(report, "%d of these are written as numbers: %s packs %s; the first is %s [%lld, %lld]\n",
                        x->unfit, lt_quant_format_name(x->format), lti_format_shapes(x->format),
                        lt_param_name(x->first_unfit), (long long)lt_param_shape(x->first_unfit)[0],
                        (long long)lt_param_shape(x->first_unfit)[1]);
    lti_text_format(report, "read back: %s tensors, %s weights, %s bytes: identical\n",
                    lti_with_commas(t[0], (uint64_t)e->tensors), lti_with_commas(t[1], (uint64_t)e->weights),
                    lti_with_commas(t[2], e->bytes));
}

static lt_status export_all(quantized *x, const lt_export_options *o, lti_text *report)
{
    LTI_TRY(lti_describe_params(x->model->params, x->policy, report));
    LTI_TRY(list_all(x));
    LTI_TRY(write_files(x, o));
    LTI_TRY(prove(x));
    tell(x, report);
    return report->failed ? LT_ENOMEM : LT_OK;
}

lt_status lt_export_quantized(lt_model *m, const lt_quant_policy *policy, lt_quant_format format, const char *directory,
                              const lt_export_options *options, lt_exported *exported)
{
    lt_export_options defaults;
    lt_export_options_init(&defaults);
    *exported = (lt_exported){0};
    quantized x = {
        .model = m, .ctx = m->ctx, .policy = policy, .format = format, .directory = directory, .exported = exported};
    lti_text report = {.ctx = m->ctx};
    const lt_export_options *o = options ? options : &defaults;
    lt_params *own = NULL;
    lt_status status = check_options(&x, o);
    if (status == LT_OK && !o->codes) status = lt_quantize_params(m->params, policy, &own);
    x.given = status == LT_OK ? o->codes : NULL;
    x.codes = own ? own : x.given;
    if (status == LT_OK) status = export_all(&x, o, &report);
    lti_weights_close(&x.weights);
    lti_pack_close(&x.pack);
    json_decref(x.left);
    json_decref(x.packed);
    lt_params_free(own);
    if (status == LT_OK)
        exported->report = report.data;
    else
        lti_text_free(&report);
    return status;
}
