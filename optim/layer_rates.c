/* layer_rates.c - where in a network a param is, read from its name: layers, embeddings, heads.
 *
 * Names and not a walk over the graph: an optimizer is made before any graph is, and the models' names say it. Rates
 * that fall towards the input keep what a pretrained network knows (Howard and Ruder 2018; Clark et al. 2020). */
#include "optim/optimizer_parts.h"

#include <string.h>

/* Whether the part of a name that begins here, up to a dot, a colon or the end, is `word`. */
static bool part_is(const char *part, const char *word)
{
    size_t n = strlen(word);
    return strncmp(part, word, n) == 0 && (part[n] == '.' || part[n] == ':' || part[n] == '\0');
}

static const char *next_part(const char *part)
{
    const char *dot = strchr(part, '.');
    return dot ? dot + 1 : NULL;
}

int64_t lti_layer_of(const char *name)
{
    for (const char *part = name; part; part = next_part(part)) {
        if (!part_is(part, "blk") && !part_is(part, "stage") && !part_is(part, "rnn")) continue;
        const char *digits = next_part(part);
        int64_t layer = 0;
        size_t n = digits ? strspn(digits, "0123456789") : 0;
        if (n == 0 || n > 6 || digits[n] != '.') continue;
        for (size_t i = 0; i < n; i++) layer = 10 * layer + (digits[i] - '0');
        return layer;
    }
    return -1;
}

bool lti_is_embedding(const char *name)
{
    for (const char *part = name; part; part = next_part(part))
        if (part_is(part, "token_types")) return true;
    return strstr(name, "embd") != NULL;
}

bool lti_is_head(const char *name)
{
    for (const char *part = name; part; part = next_part(part))
        if (part_is(part, "output") || part_is(part, "head")) return true;
    return false;
}

static bool is_stem(const char *name)
{
    return part_is(name, "stem");
}

int64_t lti_layer_count(const lt_params *params)
{
    int64_t most = -1;
    for (int i = 0; i < lt_params_count(params); i++) {
        const lt_param *p = lt_params_at(params, i);
        int64_t layer = lt_param_role(p) == LT_WEIGHT ? lti_layer_of(lt_param_name(p)) : -1;
        if (layer > most) most = layer;
    }
    return most + 1;
}

int64_t lti_layer_distance(const char *name, int64_t layers)
{
    int64_t layer = lti_layer_of(name);
    if (layer >= 0) return layers - layer;
    return lti_is_embedding(name) || is_stem(name) ? layers + 1 : 0;
}
