/* test_packed_damage.c - files of packed codes that are damaged, or another's: each is refused with the tensor's name; and
 * memory that is out while they are written and read. Whole files are in test_packed_grids.c. */
#include "lathe/formats.h"
#include "tests/toys.h"

#include <math.h>

#define LLAMA "llama:layers=1,dim=36,hidden=44,heads=2,kv_heads=1,context=64"

static lt_quant_policy policy_of(lt_ctx *ctx, const char *word, lt_scale_rule rule)
{
    lt_quant_policy policy;
    lt_quant_policy_init(&policy);
    TS_OK(ctx, lt_quant_policy_parse(ctx, word, &policy));
    policy.scale = rule;
    return policy;
}

/* ---- Damage ---- */

#define V "blk.0.attn_v.weight"
#define Q "blk.0.attn_q.weight"

static const char *const kept[] = {"type:" Q, "shape:" Q, "type:" V, "shape:" V, NULL};

static const struct {
    toy_edit edit;
    const char *words;
} damages[] = {
    {{.drop = Q}, "tensor '" Q "' is missing"},
    {{.drop = Q ":scale"}, "tensor '" Q ":scale' is missing"},
    {{.drop = Q ":zero"}, "tensor '" Q ":zero' is missing"},
    {{.reshape = Q}, "tensor '" Q "' is U8 [1, 504]"},
    {{.retype = Q, .as = LT_STORED_I32}, "tensor '" Q "' is I32"},
    {{.retype = Q ":scale", .as = LT_STORED_I32}, "tensor '" Q ":scale' is I32"},
    {{.retype = Q ":scale", .as = LT_STORED_F16}, "tensor '" Q ":scale' is F16"},
    {{.retype = Q ":zero", .as = LT_STORED_I8}, "tensor '" Q ":zero' is I8"},
    {{.meta_key = "type:" Q}, "tensor '" Q "' is U8; no type lathe knows is stored so"},
    {{.meta_key = "type:" Q, .meta_value = "int9"}, "tensor '" Q "' is U8, and 'int9' by the metadata"},
    {{.meta_key = "type:" Q, .meta_value = "q4_0"}, "tensor '" Q "'"},
    {{.meta_key = "type:" Q, .meta_value = "int4:g16,asym"}, "tensor '" Q "' is U8 [36, 14], but int4:g16,asym"},
    {{.meta_key = "type:" Q, .meta_value = "int3:g16"}, "tensor '" Q ":scale' is F"},
    {{.meta_key = "type:" Q, .meta_value = "fp8"}, "tensor '" Q "' is U8 [36, 14]"},
    {{.meta_key = "shape:" Q}, "is of shape (none) by the metadata, and the model's is 36x36"},
    {{.meta_key = "shape:" Q, .meta_value = "36x37"}, "is of shape 36x37 by the metadata"},
    {{.add = Q ":offset"}, "tensor '" Q ":offset' is F"}};

static lt_status try_codes(lt_model *m, const char *path)
{
    lt_model *coded;
    lt_status status = lt_model_with_codes(m, path, &coded);
    TS_CHECK((status == LT_OK) == (coded != NULL), "a model or NULL");
    lt_model_free(coded);
    return status;
}

/* The file's bytes of a tensor, changed. */
static void poke(lt_ctx *ctx, const char *path, const char *tensor, size_t at, size_t n, const void *bytes)
{
    lt_tensors *file;
    if (!TS_OK(ctx, lt_tensors_open(ctx, path, &file))) return;
    uint64_t offset = lt_tensors_offset(file, lt_tensors_find(file, tensor));
    lt_tensors_close(file);
    FILE *f = fopen(path, "r+b");
    TS_CHECK(f && fseek(f, (long)(offset + at), SEEK_SET) == 0 && fwrite(bytes, n, 1, f) == 1, "%s is changed", path);
    if (f) fclose(f);
}

static void damaged_numbers(ts_place *p, lt_model *m, const char *path)
{
    const lt_real bad[] = {(lt_real)NAN, (lt_real)INFINITY, (lt_real)-INFINITY};
    const uint8_t ones = 0xff;
    lt_quant_policy policy = policy_of(p->ctx, "int3:asym", LT_SCALE_DYNAMIC);
    for (int i = 0; i < LTI_COUNT(bad); i++) {
        TS_OK(p->ctx, lt_export_codes(m, &policy, path, NULL));
        poke(p->ctx, path, Q ":scale", 2 * sizeof *bad, sizeof *bad, &bad[i]);
        TS_REFUSED(p->ctx, try_codes(m, path), LT_EFORMAT, "tensor '" Q ":scale': number 2 is a NaN or an infinity");
    }
    TS_OK(p->ctx, lt_export_codes(m, &policy, path, NULL));
    poke(p->ctx, path, Q, 13, 1, &ones); /* 108 bits a row */
    TS_REFUSED(p->ctx, try_codes(m, path), LT_EFORMAT, "tensor '" Q "': bits behind the last code of row 0 are set");
    policy = policy_of(p->ctx, "ternary", LT_SCALE_DYNAMIC);
    TS_OK(p->ctx, lt_export_codes(m, &policy, path, NULL));
    poke(p->ctx, path, Q, 10, 1, &ones);
    TS_REFUSED(p->ctx, try_codes(m, path), LT_EFORMAT, "tensor '" Q "': code 4 of row 1 is 3");
    policy = policy_of(p->ctx, "fp8", LT_SCALE_DYNAMIC);
    TS_OK(p->ctx, lt_export_codes(m, &policy, path, NULL));
    poke(p->ctx, path, Q, 10, 1, &ones);
    TS_REFUSED(p->ctx, try_codes(m, path), LT_EFORMAT,
               "tensor '" Q "': its codes and scales give a NaN or an infinity");
    policy = policy_of(p->ctx, "int4:g32", LT_SCALE_LSQ_PLUS);
    TS_OK(p->ctx, lt_qat_prepare(lt_model_params(m), &policy));
    TS_OK(p->ctx, lt_export_codes(m, &policy, path, NULL));
    poke(p->ctx, path, Q ":offset", 0, sizeof *bad, bad);
    TS_REFUSED(p->ctx, try_codes(m, path), LT_EFORMAT, "tensor '" Q ":offset': number 0 is a NaN");
}

static void damaged_files(void)
{
    ts_place p = ts_open_place();
    char whole[600], broken[600];
    snprintf(whole, sizeof whole, "%s", ts_at(&p, "whole.safetensors"));
    snprintf(broken, sizeof broken, "%s", ts_at(&p, "broken.safetensors"));
    lt_model *m = toy_model(p.ctx, LLAMA, 6);
    lt_quant_policy policy = policy_of(p.ctx, "int3:asym", LT_SCALE_DYNAMIC);
    policy.targets = "*.attn_[qv].weight";
    TS_OK(p.ctx, lt_export_codes(m, &policy, whole, NULL));
    toy_rewrite(p.ctx, whole, broken, &(toy_edit){.copied = kept});
    TS_OK(p.ctx, try_codes(m, broken)); /* the copy without a change */
    for (int i = 0; i < LTI_COUNT(damages); i++) {
        toy_edit edit = damages[i].edit;
        edit.copied = kept;
        toy_rewrite(p.ctx, whole, broken, &edit);
        TS_REFUSED(p.ctx, try_codes(m, broken), LT_EFORMAT, damages[i].words);
        TS_CHECK(strstr(lt_ctx_message(p.ctx), "broken.safetensors"), "case %d names the file", i);
    }
    damaged_numbers(&p, m, whole);
    toy_cut(whole, 5);
    TS_REFUSED(p.ctx, try_codes(m, whole), LT_EFORMAT, "whole.safetensors");
    lt_model_free(m);
    ts_close_place(&p);
}

/* ---- Memory ---- */

static lt_status attempt(lt_ctx *ctx, void *arg, bool *survived)
{
    lt_model *m, *file = NULL;
    lt_exported e = {0};
    lt_quant_policy policy;
    (void)survived;
    lt_quant_policy_init(&policy);
    policy.weights = (lt_scheme){.kind = LT_SCHEME_INT, .bits = 3, .asymmetric = true, .per = LT_PER_CHANNEL};
    lt_quant_rule rule = {"*.attn_v.weight", {.kind = LT_SCHEME_FP8}};
    policy.rules = &rule, policy.n_rules = 1;
    lt_status status = lt_model_create(ctx, "llama:layers=1,dim=32,hidden=48,heads=2", NULL, 1, &m);
    if (status == LT_OK) status = lt_export(m, &policy, arg, NULL, &e);
    if (status == LT_OK) status = lt_model_with_codes(m, arg, &file);
    lt_string_free(ctx, e.report);
    lt_model_free(file);
    lt_model_free(m);
    return status;
}

static void every_allocation_fails(void)
{
    ts_place p = ts_open_place();
    char path[600];
    snprintf(path, sizeof path, "%s", ts_at(&p, "c.safetensors"));
    toy_allocations_fail("exporting packed codes", 600, attempt, path);
    ts_close_place(&p);
}

int lti_suite_packed_damage(void)
{
    const ts_test tests[] = {{"damaged files", damaged_files}, {"every allocation fails", every_allocation_fails}};
    return ts_suite("packed_damage", LTI_COUNT(tests), tests) || toy_one_thread("packed_damage");
}
