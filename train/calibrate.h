/* calibrate.h - what a model's layers read on rows of data. */
#ifndef LTI_CALIBRATE_H
#define LTI_CALIBRATE_H

#include "lathe/ptq.h"
#include "qat/rounding.h"

/* A layer and its inputs. Layers that read the same value share them. */
typedef struct lti_site_inputs {
    char *site; /* "blk.0.attn_q"; NULL of what a file said */
    char *weight;
    lti_inputs *inputs;
    bool owner;    /* inputs are freed with this one */
    int64_t reads; /* positions a row of data; 0: as many as the row has tokens */
} lti_site_inputs;

struct lt_imatrix {
    lt_ctx *ctx;
    lti_site_inputs *list;
    int count, room;
    int64_t rows, longest; /* of the data; 0: read from a file */
};

/* Layers whose weight `wanted` says yes to; grams: sums of x x' as well. */
typedef struct lti_calibration {
    lt_model *model;
    const lt_dataset *data;
    int64_t rows;
    bool grams;
    bool (*wanted)(void *user, const lt_param *weight);
    void *user;
    const volatile int *stop;
} lti_calibration;
lt_status lti_calibrate(const lti_calibration *calibration, lt_imatrix **measured);

/* The inputs of the layer with this weight; NULL when it was not met. */
lti_inputs *lti_inputs_of(const lt_imatrix *measured, const char *weight);
/* A new entry, empty but for its names; NULL: memory is out. */
lti_site_inputs *lti_imatrix_add(lt_imatrix *imatrix, const char *site, const char *weight);
lt_status lti_inputs_new(lt_ctx *ctx, int64_t columns, bool all, bool gram, lti_inputs **inputs);

#endif
