/* h5_slabs.c - datasets in row-major pieces of about LTI_H5_SLAB bytes.
 *
 * A piece is a range along one axis. The axis is the first along which chunks are longer than 1, so that no chunk is
 * unpacked or packed twice; before it, the first whose single index is small enough. */
#include "data/helper/h5_helper.h"

#include <errno.h>
#include <string.h>

void helper_slabs_plan(helper_slabs *slabs, const hsize_t *chunk)
{
    slabs->axis = 0;
    slabs->unit = slabs->elements;
    slabs->rows = 1;
    if (slabs->rank == 0 || slabs->elements == 0) return;
    for (int i = 0; i < slabs->rank; i++) {
        slabs->axis = i;
        slabs->unit /= slabs->shape[i];
        if (chunk[i] > 1 || slabs->unit * slabs->width <= LTI_H5_SLAB) break;
    }
    uint64_t length = slabs->shape[slabs->axis], step = chunk[slabs->axis];
    slabs->rows = LTI_H5_SLAB / (slabs->unit * slabs->width);
    if (step > 0) slabs->rows -= slabs->rows % step;
    if (slabs->rows < step) slabs->rows = step;
    if (slabs->rows > length) slabs->rows = length;
    if (slabs->rows == 0) slabs->rows = 1;
}

uint64_t helper_slabs_next(const helper_slabs *slabs)
{
    if (slabs->done >= slabs->elements) return 0;
    if (slabs->rank == 0) return 1;
    uint64_t length = slabs->shape[slabs->axis], row = slabs->done / slabs->unit % length;
    return (slabs->rows < length - row ? slabs->rows : length - row) * slabs->unit;
}

/* Selects the next slab in the space of the dataset. */
static herr_t choose(const helper_slabs *slabs, uint64_t elements, hid_t space)
{
    hsize_t start[LTI_H5_RANK] = {0}, count[LTI_H5_RANK];
    if (slabs->rank == 0) return H5Sselect_all(space);
    uint64_t index = slabs->done / slabs->unit;
    for (int i = slabs->rank - 1; i > slabs->axis; i--) count[i] = slabs->shape[i];
    for (int i = slabs->axis; i >= 0; i--) {
        start[i] = index % slabs->shape[i];
        index /= slabs->shape[i];
        count[i] = i == slabs->axis ? elements / slabs->unit : 1;
    }
    return H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL);
}

int helper_slabs_move(helper_slabs *slabs, bool write)
{
    hsize_t elements = helper_slabs_next(slabs);
    if (elements == 0) return 0;
    void *data = helper_window(elements * slabs->width);
    if (!data) return 1;
    hid_t space = H5Dget_space(slabs->set), row = H5Screate_simple(1, &elements, NULL);
    herr_t failed = choose(slabs, elements, space);
    errno = 0;
    if (failed >= 0)
        failed = write ? H5Dwrite(slabs->set, slabs->memory, row, space, H5P_DEFAULT, data)
                       : H5Dread(slabs->set, slabs->memory, row, space, H5P_DEFAULT, data);
    int error = errno;
    H5Sclose(space);
    H5Sclose(row);
    if (failed < 0 && write)
        return helper_refuse(LT_EIO, "its elements cannot be written: %s",
                             error ? strerror(error) : "libhdf5 gives no reason");
    if (failed < 0) return helper_refuse(LT_EFORMAT, "its elements cannot be read: the file is damaged or truncated");
    slabs->done += elements;
    return 0;
}
