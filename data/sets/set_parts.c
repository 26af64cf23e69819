/* set_parts.c - which file holds a part of a data set: a file itself, or one of a directory. */
#include "base/text.h"
#include "data/files.h"
#include "data/sets/labelled_set.h"

#include <stdio.h>
#include <string.h>

/* The file of a part, of whatever kind; NULL when there is none. Two are a question to the user. */
static lt_status find_part(lt_ctx *ctx, const char *directory, const char *part, const char *const *kinds, char **path)
{
    const char *found = NULL;
    *path = NULL;
    for (; **kinds; kinds++) {
        char name[64];
        snprintf(name, sizeof name, "%s%s", part, *kinds);
        char *candidate = lti_path_join(ctx, directory, name);
        lt_status status = candidate ? LT_OK : LT_ENOMEM;
        bool exists = candidate && lti_file_exists(candidate);
        if (exists && found)
            status = lti_fail(ctx, LT_EINVAL, "%s has both %s%s and %s%s: which is meant? move the other away",
                              directory, part, found, part, *kinds);
        if (status == LT_OK && exists) {
            *path = candidate;
            found = *kinds;
            continue;
        }
        lti_free(ctx, candidate);
        if (status == LT_OK) continue;
        lti_free(ctx, *path);
        *path = NULL;
        return status;
    }
    return LT_OK;
}

/* "train.txt, .jsonl or .json" */
static lt_status fail_missing(lt_ctx *ctx, const char *directory, const char *part, const char *const *kinds)
{
    char list[256] = "";
    for (int i = 0; *kinds[i]; i++) {
        size_t n = strlen(list);
        const char *between = i == 0 ? "" : *kinds[i + 1] ? ", " : " or ";
        snprintf(list + n, sizeof list - n, "%s%s", between, kinds[i]);
    }
    return lti_fail(ctx, LT_EIO, "%s: there is no %s%s in it", directory, part, list);
}

static lt_status find_in(lt_ctx *ctx, const char *directory, const char *const *kinds, const char *test_alias,
                         lt_split wanted, char **file, lt_split *split)
{
    static const char *const parts[] = {"train", "train", "valid", "test"};
    if (wanted == LT_SPLIT_ALL)
        return lti_fail(ctx, LT_EINVAL, "%s is a directory: choose its train, valid or test part", directory);
    char *train = NULL, *valid = NULL, *test = NULL;
    lt_status status = find_part(ctx, directory, "train", kinds, &train);
    if (status == LT_OK) status = find_part(ctx, directory, "valid", kinds, &valid);
    if (status == LT_OK && wanted == LT_SPLIT_TEST) status = find_part(ctx, directory, "test", kinds, &test);
    if (status == LT_OK && wanted == LT_SPLIT_TEST && !test && test_alias)
        status = find_part(ctx, directory, test_alias, kinds, &test);
    if (status == LT_OK) {
        bool divide = wanted != LT_SPLIT_TEST && !valid && train;
        char **chosen = divide || wanted == LT_SPLIT_TRAIN ? &train : wanted == LT_SPLIT_VALID ? &valid : &test;
        *file = *chosen;
        *split = divide ? wanted : LT_SPLIT_ALL;
        if (!*chosen) status = fail_missing(ctx, directory, parts[wanted], kinds);
        *chosen = NULL;
    }
    lti_free(ctx, test);
    lti_free(ctx, valid);
    lti_free(ctx, train);
    return status;
}

lt_status lti_set_part(lt_ctx *ctx, const char *path, const char *const *kinds, const char *test_alias, lt_split wanted,
                       char **file, lt_split *split)
{
    *file = NULL;
    *split = wanted;
    if (lti_is_directory(path)) return find_in(ctx, path, kinds, test_alias, wanted, file, split);
    if (wanted == LT_SPLIT_TEST)
        return lti_fail(ctx, LT_EINVAL, "%s: a single file has train and valid parts, no test part", path);
    *file = lti_strdup(ctx, path);
    return *file ? LT_OK : LT_ENOMEM;
}

bool lti_set_has_test(lt_ctx *ctx, const char *directory)
{
    static const char *const *const kinds[] = {lti_labelled_kinds, lti_numbers_kinds, lti_numbers_kinds};
    static const char *const names[] = {"test", "test", "t10k"};
    bool found = false;
    for (int i = 0; i < LTI_COUNT(kinds) && !found; i++) {
        char *path;
        found = find_part(ctx, directory, names[i], kinds[i], &path) == LT_EINVAL || path;
        lti_free(ctx, path);
    }
    lt_ctx_clear(ctx);
    return found;
}
