/* labelled_set.h - what a file of labelled texts may be. */
#ifndef LTI_LABELLED_SET_H
#define LTI_LABELLED_SET_H

#include "data/sets/csv_text.h"
#include "data/sets/set_rows.h"

/* What the names of files end in, ended by "": of labelled texts, of numbers. */
extern const char *const lti_labelled_kinds[], *const lti_numbers_kinds[];

/* The columns of text and class that a heading names; false when it does not name both. */
bool lti_labelled_columns(const lti_csv_record *heading, int columns[2]);

#endif
