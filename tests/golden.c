/* golden.c - see golden.h. */
#include "tests/golden.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static uint32_t lcg(uint32_t *s)
{
    return *s = *s * 1664525u + 1013904223u;
}

void gd_fill(lt_real *x, int64_t n, uint32_t stream, double scale, bool gain)
{
    uint32_t s = 1 + stream;
    for (int64_t i = 0; i < n; i++) {
        double v = scale * ((double)(int32_t)lcg(&s) * 0x1p-31);
        x[i] = (lt_real)(gain ? 1 + v : v);
    }
}

void gd_fill_int(int32_t *x, int64_t n, uint32_t stream, uint32_t bound)
{
    uint32_t s = 1 + stream;
    for (int64_t i = 0; i < n; i++) x[i] = (int32_t)((lcg(&s) >> 8) % bound);
}

const char *gd_directory(void)
{
    const char *directory = getenv("LT_GOLDEN");
    return directory ? directory : "tests/golden";
}

json_t *gd_load(const char *name)
{
    char path[1024];
    json_error_t error;
    snprintf(path, sizeof path, "%s/%s", gd_directory(), name);
    json_t *root = json_load_file(path, 0, &error);
    if (!root) TS_CHECK(false, "%s:%d: %s; run the tests from the project's root", path, error.line, error.text);
    return root;
}

double gd_number(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

const char *gd_text(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

int gd_shape(const json_t *object, const char *key, int64_t shape[LT_MAX_RANK])
{
    const json_t *list = json_object_get(object, key);
    int rank = (int)json_array_size(list);
    for (int i = 0; i < rank; i++) shape[i] = json_integer_value(json_array_get(list, (size_t)i));
    return rank;
}

int64_t gd_count(int rank, const int64_t *shape)
{
    int64_t n = 1;
    for (int i = 0; i < rank; i++) n *= shape[i];
    return n;
}

void gd_near(double got, double want, double tolerance, const char *format, ...)
{
    char what[256];
    double allowed = tolerance * fmax(1, fabs(want));
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    TS_CHECK(fabs(got - want) <= allowed, "%s: %.17g, PyTorch %.17g, apart %.3g (allowed %.3g)", what, got, want,
             fabs(got - want), allowed);
}

void gd_array(const lt_real *got, const json_t *want, double tolerance, const char *what)
{
    size_t n = json_array_size(want), worst = 0;
    double scale = 0, apart = -1;
    for (size_t i = 0; i < n; i++) scale = fmax(scale, fabs(json_number_value(json_array_get(want, i))));
    for (size_t i = 0; i < n; i++) {
        double e = fabs((double)got[i] - json_number_value(json_array_get(want, i)));
        if (!(e <= apart)) {
            apart = e;
            worst = i;
        }
        if (isnan(e)) break;
    }
    TS_CHECK(n > 0 && apart <= tolerance * scale, "%s: element %zu is %.17g, PyTorch %.17g; allowed %.3g", what, worst,
             n ? (double)got[worst] : 0.0, json_number_value(json_array_get(want, worst)), tolerance * scale);
}
