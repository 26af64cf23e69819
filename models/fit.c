/* fit.c - whether a model and a data set belong together: the kind of rows, their shape, their classes and the names of
 * those. A wrong pair is refused before anything is computed; it would train, and mean nothing. */
#include "models/model.h"

#include <string.h>

static const char *rows_of(lt_dataset_kind kind)
{
    return kind == LT_DATA_NUMBERS    ? "rows of numbers with a class each"
           : kind == LT_DATA_LABELLED ? "texts with a class each"
                                      : "texts whose next token is predicted";
}

lt_status lti_model_check_kind(const lt_model *m, const lt_dataset *data)
{
    lt_dataset_kind reads = lt_model_reads(m), kind = lt_dataset_kind_of(data);
    if (reads == kind) return LT_OK;
    return lti_fail(m->ctx, LT_EINVAL, "this %s takes %s, but the data has %s; choose another model or other data",
                    lt_model_family(m), rows_of(reads), rows_of(kind));
}

static lt_status check_shape(const lt_model *m, const lt_dataset *data)
{
    int64_t shape[LT_MAX_RANK];
    lti_network_config copy = m->net; /* nothing in it is 0 that rows have: they are only compared */
    return m->network->take_rows(m->ctx, &copy, lt_dataset_row_shape(data, shape), shape);
}

/* A name somebody gave: not the LABEL_3 of a config that has none. */
static bool is_name(const char *label)
{
    return label && strncmp(label, "LABEL_", 6) != 0;
}

static lt_status check_classes(const lt_model *m, const lt_dataset *data)
{
    int64_t classes = lt_model_classes(m), n = lt_dataset_classes(data);
    if (classes == 0)
        return lti_fail(m->ctx, LT_EINVAL, "this %s has no head of classes; make one with classes=%lld",
                        lt_model_family(m), (long long)n);
    if (n > classes)
        return lti_fail(m->ctx, LT_EINVAL, "the data has %lld classes, but this %s knows %lld", (long long)n,
                        lt_model_family(m), (long long)classes);
    for (int64_t i = 0; i < n; i++) {
        const char *own = lt_model_label(m, i), *name = lt_dataset_label(data, i);
        if (is_name(own) && is_name(name) && strcmp(own, name) != 0)
            return lti_fail(m->ctx, LT_EINVAL,
                            "class %lld is '%.60s' in the data and '%.60s' in the model: they number their classes "
                            "differently",
                            (long long)i, name, own);
    }
    return LT_OK;
}

lt_status lt_model_check_data(const lt_model *m, const lt_dataset *data)
{
    LTI_TRY(lti_model_check_kind(m, data));
    if (lt_dataset_kind_of(data) == LT_DATA_TOKENS) return LT_OK;
    if (lt_dataset_kind_of(data) == LT_DATA_NUMBERS) LTI_TRY(check_shape(m, data));
    return check_classes(m, data);
}
