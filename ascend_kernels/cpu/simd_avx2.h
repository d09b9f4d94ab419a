// AVX2 with FMA and F16C: one of the variants of simd.h, which describes their members.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "half.h"

namespace neonext {

struct Vec8 {
  using F = __m256;
  using I = __m256i;
  static constexpr const char* kName = "avx2";

  static F Zero() { return _mm256_setzero_ps(); }
  static F Set1(float v) { return _mm256_set1_ps(v); }
  static F Add(F a, F b) { return _mm256_add_ps(a, b); }
  static F Sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static F Mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F Div(F a, F b) { return _mm256_div_ps(a, b); }
  static F Sqrt(F a) { return _mm256_sqrt_ps(a); }
  static F Min(F a, F b) { return _mm256_min_ps(a, b); }
  static F Fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static F Abs(F a) { return _mm256_andnot_ps(Set1(-0.0f), a); }
  static F Round(F a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static F Pow2(F n) {  // -126 <= n <= 127
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
  }
  static F SelectNegative(F x, F negative, F other) {
    return _mm256_blendv_ps(other, negative, _mm256_cmp_ps(x, Zero(), _CMP_LT_OQ));
  }
  static F RoundToBfloat16(F v) {  // to nearest, ties to even; what is not a number stays so
    const I u = _mm256_castps_si256(v), odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    const I up = _mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const F rounded = _mm256_castsi256_ps(_mm256_and_si256(up, _mm256_set1_epi32(~0xffff)));
    return _mm256_blendv_ps(rounded, v, _mm256_cmp_ps(v, v, _CMP_UNORD_Q));
  }
  static F Max(F a, F b) { return _mm256_max_ps(a, b); }
  static F Permute(F v, I index) { return _mm256_permutevar8x32_ps(v, index); }
  static I Bits(F v) { return _mm256_castps_si256(v); }  // as an index: permute takes the last three of them
  static bool AllBelow(F a, F b) { return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_LT_OQ)) == 0xff; }
  static F SelectBelow(F a, F b, F below, F other) {
    return _mm256_blendv_ps(other, below, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
  }
  static F Load(const float* p) { return _mm256_load_ps(p); }
  static F LoadUnaligned(const float* p) { return _mm256_loadu_ps(p); }
  static F LoadUnaligned(const Half* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static F LoadFirst(const float* p, int count) { return _mm256_maskload_ps(p, First(count)); }
  static F LoadFirst(const Half* p, int count) {
    alignas(16) Half lanes[8] = {};
    CopyFew(lanes, p, count);
    return LoadUnaligned(lanes);
  }
  static void Store(float* p, F v) { _mm256_store_ps(p, v); }
  static void StoreUnaligned(float* p, F v) { _mm256_storeu_ps(p, v); }
  static void StoreUnaligned(Half* p, F v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }
  // Not with a mask: AMD's processors take tens of cycles for such a store.
  template <class T>
  static void StoreFirst(T* p, int count, F v) {
    alignas(32) T lanes[8];
    StoreUnaligned(lanes, v);
    CopyFew(p, lanes, count);
  }
  static I LoadIndex(const int32_t* p) { return _mm256_load_si256(reinterpret_cast<const __m256i*>(p)); }

 private:
  static __m256i First(int count) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
};

}  // namespace neonext
