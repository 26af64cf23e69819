/* fuzz_gguf_config.c - the keys of a GGUF file as a model's config: what is accepted passes its own check, its tensors
 * have names and shapes, and its keys can be written again. */
#include "lathe/gguf.h"
#include "models/convert_parts.h"
#include "tests/fuzz/fuzzing.h"

static lt_status look(void *user, const lti_tensor *tensor)
{
    FZ_CHECK(tensor->name[0] && tensor->hf[0] && tensor->rank > 0 && tensor->shape[0] > 0, "a tensor without a shape");
    return ++*(int *)user < 100 ? LT_OK : LT_ELIMIT;
}

static void body(lt_ctx *ctx, const uint8_t *data, size_t size)
{
    const char *path = fz_file(data, size);
    lt_gguf *gguf;
    lt_transformer_config config;
    float *factors = NULL;
    lt_status opened = lt_gguf_open(ctx, path, &gguf);
    if (opened != LT_OK) {
        fz_accept(ctx, opened);
        return;
    }
    if (fz_accept(ctx, lti_config_from_gguf(ctx, gguf, &config, &factors))) {
        int tensors = 0;
        FZ_CHECK(lti_transformer_check(ctx, &config) == LT_OK, "%s", lt_ctx_message(ctx));
        lt_status status = lti_transformer_each(&config, look, &tensors);
        FZ_CHECK(status == LT_OK || tensors == 100, "%d tensors", tensors);
        lti_pairs pairs = {.ctx = ctx};
        lti_text notes = {ctx};
        status = lti_gguf_keys(ctx, &config, &pairs, &notes);
        bool other = status == LT_EUNSUPPORTED && config.family == LT_BITNET; /* a head, a bias: read, not written */
        FZ_CHECK(status == LT_OK || status == LT_ENOMEM || other, "%s", lt_ctx_message(ctx));
        lti_text_free(&notes);
        lti_pairs_free(&pairs);
    }
    lti_free(ctx, factors);
    lt_gguf_close(gguf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fz_run(body, data, size);
}
