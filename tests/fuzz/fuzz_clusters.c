/* fuzz_clusters.c - clusters.safetensors: what is accepted has every tensor once, as numbers of its codebook. */
#include "lathe/cluster.h"
#include "lathe/formats.h"
#include "tests/fuzz/fuzzing.h"

#include <stdio.h>
#include <string.h>

static bool has(lt_real x, int64_t n, const lt_real *codebook)
{
    for (int64_t i = 0; i < n; i++)
        if (memcmp(&x, &codebook[i], sizeof x) == 0) return true;
    return false;
}

/* Each weight of a clustered tensor is one of its codebooks' numbers. */
static void check_weight(lt_ctx *ctx, const lt_tensors *file, const lt_param *w)
{
    char name[700];
    snprintf(name, sizeof name, "%s:codebook", lt_param_name(w));
    int i = lt_tensors_find(file, name);
    if (i < 0) return;
    int64_t n = lt_tensors_elements(file, i);
    lt_real *codebook = lti_alloc_array(ctx, (size_t)n + 1, sizeof *codebook);
    const lt_real *x = lt_param_read(w);
    bool read = codebook && fz_must(ctx, lt_tensors_load_real(file, i, codebook));
    for (int64_t k = 0; k < lt_param_count(w) && read; k++)
        FZ_CHECK(has(x[k], n, codebook), "'%s'[%lld] is no centroid", lt_param_name(w), (long long)k);
    lti_free(ctx, codebook);
}

static void body(lt_ctx *ctx, const uint8_t *data, size_t size)
{
    const char *path = fz_file(data, size);
    lt_params *params;
    lt_tensors *file;
    if (!fz_accept(ctx, lt_cluster_read(ctx, path, &params))) return;
    if (fz_must(ctx, lt_tensors_open(ctx, path, &file))) {
        for (int i = 0; i < lt_params_count(params); i++) {
            const lt_param *w = lt_params_at(params, i);
            FZ_CHECK(lt_param_type(w) == LT_F32 && lt_param_role(w) == LT_WEIGHT, "'%s' is no weight",
                     lt_param_name(w));
            check_weight(ctx, file, w);
        }
        lt_tensors_close(file);
    }
    lt_params_free(params);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fz_run(body, data, size);
}
