/* test_packed_ternary.c - directories of BitNet models whose weights are packed four trits a byte, as Transformers saves
 * them: they open with the numbers they stand for, compute what the same numbers in floats compute, and what is damaged
 * or stored otherwise is refused. Transformers' own packing of one weight is in test_quantized_formats.c. */
#include "lathe/convert.h"
#include "models/packed.h"
#include "tests/toys.h"

#include <math.h>

#define SHAPE "bitnet:layers=1,dim=32,hidden=48,heads=4,kv_heads=2,context=64"
#define WIDE "bitnet:layers=1,dim=256,hidden=256,heads=4,kv_heads=2,context=64"

enum { MOST = 32 };

static int trit_of(lt_real x)
{
    return x > (lt_real)0.01 ? 1 : x < (lt_real)-0.01 ? -1 : 0;
}

typedef struct packer {
    lt_tensor_entry entries[2 * MOST];
    int64_t shapes[MOST][2];
    char names[2 * MOST][160];
    uint8_t *bytes[MOST];
    int count, packed;
} packer;

/* Rows k, k + quarter, .. of a column share a byte. The model gets the numbers that are stood for. */
static void pack_weight(packer *p, lt_param *w, const float *scale, bool divides)
{
    static const int64_t one = 1;
    int64_t rows = lt_param_shape(w)[0], columns = lt_param_shape(w)[1], quarter = rows / 4;
    lt_real *x = lt_param_data(w), by = divides ? 1 / (lt_real)*scale : (lt_real)*scale;
    uint8_t *bytes = p->bytes[p->packed] = calloc((size_t)(quarter * columns), 1);
    int64_t *shape = p->shapes[p->packed++];
    for (int64_t i = 0; i < rows * columns; i++) {
        bytes[i % (quarter * columns)] |= (uint8_t)((trit_of(x[i]) + 1) << 2 * (i / (quarter * columns)));
        x[i] = (lt_real)trit_of(x[i]) * by;
    }
    shape[0] = quarter, shape[1] = columns;
    lt_tensor_entry *e = &p->entries[p->count];
    *e = (lt_tensor_entry){.name = p->names[p->count], .dtype = LT_STORED_U8, .rank = 2, .shape = shape, .data = bytes};
    p->count++;
    char name[160];
    memcpy(name, p->names[p->count - 1], sizeof name);
    snprintf(p->names[p->count], sizeof p->names[0], "%.140s_scale", name);
    p->entries[p->count] =
        (lt_tensor_entry){.name = p->names[p->count], .dtype = LT_STORED_F32, .rank = 1, .shape = &one, .data = scale};
    p->count++;
    lt_param_touch(w);
}

/* The model's directory with its linear layers packed and `config` as its quantization_config. */
static void save_scaled(ts_place *place, lt_model *m, const char *config, bool divides, float scale)
{
    packer p = {.count = 0};
    char path[300];
    TS_OK(place->ctx, lt_model_save(m, place->dir, "F32"));
    for (int i = 0; i < lt_params_count(lt_model_params(m)); i++) {
        lt_param *w = lt_params_at(lt_model_params(m), i);
        (void)lt_model_hf_name(m, lt_param_name(w), p.names[p.count], sizeof p.names[0]);
        if (lt_param_rank(w) == 2 && strcmp(lt_param_name(w), "token_embd.weight")) {
            pack_weight(&p, w, &scale, divides);
            continue;
        }
        p.entries[p.count] = (lt_tensor_entry){.name = p.names[p.count],
                                               .dtype = sizeof(lt_real) == 8 ? LT_STORED_F64 : LT_STORED_F32,
                                               .rank = lt_param_rank(w),
                                               .shape = lt_param_shape(w),
                                               .data = lt_param_read(w)};
        p.count++;
    }
    snprintf(path, sizeof path, "%s/model.safetensors", place->dir);
    TS_OK(place->ctx, lt_tensors_write(place->ctx, path, p.entries, p.count, NULL, 0, NULL));
    toy_set_json(ts_at(place, "config.json"), "quantization_config", config);
    for (int i = 0; i < p.packed; i++) free(p.bytes[i]);
}

static void save_packed(ts_place *place, lt_model *m, const char *config, bool divides)
{
    save_scaled(place, m, config, divides, 0.25f);
}

static void opened(void)
{
    static const char *const configs[] = {"{\"quant_method\":\"bitnet\"}",
                                          "{\"quant_method\":\"bitnet\",\"linear_class\":\"autobitlinear\","
                                          "\"quantization_mode\":\"offline\",\"use_rms_norm\":false}"};
    const int32_t tokens[] = {256, 104, 101, 32, 120, 121, 33, 7};
    for (int i = 0; i < 4; i++) {
        ts_place p = ts_open_place();
        lt_model *m = toy_model(p.ctx, SHAPE, 3), *read = NULL;
        save_packed(&p, m, configs[i % 2], i % 2 == 0);
        TS_OK(p.ctx, i < 2 ? lt_model_open(p.ctx, p.dir, &read) : lt_model_open_frozen(p.ctx, p.dir, &read));
        if (read) {
            if (i < 2) toy_same_weights(m, read, configs[i % 2]);
            lt_real *a = toy_logits(m, tokens, 8), *b = toy_logits(read, tokens, 8);
            double far = ts_distance_real(8 * lt_model_vocab(m), a, b);
            TS_CHECK(far == 0, "logits are %g away", far);
            free(a), free(b);
        }
        lt_model_free(read);
        lt_model_free(m);
        ts_close_place(&p);
    }
}

/* The numbers that the model has, in a file of this type. */
static void same_in_gguf(ts_place *p, const lt_model *m, const char *type, const char *line, const char *kept)
{
    char from[300], *report = NULL;
    lt_convert_options o;
    lt_model *read = NULL;
    lt_convert_options_init(&o);
    o.type = type;
    snprintf(from, sizeof from, "%s", p->dir);
    if (!TS_OK(p->ctx, lt_convert(p->ctx, from, ts_at(p, "model.gguf"), &o, &report))) return;
    TS_CHECK(strstr(report, line) && strstr(report, kept), "%s: %s", line, report);
    lt_string_free(p->ctx, report);
    if (TS_OK(p->ctx, lt_model_open(p->ctx, p->path, &read))) {
        for (int i = 0; i < lt_params_count(lt_model_params(m)); i++) {
            const lt_param *x = lt_params_at(lt_model_params(m), i),
                           *y = lt_params_find(lt_model_params(read), lt_param_name(x));
            bool packed = lt_param_rank(x) == 2 && !strstr(lt_param_name(x), "embd");
            double off = y ? ts_distance_real(lt_param_count(x), lt_param_read(y), lt_param_read(x)) : 1;
            TS_CHECK(off <= (packed || !type ? ts_tolerance(1e-7, 0) : 1), "%s, %s: %g off", line, lt_param_name(x),
                     off);
        }
    }
    lt_model_free(read);
}

/* Trits and their scale are what tq2_0 and q4_0 hold, when the scale is f16. */
static void converted(void)
{
    static const struct {
        const char *init, *type;
        float scale;
        const char *line, *kept;
    } rows[] = {
        {WIDE, NULL, 0.25f, "tq2_0: 7 tensors", "kept: 7 quantized"},
        {WIDE, "q4_0", 0.25f, "q4_0: 7 tensors", "kept: 7 quantized"},
        {WIDE, "q8_0", -4, "q8_0: 8 tensors", "kept: 7 quantized"},
        {WIDE, NULL, 0, "tq2_0: 7 tensors", "kept: 7 quantized"},
        {SHAPE, NULL, 0.25f, "q4_0: 6 tensors", "unpacked: 1 quantized"}, /* rows of 48 are no blocks */
        {WIDE, NULL, 0.1f, "f32: 13 tensors", "unpacked: 7 quantized"},
    };
    for (int i = 0; i < LTI_COUNT(rows); i++) {
        bool divides = i == 0;
        ts_place p = ts_open_place();
        lt_model *m = toy_model(p.ctx, rows[i].init, 3);
        save_scaled(&p, m,
                    divides ? "{\"quant_method\":\"bitnet\"}"
                            : "{\"quant_method\":\"bitnet\",\"linear_class\":\"autobitlinear\"}",
                    divides, rows[i].scale);
        same_in_gguf(&p, m, rows[i].type, rows[i].line, rows[i].kept);
        lt_model_free(m);
        ts_close_place(&p);
    }
}

static void refused(void)
{
    static const struct {
        const char *config, *why;
    } rows[] = {
        {"{\"quant_method\":\"bitnet\",\"quantization_mode\":\"online\"}", "'quantization_mode' is \"online\""},
        {"{\"quant_method\":\"bitnet\",\"quantization_mode\":1}", "'quantization_mode' is 1"},
        {"{\"quant_method\":\"bitnet\",\"linear_class\":\"onebit\"}", "'linear_class' is \"onebit\""},
        {"{\"quant_method\":\"bitnet\",\"use_rms_norm\":true}", "'use_rms_norm' is true"},
    };
    ts_place p = ts_open_place();
    lt_model *m = toy_model(p.ctx, SHAPE, 3), *read = NULL;
    for (int i = 0; i < LTI_COUNT(rows); i++) {
        save_packed(&p, m, rows[i].config, true);
        TS_REFUSED(p.ctx, lt_model_open(p.ctx, p.dir, &read), LT_EUNSUPPORTED, rows[i].why);
    }
    lt_model_free(m);
    ts_close_place(&p);
}

/* Bytes with a fourth code, and weights of another shape. */
static void damaged(void)
{
    static const float scale = 1;
    uint8_t bytes[8] = {0, 1, 2, 0x5a, 0xc0, 0, 0, 0};
    const int64_t shape[] = {2, 4}, one = 1;
    const lt_tensor_entry entries[] = {
        {.name = "w.weight", .dtype = LT_STORED_U8, .rank = 2, .shape = shape, .data = bytes},
        {.name = "w.weight_scale", .dtype = LT_STORED_F32, .rank = 1, .shape = &one, .data = &scale}};
    const lti_packed packed = {.packing = LTI_PACKED_TERNARY};
    lti_tensor t = {.name = "w.weight", .rank = 2, .shape = {8, 4}};
    lt_real x[64];
    ts_place p = ts_open_place();
    lti_weights w = {.ctx = p.ctx};
    TS_OK(p.ctx, lt_tensors_write(p.ctx, ts_at(&p, "w.safetensors"), entries, 2, NULL, 0, NULL));
    if (TS_OK(p.ctx, lt_tensors_open(p.ctx, ts_at(&p, "w.safetensors"), &w.tensors))) {
        TS_REFUSED(p.ctx, lti_packed_read(&packed, &w, &t, "w.weight", x), LT_EFORMAT, "byte 4 is 192");
        t.shape[0] = 12;
        TS_REFUSED(p.ctx, lti_packed_read(&packed, &w, &t, "w.weight", x), LT_EFORMAT, "config.json makes it U8 of");
        t.shape[0] = 9;
        TS_REFUSED(p.ctx, lti_packed_read(&packed, &w, &t, "w.weight", x), LT_EFORMAT, "9 rows");
    }
    lti_weights_close(&w);
    ts_close_place(&p);
}

/* Scales that make no numbers. */
static void damaged_scales(void)
{
    static const struct {
        float scale;
        bool divides;
        const char *words;
    } rows[] = {{NAN, false, "of 'model.layers.0."}, {INFINITY, true, "is inf"}, {0, true, "divided by"}};
    ts_place p = ts_open_place();
    lt_model *m = toy_model(p.ctx, SHAPE, 3), *read = NULL;
    for (int i = 0; i < LTI_COUNT(rows); i++) {
        save_scaled(&p, m,
                    rows[i].divides ? "{\"quant_method\":\"bitnet\"}"
                                    : "{\"quant_method\":\"bitnet\",\"linear_class\":\"autobitlinear\"}",
                    rows[i].divides, rows[i].scale);
        TS_REFUSED(p.ctx, lt_model_open(p.ctx, p.dir, &read), LT_EFORMAT, rows[i].words);
    }
    lt_model_free(m);
    ts_close_place(&p);
}

int lti_suite_packed_ternary(void)
{
    const ts_test tests[] = {{"opened", opened},
                             {"converted", converted},
                             {"refused", refused},
                             {"damaged", damaged},
                             {"damaged scales", damaged_scales}};
    return ts_suite("packed_ternary", LTI_COUNT(tests), tests) || toy_one_thread("packed_ternary");
}
