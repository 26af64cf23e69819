/* gguf_types.c - the types of GGUF: of values, and how ggml stores tensors.
 *
 * Types that lathe computes with come from base/dtypes.def. Of the others only the size is here, so that a file that
 * holds some still opens, can be listed, and keeps its offsets. Sizes: ggml, type traits. */
#include "data/formats/gguf_file.h"

static const struct {
    const char *name;
    size_t bytes;
} values[] = {
    [LT_GGUF_U8] = {"u8", 1},       [LT_GGUF_I8] = {"i8", 1},     [LT_GGUF_U16] = {"u16", 2},
    [LT_GGUF_I16] = {"i16", 2},     [LT_GGUF_U32] = {"u32", 4},   [LT_GGUF_I32] = {"i32", 4},
    [LT_GGUF_F32] = {"f32", 4},     [LT_GGUF_BOOL] = {"bool", 1}, [LT_GGUF_STRING] = {"string", 0},
    [LT_GGUF_ARRAY] = {"array", 0}, [LT_GGUF_U64] = {"u64", 8},   [LT_GGUF_I64] = {"i64", 8},
    [LT_GGUF_F64] = {"f64", 8},
};

/* Neither in lathe nor gone from ggml. */
static const struct {
    uint32_t number;
    const char *name;
    int64_t block;
    uint64_t bytes;
} sized[] = {
    {9, "q8_1", 32, 36},      {15, "q8_k", 256, 292}, {16, "iq2_xxs", 256, 66}, {17, "iq2_xs", 256, 74},
    {18, "iq3_xxs", 256, 98}, {19, "iq1_s", 256, 50}, {21, "iq3_s", 256, 110},  {22, "iq2_s", 256, 82},
    {23, "iq4_xs", 256, 136}, {25, "i16", 1, 2},      {27, "i64", 1, 8},        {28, "f64", 1, 8},
    {29, "iq1_m", 256, 56},   {40, "nvfp4", 64, 36},  {41, "q1_0", 128, 18},    {42, "q2_0", 64, 18},
};

const char *lt_gguf_type_name(lt_gguf_type type)
{
    return (unsigned)type < LTI_COUNT(values) ? values[type].name : "?";
}

size_t lti_gguf_number_bytes(lt_gguf_type type)
{
    return (unsigned)type < LTI_COUNT(values) ? values[type].bytes : 0;
}

uint64_t lti_gguf_block_bytes(lt_dtype type)
{
    return type == LT_F32 ? 4 : lt_dtype_bytes(type);
}

bool lti_ggml_type_of(uint32_t number, lti_ggml_type *type)
{
    lt_dtype known;
    if (lti_dtype_of_gguf(number, &known)) {
        *type = (lti_ggml_type){lt_dtype_name(known), lt_dtype_block(known), lti_gguf_block_bytes(known), true, known};
        return true;
    }
    for (int i = 0; i < LTI_COUNT(sized); i++)
        if (sized[i].number == number) {
            *type = (lti_ggml_type){.name = sized[i].name, .block = sized[i].block, .bytes = sized[i].bytes};
            return true;
        }
    return false;
}
