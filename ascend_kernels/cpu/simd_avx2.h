// AVX2 with FMA and F16C: one of the variants of simd.h, which describes their members.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "half.h"

namespace neonext {

struct Vec8 {
  using F = __m256;
  using I = __m256i;
  static constexpr const char* name = "avx2";

  static F zero() { return _mm256_setzero_ps(); }
  static F set1(float v) { return _mm256_set1_ps(v); }
  static F add(F a, F b) { return _mm256_add_ps(a, b); }
  static F sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F div(F a, F b) { return _mm256_div_ps(a, b); }
  static F min(F a, F b) { return _mm256_min_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static F abs(F a) { return _mm256_andnot_ps(set1(-0.0f), a); }
  static F round(F a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static F pow2(F n) {  // -126 <= n <= 127
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
  }
  static F select_negative(F x, F negative, F other) {
    return _mm256_blendv_ps(other, negative, _mm256_cmp_ps(x, zero(), _CMP_LT_OQ));
  }
  static F permute(F v, I index) { return _mm256_permutevar8x32_ps(v, index); }
  static F load(const float* p) { return _mm256_load_ps(p); }
  static F load_unaligned(const float* p) { return _mm256_loadu_ps(p); }
  static F load_unaligned(const Half* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static F load_first(const float* p, int count) { return _mm256_maskload_ps(p, first(count)); }
  static F load_first(const Half* p, int count) {
    alignas(16) Half lanes[8] = {};
    std::memcpy(lanes, p, count * sizeof(Half));
    return load_unaligned(lanes);
  }
  static void store(float* p, F v) { _mm256_store_ps(p, v); }
  static void store_unaligned(float* p, F v) { _mm256_storeu_ps(p, v); }
  static void store_unaligned(Half* p, F v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }
  static void store_first(float* p, int count, F v) { _mm256_maskstore_ps(p, first(count), v); }
  static void store_first(Half* p, int count, F v) {
    alignas(16) Half lanes[8];
    store_unaligned(lanes, v);
    std::memcpy(p, lanes, count * sizeof(Half));
  }
  static I load_index(const int32_t* p) { return _mm256_load_si256(reinterpret_cast<const __m256i*>(p)); }

 private:
  static __m256i first(int count) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
};

}  // namespace neonext
