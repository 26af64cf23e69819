/* h5_helper.h - the parts of the program lathe-h5. Functions return 0, or what helper_refuse returned. */
#ifndef H5_HELPER_H
#define H5_HELPER_H

#define H5_USE_110_API 1 /* the same calls with later libraries */

#include "data/formats/h5_message.h"
#include "lathe/formats.h"

#include <hdf5.h>
#include <stdbool.h>

extern lti_h5_message *helper_message;

/* Puts the sentence into the message; returns 1. */
int helper_refuse(lt_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* At least `bytes` of window, in memory and in the shared file; NULL after a refusal. Moves when it grows. */
void *helper_window(uint64_t bytes);

/* ---- Types ---- */
/* The type that `stored` is written as and read into, little-endian; negative when HDF5 has none for it. */
hid_t helper_type(lt_stored stored);
/* The label of types that HDF5 lacks: they are written as unsigned integers with this in an attribute "dtype". */
const char *helper_label(lt_stored stored);
#define HELPER_LABEL "dtype"
/* What the elements of a dataset are. `memory` is the type to read them into. False when it is not on the list. */
bool helper_stored(hid_t set, lt_stored *stored, hid_t *memory);
/* A scalar string attribute as `*text` (malloc); false when it is missing, something else or longer than a message. */
bool helper_text_attribute(hid_t object, const char *name, char **text);

/* ---- Slabs: a dataset in row-major pieces, each of whole chunks ---- */
typedef struct helper_slabs {
    hid_t set, memory; /* dataset, type of the elements in the window */
    int rank, axis;    /* a slab is a range of this axis: of the earlier ones one index, of the later ones all */
    hsize_t shape[LTI_H5_RANK];
    uint64_t width;          /* bytes an element */
    uint64_t elements, done; /* of the dataset */
    uint64_t unit;           /* elements behind one index of the axis */
    uint64_t rows;           /* indices a slab */
} helper_slabs;

/* Decides axis and rows from shape and chunk (all 1 when it is contiguous). */
void helper_slabs_plan(helper_slabs *slabs, const hsize_t *chunk);
uint64_t helper_slabs_next(const helper_slabs *slabs); /* elements of the next slab; 0 at the end */
/* Moves the next slab between the dataset and the window; no more than one slab is in memory. */
int helper_slabs_move(helper_slabs *slabs, bool write);

/* ---- Reading ---- */
/* Opens a dataset and describes it in the message and in `slabs`. The caller closes slabs->set when it is > 0. */
int helper_find(hid_t file, uint64_t file_bytes, const char *name, helper_slabs *slabs);
/* Every step of the path must be a hard link: the others lead out of the file or around in it. */
int helper_check_links(hid_t file, const char *name);
/* Writes the records of all datasets and of the root group's attributes into the window. */
int helper_list(hid_t file, uint64_t file_bytes);

/* ---- Writing ---- */
hid_t helper_create_file(const char *path);
int helper_create(hid_t file, helper_slabs *slabs);
int helper_write_pair(hid_t file);

#endif
