/* h5_types.c - element types of tensors and of HDF5.
 *
 * HDF5 has no bfloat16 and no 8-bit floats (before 2.0). They are written as unsigned integers of their size with the
 * name that NumPy's extension types use in an attribute "dtype": a reader that knows nothing of it sees the bits. A
 * 16-bit float with bfloat16's fields, as other programs write it, is read as what it is. */
#include "data/helper/h5_helper.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    lt_stored stored;
    const char *name;
} labels[] = {
    {LT_STORED_BF16, "bfloat16"},
    {LT_STORED_F8_E5M2, "float8_e5m2"},
    {LT_STORED_F8_E4M3, "float8_e4m3fn"},
    {LT_STORED_F8_E8M0, "float8_e8m0fnu"},
    {LT_STORED_F8_E4M3FNUZ, "float8_e4m3fnuz"},
    {LT_STORED_F8_E5M2FNUZ, "float8_e5m2fnuz"},
};

#define LABELS (sizeof labels / sizeof labels[0])

const char *helper_label(lt_stored stored)
{
    for (size_t i = 0; i < LABELS; i++)
        if (labels[i].stored == stored) return labels[i].name;
    return NULL;
}

/* A 16-bit float: sign, exponent, mantissa from the top down. */
static hid_t small_float(size_t exponent_bits, H5T_order_t order)
{
    hid_t type = H5Tcopy(H5T_IEEE_F32LE);
    size_t mantissa_bits = 15 - exponent_bits;
    H5Tset_fields(type, 15, mantissa_bits, exponent_bits, 0, mantissa_bits);
    H5Tset_size(type, 2);
    H5Tset_ebias(type, ((size_t)1 << (exponent_bits - 1)) - 1);
    H5Tset_order(type, order);
    return type;
}

/* As h5py writes booleans. */
static hid_t boolean(void)
{
    const signed char no = 0, yes = 1;
    hid_t type = H5Tenum_create(H5T_STD_I8LE);
    H5Tenum_insert(type, "FALSE", &no);
    H5Tenum_insert(type, "TRUE", &yes);
    return type;
}

hid_t helper_type(lt_stored stored)
{
    switch (stored) {
    case LT_STORED_BOOL: return boolean();
    case LT_STORED_U8:
    case LT_STORED_F8_E5M2:
    case LT_STORED_F8_E4M3:
    case LT_STORED_F8_E8M0:
    case LT_STORED_F8_E4M3FNUZ:
    case LT_STORED_F8_E5M2FNUZ: return H5T_STD_U8LE;
    case LT_STORED_I8: return H5T_STD_I8LE;
    case LT_STORED_I16: return H5T_STD_I16LE;
    case LT_STORED_U16:
    case LT_STORED_BF16: return H5T_STD_U16LE;
    case LT_STORED_F16: return small_float(5, H5T_ORDER_LE);
    case LT_STORED_I32: return H5T_STD_I32LE;
    case LT_STORED_U32: return H5T_STD_U32LE;
    case LT_STORED_F32: return H5T_IEEE_F32LE;
    case LT_STORED_F64: return H5T_IEEE_F64LE;
    case LT_STORED_I64: return H5T_STD_I64LE;
    case LT_STORED_U64: return H5T_STD_U64LE;
    default: return -1;
    }
}

bool helper_text_attribute(hid_t object, const char *name, char **text)
{
    *text = NULL;
    if (H5Aexists(object, name) <= 0) return false;
    hid_t attribute = H5Aopen(object, name, H5P_DEFAULT);
    if (attribute < 0) return false;
    hid_t type = H5Aget_type(attribute), space = H5Aget_space(attribute);
    size_t size = H5Tget_size(type);
    if (H5Tget_class(type) == H5T_STRING && H5Sget_simple_extent_npoints(space) == 1) {
        if (H5Tis_variable_str(type) > 0) {
            char *found = NULL;
            if (H5Aread(attribute, type, &found) >= 0 && found) *text = strdup(found);
            H5free_memory(found);
        } else if (size <= 1 << 20 && (*text = calloc(size + 1, 1)) && H5Aread(attribute, type, *text) < 0) {
            free(*text);
            *text = NULL;
        } else if (*text && H5Tget_strpad(type) == H5T_STR_SPACEPAD) {
            while (size > 0 && (*text)[size - 1] == ' ') (*text)[--size] = 0;
        }
    }
    H5Tclose(type);
    H5Sclose(space);
    H5Aclose(attribute);
    return *text != NULL;
}

static bool integer(hid_t set, hid_t type, lt_stored *stored)
{
    static const lt_stored with_sign[] = {LT_STORED_I8, LT_STORED_I16, LT_STORED_I32, LT_STORED_I64};
    static const lt_stored without[] = {LT_STORED_U8, LT_STORED_U16, LT_STORED_U32, LT_STORED_U64};
    size_t size = H5Tget_size(type);
    int power = size == 1 ? 0 : size == 2 ? 1 : size == 4 ? 2 : size == 8 ? 3 : -1;
    if (power < 0 || H5Tget_precision(type) != 8 * size || H5Tget_offset(type) != 0) return false;
    if (H5Tget_order(type) != H5T_ORDER_LE && H5Tget_order(type) != H5T_ORDER_BE) return false;
    *stored = H5Tget_sign(type) == H5T_SGN_2 ? with_sign[power] : without[power];
    char *label;
    if ((*stored != LT_STORED_U8 && *stored != LT_STORED_U16) || !helper_text_attribute(set, HELPER_LABEL, &label))
        return true;
    for (size_t i = 0; i < LABELS; i++)
        if (strcmp(label, labels[i].name) == 0 && (labels[i].stored == LT_STORED_BF16) == (size == 2))
            *stored = labels[i].stored;
    free(label);
    return true;
}

static bool equal_to_new(hid_t type, hid_t other)
{
    bool same = H5Tequal(type, other) > 0;
    H5Tclose(other);
    return same;
}

bool helper_stored(hid_t set, lt_stored *stored, hid_t *memory)
{
    hid_t type = H5Dget_type(set);
    H5T_class_t class = H5Tget_class(type);
    bool known = true;
    *memory = -1;
    if (class == H5T_INTEGER) {
        known = integer(set, type, stored);
    } else if (class == H5T_ENUM) {
        *stored = LT_STORED_BOOL;
        known = equal_to_new(type, boolean());
    } else if (class != H5T_FLOAT) {
        known = false;
    } else if (H5Tequal(type, H5T_IEEE_F64LE) > 0 || H5Tequal(type, H5T_IEEE_F64BE) > 0) {
        *stored = LT_STORED_F64;
    } else if (H5Tequal(type, H5T_IEEE_F32LE) > 0 || H5Tequal(type, H5T_IEEE_F32BE) > 0) {
        *stored = LT_STORED_F32;
    } else if (equal_to_new(type, small_float(5, H5T_ORDER_LE)) || equal_to_new(type, small_float(5, H5T_ORDER_BE))) {
        *stored = LT_STORED_F16;
    } else if (equal_to_new(type, small_float(8, H5T_ORDER_LE)) || equal_to_new(type, small_float(8, H5T_ORDER_BE))) {
        *stored = LT_STORED_BF16;
        *memory = small_float(8, H5T_ORDER_LE);
    } else {
        known = false;
    }
    H5Tclose(type);
    if (known && *memory < 0) *memory = helper_type(*stored);
    return known && *memory >= 0;
}
