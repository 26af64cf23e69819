/* golden.h - reading tests/golden/ and judging by it; the files and their tests are described in test_goldens.c. */
#ifndef GD_GOLDEN_H
#define GD_GOLDEN_H

#include "tests/testing.h"

#include <jansson.h>

/* ---- What scripts/goldens.py makes, too: its first comment has the generator ---- */
void gd_fill(lt_real *x, int64_t n, uint32_t stream, double scale, bool gain);
void gd_fill_int(int32_t *x, int64_t n, uint32_t stream, uint32_t bound);

/* ---- Reading ---- */
/* Where the files are: LT_GOLDEN, or tests/golden. */
const char *gd_directory(void);
/* NULL, and a failed check, when the file cannot be read. */
json_t *gd_load(const char *name);
double gd_number(const json_t *object, const char *key);
const char *gd_text(const json_t *object, const char *key);
/* Dimensions of object[key]; the rank is returned. */
int gd_shape(const json_t *object, const char *key, int64_t shape[LT_MAX_RANK]);
int64_t gd_count(int rank, const int64_t *shape);

/* ---- Judging ---- */
/* |got - want| <= tolerance * max(1, |want|). A NaN fails. */
void gd_near(double got, double want, double tolerance, const char *format, ...) LTI_PRINTF(4, 5);
/* As many elements as `want` lists, each within tolerance * the largest |want|. A NaN fails. */
void gd_array(const lt_real *got, const json_t *want, double tolerance, const char *what);

/* ---- Tests of whole models: golden_models.c ---- */
void gd_test_start(void); /* logits, first loss, gradients */
void gd_test_mlp(void);   /* trainings */
void gd_test_llama(void);
void gd_test_qat(void);
void gd_test_stories(void); /* a published model's logits */

#endif
