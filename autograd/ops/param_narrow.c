/* param_narrow.c - a frozen matrix in 16 bits in place of its f32 bytes.
 *
 * Not a param of its own beside the old one, as lt_derived makes: the point is that the f32 bytes go. */
#include "autograd/ops/lattice_convert.h"
#include "autograd/param.h"

static lt_status check_narrow(const lt_param *p, lt_dtype type)
{
    const char *why = NULL;
    if (type != LT_BF16 && type != LT_F16)
        why = "bf16 and f16 are possible";
    else if (p->type != LT_F32)
        why = "only f32 can be narrowed";
    else if (p->mapped)
        why = "its bytes belong to somebody else: convert the file, or load the weights instead of mapping them";
    else if (p->role != LT_WEIGHT)
        why = "it is no weight but state or scratch, which stays f32";
    else if (p->trainable)
        why = "it is trainable, and updates are smaller than bf16 can hold: freeze it first";
    else if (p->rank < 2)
        why = "vectors stay f32; a matrix is wanted";
    if (!why) return LT_OK;
    return lti_fail(lt_params_ctx(p->home), LT_EINVAL, "parameter '%s' (%s, rank %d) as %s: %s", p->name,
                    lt_dtype_name(p->type), p->rank, lt_dtype_name(type), why);
}

lt_status lt_param_narrow(lt_param *param, lt_dtype type)
{
    LTI_TRY(check_narrow(param, type));
    size_t bytes = 0;
    lti_dtype_size(type, param->count, &bytes);
    lt_ctx *ctx = lt_params_ctx(param->home);
    void *narrow = lti_alloc(ctx, bytes);
    if (!narrow) return LT_ENOMEM;
    lti_encode(param->count, param->data, type, narrow);
    lti_free(ctx, param->data);
    param->data = narrow;
    param->type = type;
    param->bytes = bytes;
    param->version++;
    return LT_OK;
}
