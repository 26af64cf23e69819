/* network.c - what all networks share: the list of them, and their keys as --init and config.json have them; see
 * network.h.
 *
 * One table of a network's keys serves the line of text, the reader and the writer, so that no size can be forgotten by
 * one of the three. A config.json of lathe's own has no optional keys: a missing one is a damaged file, not a default
 * of whichever version reads it. */
#include "models/network.h"

#include "base/text.h"
#include "data/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const lti_network *const networks[] = {&lti_network_cnn, &lti_network_mlp, &lti_network_lstm, &lti_network_gru};

const lti_network *lti_network_named(const char *name)
{
    for (int i = 0; i < LTI_COUNT(networks); i++)
        if (!strcmp(networks[i]->name, name)) return networks[i];
    return NULL;
}

const lti_network *lti_network_of_model_type(const char *type)
{
    for (int i = 0; i < LTI_COUNT(networks); i++)
        if (!strcmp(networks[i]->model_type, type)) return networks[i];
    return NULL;
}

const char *lti_network_names(void)
{
    return "cnn, mlp, lstm, gru";
}

/* ---- For the networks ---- */

lt_status lti_network_range(lt_ctx *ctx, const char *network, const char *key, int64_t value, int64_t limit)
{
    if (value >= 1 && value <= limit) return LT_OK;
    return lti_fail(ctx, LT_EINVAL, "%s: %s is %lld; it must be in 1 to %lld%s", network, key, (long long)value,
                    (long long)limit, value ? "" : " (data gives what is left out, or write it)");
}

lt_status lti_network_take(lt_ctx *ctx, const char *network, const char *key, int64_t *size, int64_t found)
{
    if (*size == 0) *size = found;
    if (*size == found) return LT_OK;
    return lti_fail(ctx, LT_EINVAL, "%s: %s is %lld, but the rows of the data have %lld", network, key,
                    (long long)*size, (long long)found);
}

lt_status lti_visit_tensor(lti_tensor t, const char *name, int rank, const int64_t *shape, lti_tensor_visitor visit,
                           void *user)
{
    snprintf(t.name, sizeof t.name, "%s", name);
    snprintf(t.hf, sizeof t.hf, "%s", name);
    t.rank = rank;
    memcpy(t.shape, shape, (size_t)rank * sizeof *shape);
    return visit(user, &t);
}

/* ---- --init ---- */

lt_status lti_init_number(lt_ctx *ctx, const char *key, const char *text, bool whole, double *value)
{
    char *end;
    *value = lti_strtod(text, &end);
    if (end == text || *end || !isfinite(*value) || (whole && (fabs(*value) > 1e15 || *value != trunc(*value))))
        return lti_fail(ctx, LT_EINVAL, "init: '%s' is no value for %s", text, key);
    return LT_OK;
}

static int find_key(const lti_network *network, lti_network_config *config, const char *name, lti_network_key *key)
{
    lti_network_key keys[LTI_NETWORK_KEYS];
    int n = network->keys(config, keys);
    for (int i = 0; i < n; i++)
        if (!strcmp(keys[i].name, name)) {
            *key = keys[i];
            return i;
        }
    return -1;
}

int64_t *lti_network_count(const lti_network *network, lti_network_config *config, const char *name)
{
    lti_network_key key;
    return find_key(network, config, name, &key) < 0 ? NULL : key.count;
}

static lt_status no_such_key(lt_ctx *ctx, const lti_network *network, lti_network_config *config, const char *name)
{
    lti_network_key keys[LTI_NETWORK_KEYS];
    char list[256] = "";
    int n = network->keys(config, keys);
    for (int i = 0; i < n; i++) {
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", keys[i].name);
    }
    return lti_fail(ctx, LT_EINVAL, "init: %s has no '%s'; it has %s", network->name, name, list);
}

/* "256/128"; "0": no hidden layer. */
static lt_status set_widths(lt_ctx *ctx, lt_mlp_config *mlp, const char *key, const char *text)
{
    mlp->n_hidden = 0;
    if (!strcmp(text, "0")) return LT_OK;
    while (*text) {
        char number[32];
        double value;
        size_t length = strcspn(text, "/");
        if (mlp->n_hidden == LTI_COUNT(mlp->hidden))
            return lti_fail(ctx, LT_EINVAL, "init: %s has more than %d layers", key, LTI_COUNT(mlp->hidden));
        snprintf(number, sizeof number, "%.*s", (int)(length < 31 ? length : 31), text);
        LTI_TRY(lti_init_number(ctx, key, number, true, &value));
        mlp->hidden[mlp->n_hidden++] = (int64_t)value;
        text += length + (text[length] == '/');
    }
    return LT_OK;
}

lt_status lti_network_set(lt_ctx *ctx, const lti_network *network, lti_network_config *config, const char *name,
                          const char *text)
{
    lti_network_key key;
    double value;
    if (find_key(network, config, name, &key) < 0) return no_such_key(ctx, network, config, name);
    if (key.widths) return set_widths(ctx, key.widths, name, text);
    LTI_TRY(lti_init_number(ctx, name, text, key.count || key.flag || key.depthwise, &value));
    if ((key.flag || key.depthwise) && value != 0 && value != 1)
        return lti_fail(ctx, LT_EINVAL, "init: %s is 0 or 1, not '%s'", name, text);
    if (key.count) *key.count = (int64_t)value;
    if (key.number) *key.number = value;
    if (key.flag) *key.flag = value != 0;
    if (key.depthwise) *key.depthwise = value != 0 ? LT_CNN_DEPTHWISE : LT_CNN_RESIDUAL;
    return LT_OK;
}

/* ---- config.json, read ---- */

static lt_status read_widths(const lti_config_reader *r, const lti_network_key *key, const json_t *value)
{
    size_t n = json_array_size(value);
    bool good = json_is_array(value) && n <= LTI_COUNT(key->widths->hidden);
    key->widths->n_hidden = (int)(good ? n : 0);
    for (size_t i = 0; i < n && good; i++) {
        const json_t *width = json_array_get(value, i);
        good = json_is_integer(width) && json_integer_value(width) > 0;
        key->widths->hidden[i] = good ? json_integer_value(width) : 0;
    }
    if (good) return LT_OK;
    return lti_fail(r->ctx, LT_EFORMAT, "%s: '%s' must be a list of at most %d whole numbers above 0", r->path,
                    key->name, LTI_COUNT(key->widths->hidden));
}

static lt_status read_key(const lti_config_reader *r, const lti_network_key *key)
{
    const json_t *value = json_object_get(r->json, key->name);
    if (key->optional && !value) return LT_OK;
    if (key->widths) return read_widths(r, key, value);
    if (key->count) {
        if (!json_is_integer(value) || json_integer_value(value) < 0)
            return lti_config_bad(r, key->name, "a whole number");
        *key->count = json_integer_value(value);
    } else if (key->number) {
        if (!json_is_number(value)) return lti_config_bad(r, key->name, "a number");
        *key->number = json_number_value(value);
    } else {
        if (!json_is_boolean(value)) return lti_config_bad(r, key->name, "true or false");
        if (key->flag) *key->flag = json_is_true(value);
        if (key->depthwise) *key->depthwise = json_is_true(value) ? LT_CNN_DEPTHWISE : LT_CNN_RESIDUAL;
    }
    return LT_OK;
}

/* id2label: {"0": "ankle boot", ...}, a name for each class. */
static lt_status check_labels(const lti_config_reader *r, int64_t classes)
{
    const json_t *labels = json_object_get(r->json, "id2label");
    const char *name;
    json_t *label;
    if (!labels) return LT_OK;
    if (!json_is_object(labels)) return lti_config_bad(r, "id2label", "an object");
    if ((int64_t)json_object_size(labels) != classes)
        return lti_fail(r->ctx, LT_EFORMAT, "%s: 'id2label' names %lld classes, but 'classes' is %lld", r->path,
                        (long long)json_object_size(labels), (long long)classes);
    json_object_foreach((json_t *)labels, name, label)
    {
        char *end;
        long long index = strtoll(name, &end, 10);
        char again[24];
        snprintf(again, sizeof again, "%lld", index);
        if (*end || strcmp(again, name) || index < 0 || index >= classes || !json_is_string(label))
            return lti_fail(r->ctx, LT_EFORMAT, "%s: 'id2label' has '%.40s', which is no class's number with a name",
                            r->path, name);
    }
    return LT_OK;
}

static lt_status check_strangers(const lti_config_reader *r, const lti_network *network, lti_network_config *config)
{
    static const char *const others[] = {"model_type", "dtype", "id2label"};
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)r->json, name, value)
    {
        lti_network_key key;
        bool known = find_key(network, config, name, &key) >= 0;
        for (int i = 0; i < LTI_COUNT(others); i++) known |= !strcmp(others[i], name);
        if (!known)
            return lti_fail(r->ctx, LT_EFORMAT,
                            "%s: '%.80s' is no key of a %s; remove it, or use the lathe that wrote it", r->path, name,
                            network->model_type);
    }
    return LT_OK;
}

lt_status lti_network_from_json(lt_ctx *ctx, const char *path, const json_t *json, const lti_network **network,
                                lti_network_config *config)
{
    const lti_config_reader r = {ctx, path, json};
    const json_t *type = json_object_get(json, "model_type");
    *network = json_is_string(type) ? lti_network_of_model_type(json_string_value(type)) : NULL;
    if (!*network) return lti_config_bad(&r, "model_type", "the name of one of lathe's networks");
    (*network)->defaults(config);
    LTI_TRY(check_strangers(&r, *network, config));
    lti_network_key keys[LTI_NETWORK_KEYS];
    int n = (*network)->keys(config, keys);
    for (int i = 0; i < n; i++) LTI_TRY(read_key(&r, &keys[i]));
    if ((*network)->check(ctx, config) != LT_OK) {
        char why[256]; /* a copy: the message cannot be written over itself */
        snprintf(why, sizeof why, "%s", lt_ctx_message(ctx));
        return lti_fail(ctx, LT_EFORMAT, "%s: %s", path, why);
    }
    return check_labels(&r, (*network)->facts(config).classes);
}

/* ---- config.json, written ---- */

static json_t *value_of(const lti_network_key *key)
{
    if (key->count) return json_integer(*key->count);
    if (key->number) return json_real(*key->number);
    if (key->flag) return json_boolean(*key->flag);
    if (key->depthwise) return json_boolean(*key->depthwise == LT_CNN_DEPTHWISE);
    json_t *list = json_array();
    bool failed = !list;
    for (int i = 0; i < key->widths->n_hidden; i++)
        failed |= json_array_append_new(list, json_integer(key->widths->hidden[i])) != 0;
    if (!failed) return list;
    json_decref(list);
    return NULL;
}

json_t *lti_network_to_json(const lti_network *network, const lti_network_config *config, const json_t *labels,
                            const char *dtype)
{
    lti_network_config copy = *config; /* keys are places */
    lti_network_key keys[LTI_NETWORK_KEYS];
    int n = network->keys(&copy, keys);
    json_t *json = json_pack("{s:s,s:s}", "model_type", network->model_type, "dtype", dtype);
    bool failed = !json;
    for (int i = 0; i < n && !failed; i++)
        if (!keys[i].optional || *keys[i].flag)
            failed = json_object_set_new(json, keys[i].name, value_of(&keys[i])) != 0;
    if (labels && !failed) failed = json_object_set_new(json, "id2label", json_deep_copy(labels)) != 0;
    if (!failed) return json;
    json_decref(json);
    return NULL;
}
