/* demo_data.h - the text of `lathe demo`, made from nothing but this program. */
#ifndef CLI_DEMO_DATA_H
#define CLI_DEMO_DATA_H

#include <stdint.h>

/* Pieces of a public-domain novel, ended by NULL; a piece that ends a paragraph ends in a newline. */
extern const char *const cli_demo_text[];

/* At least `story_bytes` of small stories and then the novel, as documents separated by <|endoftext|> lines. The same
 * seed gives the same text. To be freed; NULL when memory is out. */
char *cli_demo_corpus(uint64_t seed, int64_t story_bytes, int64_t *bytes);

#endif
