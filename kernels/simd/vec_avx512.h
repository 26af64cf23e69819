/* vec_avx512.h - the AVX-512 (F, BW, VL, DQ) half of vec.h: 16 floats a vector, truth values in mask registers. */
#ifndef LTI_VEC_AVX512_H
#define LTI_VEC_AVX512_H

enum { V = 16 };
typedef __m512 vf;    /* V floats */
typedef __m512i vi;   /* V integers of 32 bits */
typedef __mmask16 vm; /* V truth values */

VI vf v_set(float x)
{
    return _mm512_set1_ps(x);
}

VI vi v_seti(int x)
{
    return _mm512_set1_epi32(x);
}

VI vi v_count(void)
{
    return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}

VI vf v_load(const float *p)
{
    return _mm512_loadu_ps(p);
}

VI void v_store(float *p, vf a)
{
    _mm512_storeu_ps(p, a);
}

VI __mmask16 v_first(int64_t left)
{
    return (__mmask16)((1u << (int)left) - 1);
}

/* Elements past `left` are 0. */
VI vf v_get(const float *p, int64_t left)
{
    return left == V ? _mm512_loadu_ps(p) : _mm512_maskz_loadu_ps(v_first(left), p);
}

VI void v_put(float *p, vf a, int64_t left)
{
    if (left == V)
        _mm512_storeu_ps(p, a);
    else
        _mm512_mask_storeu_ps(p, v_first(left), a);
}

VI vf v_add(vf a, vf b)
{
    return _mm512_add_ps(a, b);
}

VI vf v_sub(vf a, vf b)
{
    return _mm512_sub_ps(a, b);
}

VI vf v_mul(vf a, vf b)
{
    return _mm512_mul_ps(a, b);
}

VI vf v_div(vf a, vf b)
{
    return _mm512_div_ps(a, b);
}

VI vf v_sqrt(vf a)
{
    return _mm512_sqrt_ps(a);
}

/* a b + c */
VI vf v_fma(vf a, vf b, vf c)
{
    return _mm512_fmadd_ps(a, b, c);
}

/* c - a b */
VI vf v_fnma(vf a, vf b, vf c)
{
    return _mm512_fnmadd_ps(a, b, c);
}

/* b when either is NaN */
VI vf v_min(vf a, vf b)
{
    return _mm512_min_ps(a, b);
}

/* b when either is NaN */
VI vf v_max(vf a, vf b)
{
    return _mm512_max_ps(a, b);
}

VI vf v_abs(vf a)
{
    return _mm512_abs_ps(a);
}

VI vf v_neg(vf a)
{
    return _mm512_xor_ps(a, v_set(-0.0f));
}

VI vf v_copysign(vf a, vf sign)
{
    return _mm512_or_ps(v_abs(a), _mm512_and_ps(sign, v_set(-0.0f)));
}

VI vf v_round(vf a)
{
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

VI vf v_trunc(vf a)
{
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
}

/* a 2^n, n whole and within [-150, 129] */
VI vf v_scale2(vf a, vf n)
{
    return _mm512_scalef_ps(a, n);
}

VI vm v_lt(vf a, vf b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
}

VI vm v_ge(vf a, vf b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ);
}

VI vm v_eq(vf a, vf b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ);
}

VI vm v_nan(vf a)
{
    return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q);
}

VI vm v_or(vm a, vm b)
{
    return (vm)(a | b);
}

/* bit i: element i */
VI unsigned v_bits(vm a)
{
    return a;
}

/* m ? a : b */
VI vf v_select(vm m, vf a, vf b)
{
    return _mm512_mask_blend_ps(m, b, a);
}

/* m ? 0 : a */
VI vf v_zero_if(vm m, vf a)
{
    return _mm512_mask_mov_ps(a, m, _mm512_setzero_ps());
}

VI vi v_addi(vi a, vi b)
{
    return _mm512_add_epi32(a, b);
}

/* Whole numbers stored as int32; 0 past `left`. */
VI vf v_get_whole(const int32_t *p, int64_t left)
{
    return _mm512_cvtepi32_ps(_mm512_maskz_loadu_epi32(v_first(left), p));
}

VI void v_put_whole(int32_t *p, vf a, int64_t left)
{
    _mm512_mask_storeu_epi32(p, v_first(left), _mm512_cvttps_epi32(a));
}

VI vm v_gti(vi a, vi b)
{
    return _mm512_cmpgt_epi32_mask(a, b);
}

VI vi v_loadi(const void *p)
{
    return _mm512_loadu_si512(p);
}

VI void v_storei(void *p, vi a)
{
    _mm512_storeu_si512(p, a);
}

VI vi v_xori(vi a, vi b)
{
    return _mm512_xor_si512(a, b);
}

VI vi v_unpack_low32(vi a, vi b)
{
    return _mm512_unpacklo_epi32(a, b);
}

VI vi v_unpack_high32(vi a, vi b)
{
    return _mm512_unpackhi_epi32(a, b);
}

VI vi v_unpack_low64(vi a, vi b)
{
    return _mm512_unpacklo_epi64(a, b);
}

VI vi v_unpack_high64(vi a, vi b)
{
    return _mm512_unpackhi_epi64(a, b);
}

/* The 64 bits of each a m (unsigned), in halves. */
VI void v_multiply(vi a, uint32_t m, vi *high, vi *low)
{
    vi even = _mm512_mul_epu32(a, v_seti((int)m)), odd = _mm512_mul_epu32(_mm512_srli_epi64(a, 32), v_seti((int)m));
    *low = _mm512_mask_blend_epi32(0xAAAA, even, _mm512_slli_epi64(odd, 32));
    *high = _mm512_mask_blend_epi32(0xAAAA, _mm512_srli_epi64(even, 32), odd);
}

/* a fixed tree */
VI float v_sum(vf a)
{
    return _mm512_reduce_add_ps(a);
}

VI float v_hmax(vf a)
{
    return _mm512_reduce_max_ps(a);
}

/* 0 past `left` */
VI vf v_keep(vf a, int64_t left)
{
    return left == V ? a : _mm512_maskz_mov_ps(v_first(left), a);
}

/* V/2 numbers (or `pairs`, the rest 0), each twice. */
VI vf v_get_twice(const float *p, int64_t pairs)
{
    vi index = _mm512_srli_epi32(v_count(), 1);
    return _mm512_permutexvar_ps(index, _mm512_maskz_loadu_ps(v_first(pairs), p));
}

VI vf v_swap_pairs(vf a)
{
    return _mm512_permute_ps(a, 0xB1);
}

/* a b - c, a b + c, a b - c, ... */
VI vf v_alternate(vf a, vf b, vf c)
{
    return _mm512_fmaddsub_ps(a, b, c);
}

/* 16-bit floats: the arithmetic of half.h, or the hardware's, which agrees with it. */
VI vf v_get_bf16(const uint16_t *p)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)p)), 16));
}

VI vf v_get_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)p));
}

VI void v_put_f16(uint16_t *p, vf a)
{
    _mm256_storeu_si256((void *)p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}

VI void v_put_bf16(uint16_t *p, vf a)
{
    vi u = _mm512_castps_si512(a), odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), v_seti(1));
    vi rounded = _mm512_add_epi32(_mm512_add_epi32(u, v_seti(0x7FFF)), odd);
    vi quiet = _mm512_or_si512(u, v_seti(0x400000));
    vi h = _mm512_srli_epi32(_mm512_mask_blend_epi32(v_nan(a), rounded, quiet), 16);
    _mm256_storeu_si256((void *)p, _mm512_cvtepi32_epi16(h));
}

/* V codes (whole numbers that fit) as bytes. */
VI void v_put_bytes(int8_t *p, vf a)
{
    _mm_storeu_si128((void *)p, _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(a)));
}

/* 32 signed bytes as floats. */
VI void v_from_bytes(__m256i bytes, vf y[32 / V])
{
    y[0] = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_castsi256_si128(bytes)));
    y[1] = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_extracti128_si256(bytes, 1)));
}

/* Whole numbers of 0 .. 255 as bytes. */
VI void v_put_codes(uint8_t *p, vi a)
{
    _mm_storeu_si128((void *)p, _mm512_cvtepi32_epi8(a));
}

/* 32 bytes as integers of 0 .. 255. */
VI void v_from_codes(__m256i bytes, vi y[32 / V])
{
    y[0] = _mm512_cvtepu8_epi32(_mm256_castsi256_si128(bytes));
    y[1] = _mm512_cvtepu8_epi32(_mm256_extracti128_si256(bytes, 1));
}

/* Rounded towards 0. */
VI vi v_to_ints(vf a)
{
    return _mm512_cvttps_epi32(a);
}

/* m ? a + b : a */
VI vi v_add_if(vm m, vi a, int b)
{
    return _mm512_mask_add_epi32(a, m, a, v_seti(b));
}

/* V bytes as integers; right shift. */
VI vi v_get_bytes(const uint8_t *p)
{
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)p));
}

VI vi v_shift_right(vi a, int bits)
{
    return _mm512_srli_epi32(a, (unsigned)bits);
}

/* whole numbers as floats */
VI vf v_from_ints(vi a)
{
    return _mm512_cvtepi32_ps(a);
}

/* 16 floats, and those whose numbers are the low four bits of each index. */
typedef struct v_table {
    vf part[16 / V];
} v_table;

VI vf v_pick(v_table t, vi index)
{
    return _mm512_permutexvar_ps(index, t.part[0]);
}

typedef __m512d vd; /* V/2 doubles */
VI vd v_setd(double x)
{
    return _mm512_set1_pd(x);
}

VI vd v_low(vf a)
{
    return _mm512_cvtps_pd(_mm512_castps512_ps256(a));
}

VI vd v_high(vf a)
{
    return _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1));
}

VI vd v_fmad(vd a, vd b, vd c)
{
    return _mm512_fmadd_pd(a, b, c);
}

VI vd v_addd(vd a, vd b)
{
    return _mm512_add_pd(a, b);
}

VI double v_sumd(vd a)
{
    return _mm512_reduce_add_pd(a);
}

#endif
