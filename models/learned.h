/* learned.h - what networks with learned positions share (learned.c): GPT-2 and BERT. */
#ifndef LTI_LEARNED_H
#define LTI_LEARNED_H

#include "models/family.h"

/* Visits rows whose names are templates: "attn_norm.weight" gets "blk.<layer>." before it, and %lld in hf the number.
 * A layer below 0: the names are whole. */
lt_status lti_visit_rows(const lti_tensor *rows, int count, int64_t layer, lti_tensor_visitor visit, void *user);

/* Rows of "position_embd" for the tokens [B, T]: [B, T, C] by input->positions, else [T, C], the first T rows. A graph
 * error where T is longer than the table, or where `first` is given without positions. */
lt_t lti_learned_positions(lt_graph *graph, const lt_transformer_config *config, const lt_model_input *input);

/* Rows begin to end of the table `name` [N, C] as values, whatever type it is stored in: [end - begin, C]. */
lt_t lti_table_rows(lt_graph *graph, const char *name, int64_t begin, int64_t end);

#endif
