/* train_export.c - what `lathe train` writes at its end: a file of codes, or with --export-format a directory as
 * Transformers and vLLM read it. */
#include "cli/train_run.h"

#include <stdlib.h>
#include <string.h>

static bool format_of(const train_options *o, lt_quant_format *format)
{
    return lt_quant_format_parse(o->export_format, format);
}

/* One directory cannot be both: config.json says either that weights are packed or that they are not. */
static bool same_place(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    while (n > 1 && a[n - 1] == '/') n--;
    while (m > 1 && b[m - 1] == '/') m--;
    return n == m && memcmp(a, b, n) == 0;
}

int cli_train_format(train_run *r)
{
    const train_options *o = r->o;
    cli *c = r->cli;
    lt_quant_format format;
    if (!format_of(o, &format)) return EXIT_DONE;
    if (o->export_type || o->auto_bits > 0)
        return cli_fail(c, EXIT_USAGE,
                        "--export-format %s has one grid for all: it goes with neither --export-type nor "
                        "--auto-bits",
                        o->export_format);
    if (o->export_path && same_place(o->export_path, o->config.out))
        return cli_fail(c, EXIT_USAGE, "--export and --out are the same directory; the packed model needs its own");
    if (lt_quant_format_policy(c->ctx, format, &r->o->config.quant) != LT_OK)
        return cli_fail(c, EXIT_USAGE, "--export-format: %s", lt_ctx_message(c->ctx));
    r->quantized = true;
    return EXIT_DONE;
}

int cli_train_check_format(train_run *r)
{
    lt_quant_format format;
    if (!format_of(r->o, &format) || lt_quant_format_check(r->model, &r->o->config.quant, format) == LT_OK)
        return EXIT_DONE;
    return cli_fail(r->cli, EXIT_USAGE, "--export-format: %s", lt_ctx_message(r->cli->ctx));
}

char *cli_train_export_path(const train_run *r)
{
    lt_quant_format format;
    if (r->o->export_path) return strdup(r->o->export_path);
    return cli_join(r->o->config.out, format_of(r->o, &format) ? r->o->export_format : "codes.safetensors");
}

static lt_status write_card(train_run *r, const lt_export_options *how, const char *path)
{
    const lt_card_row rows[] = {{"before, float", &r->before},
                                {"before, rounded", &r->before_codes},
                                {"after, float", &r->after},
                                {"after, this file", &r->after_codes}};
    return lt_export_card(r->model, path, how, &r->exported, 4, rows);
}

lt_status cli_train_write(train_run *r, const lt_export_options *how)
{
    lt_quant_format format;
    const lt_quant_policy *policy = &r->o->config.quant;
    if (!format_of(r->o, &format)) return lt_export(r->model, policy, r->codes_path, how, &r->exported);
    return lt_export_quantized(r->model, policy, format, r->codes_path, how, &r->exported);
}

lt_status cli_train_open_codes(train_run *r, lt_model **coded)
{
    lt_quant_format format;
    if (!format_of(r->o, &format)) return lt_model_with_codes(r->model, r->codes_path, coded);
    return lt_model_open_frozen(r->cli->ctx, r->codes_path, coded);
}

lt_status cli_train_card(train_run *r, const lt_export_options *how)
{
    lt_quant_format format;
    if (!format_of(r->o, &format)) return write_card(r, how, r->codes_path);
    r->after_codes.model_bytes = r->exported.bytes; /* packed; what was evaluated is not */
    char *path = cli_join(r->codes_path, "model.safetensors");
    lt_status status = path ? write_card(r, how, path) : LT_ENOMEM;
    free(path);
    return status;
}

static void number_text(double nll, char text[32])
{
    text[0] = 0;
    if (nll > 0) snprintf(text, 32, "%.6f", nll);
}

lt_status cli_train_clusters_card(const train_run *r)
{
    const lt_train_config *config = &r->o->config;
    char steps[32], before[32], after[32];
    const lt_pair facts[] = {{"base model", cli_last_part(r->o->model)},
                             {"steps", steps},
                             {"training data (XXH3-128)", lt_dataset_hash(r->train)},
                             {"validation data (XXH3-128)", r->valid ? lt_dataset_hash(r->valid) : NULL},
                             {"nll before, in float", before},
                             {"nll after, of the centroids", after}};
    snprintf(steps, sizeof steps, "%lld", (long long)r->result.steps);
    number_text(r->before.tokens ? r->before.nll : 0, before);
    number_text(r->valid ? r->after.nll : 0, after);
    return cli_packed_card(r->cli, &config->cluster, "What training ended with", facts,
                           (int)(sizeof facts / sizeof *facts), &r->packed);
}
