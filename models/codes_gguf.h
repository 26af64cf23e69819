/* codes_gguf.h - a model in memory as a GGUF file, with the codes it was trained to; and the proof that the file holds
 * them. */
#ifndef LTI_CODES_GGUF_H
#define LTI_CODES_GGUF_H

#include "base/text.h"
#include "lathe/gguf.h"
#include "models/model.h"

typedef struct lti_codes_file {
    const lt_model *model;    /* config and tokenizer */
    const lt_params *codes;   /* every tensor, in the type it ships in */
    const char *path;         /* .gguf */
    const char *name;         /* general.name */
    const char *mix;          /* of general.file_type; NULL: that of the commonest type */
    const lt_gguf_pair *more; /* [n_more] keys of the caller's */
    int n_more;
} lti_codes_file;

/* What was compared. */
typedef struct lti_codes_proof {
    int64_t tensors, weights;
    uint64_t bytes; /* of tensors, as they are in the file */
} lti_codes_proof;

/* Writes the file as llama.cpp reads it: rows of codes are moved, never made anew. `notes` gets a line for what other
 * programs may not read. LT_EUNSUPPORTED names what GGUF has no place for. */
lt_status lti_codes_write(const lti_codes_file *file, lti_text *notes);
/* Reads the file back: every byte of every tensor, put into lathe's order, and every number it stands for against the
 * codes. LT_EIO names the first tensor that differs. */
lt_status lti_codes_prove(const lti_codes_file *file, lti_codes_proof *proof);

#endif
