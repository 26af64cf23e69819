/* regex.h - patterns: the ones of this library, and how a file's are rewritten for PCRE2. */
#ifndef LTI_REGEX_H
#define LTI_REGEX_H

#include "data/tokenizer/tokenizer.h"

#define LTI_REGEX_LIMIT 2048 /* bytes of a pattern's text */

#define LTI_PATTERN_GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define LTI_PATTERN_LLAMA3                                                                                             \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}"                                           \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define LTI_PATTERN_QWEN2                                                                                              \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}"                                                \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
/* One digit of any script, fractions and Roman numerals too. */
#define LTI_PATTERN_DIGIT "[\\p{N}\\x{11DE0}-\\x{11DE9}\\x{16FF4}-\\x{16FF6}]"
#define LTI_PATTERN_WHITE "\\s"
/* ASCII's punctuation and Unicode 8's, which is what the peers' table holds; Unicode 9 to 14 added the rest. */
#define LTI_PATTERN_PUNCTUATION                                                                                        \
    "[!-/"                                                                                                             \
    ":-@\\[-`{-~\\p{P}\\x{166D}\\x{111C9}](?<![\\x{61D}\\x{9FD}\\x{A76}\\x{C77}\\x{C84}\\x{1B7D}\\x{1B7E}\\x{2E43}"    \
    "-\\x{2E4F}\\x{2E52}-\\x{2E5D}\\x{10EAD}\\x{10F55}-\\x{10F59}\\x{10F86}-\\x{10F89}\\x{1144B}-\\x{1144F}\\x{1145A}" \
    "\\x{1145B}\\x{1145D}\\x{11660}-\\x{1166C}\\x{116B9}\\x{1183B}\\x{11944}-\\x{11946}\\x{119E2}\\x{11A3F}-\\x{"      \
    "11A46}"                                                                                                           \
    "\\x{11A9A}-\\x{11A9C}\\x{11A9E}-\\x{11AA2}\\x{11C41}-\\x{11C45}\\x{11C70}\\x{11C71}\\x{11EF7}\\x{11EF8}\\x{"      \
    "11FFF}"                                                                                                           \
    "\\x{12FF1}\\x{12FF2}\\x{16E97}-\\x{16E9A}\\x{16FE2}\\x{1E95E}\\x{1E95F}])"
/* Unicode's word characters as Rust has them: alphabetic, marks, decimal digits, connectors, joiners. */
#define LTI_WORD_CLASS                                                                                                 \
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{200C}\\x{200D}\\x{24B6}-\\x{24E9}\\x{1F130}-\\x{1F149}\\x{1F150}-\\x{1F169}" \
    "\\x{1F170}-\\x{1F189}"
#define LTI_PATTERN_WORD_OR_SIGNS "[" LTI_WORD_CLASS "]+|[^" LTI_WORD_CLASS "\\s]+"

/* Appends the PCRE2 pattern that means what `source` means to Oniguruma. LT_EUNSUPPORTED names the construct. */
lt_status lti_regex_rewrite(const char *where, const char *source, size_t length, lti_text *out);

#endif
