/* idx.c - IDX, the format of MNIST: big-endian arrays behind a header of 4 (1 + rank) bytes.
 *
 *     0 0 type rank | rank sizes of 32 bits | elements
 *     type: 08 u8, 09 i8, 0B i16, 0C i32, 0D f32, 0E f64 */
#include "data/files.h"
#include "data/formats/arrays_file.h"

#include <inttypes.h>
#include <string.h>

static uint64_t big_endian(const unsigned char *p, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++) value = value << 8 | p[i];
    return value;
}

static int element_bytes(unsigned type)
{
    switch (type) {
    case 0x08:
    case 0x09: return 1;
    case 0x0B: return 2;
    case 0x0C:
    case 0x0D: return 4;
    case 0x0E: return 8;
    default: return 0;
    }
}

static void read_element(unsigned type, const unsigned char *p, int64_t i, lt_array *array)
{
    uint64_t bits = big_endian(p, element_bytes(type));
    uint32_t word = (uint32_t)bits;
    float single;
    double wide;
    switch (type) {
    case 0x08: array->ints[i] = (int32_t)word; break;
    case 0x09: array->ints[i] = (int8_t)word; break;
    case 0x0B: array->ints[i] = (int16_t)word; break;
    case 0x0C: array->ints[i] = (int32_t)word; break;
    case 0x0D: array->real[i] = (memcpy(&single, &word, 4), single); break;
    default: array->real[i] = (memcpy(&wide, &bits, 8), (lt_real)wide); break;
    }
}

lt_status lti_idx_header(lt_ctx *ctx, const char *path, const unsigned char *bytes, uint64_t size, lt_array *array)
{
    if (size < 4 || bytes[0] || bytes[1])
        return lti_fail(ctx, LT_EFORMAT, "%s: byte 0: an IDX file begins with two zero bytes", path);
    unsigned type = bytes[2], rank = bytes[3];
    if (!element_bytes(type))
        return lti_fail(ctx, LT_EFORMAT, "%s: byte 2: unknown IDX element type 0x%02x", path, type);
    if (rank > LT_MAX_RANK)
        return lti_fail(ctx, LT_EUNSUPPORTED, "%s: byte 3: %u dimensions; at most %d are read", path, rank,
                        LT_MAX_RANK);
    uint64_t head = 4 + 4 * (uint64_t)rank, room;
    if (size < head)
        return lti_fail(ctx, LT_EFORMAT, "%s: byte 4: the file ends within its sizes; fetch it again", path);
    array->rank = (int)rank;
    array->count = 1;
    for (unsigned i = 0; i < rank; i++) {
        array->shape[i] = (int64_t)big_endian(bytes + 4 + 4 * i, 4);
        if (__builtin_mul_overflow(array->count, array->shape[i], &array->count))
            return lti_fail(ctx, LT_EFORMAT, "%s: byte 4: the product of the sizes overflows 64 bits", path);
    }
    if (__builtin_mul_overflow((uint64_t)array->count, (uint64_t)element_bytes(type), &room) || room != size - head)
        return lti_fail(ctx, LT_EFORMAT,
                        "%s: byte 4: the sizes call for %" PRId64 " elements of %d bytes, %" PRIu64
                        " bytes follow; fetch it again",
                        path, array->count, element_bytes(type), size - head);
    return LT_OK;
}

lt_status lti_idx_parse(lt_ctx *ctx, const char *path, const unsigned char *bytes, uint64_t size, lt_array *array)
{
    *array = (lt_array){0};
    lt_status status = lti_idx_header(ctx, path, bytes, size, array);
    if (status != LT_OK) {
        *array = (lt_array){0};
        return status;
    }
    unsigned type = bytes[2];
    if (type >= 0x0D)
        array->real = lti_alloc_array(ctx, (size_t)array->count, sizeof *array->real);
    else
        array->ints = lti_alloc_array(ctx, (size_t)array->count, sizeof *array->ints);
    if (!array->real && !array->ints) {
        *array = (lt_array){0};
        return LT_ENOMEM;
    }
    const unsigned char *p = bytes + 4 + 4 * array->rank;
    for (int64_t i = 0; i < array->count; i++, p += element_bytes(type)) read_element(type, p, i, array);
    return LT_OK;
}

lt_status lt_idx_read(lt_ctx *ctx, const char *path, lt_array *array)
{
    char *bytes;
    uint64_t size;
    *array = (lt_array){0};
    LTI_TRY(lti_file_unpack(ctx, path, LTI_ARRAYS_LIMIT, &bytes, &size));
    lt_status status = lti_idx_parse(ctx, path, (const unsigned char *)bytes, size, array);
    lti_free(ctx, bytes);
    return status;
}
