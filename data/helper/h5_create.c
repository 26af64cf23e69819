/* h5_create.c - writing: files whose every byte is checked when they are read.
 *
 * The format of HDF5 1.10 has checksums in its headers and indices, fletcher32 adds them to the chunks: of the older
 * default format one flipped byte in fifty comes back as a wrong number. The version is fixed rather than "latest", so
 * that a newer libhdf5 writes the same bytes. What cannot be chunked (scalars, empty tensors) lies in the object
 * header, as do the attributes: heaps for long ones have no checksum. No times are stored: bytes depend on the content
 * alone. */
#include "data/helper/h5_helper.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK (UINT64_C(1) << 20)

hid_t helper_create_file(const char *path)
{
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), create = H5Pcreate(H5P_FILE_CREATE);
    H5Pset_fapl_sec2(access);
    H5Pset_fclose_degree(access, H5F_CLOSE_STRONG);
    H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110);
    H5Pset_obj_track_times(create, false);
    H5Pset_attr_phase_change(create, UINT16_MAX, 0);
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, create, access);
    H5Pclose(access);
    H5Pclose(create);
    return file;
}

/* Makes the groups of "a/b/c" that are missing: those that libhdf5 makes by itself carry the time. */
static int create_groups(hid_t file, const char *name)
{
    char path[LTI_H5_TEXT];
    hid_t create = H5Pcreate(H5P_GROUP_CREATE);
    H5Pset_obj_track_times(create, false);
    int code = 0;
    for (const char *slash = strchr(name, '/'); slash && !code; slash = strchr(slash + 1, '/')) {
        H5O_info_t info;
        size_t length = (size_t)(slash - name);
        memcpy(path, name, length);
        path[length] = 0;
        if (H5Lexists(file, path, H5P_DEFAULT) > 0) {
            if (H5Oget_info_by_name(file, path, &info, H5P_DEFAULT) < 0 || info.type != H5O_TYPE_GROUP)
                code = helper_refuse(LT_EINVAL, "'%.300s' is a tensor too and can hold no other", path);
            continue;
        }
        hid_t group = H5Gcreate2(file, path, H5P_DEFAULT, create, H5P_DEFAULT);
        if (group < 0) code = helper_refuse(LT_EIO, "the group '%.300s' cannot be made", path);
        if (group >= 0) H5Gclose(group);
    }
    H5Pclose(create);
    return code;
}

/* Chunks of about 1 MB: whole trailing axes, a range of one, single indices of those before. The ranges are as equal
 * as they can be, since a chunk at the edge takes as much room as the others. */
static void choose_chunk(const helper_slabs *slabs, hsize_t *chunk)
{
    uint64_t room = CHUNK / slabs->width;
    for (int i = slabs->rank - 1; i >= 0; i--) {
        uint64_t length = slabs->shape[i], most = length < room ? length : room;
        uint64_t pieces = (length + most - 1) / most;
        chunk[i] = (length + pieces - 1) / pieces;
        room = chunk[i] < length ? 1 : room / length;
        if (room == 0) room = 1;
    }
}

static herr_t write_text(hid_t object, const char *name, const char *text, size_t length)
{
    hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR), create = H5Pcreate(H5P_ATTRIBUTE_CREATE);
    H5Pset_char_encoding(create, H5T_CSET_UTF8);
    H5Tset_size(type, length ? length : 1);
    H5Tset_strpad(type, H5T_STR_NULLPAD);
    H5Tset_cset(type, H5T_CSET_UTF8);
    hid_t attribute = H5Acreate2(object, name, type, space, create, H5P_DEFAULT);
    herr_t failed = attribute < 0 ? -1 : H5Awrite(attribute, type, length ? text : "");
    if (attribute >= 0 && H5Aclose(attribute) < 0) failed = -1;
    H5Pclose(create);
    H5Sclose(space);
    H5Tclose(type);
    return failed;
}

static hid_t create_set(hid_t file, const helper_slabs *slabs)
{
    hsize_t chunk[LTI_H5_RANK];
    hid_t space = slabs->rank ? H5Screate_simple(slabs->rank, slabs->shape, NULL) : H5Screate(H5S_SCALAR);
    hid_t create = H5Pcreate(H5P_DATASET_CREATE), link = H5Pcreate(H5P_LINK_CREATE);
    H5Pset_char_encoding(link, H5T_CSET_UTF8);
    H5Pset_obj_track_times(create, false);
    if (slabs->rank == 0 || slabs->elements == 0) {
        H5Pset_layout(create, H5D_COMPACT);
    } else {
        choose_chunk(slabs, chunk);
        H5Pset_chunk(create, slabs->rank, chunk);
        H5Pset_fletcher32(create);
    }
    hid_t set = H5Dcreate2(file, helper_message->name, slabs->memory, space, link, create, H5P_DEFAULT);
    H5Pclose(link);
    H5Pclose(create);
    H5Sclose(space);
    return set;
}

int helper_create(hid_t file, helper_slabs *slabs)
{
    lt_stored stored = (lt_stored)helper_message->dtype;
    const char *label = helper_label(stored);
    hsize_t chunk[LTI_H5_RANK];
    *slabs = (helper_slabs){.memory = helper_type(stored), .rank = (int)helper_message->rank, .elements = 1};
    if (slabs->memory < 0 || slabs->rank < 0 || slabs->rank > LTI_H5_RANK)
        return helper_refuse(LT_EINVAL, "HDF5 has no such type or rank");
    slabs->width = H5Tget_size(slabs->memory);
    for (int i = 0; i < slabs->rank; i++) {
        slabs->shape[i] = (hsize_t)helper_message->shape[i];
        slabs->elements *= slabs->shape[i];
    }
    int code = create_groups(file, helper_message->name);
    if (code) return code;
    slabs->set = create_set(file, slabs);
    if (slabs->set < 0 || (label && write_text(slabs->set, HELPER_LABEL, label, strlen(label)) < 0))
        return helper_refuse(LT_EIO, "libhdf5 cannot make the dataset");
    for (int i = 0; i < slabs->rank; i++) chunk[i] = 1;
    if (slabs->rank && slabs->elements) choose_chunk(slabs, chunk);
    helper_slabs_plan(slabs, chunk);
    helper_message->elements = helper_slabs_next(slabs);
    return 0;
}

int helper_write_pair(hid_t file)
{
    hid_t root = H5Gopen2(file, "/", H5P_DEFAULT);
    char *value = helper_window(helper_message->bytes ? helper_message->bytes : 1);
    if (!value) return 1;
    herr_t failed = write_text(root, helper_message->name, value, helper_message->bytes);
    H5Gclose(root);
    return failed < 0 ? helper_refuse(LT_EIO, "libhdf5 cannot write the attribute") : 0;
}
