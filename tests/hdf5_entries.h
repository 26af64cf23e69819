/* hdf5_entries.h - for suites about HDF5: where the helper is, and tensors of every kind to write. */
#ifndef TS_HDF5_ENTRIES_H
#define TS_HDF5_ENTRIES_H

#include "lathe/formats.h"
#include "tests/data_files.h"

static inline void ts_find_h5_helper(void)
{
    const char *built = getenv("LATHE_H5");
    if (built && *built)
        setenv("LT_H5_HELPER", built, 1);
    else
        unsetenv("LT_H5_HELPER");
}

#define TS_TEN "0/1/2/3/4/5/6/7/8/9/"

static unsigned char ts_h5_noise[256];

static const int64_t ts_twelve[] = {12};

/* Every type, ranks 0 to 8, an empty one, groups. The data are the same noise for all. */
static inline int ts_h5_entries(lt_tensor_entry *e)
{
    static const lt_stored types[] = {
        LT_STORED_BOOL,    LT_STORED_U8,          LT_STORED_I8,          LT_STORED_F8_E5M2, LT_STORED_F8_E4M3,
        LT_STORED_F8_E8M0, LT_STORED_F8_E4M3FNUZ, LT_STORED_F8_E5M2FNUZ, LT_STORED_I16,     LT_STORED_U16,
        LT_STORED_F16,     LT_STORED_BF16,        LT_STORED_I32,         LT_STORED_U32,     LT_STORED_F32,
        LT_STORED_F64,     LT_STORED_I64,         LT_STORED_U64};
    static const int64_t none[] = {3, 0, 7}, two_three[] = {2, 3}, eight[] = {1, 2, 1, 2, 1, 1, 2, 3};
    int n = 0;
    for (int i = 0; i < (int)sizeof ts_h5_noise; i++)
        ts_h5_noise[i] = (unsigned char)(256 * ts_uniform("hdf5 noise", i));
    for (int i = 0; i < LTI_COUNT(types); i++)
        e[n++] = (lt_tensor_entry){
            .name = lt_stored_name(types[i]), .dtype = types[i], .rank = 2, .shape = two_three, .data = ts_h5_noise};
    e[n++] = (lt_tensor_entry){.name = "scalar", .dtype = LT_STORED_BF16, .data = ts_h5_noise};
    e[n++] = (lt_tensor_entry){.name = "empty", .dtype = LT_STORED_F32, .rank = 3, .shape = none};
    e[n++] = (lt_tensor_entry){
        .name = "a.b/c d/\xc3\xa9", .dtype = LT_STORED_F32, .rank = 8, .shape = eight, .data = ts_h5_noise};
    e[n++] = (lt_tensor_entry){.name = TS_TEN TS_TEN TS_TEN "01/deepest",
                               .dtype = LT_STORED_U8,
                               .rank = 1,
                               .shape = ts_twelve,
                               .data = ts_h5_noise};
    e[n++] = (lt_tensor_entry){.name = "a.b/model.layers.0.weight",
                               .dtype = LT_STORED_I16,
                               .rank = 1,
                               .shape = ts_twelve,
                               .data = ts_h5_noise};
    return n;
}

#endif
