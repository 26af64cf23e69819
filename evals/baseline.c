/* baseline.c - a report against one written before: every number that both have, and how it compares with chance.
 *
 * The two objects are walked together and the answer has their shape, so that a gate addresses a change by the path of
 * the number: drift.slices.physics.accuracy.difference. "outside" says that neither value lies in the other's interval.
 * It is a hint where to look, not a verdict: with equal intervals of 95 % one number in six that only chance moves is
 * outside, as the difference of two spreads wider than either. The verdict is a gate's. */
#include "evals/baseline.h"

#include "base/text.h"
#include "data/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DEEPEST = 32 };
#define REPORT_LIMIT (UINT64_C(64) << 20)

typedef struct comparing {
    lt_ctx *ctx;
    json_t *outside; /* the paths of changes that chance does not explain */
    lti_text path;
    bool failed;
} comparing;

static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

/* Keys that say nothing about a model, or are compared elsewhere. */
static bool passed_over(const char *key)
{
    static const char *const keys[] = {"intervals", "gates", "drift", "data_profile"};
    for (int i = 0; i < LTI_COUNT(keys); i++)
        if (strcmp(key, keys[i]) == 0) return true;
    return false;
}

/* [low, high] of a key, when the object has it. */
static bool interval_of(const json_t *object, const char *key, double interval[2])
{
    const json_t *pair = json_object_get(json_object_get(object, "intervals"), key);
    const json_t *low = json_array_get(pair, 0), *high = json_array_get(pair, 1);
    interval[0] = json_number_value(low);
    interval[1] = json_number_value(high);
    return json_is_number(low) && json_is_number(high);
}

static bool within(double value, const double interval[2])
{
    return value >= interval[0] && value <= interval[1];
}

static json_t *compare_number(comparing *c, const json_t *old_object, const json_t *new_object, const char *key)
{
    double was = json_number_value(json_object_get(old_object, key));
    double is = json_number_value(json_object_get(new_object, key)), a[2], b[2];
    json_t *change = json_pack("{s:o, s:o, s:o, s:o}", "old", number(was), "new", number(is), "difference",
                               number(is - was), "ratio", was != 0 ? number(is / was) : json_null());
    if (!interval_of(old_object, key, a) || !interval_of(new_object, key, b)) return change;
    bool outside = !within(is, a) && !within(was, b);
    json_object_set_new(change, "outside", json_boolean(outside));
    if (outside) json_array_append_new(c->outside, json_string(c->path.data));
    return change;
}

/* What changed within two objects, or NULL when they have no number in common. */
static json_t *compare_objects(comparing *c, const json_t *old_object, const json_t *new_object, int depth)
{
    const char *key;
    json_t *old_value;
    json_t *changes = depth < DEEPEST ? json_object() : NULL;
    size_t length = c->path.length;
    if (!changes) return NULL;
    json_object_foreach((json_t *)old_object, key, old_value)
    {
        const json_t *new_value = json_object_get(new_object, key);
        json_t *change = NULL;
        if (passed_over(key)) continue;
        lti_text_format(&c->path, "%s%s", length ? "." : "", key);
        if (c->path.failed) break;
        if (json_is_number(old_value) && json_is_number(new_value))
            change = compare_number(c, old_object, new_object, key);
        else if (json_is_object(old_value) && json_is_object(new_value))
            change = compare_objects(c, old_value, new_value, depth + 1);
        if (change && json_object_set_new(changes, key, change)) c->failed = true;
        c->path.length = length;
        c->path.data[length] = 0;
    }
    if (json_object_size(changes)) return changes;
    json_decref(changes);
    return NULL;
}

/* The profiles of the data, NULL when one report has none. */
static lt_status compare_data(comparing *c, const json_t *old_report, const json_t *new_report, json_t **data)
{
    const json_t *was = json_object_get(old_report, "data_profile"), *is = json_object_get(new_report, "data_profile");
    const char *old_hash = json_string_value(json_object_get(was, "hash"));
    const char *new_hash = json_string_value(json_object_get(is, "hash"));
    bool known;
    double kl;
    *data = NULL;
    if (!was || !is) return LT_OK;
    json_t *changes = compare_objects(c, was, is, 1);
    *data = changes ? changes : json_object();
    json_object_set_new(*data, "same", json_boolean(old_hash && new_hash && strcmp(old_hash, new_hash) == 0));
    LTI_TRY(lti_profile_kl(c->ctx, was, is, &known, &kl));
    json_object_set_new(*data, "kl", known ? number(kl) : json_null());
    return LT_OK;
}

static lt_status compare_reports(comparing *c, const char *baseline, const json_t *old_report, const json_t *new_report,
                                 char **drift)
{
    json_t *data = NULL, *top = json_pack("{s:s}", "baseline", baseline);
    json_t *changes = compare_objects(c, old_report, new_report, 0);
    const char *was = json_string_value(json_object_get(old_report, "kind"));
    const char *is = json_string_value(json_object_get(new_report, "kind"));
    lt_status status = LT_OK;
    if (was && is && strcmp(was, is) != 0)
        status = lti_fail(c->ctx, LT_EINVAL, "%s is a report on data of kind %s, this evaluation is of kind %s",
                          baseline, was, is);
    else if (!changes && !c->path.failed)
        status = lti_fail(c->ctx, LT_EINVAL,
                          "%s has no number in common with this evaluation; is it a report of "
                          "lathe eval --json?",
                          baseline);
    if (status == LT_OK) status = compare_data(c, old_report, new_report, &data);
    json_object_set(top, "outside", c->outside);
    if (data) json_object_set_new(top, "data", data);
    if (changes && json_object_update_missing(top, changes)) c->failed = true;
    json_decref(changes);
    char *text = status == LT_OK && top && !c->failed && !c->path.failed
                     ? json_dumps(top, JSON_INDENT(2) | JSON_REAL_PRECISION(12))
                     : NULL;
    json_decref(top);
    *drift = text ? lti_strdup(c->ctx, text) : NULL;
    free(text);
    if (status != LT_OK || *drift) return status;
    return lti_fail(c->ctx, LT_ENOMEM, "out of memory for the comparison with %s", baseline);
}

lt_status lt_baseline_compare(lt_ctx *ctx, const char *baseline, const char *report, char **drift)
{
    json_t *old_report = NULL, *new_report = NULL;
    comparing c = {.ctx = ctx, .outside = json_array(), .path = {.ctx = ctx}};
    *drift = NULL;
    lt_status status = lti_json_read(ctx, baseline, REPORT_LIMIT, &old_report);
    if (status == LT_OK) status = lti_json_parse(ctx, "the report", 0, report, strlen(report), &new_report);
    if (status == LT_OK) status = compare_reports(&c, baseline, old_report, new_report, drift);
    json_decref(old_report);
    json_decref(new_report);
    json_decref(c.outside);
    lti_text_free(&c.path);
    return status;
}
