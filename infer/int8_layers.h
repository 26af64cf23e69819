/* int8_layers.h - inside of networks that run in integers: layers as codes, and what computes with them. */
#ifndef LTI_INT8_LAYERS_H
#define LTI_INT8_LAYERS_H

#include "kernels/conv_int8.h"
#include "lathe/int8.h"
#include "models/network.h"

enum { LTI_INT8_NAME = 64 };

/* A weight [O, K] as codes, and the grid of what it meets. */
typedef struct lti_int8_layer {
    char site[LTI_INT8_NAME];
    int64_t O, K;
    int bits;
    int8_t *codes;           /* [O, K] */
    float *scale, *bias;     /* [O]; of a table (an embedding) NULL: its codes are activations */
    float x_scale, x_lowest; /* of the activations; lowest code -127 or 0 */
} lti_int8_layer;

typedef struct lti_int8_layers {
    lt_ctx *ctx;
    int n, capacity;
    lti_int8_layer *list;
} lti_int8_layers;

/* What a thread computes in: the buffers that run_group uses. */
typedef struct lti_int8_slot {
    char *memory;
    int index;
} lti_int8_slot;

typedef struct lti_int8_program lti_int8_program;
struct lti_int8_program {
    int64_t group;     /* rows computed at a time */
    size_t slot_bytes; /* of a slot's memory */
    /* Rows first .. first + n - 1 of x, n <= group. */
    lt_status (*run)(const lti_int8_program *p, lti_int8_slot slot, int64_t first, int64_t n, const void *x,
                     const int32_t *lengths, lt_real *logits);
    /* LT_EINVAL before anything is computed. NULL: any x is fine. */
    lt_status (*check)(const lti_int8_program *p, lt_ctx *ctx, int64_t n, const void *x, const int32_t *lengths);
    void (*free)(lt_ctx *ctx, lti_int8_program *p);
    lti_conv_int8 *const *convs; /* n_convs of them: who runs it */
    int n_convs;
};

struct lt_int8 {
    lt_ctx *ctx;
    const lti_network *network; /* cnn, mlp, lstm or gru */
    lti_network_config config;
    int64_t size; /* images (0: chosen), or steps */
    lti_int8_layers layers;
    lti_int8_program *program;
    int slots;
};

/* ---- Layers (int8_layers.c) ---- */
/* Adds an empty layer, `table`: codes alone; NULL: memory is out. Earlier pointers are not valid any more. */
lti_int8_layer *lti_int8_layer_new(lti_int8_layers *layers, const char *site, int64_t O, int64_t K, bool table);
const lti_int8_layer *lti_int8_find(const lti_int8_layers *layers, const char *site); /* NULL when there is none */
void lti_int8_layers_free(lti_int8_layers *layers);
/* The layer of a site from its weight, the sum of up to two biases (names that are not there add nothing) and the scale
 * that was observed; state: activations are in -1 .. 1, nothing was observed. */
lt_status lti_int8_take(lti_int8_layers *layers, const lt_params *params, const lt_quant_policy *policy,
                        const char *site, const char *weight, const char *const biases[2], bool state);
/* codes = clip(round(x / scale), lowest, 255 or 127), as bytes. */
void lti_int8_codes(int64_t n, const float *x, float scale, float lowest, void *codes);
/* The convolution of a layer: groups, taps and images as in s.conv. What comes out is in steps of `next`, the next
 * layer's activation scale (0: of 1), and so has to be what is added; s.ratio is the scale of codes that are added. */
lt_status lti_int8_conv(lt_ctx *ctx, const lti_int8_layer *layer, lti_conv_int8_shape s, float next, int slots,
                        lti_conv_int8 **conv);
/* Rows of a product: x [rows, K] -> y [rows, O] as float. */
lt_status lti_int8_product(lt_ctx *ctx, const lti_int8_layer *layer, int64_t rows, bool adds, int slots,
                           lti_conv_int8 **conv);

/* ---- Programs ---- */
lt_status lti_int8_cnn_layers(lt_int8 *net, const lt_params *params, const lt_quant_policy *policy);
lt_status lti_int8_cnn_program(lt_int8 *net);
lt_status lti_int8_rnn_layers(lt_int8 *net, const lt_params *params, const lt_quant_policy *policy);
lt_status lti_int8_rnn_program(lt_int8 *net);
lt_status lti_int8_mlp_layers(lt_int8 *net, const lt_params *params, const lt_quant_policy *policy);
lt_status lti_int8_mlp_program(lt_int8 *net);
lt_status lti_int8_new(lt_ctx *ctx, const lti_network *network, const lti_network_config *config, int64_t size,
                       lt_int8 **net);
/* The program of the layers that are there. */
lt_status lti_int8_compile(lt_int8 *net);

#endif
