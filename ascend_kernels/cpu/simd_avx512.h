// AVX-512: one of the variants of simd.h, which describes their members.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "half.h"

namespace neonext {

struct Vec {
  using F = __m512;
  using I = __m512i;
  using Mask = uint32_t;
  static constexpr int kLanes = 16;
  static constexpr int kMaxPlanes = 2;
  static constexpr const char* kName = "avx512";

  static F Zero() { return _mm512_setzero_ps(); }
  static F Set1(float v) { return _mm512_set1_ps(v); }
  static F Add(F a, F b) { return _mm512_add_ps(a, b); }
  static F Sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F Mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F Div(F a, F b) { return _mm512_div_ps(a, b); }
  static F Sqrt(F a) { return _mm512_sqrt_ps(a); }
  static F Max(F a, F b) { return _mm512_max_ps(a, b); }
  static F Min(F a, F b) { return _mm512_min_ps(a, b); }
  static F Fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F Abs(F a) { return _mm512_abs_ps(a); }
  static F Round(F a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static F Pow2(F n) { return _mm512_scalef_ps(_mm512_set1_ps(1.0f), n); }
  static F SelectNegative(F x, F negative, F other) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, Zero(), _CMP_LT_OQ), other, negative);
  }
  static F Permute(F v, I index) { return _mm512_permutexvar_ps(index, v); }
  static I Bits(F v) { return _mm512_castps_si512(v); }  // as an index: permute takes the last four of them
  static bool AllBelow(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ) == 0xffff; }
  static F SelectBelow(F a, F b, F below, F other) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), other, below);
  }
  static F RoundToBfloat16(F v) {  // to nearest, ties to even; what is not a number stays so
    const I u = _mm512_castps_si512(v), odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    const I up = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    const F rounded = _mm512_castsi512_ps(_mm512_and_si512(up, _mm512_set1_epi32(~0xffff)));
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), rounded, v);
  }
  static float Sum(F v) { return _mm512_reduce_add_ps(v); }

  static F Load(const float* p) { return _mm512_load_ps(p); }
  static F LoadUnaligned(const float* p) { return _mm512_loadu_ps(p); }
  static void Store(float* p, F v) { _mm512_store_ps(p, v); }
  static I LoadIndex(const int32_t* p) { return _mm512_load_si512(p); }

  template <int planes>
  static Mask MakeMask(int count, int present) {
    const uint32_t part = (1u << count) - 1u;
    return planes == 2 && present == 2 ? part | part << 8 : part;
  }
  template <int planes, class T>
  static F Load(const T* const* p, ptrdiff_t at, Mask m) {
    if constexpr (planes == 1) {
      return Load16(p[0] + at, m);
    } else {
      return LoadPair(p[0] + at, p[1] + at, m);
    }
  }
  template <int planes, class T>
  static void Store(T* const* p, ptrdiff_t at, Mask m, F v) {
    if constexpr (planes == 1) {
      Store16(p[0] + at, m, v);
    } else {
      StorePair(p[0] + at, p[1] + at, m, v);
    }
  }

 private:
  static __m512 Load16(const float* p, uint32_t m) { return _mm512_maskz_loadu_ps(m, p); }
  static __m512 Load16(const Half* p, uint32_t m) { return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(m, p)); }
  static __m256 Load8(const Half* p, uint32_t m) { return _mm256_cvtph_ps(_mm_maskz_loadu_epi16(m, p)); }
  static void Store16(float* p, uint32_t m, __m512 v) { _mm512_mask_storeu_ps(p, m, v); }
  static void Store16(Half* p, uint32_t m, __m512 v) {
    _mm256_mask_storeu_epi16(p, m, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  static void Store8(Half* p, uint32_t m, __m256 v) {
    _mm_mask_storeu_epi16(p, m, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }
  // Masks place the second plane's lanes, so that no instruction has to move them.
  static __m512 LoadPair(const float* p, const float* q, uint32_t m) {
    return _mm512_mask_loadu_ps(_mm512_maskz_loadu_ps(m & 0xffu, p), m & 0xff00u, q - 8);
  }
  static __m512 LoadPair(const Half* p, const Half* q, uint32_t m) {
    return _mm512_insertf32x8(_mm512_castps256_ps512(Load8(p, m & 0xffu)), Load8(q, m >> 8), 1);
  }
  static void StorePair(float* p, float* q, uint32_t m, __m512 v) {
    _mm512_mask_storeu_ps(p, m & 0xffu, v);
    _mm512_mask_storeu_ps(q - 8, m & 0xff00u, v);
  }
  static void StorePair(Half* p, Half* q, uint32_t m, __m512 v) {
    Store8(p, m & 0xffu, _mm512_castps512_ps256(v));
    Store8(q, m >> 8, _mm512_extractf32x8_ps(v, 1));
  }
};

}  // namespace neonext
