/* hdf5.c - one dataset of an HDF5 file as numbers, and what every reader of datasets shares.
 *
 * libhdf5 runs in the helper process alone (data/formats/hdf5_session.c); what it answers is checked here like the
 * bytes of a file. */
#include "data/formats/hdf5_session.h"

#include <inttypes.h>
#include <string.h>

#define BLOCK 65536 /* bytes handed on at a time */

int lti_h5_width(lt_stored type)
{
    int bits = (unsigned)type < LT_STORED_COUNT ? lt_stored_bits(type) : 0;
    return bits % 8 || type == LT_STORED_C64 ? 0 : bits / 8;
}

bool lti_h5_measure(lt_stored type, uint32_t rank, const int64_t *shape, int64_t *elements, uint64_t *bytes)
{
    bool fine = rank <= LTI_H5_RANK;
    *elements = 1;
    for (uint32_t i = 0; fine && i < rank; i++)
        fine = shape[i] >= 0 && !__builtin_mul_overflow(*elements, shape[i], elements);
    return fine && !__builtin_mul_overflow((uint64_t)*elements, (uint64_t)lti_h5_width(type), bytes) &&
           *bytes <= INT64_MAX - LTI_H5_WINDOW;
}

lt_status lti_h5_find(lti_h5_session *session, const char *dataset)
{
    lti_h5_message *message = &session->message;
    int64_t elements;
    uint64_t bytes;
    if (strlen(dataset) >= sizeof message->name)
        return lti_fail(session->ctx, LT_EINVAL, "%s: a dataset name has 1 to 1023 bytes", session->name);
    strcpy(message->name, dataset);
    LTI_TRY(lti_h5_ask(session, LTI_H5_FIND, dataset));
    if (lti_h5_width((lt_stored)message->dtype) == 0 ||
        !lti_h5_measure((lt_stored)message->dtype, message->rank, message->shape, &elements, &bytes) ||
        bytes != message->bytes || (uint64_t)elements != message->elements)
        return lti_fail(session->ctx, LT_EFORMAT, "%s is damaged: lathe-h5 returned '%s' in a false size",
                        session->name, dataset);
    return LT_OK;
}

lt_status lti_h5_each_block(lti_h5_session *session, const char *dataset, lti_h5_use use, void *arg)
{
    _Alignas(8) char block[BLOCK];
    int64_t total = (int64_t)session->message.elements, width = lti_h5_width((lt_stored)session->message.dtype);
    for (int64_t done = 0; done < total;) {
        LTI_TRY(lti_h5_ask(session, LTI_H5_NEXT, dataset));
        uint64_t got = session->message.elements;
        if (got == 0 || got > (uint64_t)(total - done))
            return lti_fail(session->ctx, LT_EFORMAT, "%s is damaged: lathe-h5 returned '%s' in a false size",
                            session->name, dataset);
        for (int64_t at = 0; at < (int64_t)got; at += BLOCK / width) {
            int64_t count = (int64_t)got - at < BLOCK / width ? (int64_t)got - at : BLOCK / width;
            LTI_TRY(lti_h5_take(session, (uint64_t)(at * width), block, (uint64_t)(count * width)));
            LTI_TRY(use(arg, done + at, count, block));
        }
        done += (int64_t)got;
    }
    return LT_OK;
}

typedef struct conversion {
    lti_h5_session *session;
    const char *dataset;
    lt_stored type;
    lt_array *array;
} conversion;

static lt_status to_reals(void *arg, int64_t first, int64_t count, const void *elements)
{
    conversion *c = arg;
    lti_stored_to_real(c->type, count, elements, c->array->real + first);
    return LT_OK;
}

static lt_status to_ints(void *arg, int64_t first, int64_t count, const void *elements)
{
    conversion *c = arg;
    for (int64_t i = 0; i < count; i++) {
        int64_t value;
        switch (c->type) {
        case LT_STORED_I8: value = ((const int8_t *)elements)[i]; break;
        case LT_STORED_I16: value = ((const int16_t *)elements)[i]; break;
        case LT_STORED_U16: value = ((const uint16_t *)elements)[i]; break;
        case LT_STORED_I32: value = ((const int32_t *)elements)[i]; break;
        case LT_STORED_U32: value = ((const uint32_t *)elements)[i]; break;
        case LT_STORED_I64: value = ((const int64_t *)elements)[i]; break;
        case LT_STORED_U64: value = (int64_t)(((const uint64_t *)elements)[i]); break;
        default: value = ((const uint8_t *)elements)[i];
        }
        bool wide = c->type == LT_STORED_U64 && value < 0;
        if (wide || value < INT32_MIN || value > INT32_MAX)
            return lti_fail(c->session->ctx, LT_EUNSUPPORTED,
                            "%s: dataset '%s': element %" PRId64 " passes 32 bits; store it as int32 or float",
                            c->session->name, c->dataset, first + i);
        c->array->ints[first + i] = (int32_t)value;
    }
    return LT_OK;
}

static lt_status receive(lti_h5_session *session, const char *dataset, lt_array *array)
{
    lt_ctx *ctx = session->ctx;
    LTI_TRY(lti_h5_find(session, dataset));
    const lti_h5_message *message = &session->message;
    conversion c = {session, dataset, (lt_stored)message->dtype, array};
    bool real =
        c.type == LT_STORED_F16 || c.type == LT_STORED_BF16 || c.type == LT_STORED_F32 || c.type == LT_STORED_F64;
    if (message->rank > LT_MAX_RANK)
        return lti_fail(ctx, LT_EUNSUPPORTED, "%s: dataset '%s': it has %u dimensions; at most %d are read",
                        session->name, dataset, message->rank, LT_MAX_RANK);
    if (!real && lti_h5_width(c.type) == 1 && c.type != LT_STORED_U8 && c.type != LT_STORED_I8 &&
        c.type != LT_STORED_BOOL)
        return lti_fail(ctx, LT_EUNSUPPORTED,
                        "%s: dataset '%s': 8-bit floats (%s) are not converted; store it as float", session->name,
                        dataset, lt_stored_name(c.type));
    array->rank = (int)message->rank;
    array->count = (int64_t)message->elements;
    memcpy(array->shape, message->shape, sizeof array->shape);
    if (real)
        array->real = lti_alloc_array(ctx, (size_t)array->count, sizeof *array->real);
    else
        array->ints = lti_alloc_array(ctx, (size_t)array->count, sizeof *array->ints);
    if (!array->ints && !array->real) return LT_ENOMEM;
    return lti_h5_each_block(session, dataset, real ? to_reals : to_ints, &c);
}

lt_status lt_h5_read(lt_ctx *ctx, const char *path, const char *dataset, lt_array *array)
{
    *array = (lt_array){0};
    lti_map probe; /* tells what is no file, empty or a pointer before a process is started */
    LTI_TRY(lti_file_map(ctx, path, &probe));
    lti_file_unmap(&probe);
    lti_h5_session session = {0};
    lt_status status = lti_h5_start(ctx, path, path, false, &session);
    if (status == LT_OK) status = receive(&session, dataset, array);
    lti_h5_stop(&session);
    if (status != LT_OK) lt_array_free(ctx, array);
    return status;
}

void lt_array_free(lt_ctx *ctx, lt_array *array)
{
    lti_free(ctx, array->real);
    lti_free(ctx, array->ints);
    *array = (lt_array){0};
}
