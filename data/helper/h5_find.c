/* h5_find.c - one dataset: what it is, and that it may be read.
 *
 * Links, layout and filters are checked before anything else is asked of the dataset; then its size is held against
 * what is stored, so that a small file cannot ask for much memory. */
#include "data/helper/h5_helper.h"

#include <string.h>

#define EXPANSION UINT64_C(1100)       /* deflate makes at most 1032 bytes of one */
#define UNWRITTEN (UINT64_C(64) << 20) /* bytes that may be fill values only */

int helper_check_links(hid_t file, const char *name)
{
    char path[LTI_H5_TEXT];
    size_t length = strlen(name);
    if (length == 0 || length >= sizeof path) return helper_refuse(LT_EINVAL, "a dataset name has 1 to 1023 bytes");
    for (size_t i = 1; i <= length; i++) {
        if ((name[i] != '/' && name[i] != 0) || name[i - 1] == '/') continue;
        memcpy(path, name, i);
        path[i] = 0;
        H5L_info_t info;
        if (H5Lexists(file, path, H5P_DEFAULT) <= 0)
            return helper_refuse(LT_EINVAL, "there is no '%.200s' in it", path);
        if (H5Lget_info(file, path, &info, H5P_DEFAULT) < 0)
            return helper_refuse(LT_EFORMAT, "the link '%.200s' is damaged", path);
        if (info.type != H5L_TYPE_HARD)
            return helper_refuse(LT_EUNSUPPORTED, "'%.200s' is a soft or external link, which is not followed", path);
    }
    return 0;
}

/* The chunk, all 1 when there is none, and how many bytes one stored byte may become. */
static int check_storage(hid_t set, int rank, hsize_t *chunk, uint64_t *expansion)
{
    hid_t how = H5Dget_create_plist(set);
    if (how < 0) return helper_refuse(LT_EFORMAT, "its properties are damaged");
    H5D_layout_t layout = H5Pget_layout(how);
    int code = 0, filters = H5Pget_nfilters(how);
    for (int i = 0; i < rank; i++) chunk[i] = 1;
    *expansion = 1;
    if (layout != H5D_COMPACT && layout != H5D_CONTIGUOUS && layout != H5D_CHUNKED)
        code = helper_refuse(LT_EUNSUPPORTED, "it is a virtual dataset, which would open other files");
    else if (H5Pget_external_count(how) != 0)
        code = helper_refuse(LT_EUNSUPPORTED, "its data lie in another file, which is not opened");
    else if (filters < 0 || (layout == H5D_CHUNKED && H5Pget_chunk(how, LTI_H5_RANK, chunk) != rank))
        code = helper_refuse(LT_EFORMAT, "its filters or chunks are damaged");
    for (int i = 0; i < filters && !code; i++) {
        unsigned flags;
        size_t values = 0;
        H5Z_filter_t filter = H5Pget_filter2(how, (unsigned)i, &flags, &values, NULL, 0, NULL, NULL);
        if (filter == H5Z_FILTER_DEFLATE) *expansion = EXPANSION;
        if (filter == H5Z_FILTER_SCALEOFFSET) *expansion = 8 * EXPANSION; /* of equal integers it stores one */
        if (filter != H5Z_FILTER_DEFLATE && filter != H5Z_FILTER_SHUFFLE && filter != H5Z_FILTER_FLETCHER32 &&
            filter != H5Z_FILTER_SCALEOFFSET)
            code = helper_refuse(LT_EUNSUPPORTED,
                                 "it is packed by filter %d; only deflate, shuffle, fletcher32 and scale-offset are "
                                 "read: repack it with `h5repack -f GZIP=4`",
                                 (int)filter);
    }
    H5Pclose(how);
    return code;
}

static int read_shape(hid_t set, helper_slabs *slabs)
{
    hid_t space = H5Dget_space(set);
    H5S_class_t class = H5Sget_simple_extent_type(space);
    int rank = H5Sget_simple_extent_ndims(space);
    bool simple = (class == H5S_SIMPLE || class == H5S_SCALAR) && rank >= 0 && rank <= LTI_H5_RANK;
    bool damaged = space < 0 || (simple && H5Sget_simple_extent_dims(space, slabs->shape, NULL) != rank);
    H5Sclose(space);
    if (damaged) return helper_refuse(LT_EFORMAT, "its shape is damaged");
    if (!simple) return helper_refuse(LT_EUNSUPPORTED, "it has no elements (a null dataspace)");
    slabs->rank = rank;
    slabs->elements = 1;
    for (int i = 0; i < rank; i++)
        if (__builtin_mul_overflow(slabs->elements, slabs->shape[i], &slabs->elements) || slabs->shape[i] > INT64_MAX)
            return helper_refuse(LT_ELIMIT, "its shape overflows 64 bits");
    return 0;
}

static int check_size(hid_t set, uint64_t file_bytes, uint64_t expansion, const helper_slabs *slabs)
{
    uint64_t bytes, stored = H5Dget_storage_size(set), most;
    if (__builtin_mul_overflow(slabs->elements, slabs->width, &bytes) || bytes > LTI_H5_LARGEST)
        return helper_refuse(LT_ELIMIT, "it has more than %llu bytes", (unsigned long long)LTI_H5_LARGEST);
    if (stored > file_bytes || __builtin_mul_overflow(stored, expansion, &most)) most = file_bytes * expansion;
    if (bytes > UNWRITTEN && bytes > most)
        return helper_refuse(LT_ELIMIT, "its %llu bytes cannot come out of the %llu that are stored of it",
                             (unsigned long long)bytes, (unsigned long long)stored);
    return 0;
}

/* All that can be asked of an open dataset before its elements are read. */
static int describe(hid_t set, uint64_t file_bytes, helper_slabs *slabs)
{
    lt_stored stored;
    uint64_t expansion = 1;
    hsize_t chunk[LTI_H5_RANK];
    int code = read_shape(set, slabs);
    if (!code) code = check_storage(set, slabs->rank, chunk, &expansion);
    if (code) return code;
    if (!helper_stored(set, &stored, &slabs->memory))
        return helper_refuse(LT_EUNSUPPORTED, "its elements are neither integers of 1, 2, 4 or 8 bytes, nor IEEE "
                                              "floats of 2, 4 or 8 bytes, nor booleans");
    slabs->width = H5Tget_size(slabs->memory);
    code = check_size(set, file_bytes, expansion, slabs);
    if (code) return code;
    helper_slabs_plan(slabs, chunk);
    helper_message->dtype = stored;
    helper_message->rank = (uint32_t)slabs->rank;
    for (int i = 0; i < slabs->rank; i++) helper_message->shape[i] = (int64_t)slabs->shape[i];
    helper_message->elements = slabs->elements;
    helper_message->bytes = slabs->elements * slabs->width;
    return 0;
}

/* A header with a checksum was found sound when it was asked for its kind: what cannot be opened is then only new. */
static int refuse_closed(const H5O_info_t *info)
{
    unsigned major, minor, release;
    H5get_libversion(&major, &minor, &release);
    if (info->hdr.version >= 2)
        return helper_refuse(LT_EUNSUPPORTED, "its type or layout is newer than libhdf5 %u.%u.%u", major, minor,
                             release);
    return helper_refuse(LT_EFORMAT, "it is damaged, or newer than libhdf5 %u.%u.%u", major, minor, release);
}

int helper_find(hid_t file, uint64_t file_bytes, const char *name, helper_slabs *slabs)
{
    H5O_info_t info;
    *slabs = (helper_slabs){0};
    int code = helper_check_links(file, name);
    if (code) return code;
    if (H5Oget_info_by_name(file, name, &info, H5P_DEFAULT) < 0)
        return helper_refuse(LT_EFORMAT, "the object is damaged");
    if (info.type != H5O_TYPE_DATASET) return helper_refuse(LT_EINVAL, "it is a group or a type, not a dataset");
    hid_t set = H5Dopen2(file, name, H5P_DEFAULT);
    if (set < 0) return refuse_closed(&info);
    slabs->set = set;
    return describe(set, file_bytes, slabs);
}
