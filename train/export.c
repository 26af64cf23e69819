/* export.c - what ships: a model's codes as a .gguf or .safetensors file, with the proof that the file holds them.
 *
 * The codes come from the kernels of the final evaluation pass. Writing them on another grid than the trained one rounds
 * the trained values a second time, which brings most of the error back that training took away, so it is
 * done only when told; grids that hold the same values (ternary in tq2_0) are no other grid. */
#include "train/export.h"

#include "data/files.h"
#include "models/convert_parts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void lt_export_options_init(lt_export_options *options)
{
    *options = (lt_export_options){.size = sizeof *options};
}

/* ---- What a file says about its making ---- */

static void add_fact(lti_facts *f, const char *key, const char *value)
{
    if (value && *value) f->pairs[f->count++] = (lt_pair){key, value};
}

static void add_number(lti_facts *f, const char *key, int64_t number)
{
    char *text = f->texts[f->count];
    lti_print(text, sizeof f->texts[0], "%lld", (long long)number);
    if (number) add_fact(f, key, text);
}

static void add_loss(lti_facts *f, const char *key, double nll)
{
    char *text = f->texts[f->count];
    lti_print(text, sizeof f->texts[0], "%.9g", nll);
    if (nll > 0) add_fact(f, key, text);
}

lt_status lti_facts_make(const lt_quant_policy *p, const lt_export_options *o, lti_facts *f)
{
    char policy[LT_SCHEME_TEXT], embedding[LT_SCHEME_TEXT];
    lti_policy_rules(p, &f->rules);
    if (f->rules.failed) return LT_ENOMEM;
    add_fact(f, "lathe.version", lt_version());
    lti_print(f->texts[f->count], sizeof f->texts[0], "%s", lt_quant_policy_name(p, policy));
    add_fact(f, "lathe.qat.type", f->texts[f->count]);
    lti_print(f->texts[f->count], sizeof f->texts[0], "%s", lt_scheme_name(&p->embedding, embedding));
    add_fact(f, "lathe.qat.embedding", p->mix ? NULL : f->texts[f->count]);
    add_fact(f, "lathe.qat.rules", f->rules.data);
    add_fact(f, "lathe.qat.targets", p->targets);
    add_fact(f, "lathe.qat.activations", lt_activations_name(p->activations));
    add_fact(f, "lathe.qat.scale", lt_scale_rule_name(p->scale));
    add_fact(f, "lathe.qat.gradient", lt_round_gradient_name(p->gradient));
    add_fact(f, "lathe.ptq.method", o->method);
    add_fact(f, "lathe.ptq.calibration_xxh3", o->calibration_hash);
    add_number(f, "lathe.ptq.calibration_rows", o->calibration_hash ? o->calibration_rows : 0);
    add_fact(f, "lathe.ptq.importance", o->importance);
    add_number(f, "lathe.train.steps", o->steps);
    add_number(f, "lathe.train.tokens", o->tokens);
    add_fact(f, "lathe.train.data_xxh3", o->data_hash);
    add_fact(f, "lathe.valid.data_xxh3", o->valid_hash);
    add_fact(f, "lathe.valid.data", o->measured_on);
    add_loss(f, "lathe.valid.nll_before", o->before_nll);
    add_loss(f, "lathe.valid.nll", o->valid_nll);
    return LT_OK;
}

/* ---- Which codes ---- */

/* Whether b holds a's values, but for scales that are f16 there. *square gets the sum of the squared differences. */
static bool carries(const lt_real *a, const lt_real *b, int64_t n, double *square, double *norm)
{
    const double scale = 1.0 / 1024;
    bool same = true;
    for (int64_t i = 0; i < n; i++) {
        double d = (double)b[i] - (double)a[i];
        *square += d * d;
        *norm += (double)a[i] * (double)a[i];
        same &= fabs(d) <= scale * fabs((double)a[i]);
    }
    return same;
}

/* The trained values on the other grids; *moved: how far they went, root mean square, of the values' own. */
static lt_status compare_values(const lt_params *trained, const lt_params *shipped, const char **changed, double *moved)
{
    lt_params *read;
    double square = 0, norm = 0;
    *changed = NULL;
    LTI_TRY(lt_dequantize_params(shipped, &read));
    for (int i = 0; i < lt_params_count(trained); i++) {
        const lt_param *a = lt_params_at(trained, i), *b = lt_params_at(read, i);
        bool same = carries(lt_param_read(a), lt_param_read(b), lt_param_count(a), &square, &norm);
        if (!same && !*changed) *changed = lt_param_name(a);
    }
    *moved = norm > 0 ? sqrt(square / norm) : 0;
    lt_params_free(read);
    return LT_OK;
}

static lt_status refuse_other(lt_ctx *ctx, const lt_params *trained, const lt_quant_policy *policy,
                              const lt_export_options *o, const char *name, double moved)
{
    char was[LT_SCHEME_TEXT], is[LT_SCHEME_TEXT];
    const lt_param *p = lt_params_find(trained, name);
    lt_scheme a = lt_quant_scheme(policy, p), b = lt_quant_scheme(o->other, p);
    return lti_fail(
        ctx, LT_EINVAL,
        "'%s' was trained on %s and would be written as %s: that rounds a second time and moves the weights "
        "by %.2g %% (root mean square), most of what training on the grid took away; export the trained "
        "type, or allow another (--export-other-type)",
        name, lt_scheme_name(&a, was), lt_scheme_name(&b, is), 100 * moved);
}

static lt_status make_shipped(lt_model *m, const lt_quant_policy *policy, const lt_export_options *o,
                              lt_exported *exported, lt_params **shipped)
{
    lt_params *codes, *trained = NULL;
    const char *changed;
    LTI_TRY(lt_quantize_params(m->params, policy, &codes));
    if (!o->other) {
        *shipped = codes;
        return LT_OK;
    }
    lt_status status = lt_dequantize_params(codes, &trained);
    lt_params_free(codes);
    if (status == LT_OK) status = lt_quantize_params(trained, o->other, shipped);
    if (status == LT_OK) status = compare_values(trained, *shipped, &changed, &exported->moved);
    exported->other = status == LT_OK && changed;
    if (exported->other && !o->allow_other)
        status = refuse_other(m->ctx, m->params, policy, o, changed, exported->moved);
    lt_params_free(trained);
    if (status != LT_OK) {
        lt_params_free(*shipped);
        *shipped = NULL;
    }
    return status;
}

/* GGUF has types of storage alone, and not all of lathe's. */
lt_status lt_export_check(const lt_model *m, const lt_quant_policy *policy, const char *path)
{
    char name[LT_SCHEME_TEXT];
    if (!lti_ends_with(path, ".gguf") && !lti_ends_with(path, ".safetensors"))
        return lti_fail(m->ctx, LT_EINVAL,
                        "%s: its ending names no format to export to; .gguf is llama.cpp's, .safetensors lathe's own",
                        path);
    for (int i = 0; lti_ends_with(path, ".gguf") && i < lt_params_count(m->params); i++) {
        const lt_param *p = lt_params_at(m->params, i);
        lt_scheme s = lt_quant_scheme(policy, p);
        if (lt_param_role(p) != LT_WEIGHT || (s.kind == LT_SCHEME_TYPE && lti_dtype_gguf(s.type) >= 0)) continue;
        return lti_fail(m->ctx, LT_EUNSUPPORTED,
                        "%s: '%s' is on the grid %s, which GGUF has no type for; export to .safetensors, or name a "
                        "type that holds it (--export-type tq2_0 holds ternary weights)",
                        path, lt_param_name(p), lt_scheme_name(&s, name));
    }
    return LT_OK;
}

/* ---- The files ---- */

static lt_status write_gguf(lt_model *m, const lt_params *codes, const char *path, const lt_quant_policy *policy,
                            const lt_export_options *o, const lti_facts *facts, lti_text *notes, lti_codes_proof *proof)
{
    lti_pairs more = {.ctx = m->ctx};
    lt_status status = LT_OK;
    for (int i = 0; i < facts->count && status == LT_OK; i++)
        status = lti_pairs_text(&more, facts->pairs[i].key, facts->pairs[i].value);
    if (status == LT_OK) status = lti_pairs_text(&more, "general.quantized_by", "lathe");
    if (status == LT_OK && o->base) status = lti_pairs_u32(&more, "general.base_model.count", 1);
    if (status == LT_OK && o->base) status = lti_pairs_text(&more, "general.base_model.0.name", o->base);
    lti_codes_file file = {.model = m,
                           .codes = codes,
                           .path = path,
                           .name = o->name,
                           .mix = policy->mix,
                           .more = more.list,
                           .n_more = more.count};
    if (status == LT_OK) status = lti_codes_write(&file, notes);
    if (status == LT_OK) status = lti_codes_prove(&file, proof);
    lti_pairs_free(&more);
    return status;
}

char *lti_with_commas(char text[32], uint64_t number)
{
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%llu", (unsigned long long)number), at = 0;
    for (int i = 0; i < n; i++) {
        if (i && (n - i) % 3 == 0) text[at++] = ',';
        text[at++] = digits[i];
    }
    text[at] = 0;
    return text;
}

static lt_status write_codes(lt_model *m, const lt_params *codes, const char *path, const lt_quant_policy *policy,
                             const lt_export_options *o, lti_text *report, lt_exported *exported)
{
    lti_facts facts = {.rules = {.ctx = m->ctx}};
    lti_codes_proof proof;
    char t[3][32];
    lti_text notes = {.ctx = m->ctx};
    bool own = !o->codes && !o->other; /* made of the model's weights as they are */
    const lti_packgrid_source from = {.policy = policy, .weights = own ? m->params : NULL};
    lt_status status = lti_facts_make(policy, o, &facts);
    if (status == LT_OK && lti_ends_with(path, ".gguf"))
        status = write_gguf(m, codes, path, policy, o, &facts, &notes, &proof);
    else if (status == LT_OK)
        status = lti_codes_file_pack(m->ctx, &from, codes, path, facts.pairs, facts.count, &notes, &proof);
    if (status == LT_OK) {
        exported->tensors = proof.tensors, exported->weights = proof.weights, exported->bytes = proof.bytes;
        if (notes.data) lti_text_add(report, notes.data, notes.length);
        lti_text_format(report, "read back: %s tensors, %s weights, %s bytes: identical\n",
                        lti_with_commas(t[0], (uint64_t)proof.tensors), lti_with_commas(t[1], (uint64_t)proof.weights),
                        lti_with_commas(t[2], proof.bytes));
    }
    lti_text_free(&notes);
    lti_text_free(&facts.rules);
    return status;
}

lt_status lt_export(lt_model *m, const lt_quant_policy *policy, const char *path, const lt_export_options *options,
                    lt_exported *exported)
{
    lt_export_options defaults;
    lt_export_options_init(&defaults);
    const lt_export_options *o = options ? options : &defaults;
    *exported = (lt_exported){0};
    if (o->size != sizeof *o) return lti_fail(m->ctx, LT_EINVAL, "lt_export: call lt_export_options_init first");
    const lt_quant_policy *written = o->other ? o->other : policy;
    LTI_TRY(lt_export_check(m, written, path));
    lti_text report = {.ctx = m->ctx};
    lt_params *codes = NULL;
    lt_status status = lti_describe_params(m->params, written, &report);
    if (status == LT_OK && !o->codes) status = make_shipped(m, policy, o, exported, &codes);
    if (status == LT_OK) status = write_codes(m, o->codes ? o->codes : codes, path, written, o, &report, exported);
    lt_params_free(codes);
    if (status == LT_OK && !report.failed) {
        exported->report = report.data;
        return LT_OK;
    }
    lti_text_free(&report);
    return status == LT_OK ? LT_ENOMEM : status;
}

lt_status lt_export_codes(lt_model *model, const lt_quant_policy *policy, const char *path, char **report)
{
    lt_exported exported;
    if (report) *report = NULL;
    LTI_TRY(lt_export(model, policy, path, NULL, &exported));
    if (report)
        *report = exported.report;
    else
        lt_string_free(model->ctx, exported.report);
    return LT_OK;
}
