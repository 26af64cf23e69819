/* test_packed_grids.c - exports of integer, ternary and 8-bit float grids: the file holds codes, scales and offsets, and
 * no more bytes than are told; they stand for the numbers of the final evaluation, bit for bit. The decoder here is written
 * from docs/quantization.md, a bit at a time. */
#include "lathe/formats.h"
#include "lathe/ptq.h"
#include "tests/toys.h"
#include "train/export.h"

#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>

/* Rows of 36: groups of 32 leave a tail, and 3 bits a gap behind each row. */
#define LLAMA "llama:layers=1,dim=36,hidden=44,heads=2,kv_heads=1,context=64"
#define CNN "cnn:filters=4,stages=2,height=8,width=8,channels=3,classes=5"

static lt_quant_policy policy_of(lt_ctx *ctx, const char *word, lt_scale_rule rule)
{
    lt_quant_policy policy;
    lt_quant_policy_init(&policy);
    TS_OK(ctx, lt_quant_policy_parse(ctx, word, &policy));
    policy.scale = rule;
    return policy;
}

/* ---- A decoder from the documentation ---- */

static unsigned bits_at(const uint8_t *bytes, int bits, int64_t i)
{
    unsigned v = 0;
    for (int b = 0; b < bits; b++) {
        int64_t at = i * bits + b;
        v |= (unsigned)(bytes[at / 8] >> at % 8 & 1) << b;
    }
    return v;
}

static double float8(unsigned code, int mantissa, int bias)
{
    int exponent = (int)(code & 127) >> mantissa, fraction = (int)code & ((1 << mantissa) - 1);
    double m = ldexp(fraction, -mantissa);
    double v = exponent ? ldexp(1 + m, exponent - bias) : ldexp(m, 1 - bias);
    return code & 128 ? -v : v;
}

typedef struct part {
    int index;
    lt_real *numbers; /* of :scale and :offset */
} part;

static part part_of(lt_ctx *ctx, const lt_tensors *file, const char *name, const char *suffix)
{
    char full[256];
    snprintf(full, sizeof full, "%s%s", name, suffix);
    part p = {.index = lt_tensors_find(file, full)};
    lt_stored stored = p.index < 0 ? LT_STORED_U8 : lt_tensors_dtype(file, p.index);
    if (stored != LT_STORED_U8 && stored != LT_STORED_I32) {
        p.numbers = calloc((size_t)lt_tensors_elements(file, p.index) + 1, sizeof *p.numbers);
        TS_OK(ctx, lt_tensors_load_real(file, p.index, p.numbers));
    }
    return p;
}

static const char *word_of(const lt_tensors *file, const char *what, const char *name)
{
    char key[256];
    snprintf(key, sizeof key, "%s:%s", what, name);
    return lt_tensors_metadata(file, key);
}

static int64_t zero_of(const lt_tensors *file, const part *zero, const lt_scheme *s, int bits, int64_t group)
{
    if (zero->index >= 0 && lt_tensors_dtype(file, zero->index) == LT_STORED_I32) {
        int32_t wide;
        memcpy(&wide, (const char *)lt_tensors_data(file, zero->index) + 4 * group, 4);
        return wide;
    }
    if (zero->index >= 0) return bits_at(lt_tensors_data(file, zero->index), bits, group);
    return s->asymmetric ? 0 : s->kind == LT_SCHEME_TERNARY ? 1 : 1 << (bits - 1);
}

/* How many numbers of the file's tensor are not the wanted ones. */
static int64_t decode_wrong(lt_ctx *ctx, const lt_tensors *file, const lt_scheme *s, const lt_param *want)
{
    const char *name = lt_param_name(want);
    int64_t rows = lt_param_shape(want)[0], columns = lt_param_count(want) / rows, wrong = 0;
    int bits = s->kind == LT_SCHEME_INT ? s->bits : s->kind == LT_SCHEME_TERNARY ? 2 : 8;
    int codes = lt_tensors_find(file, name);
    part scale = part_of(ctx, file, name, ":scale"), zero = part_of(ctx, file, name, ":zero"),
         offset = part_of(ctx, file, name, ":offset");
    if (!TS_CHECK(codes >= 0 && scale.numbers && lt_tensors_rank(file, codes) == 2 &&
                      lt_tensors_shape(file, codes)[1] == (columns * bits + 7) / 8,
                  "'%s' has its parts", name))
        return 1;
    for (int64_t i = 0; i < rows * columns; i++) {
        int64_t row = i / columns, column = i % columns, per_row = s->group ? (columns + s->group - 1) / s->group : 1;
        int64_t group = s->per == LT_PER_TENSOR ? 0 : row * per_row + (s->group ? column / s->group : 0);
        const uint8_t *bytes = (const uint8_t *)lt_tensors_data(file, codes) + row * ((columns * bits + 7) / 8);
        unsigned code = bits_at(bytes, bits, column);
        lt_real y, w = ((const lt_real *)lt_param_read(want))[i];
        if (s->kind == LT_SCHEME_FP8)
            y = (lt_real)float8(code, s->e5m2 ? 2 : 3, s->e5m2 ? 15 : 7) * scale.numbers[group];
        else
            y = (lt_real)((int64_t)code - zero_of(file, &zero, s, bits, group)) * scale.numbers[group] +
                (offset.numbers ? offset.numbers[group] : 0);
        wrong += memcmp(&y, &w, sizeof y) != 0;
    }
    free(scale.numbers), free(offset.numbers);
    return wrong;
}

/* ---- Files ---- */

/* Bytes behind the header. */
static uint64_t data_bytes(const char *path)
{
    struct stat info;
    size_t size;
    uint64_t header = 0;
    char *bytes = toy_read(path, &size);
    if (bytes) memcpy(&header, bytes, 8);
    free(bytes);
    return stat(path, &info) == 0 ? (uint64_t)info.st_size - 8 - header : 0;
}

static void tensors_decode(lt_ctx *ctx, lt_model *m, const lt_quant_policy *policy, const lt_params *codes,
                           const char *path, const char *what)
{
    lt_tensors *file;
    int packed = 0;
    if (!TS_OK(ctx, lt_tensors_open(ctx, path, &file))) return;
    for (int i = 0; i < lt_params_count(codes); i++) {
        const lt_param *p = lt_params_at(codes, i);
        lt_scheme s = lt_quant_scheme(policy, lt_params_find(lt_model_params(m), lt_param_name(p))), read;
        const char *type = word_of(file, "type", lt_param_name(p));
        if (s.kind == LT_SCHEME_TYPE) continue;
        packed++;
        TS_CHECK(type && lt_scheme_parse(ctx, type, &read) == LT_OK && lt_scheme_same(&s, &read), "%s: '%s' is %s",
                 what, lt_param_name(p), type ? type : "not packed");
        int64_t wrong = type ? decode_wrong(ctx, file, &s, p) : 1;
        TS_CHECK(wrong == 0, "%s: %lld numbers of '%s' are others", what, (long long)wrong, lt_param_name(p));
    }
    TS_CHECK(packed > 0, "%s: something is packed", what);
    lt_tensors_close(file);
}

static void reads_the_same(lt_ctx *ctx, lt_model *m, const lt_params *codes, const char *path, const char *what)
{
    lt_model *coded = NULL;
    if (!TS_OK(ctx, lt_model_with_codes(m, path, &coded))) return;
    for (int i = 0; i < lt_params_count(codes); i++) {
        const lt_param *a = lt_params_at(codes, i), *b = lt_params_find(lt_model_params(coded), lt_param_name(a));
        TS_CHECK(b && ts_same_bytes(lt_param_bytes(a), lt_param_read(a), lt_param_read(b)) && !lt_param_trainable(b),
                 "%s: '%s' reads back", what, lt_param_name(a));
    }
    lt_model_free(coded);
}

/* The file of a policy on the model: numbers, bytes, what is told. */
static void check_file(ts_place *p, lt_model *m, const lt_quant_policy *policy, const char *what)
{
    lt_params *codes = NULL;
    lt_exported e = {0};
    char path[600];
    snprintf(path, sizeof path, "%s", ts_at(p, "codes.safetensors"));
    if (TS_OK(p->ctx, lt_export(m, policy, path, NULL, &e)) &&
        TS_OK(p->ctx, lt_quantize_params(lt_model_params(m), policy, &codes))) {
        uint64_t told = 0;
        for (int i = 0; i < lt_params_count(lt_model_params(m)); i++) {
            const lt_param *w = lt_params_at(lt_model_params(m), i);
            if (lt_param_role(w) == LT_WEIGHT) told += lti_deployed_bytes(w, policy);
        }
        TS_CHECK(data_bytes(path) == e.bytes && e.bytes == told, "%s: %llu bytes in the file, %llu proved, %llu told",
                 what, (unsigned long long)data_bytes(path), (unsigned long long)e.bytes, (unsigned long long)told);
        TS_CHECK(e.tensors == lt_params_count(codes) && e.weights == lt_model_parameters(m), "%s: all is compared",
                 what);
        TS_CHECK(e.report && !strstr(e.report, "as floats") && strstr(e.report, "identical\n"), "%s: %s", what,
                 e.report);
        tensors_decode(p->ctx, m, policy, codes, path, what);
        reads_the_same(p->ctx, m, codes, path, what);
    }
    lt_string_free(p->ctx, e.report);
    lt_params_free(codes);
}

static const char *const words[] = {
    "int2",         "int3:g32",      "int4:g32",         "int4:g32,half", "int5:tensor",
    "int6:g7",      "int7:g32,full", "int8:channel",     "int4:g32,asym", "int3:asym,half",
    "int8:g5,asym", "ternary",       "ternary:g16,half", "fp8",           "fp8:e5m2,tensor"};

static void files_hold_the_codes(void)
{
    static const char *const inits[] = {LLAMA, CNN};
    for (int k = 0; k < LTI_COUNT(inits); k++) {
        ts_place p = ts_open_place();
        lt_model *m = toy_model(p.ctx, inits[k], 5);
        for (int i = 0; i < LTI_COUNT(words); i++)
            for (int mse = 0; mse < 2; mse++) {
                lt_quant_policy policy = policy_of(p.ctx, words[i], mse ? LT_SCALE_MSE : LT_SCALE_DYNAMIC);
                char what[96];
                snprintf(what, sizeof what, "%.5s %s%s", inits[k], words[i], mse ? ", mse" : "");
                if (!mse || policy.weights.kind != LT_SCHEME_FP8) check_file(&p, m, &policy, what);
            }
        lt_model_free(m);
        ts_close_place(&p);
    }
}

/* Scales that training moved away from what the weights say; and a range that does not have 0 in it. */
static void move_scales(lt_model *m, lt_scale_rule rule)
{
    lt_params *params = lt_model_params(m);
    for (int i = 0; i < lt_params_count(params); i++) {
        lt_param *s = lt_params_at(params, i);
        lt_real *x = lt_param_data(s);
        const char *name = lt_param_name(s);
        bool scale = lti_ends_with(name, ":scale"), offset = lti_ends_with(name, ":offset");
        for (int64_t k = 0; (scale || offset) && k < lt_param_count(s); k++) {
            x[k] *= (lt_real)(1 + 0.3 * ts_uniform(name, k));
            if (rule == LT_SCALE_RANGE && k == 1) x[k] = (lt_real)(offset ? 0.013 : 0.004);
        }
        if (scale || offset) lt_param_touch(s);
    }
}

static void learned_scales(void)
{
    static const struct {
        const char *word;
        lt_scale_rule rule;
    } cases[] = {{"int4:g32", LT_SCALE_LSQ},         {"int3:half", LT_SCALE_LSQ},
                 {"ternary:g16", LT_SCALE_LSQ},      {"int4:g32", LT_SCALE_LSQ_PLUS},
                 {"int4:asym", LT_SCALE_LSQ_PLUS},   {"int5:half", LT_SCALE_LSQ_PLUS},
                 {"int4:g32", LT_SCALE_RANGE},       {"int4:g32,asym", LT_SCALE_RANGE},
                 {"int8:asym,half", LT_SCALE_RANGE}, {"int3:tensor,full", LT_SCALE_LSQ}};
    const lt_quant_rule mixed = {"*.attn_v.weight", {.kind = LT_SCHEME_FP8, .per = LT_PER_CHANNEL}};
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        ts_place p = ts_open_place();
        lt_model *m = toy_model(p.ctx, LLAMA, 5);
        lt_quant_policy policy = policy_of(p.ctx, cases[i].word, cases[i].rule);
        policy.rules = &mixed, policy.n_rules = 1; /* has no scales to learn */
        char what[64];
        snprintf(what, sizeof what, "%s, %s", cases[i].word, lt_scale_rule_name(cases[i].rule));
        if (TS_OK(p.ctx, lt_qat_prepare(lt_model_params(m), &policy))) {
            move_scales(m, cases[i].rule);
            check_file(&p, m, &policy, what);
        }
        lt_model_free(m);
        ts_close_place(&p);
    }
}

/* Weights of products in integers are rounded as activations are, not as the grid's kernel does; some are zeros. */
static void other_roundings(void)
{
    ts_place p = ts_open_place();
    lt_model *m = toy_model(p.ctx, LLAMA, 5);
    lt_quant_policy policy = policy_of(p.ctx, "w8a8", LT_SCALE_DYNAMIC);
    lt_param *w = lt_params_find(lt_model_params(m), "blk.0.attn_k.weight");
    memset(lt_param_data(w), 0, lt_param_bytes(w) / 2);
    lt_param_touch(w);
    check_file(&p, m, &policy, "w8a8");
    for (int i = 0; i < LTI_COUNT(words); i++) {
        policy = policy_of(p.ctx, words[i], LT_SCALE_DYNAMIC);
        check_file(&p, m, &policy, "rows of zeros");
    }
    lt_model_free(m);
    ts_close_place(&p);
}

/* What is told of a model read from such a file is the file's size, and its loss is the one of training. */
static void evaluates_the_same(void)
{
    ts_place p = ts_open_place();
    lt_model *m = toy_model(p.ctx, LLAMA, 5);
    lt_dataset *text = toy_text(p.ctx, m, LT_SPLIT_ALL);
    for (int i = 0; i < LTI_COUNT(words); i++) {
        lt_quant_policy policy = policy_of(p.ctx, words[i], LT_SCALE_DYNAMIC), read = policy;
        lt_eval_result trained, shipped[2];
        lt_model *coded = NULL;
        read.on_grid = true;
        if (TS_OK(p.ctx, lt_export_codes(m, &policy, ts_at(&p, "c.safetensors"), NULL)) &&
            TS_OK(p.ctx, lt_model_with_codes(m, ts_at(&p, "c.safetensors"), &coded)) &&
            TS_OK(p.ctx, lt_evaluate(m, text, &policy, 0, &trained)) &&
            TS_OK(p.ctx, lt_evaluate(coded, text, NULL, 0, &shipped[0])) &&
            TS_OK(p.ctx, lt_evaluate(coded, text, &read, 0, &shipped[1]))) {
            uint64_t bytes = data_bytes(ts_at(&p, "c.safetensors"));
            TS_CHECK(trained.model_bytes == bytes && shipped[0].model_bytes == bytes && shipped[1].model_bytes == bytes,
                     "%s: %llu bytes, and %llu, %llu and %llu are told", words[i], (unsigned long long)bytes,
                     (unsigned long long)trained.model_bytes, (unsigned long long)shipped[0].model_bytes,
                     (unsigned long long)shipped[1].model_bytes);
            TS_CHECK(fabs(trained.nll - shipped[0].nll) <= 1e-6 * trained.nll && shipped[0].nll == shipped[1].nll,
                     "%s: nll %.9g, %.9g of the file", words[i], trained.nll, shipped[0].nll);
        }
        lt_model_free(coded);
    }
    lt_dataset_free(text);
    lt_model_free(m);
    ts_close_place(&p);
}

/* ---- Somebody else's codes ---- */

static void rounded_after_training(void)
{
    static const lt_ptq_method methods[] = {LT_PTQ_RTN, LT_PTQ_MSE, LT_PTQ_IMATRIX, LT_PTQ_GPTQ, LT_PTQ_AWQ};
    ts_place p = ts_open_place();
    for (int i = 0; i < LTI_COUNT(words) * LTI_COUNT(methods); i++) {
        const char *word = words[i / LTI_COUNT(methods)];
        lt_model *m = toy_model(p.ctx, LLAMA, 1);
        lt_dataset *data = toy_text(p.ctx, m, LT_SPLIT_ALL);
        lt_quant_policy policy = policy_of(p.ctx, word, LT_SCALE_DYNAMIC);
        lt_ptq_config c;
        lt_ptq *done = NULL;
        lt_export_options o;
        lt_exported e = {0};
        char what[96];
        lt_ptq_config_init(&c);
        lt_export_options_init(&o);
        c.method = methods[i % LTI_COUNT(methods)];
        snprintf(what, sizeof what, "%s %s", lt_ptq_method_name(c.method), word);
        if (TS_OK(p.ctx, lt_ptq_run(m, data, &policy, &c, &done))) {
            lti_codes_proof proof;
            lti_text notes = {.ctx = p.ctx};
            const lti_packgrid_source by_name = {.rounded = done};
            o.codes = lt_ptq_codes(done);
            TS_OK(p.ctx, lt_export(m, &policy, ts_at(&p, "a.safetensors"), &o, &e));
            TS_CHECK(e.report && !strstr(e.report, "as floats"), "%s: %s", what, e.report);
            tensors_decode(p.ctx, m, &policy, o.codes, ts_at(&p, "a.safetensors"), what);
            reads_the_same(p.ctx, m, o.codes, ts_at(&p, "a.safetensors"), what);
            TS_OK(p.ctx,
                  lti_codes_file_pack(p.ctx, &by_name, o.codes, ts_at(&p, "b.safetensors"), NULL, 0, &notes, &proof));
            TS_CHECK(proof.bytes == e.bytes && !notes.data, "%s: grids by the tensors' names, too", what);
            int count;
            const lt_ptq_tensor *t = lt_ptq_tensors(done, &count);
            for (int k = 0; k < count; k++)
                TS_CHECK(t[k].bytes == lti_deployed_bytes(lt_params_find(lt_model_params(m), t[k].name), &policy),
                         "%s: %zu bytes of '%s'", what, t[k].bytes, t[k].name);
        }
        lt_string_free(p.ctx, e.report);
        lt_ptq_free(done);
        lt_dataset_free(data);
        lt_model_free(m);
    }
    ts_close_place(&p);
}

/* Numbers on no grid are floats in the file, and that is said; a file of floats alone is read as ever. */
static void numbers_on_no_grid(void)
{
    ts_place p = ts_open_place();
    lt_model *m = toy_model(p.ctx, LLAMA, 5);
    lt_quant_policy policy = policy_of(p.ctx, "int4:g32", LT_SCALE_DYNAMIC);
    lt_params *codes = NULL;
    lti_codes_proof proof;
    lti_text notes = {.ctx = p.ctx};
    if (TS_OK(p.ctx, lt_quantize_params(lt_model_params(m), &policy, &codes))) {
        lt_param *w = lt_params_find(codes, "blk.0.ffn_up.weight");
        ((lt_real *)lt_param_data(w))[7] *= (lt_real)1.01;
        const lti_packgrid_source from = {.policy = &policy, .weights = lt_model_params(m)};
        TS_OK(p.ctx, lti_codes_file_pack(p.ctx, &from, codes, ts_at(&p, "c.safetensors"), NULL, 0, &notes, &proof));
        TS_CHECK(notes.data && !strcmp(notes.data, "blk.0.ffn_up.weight: no codes of int4:g32 give its numbers bit for "
                                                   "bit: written as floats\n"),
                 "said: %s", notes.data);
        reads_the_same(p.ctx, m, codes, ts_at(&p, "c.safetensors"), "one of floats");
        const lti_packgrid_source nothing = {.policy = NULL};
        TS_OK(p.ctx, lti_codes_file_pack(p.ctx, &nothing, codes, ts_at(&p, "old.safetensors"), NULL, 0, NULL, &proof));
        reads_the_same(p.ctx, m, codes, ts_at(&p, "old.safetensors"), "all of floats");
    }
    lti_text_free(&notes);
    lt_params_free(codes);
    lt_model_free(m);
    ts_close_place(&p);
}

/* Tensors without a model, filters and matrices. */
static void files_of_tensors(void)
{
    ts_place p = ts_open_place();
    lt_model *m = toy_model(p.ctx, CNN, 5);
    lti_codes_proof proof;
    const lti_packgrid_source nothing = {.policy = NULL};
    char in[600], out[600];
    snprintf(in, sizeof in, "%s", ts_at(&p, "in.safetensors"));
    snprintf(out, sizeof out, "%s", ts_at(&p, "out.safetensors"));
    TS_OK(p.ctx, lti_codes_file_pack(p.ctx, &nothing, lt_model_params(m), in, NULL, 0, NULL, &proof));
    for (int i = 0; i < LTI_COUNT(words); i++) {
        lt_quant_policy policy = policy_of(p.ctx, words[i], LT_SCALE_DYNAMIC);
        lt_ptq_config c;
        lt_ptq *done = NULL;
        lt_ptq_config_init(&c);
        if (!TS_OK(p.ctx, lt_ptq_tensors_file(p.ctx, in, out, &policy, &c, &done))) continue;
        int count;
        const lt_ptq_tensor *t = lt_ptq_tensors(done, &count);
        uint64_t bytes = data_bytes(in);
        for (int k = 0; k < count; k++)
            bytes += t[k].bytes - lt_param_bytes(lt_params_find(lt_model_params(m), t[k].name));
        TS_CHECK(count > 4 && data_bytes(out) == bytes, "%s: %llu bytes, and %llu are told", words[i],
                 (unsigned long long)data_bytes(out), (unsigned long long)bytes);
        tensors_decode(p.ctx, m, &policy, lt_ptq_codes(done), out, words[i]);
        lt_ptq_free(done);
    }
    lt_model_free(m);
    ts_close_place(&p);
}

static void threads_write_the_same(void)
{
    ts_place p = ts_open_place();
    lt_model *m = toy_model(p.ctx, LLAMA, 5);
    for (int i = 0; i < LTI_COUNT(words); i++) {
        lt_quant_policy policy = policy_of(p.ctx, words[i], LT_SCALE_DYNAMIC);
        char hash[2][33];
        for (int k = 0; k < 2; k++) {
            lt_set_threads(1 + k);
            TS_OK(p.ctx, lt_export_codes(m, &policy, ts_at(&p, "c.safetensors"), NULL));
            TS_OK(p.ctx, lt_file_hash(p.ctx, ts_at(&p, "c.safetensors"), hash[k]));
        }
        TS_CHECK(!strcmp(hash[0], hash[1]), "%s: one file for any number of threads", words[i]);
    }
    lt_set_threads(1);
    lt_model_free(m);
    ts_close_place(&p);
}

int lti_suite_packed_grids(void)
{
    const ts_test tests[] = {{"files hold the codes", files_hold_the_codes},
                             {"learned scales", learned_scales},
                             {"other roundings", other_roundings},
                             {"evaluates the same", evaluates_the_same},
                             {"rounded after training", rounded_after_training},
                             {"numbers on no grid", numbers_on_no_grid},
                             {"files of tensors", files_of_tensors},
                             {"threads", threads_write_the_same}};
    return ts_suite("packed_grids", LTI_COUNT(tests), tests) || toy_one_thread("packed_grids");
}
