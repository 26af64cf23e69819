/* lathe_h5.c - the program lathe-h5: reads one dataset of an HDF5 file for lathe, in a process of its own.
 *
 * The only file that includes hdf5.h. libhdf5 has a record of memory errors on damaged files; here they end this
 * process, not the training. It limits its own memory and time, loads no plugins, opens nothing but the one file, and
 * accepts a short list of types and layouts before it lets the library read. Protocol: data/formats/h5_message.h. */
#include "data/formats/h5_message.h"
#include "lathe/base.h"

#include <hdf5.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define MEMORY (UINT64_C(1) << 30)  /* address space beside the data */
#define LARGEST (UINT64_C(1) << 36) /* bytes of data */
#define EXPANSION UINT64_C(1100)    /* deflate makes at most 1032 bytes of one */

static lti_h5_message *message;

static int refuse(lt_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int refuse(lt_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(message->text, sizeof message->text, format, args);
    va_end(args);
    message->status = status;
    return LTI_H5_REFUSED;
}

/* The sanitizers reserve terabytes of addresses: under them memory is not limited. */
static void limit(uint64_t bytes)
{
    struct rlimit seconds = {60 + bytes / 10000000, 60 + LARGEST / 10000000}, none = {0, 0};
#if !defined(__SANITIZE_ADDRESS__)
    struct rlimit memory = {MEMORY + bytes, MEMORY + LARGEST};
    setrlimit(RLIMIT_AS, &memory);
#endif
    setrlimit(RLIMIT_CPU, &seconds);
    setrlimit(RLIMIT_CORE, &none);
}

/* Every step of the path must be a hard link: the others lead out of the file or around in it. */
static int check_links(hid_t file, const char *dataset)
{
    char path[1024];
    size_t length = strlen(dataset);
    if (length == 0 || length >= sizeof path) return refuse(LT_EINVAL, "a dataset name has 1 to 1023 bytes");
    for (size_t i = 1; i <= length; i++) {
        if ((dataset[i] != '/' && dataset[i] != 0) || dataset[i - 1] == '/') continue;
        memcpy(path, dataset, i);
        path[i] = 0;
        H5L_info_t info;
        if (H5Lexists(file, path, H5P_DEFAULT) <= 0) return refuse(LT_EINVAL, "there is no '%.200s' in it", path);
        if (H5Lget_info(file, path, &info, H5P_DEFAULT) < 0)
            return refuse(LT_EFORMAT, "the link '%.200s' is damaged", path);
        if (info.type != H5L_TYPE_HARD)
            return refuse(LT_EUNSUPPORTED, "'%.200s' is a soft or external link, which is not followed", path);
    }
    return 0;
}

/* Layout and filters; run before anything else is asked of the dataset. */
static int check_storage(hid_t set)
{
    hid_t how = H5Dget_create_plist(set);
    if (how < 0) return refuse(LT_EFORMAT, "its properties are damaged");
    H5D_layout_t layout = H5Pget_layout(how);
    if (layout != H5D_COMPACT && layout != H5D_CONTIGUOUS && layout != H5D_CHUNKED)
        return refuse(LT_EUNSUPPORTED, "it is a virtual dataset, which would open other files");
    if (H5Pget_external_count(how) != 0)
        return refuse(LT_EUNSUPPORTED, "its data lie in another file, which is not opened");
    int filters = H5Pget_nfilters(how);
    if (filters < 0) return refuse(LT_EFORMAT, "its filters are damaged");
    for (int i = 0; i < filters; i++) {
        unsigned flags;
        size_t values = 0;
        H5Z_filter_t filter = H5Pget_filter2(how, (unsigned)i, &flags, &values, NULL, 0, NULL, NULL);
        if (filter != H5Z_FILTER_DEFLATE && filter != H5Z_FILTER_SHUFFLE && filter != H5Z_FILTER_FLETCHER32 &&
            filter != H5Z_FILTER_SCALEOFFSET)
            return refuse(LT_EUNSUPPORTED,
                          "it is packed by filter %d; only deflate, shuffle, fletcher32 and scale-offset are read: "
                          "repack it with `h5repack -f GZIP=4`",
                          (int)filter);
    }
    return 0;
}

static hid_t half_float(H5T_order_t order)
{
    hid_t type = H5Tcopy(H5T_IEEE_F32LE);
    H5Tset_fields(type, 15, 10, 5, 0, 10);
    H5Tset_size(type, 2);
    H5Tset_ebias(type, 15);
    H5Tset_order(type, order);
    return type;
}

/* What the stored type is sent as; 0 when it is not on the list. */
static uint32_t kind_of(hid_t type)
{
    size_t size = H5Tget_size(type);
    if (H5Tget_class(type) == H5T_INTEGER) {
        if ((size != 1 && size != 2 && size != 4 && size != 8) || H5Tget_precision(type) != 8 * size) return 0;
        if (H5Tget_order(type) != H5T_ORDER_LE && H5Tget_order(type) != H5T_ORDER_BE) return 0;
        return size < 4 || (size == 4 && H5Tget_sign(type) == H5T_SGN_2) ? LTI_H5_I32 : LTI_H5_I64;
    }
    if (H5Tget_class(type) != H5T_FLOAT) return 0;
    if (H5Tequal(type, H5T_IEEE_F64LE) > 0 || H5Tequal(type, H5T_IEEE_F64BE) > 0) return LTI_H5_F64;
    hid_t known[] = {H5T_IEEE_F32LE, H5T_IEEE_F32BE, half_float(H5T_ORDER_LE), half_float(H5T_ORDER_BE)};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (H5Tequal(type, known[i]) > 0) return LTI_H5_F32;
    return 0;
}

/* Shape and size, bounded by what a file of that size can hold. */
static int measure(hid_t set, uint64_t file_bytes)
{
    hid_t type = H5Dget_type(set), space = H5Dget_space(set);
    if (type < 0 || space < 0) return refuse(LT_EFORMAT, "its type or shape is damaged");
    message->kind = kind_of(type);
    if (!message->kind)
        return refuse(LT_EUNSUPPORTED,
                      "its elements are neither integers of 1, 2, 4 or 8 bytes nor IEEE floats of 2, 4 or 8 bytes");
    H5S_class_t class = H5Sget_simple_extent_type(space);
    int rank = H5Sget_simple_extent_ndims(space);
    if ((class != H5S_SIMPLE && class != H5S_SCALAR) || rank < 0) return refuse(LT_EUNSUPPORTED, "it has no elements");
    if (rank > LTI_H5_RANK)
        return refuse(LT_EUNSUPPORTED, "it has %d dimensions; at most %d are read", rank, LTI_H5_RANK);
    hsize_t shape[LTI_H5_RANK];
    if (H5Sget_simple_extent_dims(space, shape, NULL) != rank) return refuse(LT_EFORMAT, "its shape is damaged");
    uint64_t bytes = message->kind == LTI_H5_I32 || message->kind == LTI_H5_F32 ? 4 : 8;
    message->rank = (uint32_t)rank;
    for (int i = 0; i < rank; i++) {
        if (__builtin_mul_overflow(bytes, shape[i], &bytes) || bytes > LARGEST)
            return refuse(LT_ELIMIT, "it has more than %llu bytes", (unsigned long long)LARGEST);
        message->shape[i] = (int64_t)shape[i];
    }
    if (bytes / EXPANSION / 8 > file_bytes)
        return refuse(LT_EFORMAT, "its %llu bytes cannot come out of a file of %llu", (unsigned long long)bytes,
                      (unsigned long long)file_bytes);
    message->bytes = bytes;
    return 0;
}

static int read_elements(hid_t set)
{
    const hid_t native[] = {[LTI_H5_I32] = H5T_NATIVE_INT32,
                            [LTI_H5_I64] = H5T_NATIVE_INT64,
                            [LTI_H5_F32] = H5T_NATIVE_FLOAT,
                            [LTI_H5_F64] = H5T_NATIVE_DOUBLE};
    uint64_t bytes = message->bytes;
    limit(bytes);
    if (bytes == 0) return 0;
    if (ftruncate(LTI_H5_FD, (off_t)(LTI_H5_DATA + bytes)) != 0) return refuse(LT_ENOMEM, "no memory for its elements");
    void *data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, LTI_H5_FD, LTI_H5_DATA);
    if (data == MAP_FAILED) return refuse(LT_ENOMEM, "no memory for its %llu bytes", (unsigned long long)bytes);
    if (H5Dread(set, native[message->kind], H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0)
        return refuse(LT_EFORMAT, "its elements cannot be read: the file is damaged or truncated");
    return 0;
}

static int read_dataset(const char *path, const char *dataset)
{
    struct stat st;
    if (stat(path, &st) != 0) return refuse(LT_EIO, "the file has gone");
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    H5PLset_loading_state(0);
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_fapl_sec2(access);
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, access);
    if (file < 0) return refuse(LT_EFORMAT, "not an HDF5 file, or damaged or truncated");
    int code = check_links(file, dataset);
    if (code) return code;
    H5O_info_t info;
    if (H5Oget_info_by_name(file, dataset, &info, H5P_DEFAULT) < 0) return refuse(LT_EFORMAT, "the object is damaged");
    if (info.type != H5O_TYPE_DATASET) return refuse(LT_EINVAL, "it is a group or a type, not a dataset");
    hid_t set = H5Dopen2(file, dataset, H5P_DEFAULT);
    if (set < 0) return refuse(LT_EFORMAT, "the dataset is damaged");
    code = check_storage(set);
    if (!code) code = measure(set, (uint64_t)st.st_size);
    if (!code) code = read_elements(set);
    return code;
}

int main(int argc, char **argv)
{
    if (argc != 3) return 64;
    limit(0);
    message = mmap(NULL, LTI_H5_DATA, PROT_READ | PROT_WRITE, MAP_SHARED, LTI_H5_FD, 0);
    if (message == MAP_FAILED) return 64;
    message->magic = LTI_H5_MAGIC;
    /* _exit: what libhdf5 does when it closes a damaged file is of no interest any more. */
    _exit(read_dataset(argv[1], argv[2]));
}
