/* utf8.h - strict UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef LTI_UTF8_H
#define LTI_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Length (1..4) of the character at text[0 .. n), or 0 when it is not UTF-8. n >= 1. */
static inline int lti_utf8_length(const unsigned char *text, uint64_t n)
{
    unsigned char c = text[0];
    if (c < 0x80) return 1;
    int length = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2;
    if (c < 0xC2 || c > 0xF4 || (uint64_t)length > n) return 0;
    for (int i = 1; i < length; i++)
        if ((text[i] & 0xC0) != 0x80) return 0;
    unsigned char second = text[1];
    if ((c == 0xE0 && second < 0xA0) || (c == 0xED && second > 0x9F)) return 0;
    if ((c == 0xF0 && second < 0x90) || (c == 0xF4 && second > 0x8F)) return 0;
    return length;
}

/* Code point of a valid character of that length. */
static inline uint32_t lti_utf8_point(const unsigned char *text, int length)
{
    uint32_t point = length == 1 ? text[0] : text[0] & (0x7Fu >> length);
    for (int i = 1; i < length; i++) point = point << 6 | (text[i] & 0x3Fu);
    return point;
}

/* Offset of the first byte that is not UTF-8, or n. */
static inline uint64_t lti_utf8_check(const unsigned char *text, uint64_t n)
{
    uint64_t at = 0;
    while (at < n) {
        int length = lti_utf8_length(text + at, n - at);
        if (!length) return at;
        at += (uint64_t)length;
    }
    return n;
}

#endif
