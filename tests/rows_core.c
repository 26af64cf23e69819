/* rows_core.c - rows of arithmetic, reductions, shapes, products, normalisation, attention, quantization and effects. */
#include "tests/op_rows.h"

BUILD_BINARY(add)
BUILD_BINARY(sub)
BUILD_BINARY(mul)
BUILD_BINARY(div)
BUILD_BINARY(swiglu)
BUILD_BINARY(gather)
BUILD_BINARY(mse)
BUILD_UNARY(exp)
BUILD_UNARY(log)
BUILD_UNARY(sqrt)
BUILD_UNARY(square)
BUILD_UNARY(relu)
BUILD_UNARY(sigmoid)
BUILD_UNARY(tanh)
BUILD_UNARY(silu)
BUILD_UNARY(gelu)
BUILD_UNARY(gelu_tanh)
BUILD_UNARY(softmax)
BUILD_UNARY(log_softmax)
BUILD_UNARY(sum_all)
BUILD_UNARY(mean_all)
BUILD_UNARY(dequantize)
BUILD_UNARY(detach)
BUILD(quantize, x[0]) /* the harness has recorded it: the slot is marked `quantized` */
BUILD(scale, lt_scale(x[0], c->number))
BUILD(shift, lt_shift(x[0], c->number))
BUILD(max, lt_max(x[0], (int)c->arg[1], c->flags & 1))
BUILD(reshape, lt_reshape(x[0], (int)c->arg[0], c->arg + 1))
BUILD(expand, lt_expand(x[0], (int)c->arg[0], c->arg + 1))
BUILD(slice, lt_slice(x[0], (int)c->arg[0], c->arg[1], c->arg[2]))
BUILD(concat, lt_concat(c->n, x, (int)c->arg[0]))
BUILD(cast, lt_cast(lt_cast(x[0], c->in[0].quantized), LT_F32))
BUILD(store, lt_store(x[0], LT_BF16))
BUILD(matmul, lt_matmul(x[0], x[1], c->flags))
BUILD(rms_norm, lt_rms_norm(x[0], x[1], c->number))
BUILD(layer_norm, lt_layer_norm(x[0], x[1], c->n > 2 ? x[2] : lt_nil(g), c->number))
BUILD(cross_entropy, lt_cross_entropy(x[0], x[1], c->n > 2 ? x[2] : lt_nil(g)))
BUILD(kl_div, lt_kl_div(x[0], x[1], c->number))
BUILD(assign, lt_assign(lt_params_find(lt_graph_params(g), "p0"), x[1]))
BUILD(accumulate, lt_accumulate(lt_params_find(lt_graph_params(g), "p0"), x[1], c->n > 2 ? x[2] : lt_nil(g)))
BUILD(cache_write, lt_cache_write(lt_params_find(lt_graph_params(g), "p0"), x[1], x[2]))
BUILD(derived, lt_derived(g, lt_params_find(lt_graph_params(g), "p0"), c->in[0].quantized))

static int axes_of(const int64_t *from, int n, int *axes)
{
    for (int i = 0; i < n; i++) axes[i] = (int)from[i];
    return n;
}

static lt_t build_sum(lt_graph *g, const ts_case *c, const lt_t *x)
{
    int axes[LT_MAX_RANK], n = axes_of(c->arg + 1, (int)c->arg[0], axes);
    (void)g;
    return lt_sum(x[0], n, axes, c->flags & 1);
}

static lt_t build_mean(lt_graph *g, const ts_case *c, const lt_t *x)
{
    int axes[LT_MAX_RANK], n = axes_of(c->arg + 1, (int)c->arg[0], axes);
    (void)g;
    return lt_mean(x[0], n, axes, c->flags & 1);
}

/* Fused by lt_compile from a sum; flags beyond the product's: 8 puts the product first; number: the addend is a value
 * that dies here, so that its place may be taken. */
static lt_t build_matmul_add(lt_graph *g, const ts_case *c, const lt_t *x)
{
    lt_t product = lt_matmul(x[0], x[1], c->flags & 3), addend = c->number != 0 ? lt_scale(x[2], c->number) : x[2];
    (void)g;
    return c->flags & 8 ? lt_add(product, addend) : lt_add(addend, product);
}

/* Rows of x twice: its gradient is a sum of two paddings. */
static lt_t build_pad_add(lt_graph *g, const ts_case *c, const lt_t *x)
{
    int64_t n = c->in[0].dim[0];
    (void)g;
    return lt_concat(2, (lt_t[]){lt_slice(x[0], 0, 0, n - 1), lt_slice(x[0], 0, 1, n)}, 0);
}

/* The table itself, then rows of it: the gradient of a tied embedding. */
static lt_t build_scatter_add_to(lt_graph *g, const ts_case *c, const lt_t *x)
{
    (void)g, (void)c;
    return lt_concat(2, (lt_t[]){lt_scale(x[0], 2), lt_gather(x[0], x[1])}, 0);
}

static lt_t build_permute(lt_graph *g, const ts_case *c, const lt_t *x)
{
    int axes[LT_MAX_RANK];
    axes_of(c->arg, c->in[0].rank, axes);
    (void)g;
    return lt_permute(x[0], axes);
}

static lt_t build_rope(lt_graph *g, const ts_case *c, const lt_t *x)
{
    lt_rope_config config;
    lt_rope_config_init(&config);
    config.theta = c->number;
    config.interleaved = c->flags & 1;
    config.scaling = ts_rope_scaling;
    config.scaling.kind = (lt_rope_scaling_kind)c->arg[0];
    return lt_rope(x[0], c->n > 1 ? x[1] : lt_nil(g), &config);
}

static lt_attention_config attention_config(const ts_case *c, const lt_t *x)
{
    lt_attention_config config;
    lt_attention_config_init(&config);
    config.scale = c->number;
    config.causal = c->flags & 1;
    config.window = c->arg[0];
    if (c->flags & 2) config.spans = x[c->n - 1];
    return config;
}

static lt_t build_attention(lt_graph *g, const ts_case *c, const lt_t *x)
{
    lt_attention_config config = attention_config(c, x);
    return lt_attention(x[0], x[1], x[2], c->n - (c->flags >> 1 & 1) > 3 ? x[3] : lt_nil(g), &config);
}

static lt_t build_attention_composite(lt_graph *g, const ts_case *c, const lt_t *x)
{
    lt_attention_config config = attention_config(c, x);
    (void)g;
    return lt_attention_composite(x[0], x[1], x[2], &config, NULL);
}

static lt_t build_dropout(lt_graph *g, const ts_case *c, const lt_t *x)
{
    lt_graph_seed(g, TS_DROPOUT_SEED);
    lt_scope(g, TS_DROPOUT_SCOPE);
    lt_t y = lt_dropout(x[0], c->number);
    lt_scope_end(g);
    return y;
}

static lt_t build_head_loss(lt_graph *g, const ts_case *c, const lt_t *x)
{
    lt_head_term terms[2];
    int n = 0, slot = 2;
    if (c->flags & 1) terms[n++] = (lt_head_term){lt_head_cross_entropy(), TS_HEAD_CE_WEIGHT, 1, x[slot++]};
    if (c->flags & 2) terms[n++] = (lt_head_term){lt_head_kl(), TS_HEAD_KL_WEIGHT, c->number, x[slot++]};
    return lt_head_loss(x[0], x[1], n, terms, c->flags & 4 ? x[slot] : lt_nil(g));
}

CASES(binary) = {{2, {X(3, 4), X(3, 4)}}, {2, {X(2, 3, 4), X(4)}},      {2, {X(3, 1, 4), X(2, 1)}},
                 {2, {X(5, 3), {0}}},     {2, {X(1), X(7, 3)}},         {2, {X(300, 257), X(300, 257)}},
                 {2, {X(70001), X(1)}},   {2, {X(64, 33, 9), X(33, 1)}}};
CASES(div) = {{2, {X(3, 4), POSITIVE(3, 4)}}, {2, {X(2, 3, 4), POSITIVE(4)}},         {2, {X(4), POSITIVE(3, 4)}},
              {2, {X(5, 1), POSITIVE(3)}},    {2, {X(300, 257), POSITIVE(300, 257)}}, {2, {X(5), POSITIVE(1)}}};
CASES(swiglu) = {{2, {X(3, 5), X(3, 5)}}, {2, {X(260, 301), X(260, 301)}}, {2, {X(1), X(1)}}, {2, {LARGE(40), X(40)}}};
CASES(smooth) = {{1, {X(3, 5)}}, {1, {{0}}}, {1, {X(2, 3, 17)}}, {1, {LARGE(50, 7)}}, {1, {X(70001)}}};
CASES(unary) = {{1, {X(3, 5)}}, {1, {{0}}}, {1, {X(2, 3, 17)}}, {1, {X(70001)}}};
CASES(positive) = {{1, {POSITIVE(3, 5)}}, {1, {POSITIVE(2, 3, 17)}}, {1, {POSITIVE(70001)}}};
CASES(away) = {{1, {AWAY(3, 5)}}, {1, {AWAY(2, 3, 17)}}, {1, {AWAY(70001)}}};
CASES(scale) = {{1, {X(3, 5)}, .number = -1.75}, {1, {X(70001)}, .number = 0.3}};
CASES(detach) = {{1, {FIXED(3, 5)}}};
CASES(sum) = {{1, {X(3, 4)}, {1, 1}},        {1, {X(3, 4)}, {1, 0}, .flags = 1},
              {1, {X(2, 3, 4)}, {2, 0, 2}},  {1, {X(2, 3, 4)}, {1, -2}},
              {1, {X(5)}, {1, 0}},           {1, {X(2, 3, 4, 5)}, {2, -1, 1}, .flags = 1},
              {1, {X(300, 301)}, {2, 0, 1}}, {1, {X(300, 301)}, {1, 0}},
              {1, {X(300, 301)}, {1, 1}},    {1, {X(3, 1, 4)}, {1, 1}}};
CASES(max) = {{1, {DISTINCT(3, 4)}, {1, 1}},
              {1, {DISTINCT(2, 3, 4)}, {1, 1}, .flags = 1},
              {1, {DISTINCT(300, 257)}, {1, -1}},
              {1, {DISTINCT(40, 50)}, {1, 0}}};
CASES(all) = {{1, {X(3, 4)}, {2, 0, 1}}, {1, {X(301, 300)}, {2, 0, 1}}};
CASES(reshape) = {{1, {X(3, 4)}, {2, 2, 6}}, {1, {X(2, 3, 4)}, {1, 24}}, {1, {X(1, 1)}, {0}}};
CASES(permute) = {{1, {X(3, 4)}, {1, 0}},
                  {1, {X(2, 3, 4)}, {2, 0, 1}},
                  {1, {X(2, 3, 4, 5)}, {0, 2, 1, 3}},
                  {1, {X(3, 40, 50, 16)}, {0, 2, 1, 3}},
                  {1, {X(300, 257)}, {1, 0}}};
CASES(slice) = {{1, {X(4, 5)}, {0, 1, 3}},
                {1, {X(4, 5)}, {-1, 2, 5}},
                {1, {X(3, 4, 5)}, {1, 0, 1}},
                {1, {X(300, 301)}, {1, 7, 290}}};
CASES(concat) = {{2, {X(2, 3), X(4, 3)}, {0}},
                 {3, {X(2, 3), X(2, 1), X(2, 2)}, {-1}},
                 {2, {X(2, 3, 4), X(2, 5, 4)}, {1}},
                 {1, {X(3, 2)}, {0}},
                 {2, {X(300, 101), X(300, 200)}, {1}}};
CASES(expand) = {
    {1, {X(3, 1)}, {2, 3, 4}}, {1, {X(4)}, {3, 2, 3, 4}}, {1, {{0}}, {2, 3, 2}}, {1, {X(1, 301)}, {2, 200, 301}}};
CASES(cast) = {{1, {ROUNDED(LT_BF16, 3, 5)}},
               {1, {ROUNDED(LT_F16, 3, 5)}},
               {1, {ROUNDED(LT_BF16, 70001)}},
               {1, {ROUNDED(LT_F16, 70001)}}};
CASES(gather) = {{2, {X(7, 5), INDEX(0, 7, 2, 3)}},
                 {2, {X(7, 2, 3), INDEX(0, 7, 4)}},
                 {2, {X(7), INDEX(0, 7, 20)}},
                 {2, {X(50, 33), INDEX(0, 50, 2000)}},
                 {2, {BLOCKS(LT_Q4_0, 7, 64), INDEX(0, 7, 5)}},
                 {2, {ROUNDED(LT_Q8_0, 7, 32), INDEX(0, 7, 3, 2)}}};
#define TA LT_TRANSPOSE_A
#define TB LT_TRANSPOSE_B
CASES(matmul) = {{2, {X(5, 7), X(7, 3)}},
                 {2, {X(7, 5), X(7, 3)}, .flags = TA},
                 {2, {X(5, 7), X(3, 7)}, .flags = TB},
                 {2, {X(7, 5), X(3, 7)}, .flags = TA | TB},
                 {2, {X(2, 3, 5, 7), X(2, 3, 7, 4)}},
                 {2, {X(3, 5, 7), X(3, 4, 7)}, .flags = TB},
                 {2, {X(3, 7, 5), X(3, 7, 4)}, .flags = TA},
                 {2, {X(3, 7, 5), X(3, 4, 7)}, .flags = TA | TB},
                 {2, {X(2, 3, 5, 7), X(7, 4)}},
                 {2, {X(2, 5, 7), X(4, 7)}, .flags = TB},
                 {2, {X(1, 33), X(33, 1)}},
                 {2, {X(150, 130), X(130, 110)}},
                 {2, {X(257, 200), X(190, 200)}, .flags = TB},
                 {2, {X(200, 257), X(200, 190)}, .flags = TA},
                 {2, {X(5, 64), ROUNDED(LT_Q4_0, 6, 64)}, .flags = TB},
                 {2, {X(5, 6), ROUNDED(LT_Q4_0, 6, 64)}},
                 {2, {X(2, 3, 64), ROUNDED(LT_Q8_0, 6, 64)}, .flags = TB},
                 {2, {X(5, 6), ROUNDED(LT_Q8_0, 6, 32)}},
                 {2, {X(70, 96), BLOCKS(LT_Q4_0, 130, 96)}, .flags = TB},
                 {2, {X(70, 130), BLOCKS(LT_Q8_0, 130, 96)}}};
CASES(matmul_add) = {{3, {X(5, 7), X(7, 3), X(5, 3)}, .number = 0.5},
                     {3, {X(5, 7), X(3, 7), X(5, 3)}, .flags = TB},
                     {3, {X(2, 5, 7), X(7, 3), X(2, 5, 3)}, .flags = 8, .number = -1.5},
                     {3, {X(3, 7, 5), X(3, 4, 7), X(3, 5, 4)}, .flags = TA | TB | 8, .number = 2},
                     {3, {X(5, 7), X(7, 3), X(3)}, .number = 2},
                     {3, {X(5, 64), ROUNDED(LT_Q4_0, 6, 64), X(5, 6)}, .flags = TB, .number = 2},
                     {3, {X(150, 130), X(130, 110), X(150, 110)}, .number = 2}};
CASES(pad_add) = {{1, {X(4, 3)}}, {1, {X(300, 257)}}};
CASES(scatter_add_to) = {{2, {X(7, 5), INDEX(0, 7, 4)}}, {2, {X(300, 65), INDEX(0, 300, 900)}}};
CASES(rms_norm) = {{2, {X(3, 5), X(5)}, .number = 1e-5},
                   {2, {X(2, 3, 64), X(64)}, .number = 1e-5},
                   {2, {X(200, 301), X(301)}, .number = 1e-2}};
CASES(layer_norm) = {{3, {X(3, 5), X(5), X(5)}, .number = 1e-5},
                     {2, {X(3, 5), X(5)}, .number = 1e-5},
                     {3, {X(2, 3, 64), X(64), X(64)}, .number = 1e-5},
                     {3, {X(200, 301), X(301), X(301)}, .number = 1e-2}};
CASES(softmax) = {{1, {X(3, 5)}}, {1, {X(2, 3, 17)}}, {1, {X(200, 301)}}, {1, {X(4, 1)}}, {1, {LARGE(9, 20)}}};
CASES(rope) = {{1, {X(2, 3, 2, 4)}, .number = 10000},
               {1, {X(2, 3, 2, 4)}, .number = 10000, .flags = 1},
               {2, {X(1, 5, 3, 8), NUMBER(17)}, .number = 500},
               {2, {X(1, 5, 3, 6), NUMBER(3)}, .number = 500, .flags = 1},
               {2, {X(3, 70, 8, 32), NUMBER(2)}, .number = 10000},
               {2, {X(1, 5, 3, 8), NUMBER(17)}, {LT_ROPE_LINEAR}, .number = 500},
               {2, {X(1, 5, 3, 16), NUMBER(17)}, {LT_ROPE_LLAMA3}, .number = 500, .flags = 1},
               {2, {X(1, 5, 3, 16), NUMBER(17)}, {LT_ROPE_YARN}, .number = 500},
               {1, {X(1, 5, 3, 6)}, {LT_ROPE_FACTORS}, .number = 500}};
#define QKV(B, T, H, S, G, D) X(B, T, H, D), X(B, S, G, D), X(B, S, G, D)
CASES(attention) = {{3, {QKV(2, 5, 4, 5, 2, 8)}, .flags = 1},
                    {3, {QKV(2, 5, 4, 7, 4, 8)}},
                    {3, {QKV(1, 3, 4, 7, 1, 8)}, .number = 0.2, .flags = 1},
                    {4, {QKV(1, 3, 4, 9, 2, 8), NUMBER(4)}, .flags = 1},
                    {4, {QKV(2, 1, 4, 9, 2, 8), NUMBER(0)}, .flags = 1},
                    {3, {QKV(1, 150, 2, 150, 1, 16)}, .flags = 1},
                    {3, {QKV(1, 70, 3, 200, 3, 6)}},
                    {3, {QKV(2, 9, 4, 9, 2, 8)}, {3}, .flags = 1},
                    {4, {QKV(2, 9, 4, 9, 2, 8), INDEX(-2, 12, 2, 9, 2)}, .flags = 3},
                    {4, {QKV(2, 9, 4, 11, 2, 8), INDEX(-2, 14, 2, 9, 2)}, .flags = 2},
                    {5, {QKV(2, 3, 4, 15, 2, 8), NUMBER(9), INDEX(0, 15, 2, 3, 2)}, {4}, .flags = 3},
                    {4, {QKV(1, 150, 2, 150, 1, 16), NUMBER(0)}, {20}, .flags = 1},
                    {4, {QKV(2, 130, 2, 130, 1, 6), INDEX(0, 131, 2, 130, 2)}, .flags = 2},
                    {4, {QKV(2, 130, 2, 130, 1, 6), INDEX(0, 131, 2, 130, 2)}, {40}, .flags = 3}};
CASES(composite_attention) = {{3, {QKV(2, 5, 4, 5, 2, 8)}, .flags = 1},
                              {3, {QKV(2, 5, 4, 7, 4, 8)}},
                              {3, {QKV(1, 3, 4, 7, 1, 8)}, .number = 0.2, .flags = 1},
                              {3, {QKV(2, 9, 4, 9, 2, 8)}, {3}, .flags = 1},
                              {4, {QKV(2, 5, 4, 7, 2, 8), INDEX(-2, 10, 2, 5, 2)}, .flags = 2},
                              {4, {QKV(2, 5, 4, 7, 2, 8), INDEX(-2, 10, 2, 5, 2)}, {4}, .flags = 3}};
CASES(dropout) = {{1, {X(4, 6)}, .number = 0.3}, {1, {X(70001)}, .number = 0.5}};
CASES(cross_entropy) = {{2, {X(6, 9), INDEX(-1, 9, 6)}},
                        {3, {X(2, 3, 9), INDEX(-1, 9, 2, 3), NUMBER(4.5)}},
                        {2, {LARGE(7, 9), INDEX(-1, 9, 7)}},
                        {2, {X(40, 1000), INDEX(0, 1000, 40)}}};
CASES(mse) = {{2, {X(3, 5), X(3, 5)}}, {2, {X(300, 257), X(300, 257)}}};
CASES(kl_div) = {{2, {X(4, 7), FIXED(4, 7)}, .number = 1},
                 {2, {X(2, 3, 9), FIXED(2, 3, 9)}, .number = 2.5},
                 {2, {X(40, 1000), FIXED(40, 1000)}, .number = 2}};
CASES(head_loss) = {{3, {X(6, 8), X(11, 8), INDEX(-1, 11, 6)}, .flags = 1},
                    {3, {X(6, 8), X(11, 8), FIXED(6, 11)}, .number = 2, .flags = 2},
                    {4, {X(2, 5, 8), X(11, 8), INDEX(-1, 11, 2, 5), FIXED(2, 5, 11)}, .number = 1.5, .flags = 3},
                    {5, {X(6, 8), X(11, 8), INDEX(-1, 11, 6), FIXED(6, 11), NUMBER(7)}, .number = 3, .flags = 7},
                    {3, {X(6, 32), ROUNDED(LT_Q8_0, 11, 32), INDEX(-1, 11, 6)}, .flags = 1},
                    {3, {X(6, 32), BLOCKS(LT_Q4_0, 11, 32), INDEX(-1, 11, 6)}, .flags = 1},
                    {4, {X(300, 16), X(200, 16), INDEX(-1, 200, 300), FIXED(300, 200)}, .number = 2, .flags = 3}};
/* Straight-through: the gradients of these two are judged against their formula, dx = dy, for rounding has none. */
CASES(quantize) = {{1, {ROUNDED(LT_Q4_0, 3, 64)}},
                   {1, {ROUNDED(LT_Q8_0, 3, 64)}},
                   {1, {ROUNDED(LT_Q4_0, 257, 320)}},
                   {1, {ROUNDED(LT_Q8_0, 257, 320)}}};
CASES(dequantize) = {{1, {ROUNDED(LT_Q4_0, 3, 64)}},
                     {1, {ROUNDED(LT_Q8_0, 3, 64)}},
                     {1, {BLOCKS(LT_Q4_0, 257, 320)}},
                     {1, {BLOCKS(LT_Q8_0, 257, 320)}}};
CASES(assign) = {{2, {PARAM(3, 4), FIXED(3, 4)}}, {2, {PARAM(300, 257), FIXED(300, 257)}}};
CASES(accumulate) = {{2, {PARAM(3, 4), FIXED(3, 4)}},
                     {3, {PARAM(3, 4), FIXED(3, 4), NUMBER(0)}},
                     {3, {PARAM(300, 257), FIXED(300, 257), NUMBER(1)}}};
CASES(cache_write) = {{3, {PARAM(2, 6, 3, 4), FIXED(2, 2, 3, 4), NUMBER(3)}},
                      {3, {PARAM(1, 5, 7), FIXED(1, 5, 7), NUMBER(0)}},
                      {3, {PARAM(2, 300, 128), FIXED(2, 1, 128), NUMBER(299)}}};
#define KEPT_AS(t, ...)                                                                                                \
    {                                                                                                                  \
        D(__VA_ARGS__), .param = true, .quantized = t                                                                  \
    }
CASES(derived) = {{1, {KEPT_AS(LT_Q4_0, 3, 64)}}, {1, {KEPT_AS(LT_Q8_0, 40, 320)}}, {1, {KEPT_AS(LT_BF16, 3, 5)}}};

const ts_row ts_rows_core[] = {
    ROW(add, add, binary),
    ROW(sub, sub, binary),
    ROW(mul, mul, binary),
    ROW(div, div, div),
    ROW(scale, scale, scale),
    ROW(shift, shift, scale, .composite = true),
    ROW(exp, exp, unary),
    ROW(log, log, positive),
    ROW(sqrt, sqrt, positive),
    ROW(square, square, smooth),
    ROW(relu, relu, away),
    ROW(sigmoid, sigmoid, smooth),
    ROW(tanh, tanh, smooth),
    ROW(silu, silu, smooth),
    ROW(gelu, gelu, smooth),
    ROW(gelu_tanh, gelu_tanh, smooth),
    ROW(swiglu, swiglu, swiglu),
    ROW(sum, sum, sum),
    ROW(mean, mean, sum, .composite = true),
    ROW(max, max, max),
    ROW(sum_all, sum, all, .composite = true),
    ROW(mean_all, mean, all, .composite = true),
    ROW(reshape, reshape, reshape),
    ROW(permute, permute, permute),
    ROW(slice, slice, slice),
    ROW(concat, concat, concat),
    ROW(expand, expand, expand),
    ROW(cast, identity, cast),
    ROW(store, identity, scale, .composite = true),
    ROW(detach, identity, detach, .composite = true),
    ROW(gather, gather, gather),
    ROW(matmul, matmul, matmul),
    ROW(matmul_add, matmul_add, matmul_add, .fused = true),
    ROW(pad_add, pad_add, pad_add, .fused = true),
    ROW(scatter_add_to, scatter_add_to, scatter_add_to, .fused = true),
    ROW(rms_norm, rms_norm, rms_norm),
    ROW(layer_norm, layer_norm, layer_norm),
    ROW(softmax, softmax, softmax),
    ROW(log_softmax, log_softmax, softmax),
    ROW(rope, rope, rope),
    ROW(attention, attention, attention),
    ROW(attention_composite, attention, composite_attention, .composite = true),
    ROW(dropout, dropout, dropout),
    ROW(cross_entropy, cross_entropy, cross_entropy),
    ROW(mse, mse, mse),
    ROW(kl_div, kl_div, kl_div),
    ROW(head_loss, head_loss, head_loss),
    ROW(quantize, identity, quantize),
    ROW(dequantize, identity, dequantize),
    ROW(assign, assign, assign, .writes = true),
    ROW(accumulate, accumulate, accumulate, .writes = true),
    ROW(cache_write, cache_write, cache_write, .writes = true),
    ROW(derived, identity, derived),
    {0},
};
