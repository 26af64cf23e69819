/* h5_list.c - everything a file holds: datasets in all groups, and the root group's attributes.
 *
 * Only hard links are followed. A group that lies in itself, a depth of more than LTI_H5_DEPTH and a number of links
 * beyond LTI_H5_OBJECTS end the walk: links can make a few groups look like an endless tree. What is sound but not of
 * use here is listed with the reason; what is damaged refuses the file. */
#include "data/helper/h5_helper.h"

#include <stdlib.h>
#include <string.h>

typedef struct walk {
    hid_t file;
    uint64_t file_bytes, used, room, links;
    char path[LTI_H5_TEXT];
    haddr_t above[LTI_H5_DEPTH]; /* addresses of the groups on the way here */
    int depth, code;
} walk;

static int add_record(walk *w, lti_h5_record record, const char *name, const char *value)
{
    record.name_bytes = (uint32_t)strlen(name);
    record.value_bytes = (uint32_t)strlen(value);
    uint64_t size = sizeof record + (uint64_t)record.name_bytes + record.value_bytes + 2;
    size += (8 - size % 8) % 8;
    if (w->used + size > LTI_H5_LIST_BYTES)
        return helper_refuse(LT_ELIMIT, "the list of what it holds passes %llu bytes",
                             (unsigned long long)LTI_H5_LIST_BYTES);
    if (w->used + size > w->room) w->room = 2 * w->room + size;
    char *at = helper_window(w->room);
    if (!at) return 1;
    at += w->used;
    memset(at, 0, size);
    memcpy(at, &record, sizeof record);
    memcpy(at + sizeof record, name, record.name_bytes);
    memcpy(at + sizeof record + record.name_bytes + 1, value, record.value_bytes);
    w->used += size;
    return 0;
}

static int skip(walk *w, const char *reason)
{
    return add_record(w, (lti_h5_record){.kind = LTI_H5_SKIPPED}, w->path, reason);
}

/* Puts the object's name before the sentence of a refusal. */
static int refuse_here(const walk *w)
{
    char text[LTI_H5_TEXT];
    memcpy(text, helper_message->text, sizeof text);
    return helper_refuse((lt_status)helper_message->status, "'%.300s': %.700s", w->path, text);
}

static int add_dataset(walk *w)
{
    helper_slabs slabs;
    char reason[LTI_H5_TEXT];
    int code = helper_find(w->file, w->file_bytes, w->path, &slabs);
    if (slabs.set > 0) H5Dclose(slabs.set);
    if (!code) {
        lti_h5_record record = {.kind = LTI_H5_TENSOR,
                                .dtype = helper_message->dtype,
                                .rank = helper_message->rank,
                                .elements = helper_message->elements,
                                .bytes = helper_message->bytes};
        for (int i = 0; i < slabs.rank; i++) record.shape[i] = helper_message->shape[i];
        return add_record(w, record, w->path, "");
    }
    if (helper_message->status != LT_EUNSUPPORTED && helper_message->status != LT_ELIMIT) return refuse_here(w);
    memcpy(reason, helper_message->text, sizeof reason);
    helper_message->status = LT_OK;
    return skip(w, reason);
}

static herr_t visit(hid_t group, const char *name, const H5L_info_t *info, void *data);

static int walk_group(walk *w, const char *name, haddr_t address)
{
    for (int i = 0; i < w->depth; i++)
        if (w->above[i] == address) return skip(w, "it is a group that lies in itself");
    if (w->depth == LTI_H5_DEPTH) return helper_refuse(LT_ELIMIT, "its groups lie more than %d deep", LTI_H5_DEPTH);
    hid_t group = H5Gopen2(w->file, name, H5P_DEFAULT);
    if (group < 0) return helper_refuse(LT_EFORMAT, "the group '%.300s' is damaged", name);
    w->above[w->depth++] = address;
    herr_t failed = H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, NULL, visit, w);
    w->depth--;
    H5Gclose(group);
    if (!w->code && failed < 0) w->code = helper_refuse(LT_EFORMAT, "the list of group '%.300s' is damaged", name);
    return w->code;
}

static int visit_hard(walk *w)
{
    H5O_info_t info;
    if (H5Oget_info_by_name(w->file, w->path, &info, H5P_DEFAULT) < 0)
        return helper_refuse(LT_EFORMAT, "'%.300s' is damaged", w->path);
    if (info.type == H5O_TYPE_GROUP) return walk_group(w, w->path, info.addr);
    if (info.type == H5O_TYPE_DATASET) return add_dataset(w);
    return skip(w, "it is a named type, not a dataset");
}

static herr_t visit(hid_t group, const char *name, const H5L_info_t *info, void *data)
{
    walk *w = data;
    size_t before = strlen(w->path), length = strlen(name);
    (void)group;
    if (++w->links > LTI_H5_OBJECTS) {
        w->code = helper_refuse(LT_ELIMIT, "it has more than %d objects, or links that make them look so many",
                                LTI_H5_OBJECTS);
        return w->code;
    }
    if (length == 0 || before + length + 2 > sizeof w->path) {
        w->code = skip(w, "something in it has a name that is empty or makes a path of more than 1023 bytes");
        return w->code;
    }
    if (before) w->path[before] = '/';
    memcpy(w->path + before + (before > 0), name, length + 1);
    if (info->type == H5L_TYPE_HARD)
        w->code = visit_hard(w);
    else
        w->code = skip(w, "it is a soft or external link, which is not followed");
    w->path[before] = 0;
    return w->code;
}

static herr_t visit_attribute(hid_t root, const char *name, const H5A_info_t *info, void *data)
{
    walk *w = data;
    char *value;
    (void)info;
    if (strlen(name) >= sizeof w->path) return 0;
    if (helper_text_attribute(root, name, &value)) {
        w->code = add_record(w, (lti_h5_record){.kind = LTI_H5_METADATA}, name, value);
        free(value);
    } else {
        w->code = add_record(w, (lti_h5_record){.kind = LTI_H5_SKIPPED}, name,
                             "it is an attribute of the file, and no string that can be read");
    }
    return w->code;
}

int helper_list(hid_t file, uint64_t file_bytes)
{
    walk w = {.file = file, .file_bytes = file_bytes, .room = 1 << 16};
    H5O_info_t info;
    hid_t root = H5Gopen2(file, "/", H5P_DEFAULT);
    if (root < 0 || H5Oget_info(root, &info) < 0) return helper_refuse(LT_EFORMAT, "its root group is damaged");
    hsize_t at = 0;
    herr_t failed = H5Aiterate2(root, H5_INDEX_NAME, H5_ITER_INC, &at, visit_attribute, &w);
    if (!w.code && failed < 0) w.code = helper_refuse(LT_EFORMAT, "the list of its attributes is damaged");
    H5Gclose(root);
    if (!w.code) walk_group(&w, "/", info.addr);
    helper_message->bytes = w.used;
    return w.code;
}
