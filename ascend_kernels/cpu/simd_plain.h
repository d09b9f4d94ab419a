// Plain C++: one of the variants of simd.h, which describes their members.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "half.h"

namespace neonext {

struct Vec8 {
  struct F {
    float v[8];
  };
  struct I {
    const int32_t* index;
  };
  static constexpr const char* kName = "plain";

  static F Zero() { return Set1(0.0f); }
  static F Set1(float v) { return {{v, v, v, v, v, v, v, v}}; }
  static F Add(F a, F b) {
    return Each(a, b, [](float x, float y) { return x + y; });
  }
  static F Sub(F a, F b) {
    return Each(a, b, [](float x, float y) { return x - y; });
  }
  static F Mul(F a, F b) {
    return Each(a, b, [](float x, float y) { return x * y; });
  }
  static F Div(F a, F b) {
    return Each(a, b, [](float x, float y) { return x / y; });
  }
  static F Sqrt(F a) {
    return Each(a, a, [](float x, float) { return std::sqrt(x); });
  }
  static F Min(F a, F b) {
    return Each(a, b, [](float x, float y) { return x < y ? x : y; });
  }
  static F Fma(F a, F b, F c) {  // one rounding, as far as it matters: the product of two floats is exact in double
    for (int i = 0; i < 8; ++i) c.v[i] = static_cast<float>(static_cast<double>(a.v[i]) * b.v[i] + c.v[i]);
    return c;
  }
  static F Abs(F a) {
    return Each(a, a, [](float x, float) { return x < 0 ? -x : x; });
  }
  static F Round(F a) {  // |a| < 2^22: adding 1.5 * 2^23 leaves no bits for a fraction
    volatile float shift = 12582912.0f;
    const float s = shift;
    return Each(a, a, [s](float x, float) { return (x + s) - s; });
  }
  static F Pow2(F n) {  // -126 <= n <= 127
    return Each(n, n, [](float x, float) {
      const uint32_t bits = static_cast<uint32_t>(static_cast<int32_t>(x) + 127) << 23;
      float result;
      std::memcpy(&result, &bits, sizeof(result));
      return result;
    });
  }
  static F SelectNegative(F x, F negative, F other) {
    for (int i = 0; i < 8; ++i) other.v[i] = x.v[i] < 0 ? negative.v[i] : other.v[i];
    return other;
  }
  static F RoundToBfloat16(F v) {  // to nearest, ties to even; what is not a number stays so
    return Each(v, v, [](float x, float) {
      uint32_t u;
      std::memcpy(&u, &x, sizeof(u));
      u = (u + ((u >> 16 & 1u) + 0x7fffu)) & 0xffff0000u;
      float rounded;
      std::memcpy(&rounded, &u, sizeof(u));
      return x == x ? rounded : x;
    });
  }
  static F Permute(F v, I index) {
    F result;
    for (int i = 0; i < 8; ++i) result.v[i] = v.v[index.index[i]];
    return result;
  }
  static F Load(const float* p) { return LoadUnaligned(p); }
  template <class T>
  static F LoadUnaligned(const T* p) {
    return LoadFirst(p, 8);
  }
  template <class T>
  static F LoadFirst(const T* p, int count) {
    F result = Zero();
    for (int i = 0; i < count; ++i) result.v[i] = ToFloat(p[i]);
    return result;
  }
  static void Store(float* p, F v) { StoreUnaligned(p, v); }
  template <class T>
  static void StoreUnaligned(T* p, F v) {
    StoreFirst(p, 8, v);
  }
  template <class T>
  static void StoreFirst(T* p, int count, F v) {
    for (int i = 0; i < count; ++i) FromFloat(v.v[i], p + i);
  }
  static I LoadIndex(const int32_t* p) { return {p}; }

 private:
  template <class Op>
  static F Each(F a, F b, Op op) {
    for (int i = 0; i < 8; ++i) a.v[i] = op(a.v[i], b.v[i]);
    return a;
  }
};

}  // namespace neonext
