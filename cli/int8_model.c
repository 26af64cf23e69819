/* int8_model.c - see int8_model.h. */
#include "cli/int8_model.h"

#include "train/export.h"
#include "train/grids_file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define STEPS 512 /* of series, of whose length a model knows nothing */

int cli_trained_read(cli *c, const char *path, cli_trained *trained)
{
    lt_status status = lti_grids_words(c->ctx, path, &trained->words);
    return status == LT_OK ? EXIT_DONE : cli_fail_status(c, status, true);
}

void cli_trained_free(cli_trained *trained)
{
    json_decref(trained->words);
    free(trained->text);
    free(trained->rules);
    *trained = (cli_trained){.words = NULL};
}

const char *cli_trained_word(const cli_trained *trained, const char *key)
{
    const char *word = json_string_value(json_object_get(trained->words, key));
    return word ? word : "";
}

static const char *given(const cli_trained *trained, const char *key)
{
    const char *word = cli_trained_word(trained, key);
    return *word ? word : NULL;
}

/* "a=int8:channel b=f32", as lti_policy_rules writes them: one --tensor-type each. */
static int adopt_rules(cli *c, cli_trained *trained, cli_quant *quant)
{
    const char *rules = cli_trained_word(trained, "tensor_type");
    char *rest;
    if (!*rules || quant->tensor_types.count) return EXIT_DONE;
    trained->text = strdup(rules);
    trained->rules = trained->text ? calloc(strlen(rules), sizeof *trained->rules) : NULL;
    if (!trained->rules) return cli_fail(c, EXIT_MEMORY, "memory is out");
    int n = 0;
    for (char *at = strtok_r(trained->text, " ", &rest); at; at = strtok_r(NULL, " ", &rest)) trained->rules[n++] = at;
    quant->tensor_types = (cli_list){trained->rules, n};
    return EXIT_DONE;
}

int cli_trained_adopt(cli *c, cli_trained *trained, cli_quant *quant)
{
    const char *embedding = given(trained, "qat_embedding");
    if (!quant->type) quant->type = given(trained, "qat");
    if (!quant->embedding && embedding && strcmp(embedding, "f32")) quant->embedding = embedding;
    if (!quant->targets) quant->targets = given(trained, "qat_targets");
    if (!quant->activations) quant->activations = given(trained, "qat_activations");
    if (!quant->scale) quant->scale = given(trained, "qat_scale");
    return adopt_rules(c, trained, quant);
}

bool cli_has_grids(const lt_model *model)
{
    const lt_params *params = lt_model_params(model);
    for (int i = 0; i < lt_params_count(params); i++)
        if (cli_ends_with(lt_param_name(lt_params_at(params, i)), ":act_scale")) return true;
    return false;
}

int cli_int8_grids(cli *c, lt_model *model, const char *path, const lt_quant_policy *policy)
{
    int taken;
    if (policy->activations != LT_ACT_INT8_STATIC) return EXIT_DONE;
    lt_status status = lt_model_take_grids(model, path, &taken);
    if (status != LT_OK) return cli_fail_status(c, status, true);
    return taken ? EXIT_DONE
                 : cli_fail(c, EXIT_USAGE, "%s has no scales of static activations: %s", path, CLI_INT8_HOW);
}

/* ---- Files ---- */

static char *tell(const lt_int8 *net, const lt_int8_proof *proof, int64_t steps)
{
    char *text = NULL, made[64] = "";
    size_t size;
    FILE *file = open_memstream(&text, &size);
    if (!file) return NULL;
    if (steps) snprintf(made, sizeof made, ", for up to %" PRId64 " steps", steps);
    fprintf(file, "a network in integers%s: %" PRId64 " codes in %" PRId64 " tensors, %zu bytes, read back: equal\n",
            made, proof->codes, proof->tensors, lt_int8_bytes(net));
    return fclose(file) ? NULL : text;
}

static lt_status write_network(lt_model *model, const lt_quant_policy *policy, const char *out, char **report)
{
    lt_int8 *net;
    lt_int8_proof proof;
    const char *family = lt_model_family(model);
    bool recurrent = !strcmp(family, "lstm") || !strcmp(family, "gru");
    int64_t context = lt_model_context(model), steps = !recurrent ? 0 : context ? context : STEPS;
    lt_status status = lt_model_int8(model, policy, steps, &net);
    if (status != LT_OK) return status;
    status = lt_int8_save(net, out, &proof);
    if (status == LT_OK) *report = tell(net, &proof, steps);
    lt_int8_free(net);
    return status;
}

/* A card: what is measured of such files, `lathe eval --int8` measures. */
static lt_status write_card(cli *c, const char *in, const char *out, const cli_trained *trained, const char *report)
{
    const lt_pair facts[] = {{"trained model", cli_last_part(in)},
                             {"weights trained on", cli_trained_word(trained, "qat")},
                             {"other grids", cli_trained_word(trained, "tensor_type")},
                             {"activations", cli_trained_word(trained, "qat_activations")},
                             {"file", report}};
    const lti_card card = {.what =
                               "holds a network that multiplies in integers (lathe/int8.h): the codes and scales of "
                               "its training, read back and compared. Figures of it come from `lathe eval --int8`; "
                               "steps and data of the training are in the run's run.json.",
                           .facts = facts,
                           .n = 5};
    return lti_card_write(c->ctx, out, &card);
}

int cli_int8_write(cli *c, const char *in, const char *out, char **report)
{
    cli_trained trained = {0};
    cli_quant quant = {0};
    lt_quant_policy policy;
    lt_model *model = NULL;
    bool quantized = false;
    int code = cli_trained_read(c, in, &trained);
    if (!code) code = cli_trained_adopt(c, &trained, &quant);
    if (!code) code = cli_quant_policy(c, &quant, &policy, &quantized);
    if (!code && policy.activations != LT_ACT_INT8_STATIC)
        code = cli_fail(c, EXIT_USAGE, "%s was not trained with static activations: %s", in, CLI_INT8_HOW);
    lt_status status = code ? LT_OK : lt_model_open(c->ctx, in, &model);
    if (status != LT_OK) code = cli_fail_status(c, status, true);
    if (!code) code = cli_quant_scales(c, model, in, &policy);
    if (!code) code = cli_int8_grids(c, model, in, &policy);
    if (!code && (status = write_network(model, &policy, out, report)) != LT_OK)
        code = cli_fail_status(c, status, false);
    if (!code && !*report) code = cli_fail(c, EXIT_MEMORY, "memory is out");
    if (!code && (status = write_card(c, in, out, &trained, *report)) != LT_OK)
        code = cli_fail_status(c, status, false);
    lt_model_free(model);
    cli_quant_free(&quant);
    cli_trained_free(&trained);
    return code;
}
