/* packed_grids.h - inside of an export: a tensor on a grid that is no type (intN, ternary, fp8) as codes without gaps and
 * what makes numbers of them. */
#ifndef LTI_PACKED_GRIDS_H
#define LTI_PACKED_GRIDS_H

#include "autograd/ops/grids.h"
#include "base/text.h"
#include "lathe/formats.h"
#include "lathe/ptq.h"
#include "lathe/qat.h"

/* What follows from shape, scheme and the rule of its scales. */
typedef struct lti_packgrid_form {
    lt_scheme scheme;
    lti_groups groups; /* of the tensor as [rows, columns]: filters are rows of all their numbers */
    int64_t rows, columns;
    int bits;
    size_t row_bytes; /* of codes: each row begins with a byte */
    bool zeros, wide; /* zero points are stored: codes themselves, or any whole numbers (wide) */
    bool offsets;     /* numbers to be added are */
} lti_packgrid_form;
/* False: the scheme is a type, or there are no such sizes. */
bool lti_packgrid_form_of(const lt_scheme *scheme, lt_scale_rule rule, int rank, const int64_t *shape,
                          lti_packgrid_form *form);
size_t lti_packgrid_form_bytes(const lti_packgrid_form *form); /* in the file, all parts */

/* The tensors it is in the file: NAME and NAME:scale, then what else the form has. */
enum { LTI_PACKGRID_PARTS = 4 };
typedef struct lti_packgrid_part {
    const char *suffix; /* behind the tensor's name */
    lt_stored dtype;
    int rank;
    int64_t shape[2];
    const void *data; /* NULL: of a form alone */
} lti_packgrid_part;

/* number i of group g = (code i - zero g) scale g + offset g; fp8: the float that the code is, times scale g. */
typedef struct lti_packgrid {
    lti_packgrid_form form;
    const uint8_t *codes;    /* [rows, row_bytes]; of a file: mapped */
    lt_real *scale, *offset; /* [groups] */
    int32_t *zero;           /* [groups] */
    void *owned[3];          /* codes, scales and zero points in the file's types, where they are made */
} lti_packgrid;
/* Scales and offsets of 0, and the zero points of a form that stores none. */
lt_status lti_packgrid_room(lt_ctx *ctx, lti_packgrid *grid);
void lti_packgrid_free(lt_ctx *ctx, lti_packgrid *grid);
int lti_packgrid_parts(const lti_packgrid_form *form, const lti_packgrid *grid,
                       lti_packgrid_part parts[LTI_PACKGRID_PARTS]);

/* Where codes come from. Zeroed: nothing is known of their grids, and all of them are numbers. */
typedef struct lti_packgrid_source {
    const lt_quant_policy *policy; /* gives the grids by the codes' names; NULL */
    const lt_params *weights;      /* what `policy` made the codes of; NULL: somebody else made them */
    const lt_ptq *rounded;         /* gives the grids where there is no policy; NULL */
} lti_packgrid_source;
/* False: the codes are of a type, or numbers as they are. */
bool lti_packgrid_form_from(const lti_packgrid_source *source, const lt_param *code, lti_packgrid_form *form);

/* The codes (f32: numbers on their grid) as a packed tensor. *fits: false where no codes give back every number, bit for
 * bit. Free with lti_packgrid_free, also when it fails. */
lt_status lti_packgrid_make(lt_ctx *ctx, const lti_packgrid_source *source, const lti_packgrid_form *form,
                            const lt_param *code, lti_packgrid *grid, bool *fits);
/* y [rows, columns] */
void lti_packgrid_decode(const lti_packgrid *grid, lt_real *y);

/* ---- In files (packed_file.c) ---- */
enum { LTI_PACKGRID_NAME = 1024 }; /* of a part, and of its keys: tensors with longer ones are not packed */
/* What the metadata say the tensor is, or NULL; *scheme: the grid these words mean, LT_F32 for no grid. */
const char *lti_packgrid_scheme(lt_ctx *ctx, const lt_tensors *file, const char *name, lt_scheme *scheme);
/* Tensor `name` of the shape, packed on the grid `scheme`. LT_EFORMAT names the part that has other sizes, or numbers that
 * cannot be. Free with lti_packgrid_free, also when it fails. */
lt_status lti_packgrid_open(lt_ctx *ctx, const lt_tensors *file, const char *path, const char *name,
                            const lt_scheme *scheme, int rank, const int64_t *shape, lti_packgrid *grid);
/* Bytes of all parts; 0: it is not packed, or there is no file (NULL). */
uint64_t lti_packgrid_file_bytes(const lt_tensors *file, const char *name);
void lti_packgrid_shape_text(int rank, const int64_t *shape, lti_text *text); /* "64x172" */

#endif
