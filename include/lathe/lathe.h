/* lathe.h - everything, in the order to read it.
 *
 * A context reports errors, params hold arrays, a graph records what to compute from them, a plan computes it.
 *
 *     lt_ctx *ctx = lt_ctx_create(NULL);
 *     lt_model *model;
 *     if (lt_model_open(ctx, "model", &model) != LT_OK) puts(lt_ctx_message(ctx));
 *     lt_model_free(model);
 *     lt_ctx_free(ctx);
 */
#ifndef LATHE_LATHE_H
#define LATHE_LATHE_H

/* clang-format off */
#include "lathe/base.h"    /* status, context, allocator, element types, threads */
#include "lathe/params.h"  /* durable named arrays */
#include "lathe/graph.h"   /* recording: leaves, names, gradients, what is kept for the backward */
#include "lathe/ops.h"     /* the operators */
#include "lathe/images.h"  /* convolution, pooling, batch norm */
#include "lathe/recurrent.h" /* LSTM, GRU */
#include "lathe/plan.h"    /* compiling a recipe and running it */
#include "lathe/attach.h"  /* sites and hooks: changing what a model computes from outside */
#include "lathe/nn.h"      /* layers, initial values */
#include "lathe/optim.h"   /* optimizers as nodes, clipping, schedules */
#include "lathe/formats.h" /* files of tensors */
#include "lathe/gguf.h"    /* GGUF files */
#include "lathe/data.h"    /* tokenizers, data sets, batches */
#include "lathe/chat.h"    /* conversations as tokens */
#include "lathe/networks.h" /* perceptrons, convolutional and recurrent networks */
#include "lathe/models.h"  /* transformers, and every network as files */
#include "lathe/convert.h" /* models from one format to another */
#include "lathe/infer.h"   /* generation with a cache */
#include "lathe/scheme.h"  /* the grids that numbers are put on */
#include "lathe/observe.h" /* ranges of activations */
#include "lathe/qat.h"     /* training on the grid that ships */
#include "lathe/cluster.h" /* weights that share a few values */
#include "lathe/train.h"   /* the loop, evaluation, checkpoints, reports */
#include "lathe/ptq.h"     /* quantization without training */
#include "lathe/evals.h"   /* tasks, comparison with a reference, robustness */
#include "lathe/goldens.h" /* texts a model must still write */
#include "lathe/int8.h"    /* networks that run in integers */
/* clang-format on */

#endif
