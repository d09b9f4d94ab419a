// NEON: one of the variants of simd.h, which describes their members.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#include "half.h"

namespace neonext {

struct Vec8 {
  struct F {
    float32x4_t lo, hi;
  };
  struct I {  // byte numbers, as table look-ups want them
    uint8x16_t lo, hi;
  };
  static constexpr const char* kName = "neon";

  static F Zero() { return Set1(0.0f); }
  static F Set1(float v) { return {vdupq_n_f32(v), vdupq_n_f32(v)}; }
  static F Add(F a, F b) { return {vaddq_f32(a.lo, b.lo), vaddq_f32(a.hi, b.hi)}; }
  static F Sub(F a, F b) { return {vsubq_f32(a.lo, b.lo), vsubq_f32(a.hi, b.hi)}; }
  static F Mul(F a, F b) { return {vmulq_f32(a.lo, b.lo), vmulq_f32(a.hi, b.hi)}; }
  static F Div(F a, F b) { return {vdivq_f32(a.lo, b.lo), vdivq_f32(a.hi, b.hi)}; }
  static F Sqrt(F a) { return {vsqrtq_f32(a.lo), vsqrtq_f32(a.hi)}; }
  static F Min(F a, F b) { return {vminq_f32(a.lo, b.lo), vminq_f32(a.hi, b.hi)}; }
  static F Fma(F a, F b, F c) { return {vfmaq_f32(c.lo, a.lo, b.lo), vfmaq_f32(c.hi, a.hi, b.hi)}; }
  static F Abs(F a) { return {vabsq_f32(a.lo), vabsq_f32(a.hi)}; }
  static F Round(F a) { return {vrndnq_f32(a.lo), vrndnq_f32(a.hi)}; }
  static F Pow2(F n) { return {Pow2(n.lo), Pow2(n.hi)}; }  // -126 <= n <= 127
  static F SelectNegative(F x, F negative, F other) {
    return {vbslq_f32(vcltzq_f32(x.lo), negative.lo, other.lo), vbslq_f32(vcltzq_f32(x.hi), negative.hi, other.hi)};
  }
  static F RoundToBfloat16(F v) { return {RoundToBfloat16(v.lo), RoundToBfloat16(v.hi)}; }
  static F Permute(F v, I index) {
    const uint8x16x2_t table = {{vreinterpretq_u8_f32(v.lo), vreinterpretq_u8_f32(v.hi)}};
    return {vreinterpretq_f32_u8(vqtbl2q_u8(table, index.lo)), vreinterpretq_f32_u8(vqtbl2q_u8(table, index.hi))};
  }
  static F Load(const float* p) { return {vld1q_f32(p), vld1q_f32(p + 4)}; }
  static F LoadUnaligned(const float* p) { return Load(p); }
  static F LoadUnaligned(const Half* p) {
    const float16x8_t v = vreinterpretq_f16_u16(vld1q_u16(reinterpret_cast<const uint16_t*>(p)));
    return {vcvt_f32_f16(vget_low_f16(v)), vcvt_high_f32_f16(v)};
  }
  template <class T>
  static F LoadFirst(const T* p, int count) {
    T lanes[8] = {};
    CopyFew(lanes, p, count);
    return LoadUnaligned(lanes);
  }
  static void Store(float* p, F v) {
    vst1q_f32(p, v.lo);
    vst1q_f32(p + 4, v.hi);
  }
  static void StoreUnaligned(float* p, F v) { Store(p, v); }
  static void StoreUnaligned(Half* p, F v) {
    const float16x8_t h = vcvt_high_f16_f32(vcvt_f16_f32(v.lo), v.hi);
    vst1q_u16(reinterpret_cast<uint16_t*>(p), vreinterpretq_u16_f16(h));
  }
  template <class T>
  static void StoreFirst(T* p, int count, F v) {
    T lanes[8];
    StoreUnaligned(lanes, v);
    CopyFew(p, lanes, count);
  }
  static I LoadIndex(const int32_t* p) { return {Bytes(p), Bytes(p + 4)}; }

 private:
  static float32x4_t RoundToBfloat16(float32x4_t v) {  // to nearest, ties to even; what is not a number stays so
    const uint32x4_t u = vreinterpretq_u32_f32(v), odd = vandq_u32(vshrq_n_u32(u, 16), vdupq_n_u32(1));
    const uint32x4_t up = vaddq_u32(u, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
    const float32x4_t rounded = vreinterpretq_f32_u32(vandq_u32(up, vdupq_n_u32(0xffff0000u)));
    return vbslq_f32(vceqq_f32(v, v), rounded, v);
  }
  static float32x4_t Pow2(float32x4_t n) {
    return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)), 23));
  }
  static uint8x16_t Bytes(const int32_t* p) {  // lane n is bytes 4n .. 4n + 3
    const uint32x4_t base = vmulq_n_u32(vld1q_u32(reinterpret_cast<const uint32_t*>(p)), 0x04040404u);
    return vreinterpretq_u8_u32(vaddq_u32(base, vdupq_n_u32(0x03020100u)));
  }
};

}  // namespace neonext
