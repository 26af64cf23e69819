/* fuzz_int8.c - a network in integers: what is accepted runs, a row's logits do not depend on the rows beside it, and
 * it is written and read again. Products are in plain C, where sanitizers see them. */
#include "base/text.h"
#include "infer/int8_layers.h"
#include "tests/fuzz/fuzzing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 3, MOST_WORK = 1 << 20 };

static bool reads_tokens(const lt_int8 *net)
{
    return net->network != &lti_network_cnn && net->network != &lti_network_mlp && net->config.rnn.vocab;
}

/* Numbers or tokens a row. */
static int64_t inputs_of(const lt_int8 *net)
{
    const lt_cnn_config *c = &net->config.cnn;
    if (net->network == &lti_network_cnn) return c->height * c->width * c->channels;
    if (net->network == &lti_network_mlp) return net->config.mlp.inputs;
    return net->size * (reads_tokens(net) ? 1 : net->config.rnn.inputs);
}

/* Rows of x of bytes: the first and the last are the same. NULL: memory is out. */
static void *make_rows(lt_ctx *ctx, const lt_int8 *net)
{
    int64_t n = inputs_of(net);
    bool tokens = reads_tokens(net);
    size_t each = tokens ? sizeof(int32_t) : sizeof(lt_real);
    void *x = lti_alloc_array(ctx, (size_t)n, ROWS * each);
    for (int64_t i = 0; x && i < ROWS * n; i++) {
        int64_t k = i % (2 * n);
        if (tokens)
            ((int32_t *)x)[i] = (int32_t)(k * 7 % net->config.rnn.vocab);
        else
            ((lt_real *)x)[i] = (lt_real)(k % 11 - 5) / 4;
    }
    return x;
}

static void run(lt_ctx *ctx, lt_int8 *net)
{
    int64_t n = lt_int8_outputs(net);
    FZ_CHECK(n > 0 && lt_int8_bytes(net) > 0, "%lld outputs of %zu bytes", (long long)n, lt_int8_bytes(net));
    if (net->program->slot_bytes > MOST_WORK) return;
    void *x = make_rows(ctx, net);
    lt_real *logits = x ? lti_alloc_array(ctx, (size_t)n, ROWS * sizeof *logits) : NULL;
    if (logits && fz_must(ctx, lt_int8_run(net, ROWS, x, NULL, logits)))
        FZ_CHECK(memcmp(logits, logits + 2 * n, (size_t)n * sizeof *logits) == 0, "equal rows have other logits");
    lti_free(ctx, logits);
    lti_free(ctx, x);
}

static void write_again(lt_ctx *ctx, const lt_int8 *net)
{
    char path[600];
    lt_int8_proof proof;
    lt_int8 *again;
    snprintf(path, sizeof path, "%s/again.safetensors", fz_directory());
    if (!fz_must(ctx, lt_int8_save(net, path, &proof))) return;
    FZ_CHECK(proof.bytes == lt_int8_bytes(net), "%llu bytes", (unsigned long long)proof.bytes);
    if (!fz_must(ctx, lt_int8_open(ctx, path, 0, &again))) return;
    FZ_CHECK(again->size == net->size && lt_int8_bytes(again) == lt_int8_bytes(net), "another network came back");
    lt_int8_free(again);
}

static void body(lt_ctx *ctx, const uint8_t *data, size_t size)
{
    lt_int8 *net;
    setenv("LT_CONV", "ref", 1);
    lt_status status = lt_int8_open(ctx, fz_file(data, size), 0, &net);
    FZ_CHECK(status == LT_OK || status == LT_EFORMAT || status == LT_EUNSUPPORTED || status == LT_ENOMEM, "%s: %s",
             lt_status_name(status), lt_ctx_message(ctx));
    if (!fz_accept(ctx, status)) return;
    run(ctx, net);
    write_again(ctx, net);
    lt_int8_free(net);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fz_run(body, data, size);
}
