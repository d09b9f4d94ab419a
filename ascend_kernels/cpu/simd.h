// The vector of the machine this file is compiled for: AVX-512, AVX2 with FMA, NEON, or plain C++.
//
// Every variant has the same members. min(a, b) is b when either is not a number. F holds `lanes` floats, I as many lane numbers, Mask says which lanes a load or a
// store touches. With `planes` > 1 a vector can be filled from several places: its lanes are cut into equal parts, and
// part i comes from pointer i. Lanes outside the mask load as zero and are not stored.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define NEONEXT_AVX512
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#define NEONEXT_AVX2
#elif defined(__aarch64__)
#define NEONEXT_NEON
#endif

#if defined(NEONEXT_AVX512) || defined(NEONEXT_AVX2)
#include <immintrin.h>
#elif defined(NEONEXT_NEON)
#include <arm_neon.h>
#endif

#include "half.h"

namespace neonext {

#if defined(NEONEXT_AVX512)

struct Vec {
  using F = __m512;
  using I = __m512i;
  using Mask = uint32_t;
  static constexpr int lanes = 16;
  static constexpr int max_planes = 2;
  static constexpr const char* name = "avx512";

  static F zero() { return _mm512_setzero_ps(); }
  static F set1(float v) { return _mm512_set1_ps(v); }
  static F add(F a, F b) { return _mm512_add_ps(a, b); }
  static F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F div(F a, F b) { return _mm512_div_ps(a, b); }
  static F min(F a, F b) { return _mm512_min_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F abs(F a) { return _mm512_abs_ps(a); }
  static F round(F a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static F pow2(F n) { return _mm512_scalef_ps(_mm512_set1_ps(1.0f), n); }
  static F select_negative(F x, F negative, F other) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, zero(), _CMP_LT_OQ), other, negative);
  }
  static F permute(F v, I index) { return _mm512_permutexvar_ps(index, v); }
  static float sum(F v) { return _mm512_reduce_add_ps(v); }

  static F load(const float* p) { return _mm512_load_ps(p); }
  static void store(float* p, F v) { _mm512_store_ps(p, v); }
  static I load_index(const int32_t* p) { return _mm512_load_si512(p); }

  template <int planes>
  static Mask mask(int count, int present) {
    const uint32_t part = (1u << count) - 1u;
    return planes == 2 && present == 2 ? part | part << 8 : part;
  }
  template <int planes, class T>
  static F load(const T* const* p, ptrdiff_t at, Mask m) {
    if constexpr (planes == 1) {
      return load16(p[0] + at, m);
    } else {
      return _mm512_insertf32x8(_mm512_castps256_ps512(load8(p[0] + at, m & 0xffu)), load8(p[1] + at, m >> 8), 1);
    }
  }
  template <int planes, class T>
  static void store(T* const* p, ptrdiff_t at, Mask m, F v) {
    if constexpr (planes == 1) {
      store16(p[0] + at, m, v);
    } else {
      store8(p[0] + at, m & 0xffu, _mm512_castps512_ps256(v));
      store8(p[1] + at, m >> 8, _mm512_extractf32x8_ps(v, 1));
    }
  }

 private:
  static __m512 load16(const float* p, uint32_t m) { return _mm512_maskz_loadu_ps(m, p); }
  static __m512 load16(const Half* p, uint32_t m) { return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(m, p)); }
  static __m256 load8(const float* p, uint32_t m) { return _mm256_maskz_loadu_ps(m, p); }
  static __m256 load8(const Half* p, uint32_t m) { return _mm256_cvtph_ps(_mm_maskz_loadu_epi16(m, p)); }
  static void store16(float* p, uint32_t m, __m512 v) { _mm512_mask_storeu_ps(p, m, v); }
  static void store16(Half* p, uint32_t m, __m512 v) {
    _mm256_mask_storeu_epi16(p, m, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  static void store8(float* p, uint32_t m, __m256 v) { _mm256_mask_storeu_ps(p, m, v); }
  static void store8(Half* p, uint32_t m, __m256 v) {
    _mm_mask_storeu_epi16(p, m, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }
};

#else

// Masks of the narrower variants count lanes: a partial vector always starts at lane 0.
#if defined(NEONEXT_AVX2)

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

#elif defined(NEONEXT_NEON)

struct Vec8 {
  struct F {
    float32x4_t lo, hi;
  };
  struct I {  // byte numbers, as table look-ups want them
    uint8x16_t lo, hi;
  };
  static constexpr const char* name = "neon";

  static F zero() { return set1(0.0f); }
  static F set1(float v) { return {vdupq_n_f32(v), vdupq_n_f32(v)}; }
  static F add(F a, F b) { return {vaddq_f32(a.lo, b.lo), vaddq_f32(a.hi, b.hi)}; }
  static F sub(F a, F b) { return {vsubq_f32(a.lo, b.lo), vsubq_f32(a.hi, b.hi)}; }
  static F mul(F a, F b) { return {vmulq_f32(a.lo, b.lo), vmulq_f32(a.hi, b.hi)}; }
  static F div(F a, F b) { return {vdivq_f32(a.lo, b.lo), vdivq_f32(a.hi, b.hi)}; }
  static F min(F a, F b) { return {vminq_f32(a.lo, b.lo), vminq_f32(a.hi, b.hi)}; }
  static F fma(F a, F b, F c) { return {vfmaq_f32(c.lo, a.lo, b.lo), vfmaq_f32(c.hi, a.hi, b.hi)}; }
  static F abs(F a) { return {vabsq_f32(a.lo), vabsq_f32(a.hi)}; }
  static F round(F a) { return {vrndnq_f32(a.lo), vrndnq_f32(a.hi)}; }
  static F pow2(F n) { return {pow2(n.lo), pow2(n.hi)}; }  // -126 <= n <= 127
  static F select_negative(F x, F negative, F other) {
    return {vbslq_f32(vcltzq_f32(x.lo), negative.lo, other.lo), vbslq_f32(vcltzq_f32(x.hi), negative.hi, other.hi)};
  }
  static F permute(F v, I index) {
    const uint8x16x2_t table = {{vreinterpretq_u8_f32(v.lo), vreinterpretq_u8_f32(v.hi)}};
    return {vreinterpretq_f32_u8(vqtbl2q_u8(table, index.lo)), vreinterpretq_f32_u8(vqtbl2q_u8(table, index.hi))};
  }
  static F load(const float* p) { return {vld1q_f32(p), vld1q_f32(p + 4)}; }
  static F load_unaligned(const float* p) { return load(p); }
  static F load_unaligned(const Half* p) {
    const float16x8_t v = vreinterpretq_f16_u16(vld1q_u16(reinterpret_cast<const uint16_t*>(p)));
    return {vcvt_f32_f16(vget_low_f16(v)), vcvt_high_f32_f16(v)};
  }
  template <class T>
  static F load_first(const T* p, int count) {
    T lanes[8] = {};
    std::memcpy(lanes, p, count * sizeof(T));
    return load_unaligned(lanes);
  }
  static void store(float* p, F v) {
    vst1q_f32(p, v.lo);
    vst1q_f32(p + 4, v.hi);
  }
  static void store_unaligned(float* p, F v) { store(p, v); }
  static void store_unaligned(Half* p, F v) {
    const float16x8_t h = vcvt_high_f16_f32(vcvt_f16_f32(v.lo), v.hi);
    vst1q_u16(reinterpret_cast<uint16_t*>(p), vreinterpretq_u16_f16(h));
  }
  template <class T>
  static void store_first(T* p, int count, F v) {
    T lanes[8];
    store_unaligned(lanes, v);
    std::memcpy(p, lanes, count * sizeof(T));
  }
  static I load_index(const int32_t* p) { return {bytes(p), bytes(p + 4)}; }

 private:
  static float32x4_t pow2(float32x4_t n) {
    return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)), 23));
  }
  static uint8x16_t bytes(const int32_t* p) {  // lane n is bytes 4n .. 4n + 3
    const uint32x4_t base = vmulq_n_u32(vld1q_u32(reinterpret_cast<const uint32_t*>(p)), 0x04040404u);
    return vreinterpretq_u8_u32(vaddq_u32(base, vdupq_n_u32(0x03020100u)));
  }
};

#else

struct Vec8 {
  struct F {
    float v[8];
  };
  struct I {
    const int32_t* index;
  };
  static constexpr const char* name = "plain";

  static F zero() { return set1(0.0f); }
  static F set1(float v) { return {{v, v, v, v, v, v, v, v}}; }
  static F add(F a, F b) { return each(a, b, [](float x, float y) { return x + y; }); }
  static F sub(F a, F b) { return each(a, b, [](float x, float y) { return x - y; }); }
  static F mul(F a, F b) { return each(a, b, [](float x, float y) { return x * y; }); }
  static F div(F a, F b) { return each(a, b, [](float x, float y) { return x / y; }); }
  static F min(F a, F b) { return each(a, b, [](float x, float y) { return x < y ? x : y; }); }
  static F fma(F a, F b, F c) {  // one rounding, as far as it matters: the product of two floats is exact in double
    for (int i = 0; i < 8; ++i) c.v[i] = static_cast<float>(static_cast<double>(a.v[i]) * b.v[i] + c.v[i]);
    return c;
  }
  static F abs(F a) { return each(a, a, [](float x, float) { return x < 0 ? -x : x; }); }
  static F round(F a) {  // |a| < 2^22: adding 1.5 * 2^23 leaves no bits for a fraction
    volatile float shift = 12582912.0f;
    const float s = shift;
    return each(a, a, [s](float x, float) { return (x + s) - s; });
  }
  static F pow2(F n) {  // -126 <= n <= 127
    return each(n, n, [](float x, float) {
      const uint32_t bits = static_cast<uint32_t>(static_cast<int32_t>(x) + 127) << 23;
      float result;
      std::memcpy(&result, &bits, sizeof(result));
      return result;
    });
  }
  static F select_negative(F x, F negative, F other) {
    for (int i = 0; i < 8; ++i) other.v[i] = x.v[i] < 0 ? negative.v[i] : other.v[i];
    return other;
  }
  static F permute(F v, I index) {
    F result;
    for (int i = 0; i < 8; ++i) result.v[i] = v.v[index.index[i]];
    return result;
  }
  static F load(const float* p) { return load_unaligned(p); }
  template <class T>
  static F load_unaligned(const T* p) {
    return load_first(p, 8);
  }
  template <class T>
  static F load_first(const T* p, int count) {
    F result = zero();
    for (int i = 0; i < count; ++i) result.v[i] = to_float(p[i]);
    return result;
  }
  static void store(float* p, F v) { store_unaligned(p, v); }
  template <class T>
  static void store_unaligned(T* p, F v) {
    store_first(p, 8, v);
  }
  template <class T>
  static void store_first(T* p, int count, F v) {
    for (int i = 0; i < count; ++i) from_float(v.v[i], p + i);
  }
  static I load_index(const int32_t* p) { return {p}; }

 private:
  template <class Op>
  static F each(F a, F b, Op op) {
    for (int i = 0; i < 8; ++i) a.v[i] = op(a.v[i], b.v[i]);
    return a;
  }
};

#endif

struct Vec : Vec8 {
  using Mask = int;
  static constexpr int lanes = 8;
  static constexpr int max_planes = 1;
  using Vec8::load;
  using Vec8::store;

  static float sum(F v) {
    alignas(32) float l[8];
    store(l, v);
    return ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]));
  }
  template <int planes>
  static Mask mask(int count, int) {
    return count;
  }
  template <int planes, class T>
  static F load(const T* const* p, ptrdiff_t at, Mask m) {
    return m == lanes ? load_unaligned(p[0] + at) : load_first(p[0] + at, m);
  }
  template <int planes, class T>
  static void store(T* const* p, ptrdiff_t at, Mask m, F v) {
    m == lanes ? store_unaligned(p[0] + at, v) : store_first(p[0] + at, m, v);
  }
};

#endif

}  // namespace neonext
