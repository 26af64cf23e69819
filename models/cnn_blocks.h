/* cnn_blocks.h - the blocks of a convolutional network: what a block's place makes of it. */
#ifndef LTI_CNN_BLOCKS_H
#define LTI_CNN_BLOCKS_H

#include "lathe/networks.h"

typedef struct lti_cnn_block {
    char name[24]; /* "stage.1.0" */
    int64_t inputs, outputs, stride;
    bool projects; /* residual: the sum takes the input through a convolution */
} lti_cnn_block;

lti_cnn_block lti_cnn_block_at(const lt_cnn_config *config, int64_t stage, int64_t block);

#endif
