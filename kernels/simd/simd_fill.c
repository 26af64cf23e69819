/* simd_fill.c - puts this instruction set's kernels into a table that holds a lesser set. What is not named here
 * (log, some encoders, depthwise_data) stays what it was: too rare to be worth a version of its own. */
#include "kernels/simd/vec.h"

#define USE(name) table->name = LTI_FN(name)

void LTI_PASTE(lti_kernels_fill, _, LTI_ISA)(lti_kernels *table)
{
    USE(add), USE(sub), USE(mul), USE(div), USE(scale);
    USE(exp), USE(sqrt), USE(relu), USE(sigmoid), USE(tanh), USE(silu), USE(gelu), USE(gelu_tanh);
    USE(relu_grad), USE(sigmoid_grad), USE(tanh_grad), USE(silu_grad), USE(gelu_grad), USE(gelu_tanh_grad);
    USE(swiglu), USE(swiglu_grad);
    USE(sum), USE(max), USE(dot), USE(sum_squares), USE(all_finite);
    USE(rms_norm), USE(rms_norm_grad), USE(layer_norm), USE(layer_norm_grad);
    USE(channel_moments), USE(channel_norm), USE(channel_norm_sums), USE(channel_norm_grad), USE(running_average);
    USE(softmax), USE(softmax_grad), USE(log_softmax), USE(cross_entropy), USE(rope);
    USE(attention), USE(attention_grad_q), USE(attention_grad_kv), USE(attention_grad);
    USE(gemm_panels), USE(lstm_gates), USE(lstm_gates_grad), USE(gru_gates), USE(gru_gates_grad);
    USE(adamw), USE(adamw8), USE(lion), USE(sgd), USE(dropout);
    USE(depthwise), USE(depthwise_weight);
    USE(max_pool), USE(max_pool_grad), USE(avg_pool), USE(avg_pool_grad);
    USE(to_bf16), USE(from_bf16), USE(to_f16), USE(from_f16), USE(from_i8);
    USE(quantize_q4_0), USE(quantize_q4_1), USE(quantize_q5_0), USE(quantize_q5_1), USE(quantize_q8_0);
    USE(quantize_tq1_0), USE(quantize_tq2_0), USE(quantize_mxfp4), USE(quantize_nf4), USE(quantize_fp4);
    USE(to_e4m3), USE(to_e5m2), USE(from_e4m3), USE(from_e5m2);
    USE(dequantize_q4_0), USE(dequantize_q4_1), USE(dequantize_q5_0), USE(dequantize_q5_1), USE(dequantize_q8_0);
    USE(dequantize_q2_k), USE(dequantize_q3_k), USE(dequantize_q4_k), USE(dequantize_q5_k), USE(dequantize_q6_k);
    USE(dequantize_iq4_nl), USE(dequantize_mxfp4), USE(dequantize_tq1_0), USE(dequantize_tq2_0);
    USE(dequantize_nf4), USE(dequantize_fp4);
    USE(extremes), USE(sum_abs), USE(fake_quant), USE(fake_quant_error), USE(fake_quant_mask), USE(fake_quant_sums);
#define LTI_RECODE(type, name) USE(quantize_##name), USE(quantize_weighted_##name), USE(recode_##name);
#include "kernels/lattice/lattices.def"
    USE(quantize_activations_q8_0), USE(quantize_activations_q8_1), USE(quantize_activations_q8_k);
    USE(quantize_row_i8), USE(integer_pack_a), USE(integer_pack_b), USE(integer_multiply);
    USE(gemv_f32), USE(gemv_bf16), USE(gemv_f16);
#define LTI_LATTICE(type, name) USE(gemv_##name);
#include "kernels/lattice/lattices.def"
}
