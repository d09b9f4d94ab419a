// Plain C++: one of the variants of simd.h, which describes their members.
#pragma once

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
  static constexpr const char* name = "plain";

  static F zero() { return set1(0.0f); }
  static F set1(float v) { return {{v, v, v, v, v, v, v, v}}; }
  static F add(F a, F b) {
    return each(a, b, [](float x, float y) { return x + y; });
  }
  static F sub(F a, F b) {
    return each(a, b, [](float x, float y) { return x - y; });
  }
  static F mul(F a, F b) {
    return each(a, b, [](float x, float y) { return x * y; });
  }
  static F div(F a, F b) {
    return each(a, b, [](float x, float y) { return x / y; });
  }
  static F min(F a, F b) {
    return each(a, b, [](float x, float y) { return x < y ? x : y; });
  }
  static F fma(F a, F b, F c) {  // one rounding, as far as it matters: the product of two floats is exact in double
    for (int i = 0; i < 8; ++i) c.v[i] = static_cast<float>(static_cast<double>(a.v[i]) * b.v[i] + c.v[i]);
    return c;
  }
  static F abs(F a) {
    return each(a, a, [](float x, float) { return x < 0 ? -x : x; });
  }
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

}  // namespace neonext
