/* unicode_classes.h - what kind of character a code point is, as the peers' tables have it. */
#ifndef LTI_UNICODE_CLASSES_H
#define LTI_UNICODE_CLASSES_H

#include <stdbool.h>
#include <stdint.h>

bool lti_is_white(uint32_t point);      /* Unicode's White_Space, 25 code points */
bool lti_is_word(uint32_t point);       /* alphabetic, mark, decimal digit, connector, joiner */
bool lti_is_mark(uint32_t point);       /* any mark, as StripAccents drops them */
bool lti_is_newer_mark(uint32_t point); /* a mark the peers' tables lack: nothing is done to it */
bool lti_is_accent(uint32_t point);     /* a nonspacing mark, as BertNormalizer drops them */
bool lti_is_unclean(uint32_t point);    /* what BertNormalizer's clean_text takes out */
bool lti_is_chinese(uint32_t point);    /* an ideograph for BertNormalizer */
bool lti_is_undivided(uint32_t point);  /* decomposes in newer Unicode only */

#endif
