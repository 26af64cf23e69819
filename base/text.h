/* text.h - a growing string, for tables, JSON lines and reports. */
#ifndef LTI_TEXT_H
#define LTI_TEXT_H

#include "base/ctx.h"

/* Zero-initialise {ctx}. After a failed append `failed` stays set and later appends do nothing: check once. */
typedef struct lti_text {
    lt_ctx *ctx;
    char *data; /* NUL-terminated once anything was appended; owned: lti_text_free, or take it and lti_free */
    size_t length, capacity;
    bool failed;
} lti_text;

void lti_text_add(lti_text *text, const char *bytes, size_t count);
void lti_text_format(lti_text *text, const char *format, ...) LTI_PRINTF(2, 3);
void lti_text_json(lti_text *text, const char *utf8); /* a JSON string with its quotes */
void lti_text_html(lti_text *text, const char *utf8); /* with &, <, >, " escaped */
void lti_text_free(lti_text *text);

/* What is written to files and read from them has a decimal point, also where a program that uses the library has set a
 * locale with a comma: lti_text_format, and these instead of snprintf and strtod. */
int lti_print(char *text, size_t size, const char *format, ...) LTI_PRINTF(3, 4);
double lti_strtod(const char *text, char **end);

bool lti_ends_with(const char *text, const char *end); /* "" ends every text */

#endif
