/* train_choices.c - what `lathe train` was told: options that exclude each other or would change nothing are refused, and what
 * the table leaves open is completed. An option that nothing reads is refused rather than ignored: who typed it believes
 * that it trained with it. */
#include "cli/train_run.h"

#include <string.h>

/* Typed, or another value than its default: a config.yaml names every option. */
static bool is_set(const cli *c, const char *name, bool differs)
{
    const cli_settings *s = c->settings;
    int i = cli_option_find(s->verb, name);
    return differs || (i >= 0 && s->origins[i] && !*s->origins[i]);
}

/* The first option that would change nothing without quantization; NULL. */
static const char *idle_option(const cli *c, const train_options *o)
{
    const cli_quant *q = &o->quant;
    const struct {
        const char *name, *flag;
        bool differs;
    } all[] = {{"qat_init", "--qat-init", strcmp(o->config.qat_init, "none") != 0},
               {"qat_start", "--qat-start", o->config.qat_start > 0},
               {"qat_scale", "--qat-scale", strcmp(q->scale, "dynamic") != 0},
               {"qat_scale_every", "--qat-scale-every", q->scale_every != 1},
               {"qat_backward", "--qat-backward", strcmp(q->backward, "auto") != 0},
               {"qat_gradient", "--qat-gradient", strcmp(q->gradient, "ste") != 0},
               {"qat_damping", "--qat-damping", q->damping > 0},
               {"qat_freeze", "--qat-freeze", q->freeze > 0},
               {"qat_observer", "--qat-observer", strcmp(q->observer, "average") != 0},
               {"qat_observe_rate", "--qat-observe-rate", q->observe_rate > 0},
               {"qat_fold_norms", "--qat-fold-norms", o->fold_norms}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (is_set(c, all[i].name, all[i].differs)) return all[i].flag;
    return NULL;
}

int cli_train_need(cli *c, const train_options *o)
{
    if (!o->model == !o->init)
        return cli_fail(c, EXIT_USAGE,
                        "%s; give --model DIR to go on from a model, or --init llama:layers=4,... or cnn: for a "
                        "new one",
                        o->model ? "--model and --init exclude each other" : "no model");
    if (o->tokenizer && o->model)
        return cli_fail(c, EXIT_USAGE, "--tokenizer goes with --init; --model brings its own");
    if (!o->data)
        return cli_fail(c, EXIT_USAGE,
                        "no data; give --data FILE.txt, FILE.jsonl, FILE.csv, images or a directory with train.*");
    if (!o->config.out) return cli_fail(c, EXIT_USAGE, "no place for the result; give --out DIR");
    if (o->config.freeze && o->config.train_only)
        return cli_fail(c, EXIT_USAGE, "--freeze and --train-only exclude each other; give one of them");
    const char *resume = o->config.resume;
    if (o->lr_find && resume && strcmp(resume, "auto") && strcmp(resume, "never"))
        return cli_fail(c, EXIT_USAGE,
                        "--lr-find begins with --model or --init, not with a checkpoint; leave --resume out (a "
                        "checkpoint's directory opens as --model)");
    bool quantized = o->quant.type || o->quant.embedding || o->quant.tensor_types.count || o->auto_bits > 0 ||
                     strcmp(o->export_format, "file");
    if (o->quant.type && o->auto_bits > 0)
        return cli_fail(c, EXIT_USAGE,
                        "--qat and --auto-bits exclude each other: one names the types, one chooses them");
    if (!o->quant.type && o->auto_bits == 0 && o->quant.targets)
        return cli_fail(c, EXIT_USAGE, "--qat-targets says which parameters --qat is for; give --qat TYPE too");
    if (!quantized && strcmp(o->quant.activations, "none") && strcmp(o->quant.activations, "auto"))
        return cli_fail(c, EXIT_USAGE,
                        "--qat-activations are what quantized weights meet while training; give --qat TYPE too");
    if (!quantized && (o->export_path || o->export_type))
        return cli_fail(c, EXIT_USAGE, "--export writes the codes of --qat TYPE, which is missing");
    if (o->export_other_type && !o->export_type)
        return cli_fail(c, EXIT_USAGE, "--export-other-type allows what --export-type TYPE asks for, which is missing");
    return EXIT_DONE;
}

/* The scale of a ternary weight is f16 in the types that hold it: trained so, nothing moves at the export. */
static void take_ternary_scales(train_run *r)
{
    lt_dtype type = r->other.weights.type;
    lt_scheme *trained = &r->o->config.quant.weights;
    bool holds = r->other.weights.kind == LT_SCHEME_TYPE && !r->other.mix && (type == LT_TQ1_0 || type == LT_TQ2_0);
    if (holds && trained->kind == LT_SCHEME_TERNARY) trained->half_scales = true;
}

/* Options of static activations, which observers serve. */
static int check_observers(const train_run *r)
{
    const lt_quant_policy *p = &r->o->config.quant;
    cli *c = r->cli;
    bool rate = p->observe_rate > 0, averages = p->observer == LT_OBSERVE_AVERAGE;
    if (p->activations != LT_ACT_INT8_STATIC &&
        (is_set(c, "qat_observer", !averages) || is_set(c, "qat_observe_rate", rate)))
        return cli_fail(c, EXIT_USAGE,
                        "--qat-observer and --qat-observe-rate are of --qat-activations int8_static, which is missing");
    bool fixed = p->observer == LT_OBSERVE_MINMAX || p->observer == LT_OBSERVE_PERCENTILE ||
                 p->observer == LT_OBSERVE_MSE || p->observer == LT_OBSERVE_HISTOGRAM;
    if (fixed && rate)
        return cli_fail(
            c, EXIT_USAGE,
            "--qat-observe-rate is of moving averages, and --qat-observer %s has none: leave one of them out",
            lt_observer_name(p->observer));
    if (p->activations == LT_ACT_INT8_STATIC && strcmp(r->o->save_dtype, "f32"))
        return cli_fail(c, EXIT_USAGE,
                        "--save-dtype %s rounds the weights once more, and with --qat-activations int8_static integers "
                        "are made of the saved ones: leave --save-dtype out",
                        r->o->save_dtype);
    return EXIT_DONE;
}

/* A format is run with activations of its own. */
static int take_format(train_run *r)
{
    const lt_quant_policy *p = &r->o->config.quant;
    const char *asked = r->o->quant.activations;
    int code = cli_train_format(r);
    const char *taken = lt_activations_name(p->activations);
    if (!code && strcmp(asked, "auto") && strcmp(asked, taken))
        code =
            cli_fail(r->cli, EXIT_USAGE, "--export-format %s is run with activations '%s': leave --qat-activations out",
                     r->o->export_format, taken);
    return code;
}

/* The table's fields lie inside the library's config: what the table does not name is set here. */
int cli_train_complete(train_run *r)
{
    lt_train_config defaults, *config = &r->o->config;
    lt_train_config_init(&defaults);
    config->size = defaults.size;
    config->seed = (uint64_t)r->o->common.seed;
    config->prefetch = defaults.prefetch;
    cli_cluster_config(&r->o->cluster, r->o->common.seed, &config->cluster);
    int code = cli_quant_policy(r->cli, &r->o->quant, &config->quant, &r->quantized);
    if (!code) code = check_observers(r);
    if (!code) code = take_format(r);
    const char *idle = r->quantized || r->o->auto_bits > 0 ? NULL : idle_option(r->cli, r->o);
    if (!code && idle) code = cli_fail(r->cli, EXIT_USAGE, "%s says how --qat TYPE trains, which is missing", idle);
    if (code || !r->o->export_type) return code;
    r->other = config->quant;
    r->other.mix = NULL;
    r->other.scale = LT_SCALE_DYNAMIC;
    r->other.integer_backward = false;
    if (config->quant.activations != LT_ACT_INT8_STATIC) r->other.activations = LT_ACT_NONE; /* no part of the file */
    if (lt_quant_policy_parse(r->cli->ctx, r->o->export_type, &r->other) != LT_OK)
        return cli_fail(r->cli, EXIT_USAGE, "--export-type: %s", lt_ctx_message(r->cli->ctx));
    take_ternary_scales(r);
    return EXIT_DONE;
}
