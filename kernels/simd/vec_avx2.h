/* vec_avx2.h - the AVX2, FMA and F16C half of vec.h: 8 floats a vector. What a helper does is said in
 * vec_avx512.h. */
#ifndef LTI_VEC_AVX2_H
#define LTI_VEC_AVX2_H

enum { V = 8 };
typedef __m256 vf;
typedef __m256i vi;
typedef __m256 vm; /* all bits of an element set, or none */

VI vf v_set(float x)
{
    return _mm256_set1_ps(x);
}

VI vi v_seti(int x)
{
    return _mm256_set1_epi32(x);
}

VI vi v_count(void)
{
    return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
}

VI vf v_load(const float *p)
{
    return _mm256_loadu_ps(p);
}

VI void v_store(float *p, vf a)
{
    _mm256_storeu_ps(p, a);
}

VI vi v_first(int64_t left)
{
    return _mm256_cmpgt_epi32(v_seti((int)left), v_count());
}

VI vf v_get(const float *p, int64_t left)
{
    return left == V ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, v_first(left));
}

VI void v_put(float *p, vf a, int64_t left)
{
    if (left == V)
        _mm256_storeu_ps(p, a);
    else
        _mm256_maskstore_ps(p, v_first(left), a);
}

VI vf v_add(vf a, vf b)
{
    return _mm256_add_ps(a, b);
}

VI vf v_sub(vf a, vf b)
{
    return _mm256_sub_ps(a, b);
}

VI vf v_mul(vf a, vf b)
{
    return _mm256_mul_ps(a, b);
}

VI vf v_div(vf a, vf b)
{
    return _mm256_div_ps(a, b);
}

VI vf v_sqrt(vf a)
{
    return _mm256_sqrt_ps(a);
}

VI vf v_fma(vf a, vf b, vf c)
{
    return _mm256_fmadd_ps(a, b, c);
}

VI vf v_fnma(vf a, vf b, vf c)
{
    return _mm256_fnmadd_ps(a, b, c);
}

VI vf v_min(vf a, vf b)
{
    return _mm256_min_ps(a, b);
}

VI vf v_max(vf a, vf b)
{
    return _mm256_max_ps(a, b);
}

VI vf v_abs(vf a)
{
    return _mm256_andnot_ps(v_set(-0.0f), a);
}

VI vf v_neg(vf a)
{
    return _mm256_xor_ps(a, v_set(-0.0f));
}

VI vf v_copysign(vf a, vf sign)
{
    return _mm256_or_ps(v_abs(a), _mm256_and_ps(sign, v_set(-0.0f)));
}

VI vf v_round(vf a)
{
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

VI vf v_trunc(vf a)
{
    return _mm256_round_ps(a, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
}

VI vf v_power2(vi n)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, v_seti(127)), 23));
}

VI vf v_scale2(vf a, vf n) /* in two steps, for 2^n itself may be no normal number */
{
    vi whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1);
    return v_mul(v_mul(a, v_power2(half)), v_power2(_mm256_sub_epi32(whole, half)));
}

VI vm v_lt(vf a, vf b)
{
    return _mm256_cmp_ps(a, b, _CMP_LT_OQ);
}

VI vm v_ge(vf a, vf b)
{
    return _mm256_cmp_ps(a, b, _CMP_GE_OQ);
}

VI vm v_eq(vf a, vf b)
{
    return _mm256_cmp_ps(a, b, _CMP_EQ_OQ);
}

VI vm v_nan(vf a)
{
    return _mm256_cmp_ps(a, a, _CMP_UNORD_Q);
}

VI vm v_or(vm a, vm b)
{
    return _mm256_or_ps(a, b);
}

VI unsigned v_bits(vm a)
{
    return (unsigned)_mm256_movemask_ps(a);
}

VI vf v_select(vm m, vf a, vf b)
{
    return _mm256_blendv_ps(b, a, m);
}

VI vf v_zero_if(vm m, vf a)
{
    return _mm256_andnot_ps(m, a);
}

VI vi v_addi(vi a, vi b)
{
    return _mm256_add_epi32(a, b);
}

VI vf v_get_whole(const int32_t *p, int64_t left)
{
    return _mm256_cvtepi32_ps(_mm256_maskload_epi32(p, v_first(left)));
}

VI void v_put_whole(int32_t *p, vf a, int64_t left)
{
    _mm256_maskstore_epi32(p, v_first(left), _mm256_cvttps_epi32(a));
}

VI vm v_gti(vi a, vi b)
{
    return _mm256_castsi256_ps(_mm256_cmpgt_epi32(a, b));
}

VI vi v_loadi(const void *p)
{
    return _mm256_loadu_si256(p);
}

VI void v_storei(void *p, vi a)
{
    _mm256_storeu_si256(p, a);
}

VI vi v_xori(vi a, vi b)
{
    return _mm256_xor_si256(a, b);
}

VI vi v_unpack_low32(vi a, vi b)
{
    return _mm256_unpacklo_epi32(a, b);
}

VI vi v_unpack_high32(vi a, vi b)
{
    return _mm256_unpackhi_epi32(a, b);
}

VI vi v_unpack_low64(vi a, vi b)
{
    return _mm256_unpacklo_epi64(a, b);
}

VI vi v_unpack_high64(vi a, vi b)
{
    return _mm256_unpackhi_epi64(a, b);
}

VI void v_multiply(vi a, uint32_t m, vi *high, vi *low)
{
    vi even = _mm256_mul_epu32(a, v_seti((int)m)), odd = _mm256_mul_epu32(_mm256_srli_epi64(a, 32), v_seti((int)m));
    *low = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA);
    *high = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA);
}

VI float v_sum(vf a)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}

VI float v_hmax(vf a)
{
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_shuffle_ps(s, s, 1)));
}

VI vf v_keep(vf a, int64_t left)
{
    return left == V ? a : _mm256_and_ps(a, _mm256_castsi256_ps(v_first(left)));
}

VI vf v_get_twice(const float *p, int64_t pairs)
{
    vi index = _mm256_srli_epi32(v_count(), 1);
    return _mm256_permutevar8x32_ps(_mm256_maskload_ps(p, v_first(pairs)), index);
}

VI vf v_swap_pairs(vf a)
{
    return _mm256_permute_ps(a, 0xB1);
}

VI vf v_alternate(vf a, vf b, vf c)
{
    return _mm256_fmaddsub_ps(a, b, c);
}

VI vf v_get_bf16(const uint16_t *p)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)p)), 16));
}

VI vf v_get_f16(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const void *)p));
}

VI void v_put_f16(uint16_t *p, vf a)
{
    _mm_storeu_si128((void *)p, _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}

VI void v_put_bf16(uint16_t *p, vf a)
{
    vi u = _mm256_castps_si256(a), odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), v_seti(1));
    vi rounded = _mm256_add_epi32(_mm256_add_epi32(u, v_seti(0x7FFF)), odd);
    vi quiet = _mm256_or_si256(u, v_seti(0x400000));
    vi h = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, _mm256_castps_si256(v_nan(a))), 16);
    h = _mm256_permute4x64_epi64(_mm256_packus_epi32(h, h), 0x08);
    _mm_storeu_si128((void *)p, _mm256_castsi256_si128(h));
}

VI void v_put_bytes(int8_t *p, vf a)
{
    vi i = _mm256_cvttps_epi32(a);
    __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(i), _mm256_extracti128_si256(i, 1));
    _mm_storel_epi64((void *)p, _mm_packs_epi16(words, words));
}

VI void v_from_bytes(__m256i bytes, vf y[32 / V])
{
    __m128i low = _mm256_castsi256_si128(bytes), high = _mm256_extracti128_si256(bytes, 1);
    y[0] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(low));
    y[1] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(low, 8)));
    y[2] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(high));
    y[3] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(high, 8)));
}

VI void v_put_codes(uint8_t *p, vi a)
{
    __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    _mm_storel_epi64((void *)p, _mm_packus_epi16(words, words));
}

VI void v_from_codes(__m256i bytes, vi y[32 / V])
{
    __m128i low = _mm256_castsi256_si128(bytes), high = _mm256_extracti128_si256(bytes, 1);
    y[0] = _mm256_cvtepu8_epi32(low);
    y[1] = _mm256_cvtepu8_epi32(_mm_srli_si128(low, 8));
    y[2] = _mm256_cvtepu8_epi32(high);
    y[3] = _mm256_cvtepu8_epi32(_mm_srli_si128(high, 8));
}

VI vi v_to_ints(vf a)
{
    return _mm256_cvttps_epi32(a);
}

VI vi v_add_if(vm m, vi a, int b)
{
    return _mm256_add_epi32(a, _mm256_and_si256(_mm256_castps_si256(m), v_seti(b)));
}

VI vi v_get_bytes(const uint8_t *p)
{
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)p));
}

VI vi v_shift_right(vi a, int bits)
{
    return _mm256_srli_epi32(a, bits);
}

VI vf v_from_ints(vi a)
{
    return _mm256_cvtepi32_ps(a);
}

typedef struct v_table {
    vf part[16 / V];
} v_table;

VI vf v_pick(v_table t, vi index) /* a permutation heeds three bits; the fourth says which half of the table */
{
    vf low = _mm256_permutevar8x32_ps(t.part[0], index), high = _mm256_permutevar8x32_ps(t.part[1], index);
    return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(index, 28)));
}

typedef __m256d vd;
VI vd v_setd(double x)
{
    return _mm256_set1_pd(x);
}

VI vd v_low(vf a)
{
    return _mm256_cvtps_pd(_mm256_castps256_ps128(a));
}

VI vd v_high(vf a)
{
    return _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1));
}

VI vd v_fmad(vd a, vd b, vd c)
{
    return _mm256_fmadd_pd(a, b, c);
}

VI vd v_addd(vd a, vd b)
{
    return _mm256_add_pd(a, b);
}

VI double v_sumd(vd a)
{
    __m128d s = _mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
    return _mm_cvtsd_f64(_mm_add_sd(s, _mm_unpackhi_pd(s, s)));
}

#endif
