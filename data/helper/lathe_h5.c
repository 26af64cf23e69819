/* lathe_h5.c - the program lathe-h5: opens one HDF5 file for lathe, in a process of its own.
 *
 * The files of this folder are the only ones that include hdf5.h. libhdf5 has a record of memory errors on damaged
 * files; here they end this process, not the training. It limits its own memory and time, loads no plugins, opens
 * nothing but the one file, and accepts a short list of types and layouts before it lets the library read. A request
 * that takes too long ends the process by a signal it cannot miss: lathe itself sends none. Protocol:
 * data/formats/h5_message.h. */
#include "data/helper/h5_helper.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define MEMORY (UINT64_C(1) << 30) /* address space beside the window */

lti_h5_message *helper_message;

static void *window;
static uint64_t window_bytes;
static rlim_t seconds; /* a request may take */

int helper_refuse(lt_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(helper_message->text, sizeof helper_message->text, format, args);
    va_end(args);
    helper_message->status = status;
    return 1;
}

/* The sanitizers reserve terabytes of addresses: under them memory is not limited. */
#ifdef __has_feature
#define SANITIZED __has_feature(address_sanitizer)
#elif defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static void limit_memory(uint64_t bytes)
{
    struct rlimit memory = {MEMORY + 4 * bytes, MEMORY + 4 * LTI_H5_LARGEST}; /* window, chunk, two to unpack it */
    if (!SANITIZED) setrlimit(RLIMIT_AS, &memory);
}

/* Gives the request its time, of the clock and of the processor. */
static void limit_time(uint64_t bytes)
{
    struct rusage used;
    struct rlimit cpu;
    rlim_t more = seconds + bytes / 10000000;
    getrusage(RUSAGE_SELF, &used);
    getrlimit(RLIMIT_CPU, &cpu);
    cpu.rlim_cur = (rlim_t)used.ru_utime.tv_sec + (rlim_t)used.ru_stime.tv_sec + 1 + more;
    if (cpu.rlim_cur < cpu.rlim_max) setrlimit(RLIMIT_CPU, &cpu);
    alarm((unsigned)more);
}

void *helper_window(uint64_t bytes)
{
    struct stat st;
    if (bytes <= window_bytes && window) return window;
    if (window) munmap(window, window_bytes);
    window = NULL;
    limit_memory(bytes);
    limit_time(bytes);
    window_bytes = 0;
    if (bytes > LTI_H5_LARGEST || fstat(LTI_H5_MEMORY, &st) != 0 ||
        ((uint64_t)st.st_size < LTI_H5_WINDOW + bytes &&
         ftruncate(LTI_H5_MEMORY, (off_t)(LTI_H5_WINDOW + bytes)) != 0)) {
        helper_refuse(LT_ENOMEM, "no memory for %llu bytes", (unsigned long long)bytes);
        return NULL;
    }
    void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, LTI_H5_MEMORY, LTI_H5_WINDOW);
    if (map == MAP_FAILED) {
        helper_refuse(LT_ENOMEM, "no memory for %llu bytes", (unsigned long long)bytes);
        return NULL;
    }
    window_bytes = bytes;
    return window = map;
}

/* The file and the dataset that is being read or written. */
static hid_t file = -1;
static uint64_t file_bytes;
static helper_slabs slabs;

static int open_file(bool write, const char *path)
{
    struct stat st;
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    H5PLset_loading_state(0);
    if (write) {
        file = helper_create_file(path);
        return file < 0 ? helper_refuse(LT_EIO, "libhdf5 cannot create the file") : 0;
    }
    if (stat(path, &st) != 0) return helper_refuse(LT_EIO, "the file has gone");
    file_bytes = (uint64_t)st.st_size;
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_fapl_sec2(access);
    file = H5Fopen(path, H5F_ACC_RDONLY, access);
    return file < 0 ? helper_refuse(LT_EFORMAT, "not an HDF5 file, or damaged or truncated") : 0;
}

/* libhdf5 writes when it closes: the set and the file say here whether all has arrived. */
static int finish(void)
{
    herr_t failed = slabs.set > 0 ? H5Dclose(slabs.set) : 0;
    slabs.set = 0;
    errno = 0;
    if (H5Fclose(file) < 0) failed = -1;
    file = -1;
    return failed < 0 ? helper_refuse(LT_EIO, "the end of the file was not written: %s",
                                      errno ? strerror(errno) : "libhdf5 gives no reason")
                      : 0;
}

static int read_next(void)
{
    uint64_t elements = helper_slabs_next(&slabs);
    if (slabs.set <= 0) return helper_refuse(LT_EINVAL, "no dataset was asked for");
    int code = helper_slabs_move(&slabs, false);
    helper_message->elements = elements;
    return code;
}

static int write_next(void)
{
    if (slabs.set <= 0 || helper_slabs_next(&slabs) == 0) return helper_refuse(LT_EINVAL, "no elements are missing");
    int code = helper_slabs_move(&slabs, true);
    helper_message->elements = helper_slabs_next(&slabs);
    return code;
}

static int answer(bool write, const char *path, char request)
{
    if (request == LTI_H5_OPEN) return open_file(write, path);
    if (file < 0) return helper_refuse(LT_EINVAL, "no file is open");
    if (request == LTI_H5_NEXT && !write) return read_next();
    if (request == LTI_H5_DATA && write) return write_next();
    if (request == LTI_H5_PAIR && write) return helper_write_pair(file);
    if (request == LTI_H5_FINISH && write) return finish();
    if (slabs.set > 0 && H5Dclose(slabs.set) < 0 && write)
        return helper_refuse(LT_EIO, "its elements were not written");
    slabs = (helper_slabs){0};
    if (request == LTI_H5_LIST && !write) return helper_list(file, file_bytes);
    if (request == LTI_H5_FIND && !write) return helper_find(file, file_bytes, helper_message->name, &slabs);
    if (request == LTI_H5_CREATE && write) return helper_create(file, &slabs);
    return helper_refuse(LT_EINVAL, "there is no request %d", request);
}

int main(int argc, char **argv)
{
    static const struct rlimit none;
    if (argc != 4 || (strcmp(argv[1], "read") != 0 && strcmp(argv[1], "write") != 0)) return 64;
    bool write_mode = argv[1][0] == 'w';
    seconds = (rlim_t)strtoul(argv[3], NULL, 10);
    limit_memory(LTI_H5_SLAB);
    setrlimit(RLIMIT_CORE, &none);
    signal(SIGINT, SIG_IGN); /* of the terminal: lathe decides what an interrupt means, and its end is ours */
    helper_message = mmap(NULL, LTI_H5_WINDOW, PROT_READ | PROT_WRITE, MAP_SHARED, LTI_H5_MEMORY, 0);
    if (helper_message == MAP_FAILED) return 64;
    char request;
    while (read(LTI_H5_REQUESTS, &request, 1) == 1) {
        helper_message->magic = LTI_H5_MAGIC;
        helper_message->status = LT_OK;
        helper_message->name[LTI_H5_TEXT - 1] = 0;
        limit_time(window_bytes);
        answer(write_mode, argv[2], request);
        alarm(0);
        if (write(LTI_H5_REPLIES, &request, 1) != 1) break;
    }
    /* _exit: what libhdf5 does when it closes a damaged file is of no interest any more. */
    _exit(0);
}
