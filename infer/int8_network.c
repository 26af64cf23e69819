/* int8_network.c - networks in integers: making them, and running them.
 *
 * Rows are cut into groups by the network alone, and a group goes through the whole network on one thread. So a row's
 * logits do not depend on threads, nor on the rows beside it. */
#include "infer/int8_layers.h"

#include "base/par.h"
#include "models/model.h"
#include "qat/policy.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

lt_status lti_int8_new(lt_ctx *ctx, const lti_network *network, const lti_network_config *config, int64_t size,
                       lt_int8 **net)
{
    *net = NULL;
    LTI_TRY(network->check(ctx, config));
    lt_int8 *n = lti_alloc(ctx, sizeof *n);
    if (!n) return LT_ENOMEM;
    *n = (lt_int8){.ctx = ctx, .network = network, .config = *config, .size = size, .layers = {.ctx = ctx}};
    n->slots = lt_threads();
    *net = n;
    return LT_OK;
}

typedef struct creation {
    lt_int8 *net;
    lt_status status;
} creation;

/* As in conv.c: a provider that asks for the number of threads must be told of one. */
static void create_as_task(void *arg, int64_t task, int thread)
{
    creation *c = arg;
    (void)task, (void)thread;
    c->status = c->net->network == &lti_network_cnn   ? lti_int8_cnn_program(c->net)
                : c->net->network == &lti_network_mlp ? lti_int8_mlp_program(c->net)
                                                      : lti_int8_rnn_program(c->net);
}

lt_status lti_int8_compile(lt_int8 *net)
{
    creation make = {net, LT_OK};
    lti_par(1, create_as_task, &make);
    return make.status;
}

static lt_status finished(lt_int8 *net, lt_status status, lt_int8 **out)
{
    if (status == LT_OK) status = lti_int8_compile(net);
    if (status == LT_OK)
        *out = net;
    else
        lt_int8_free(net);
    return status;
}

lt_status lt_int8_cnn(const lt_params *params, const lt_cnn_config *config, const lt_quant_policy *policy,
                      int64_t images, lt_int8 **net)
{
    lt_int8 *made;
    *net = NULL;
    LTI_TRY(
        lti_int8_new(lt_params_ctx(params), &lti_network_cnn, &(lti_network_config){.cnn = *config}, images, &made));
    return finished(made, lti_int8_cnn_layers(made, params, policy), net);
}

lt_status lt_int8_mlp(const lt_params *params, const lt_mlp_config *config, const lt_quant_policy *policy, int64_t rows,
                      lt_int8 **net)
{
    lt_int8 *made;
    *net = NULL;
    LTI_TRY(lti_int8_new(lt_params_ctx(params), &lti_network_mlp, &(lti_network_config){.mlp = *config}, rows, &made));
    return finished(made, lti_int8_mlp_layers(made, params, policy), net);
}

lt_status lt_int8_rnn(const lt_params *params, const lt_rnn_config *config, const lt_quant_policy *policy,
                      int64_t steps, lt_int8 **net)
{
    const lti_network *network = config->kind == LT_RNN_GRU ? &lti_network_gru : &lti_network_lstm;
    lt_int8 *made;
    *net = NULL;
    LTI_TRY(lti_int8_new(lt_params_ctx(params), network, &(lti_network_config){.rnn = *config}, steps, &made));
    return finished(made, lti_int8_rnn_layers(made, params, policy), net);
}

lt_status lt_model_int8(const lt_model *model, const lt_quant_policy *policy, int64_t size, lt_int8 **net)
{
    *net = NULL;
    if (!model->network)
        return lti_fail(model->ctx, LT_EUNSUPPORTED, "int8: '%s' does not run in integers; %s do",
                        lt_model_family(model), lti_network_names());
    LTI_TRY(lti_quant_check_params(model->params, policy));
    if (model->network == &lti_network_cnn) return lt_int8_cnn(model->params, &model->net.cnn, policy, size, net);
    if (model->network == &lti_network_mlp) return lt_int8_mlp(model->params, &model->net.mlp, policy, size, net);
    return lt_int8_rnn(model->params, &model->net.rnn, policy, size, net);
}

void lt_int8_free(lt_int8 *net)
{
    if (!net) return;
    if (net->program) net->program->free(net->ctx, net->program);
    lti_int8_layers_free(&net->layers);
    lti_free(net->ctx, net);
}

/* ---- Running ---- */

typedef struct int8_run {
    lt_int8 *net;
    int64_t n;
    const void *x;
    const int32_t *lengths;
    lt_real *logits;
    char *memory;
    size_t slot_bytes;
    atomic_llong next;
    atomic_int failed;
} int8_run;

static int64_t groups_of(const int8_run *r)
{
    int64_t group = r->net->program->group;
    return (r->n + group - 1) / group;
}

/* Task = a slot: it takes groups until none is left. */
static void work(void *arg, int64_t slot, int thread)
{
    int8_run *r = arg;
    const lti_int8_program *p = r->net->program;
    (void)thread;
    for (;;) {
        int64_t at = atomic_fetch_add(&r->next, 1);
        if (at >= groups_of(r)) return;
        int64_t first = at * p->group, left = r->n - first;
        lti_int8_slot s = {r->memory + (size_t)slot * r->slot_bytes, (int)slot};
        lt_status status = p->run(p, s, first, left < p->group ? left : p->group, r->x, r->lengths, r->logits);
        if (status != LT_OK) atomic_store(&r->failed, 1);
    }
}

lt_status lt_int8_run(lt_int8 *net, int64_t n, const void *x, const int32_t *lengths, lt_real *logits)
{
    const lti_int8_program *p = net->program;
    if (n < 0) return lti_fail(net->ctx, LT_EINVAL, "int8: %lld rows", (long long)n);
    if (p->check) LTI_TRY(p->check(p, net->ctx, n, x, lengths));
    int8_run r = {.net = net, .n = n, .x = x, .lengths = lengths, .logits = logits};
    int64_t slots = groups_of(&r) < net->slots ? groups_of(&r) : net->slots;
    r.slot_bytes = (p->slot_bytes + 63) / 64 * 64;
    r.memory = lti_alloc_array(net->ctx, (size_t)(slots > 0 ? slots : 1), r.slot_bytes);
    if (!r.memory) return LT_ENOMEM;
    atomic_init(&r.next, 0);
    atomic_init(&r.failed, 0);
    lti_par(slots, work, &r);
    lti_free(net->ctx, r.memory);
    if (!atomic_load(&r.failed)) return LT_OK;
    return lti_fail(net->ctx, LT_EPROVIDER, "int8: %s failed; try LT_CONV=ref", lt_int8_provider(net));
}

int64_t lt_int8_outputs(const lt_int8 *net)
{
    if (net->network == &lti_network_cnn) return net->config.cnn.classes;
    if (net->network == &lti_network_mlp) return net->config.mlp.classes;
    const lt_rnn_config *c = &net->config.rnn;
    return c->classes ? c->classes : net->size * c->vocab;
}

const char *lt_int8_provider(const lt_int8 *net)
{
    bool plain = false, other = false;
    for (int i = 0; i < net->program->n_convs; i++) {
        bool ref = strcmp(lti_conv_int8_provider(net->program->convs[i]), "ref") == 0;
        plain |= ref, other |= !ref;
    }
    return plain && other ? "onednn, ref" : plain ? "ref" : "onednn";
}
