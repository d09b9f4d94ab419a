// IEEE binary16 storage with float32 arithmetic, without compiler or CPU support.
#pragma once

#include <cstdint>
#include <cstring>

namespace neonext {

struct Half {
  uint16_t bits;
};

inline float ToFloat(float value) { return value; }

inline float ToFloat(Half value) {
  const uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000u) << 16;
  const uint32_t exponent = (value.bits >> 10) & 0x1fu;
  const uint32_t fraction = value.bits & 0x3ffu;
  if (exponent == 0) {  // zero and subnormals: fraction * 2^-24
    const float magnitude = static_cast<float>(fraction) * 5.9604644775390625e-8f;
    return sign ? -magnitude : magnitude;
  }
  const uint32_t bits = sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | (fraction << 13);
  float result;
  std::memcpy(&result, &bits, sizeof(result));
  return result;
}

// Round to nearest, ties to even; overflow gives infinity.
inline Half ToHalf(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  const uint32_t sign = (bits >> 16) & 0x8000u;
  bits &= 0x7fffffffu;
  uint32_t result;
  if (bits > 0x7f800000u) {
    result = 0x7e00u;  // not a number
  } else if (bits >= 0x477ff000u) {
    result = 0x7c00u;  // at least 65520
  } else if (bits < 0x38800000u) {
    // Below 2^-14: adding 0.5 leaves the subnormal, rounded by the FPU, in the low bits.
    float magnitude;
    std::memcpy(&magnitude, &bits, sizeof(magnitude));
    magnitude += 0.5f;
    std::memcpy(&result, &magnitude, sizeof(result));
    result -= 0x3f000000u;
  } else {
    result = (bits + 0xfffu + ((bits >> 13) & 1u) - 0x38000000u) >> 13;
  }
  return Half{static_cast<uint16_t>(sign | result)};
}

inline void FromFloat(float value, float* out) { *out = value; }
inline void FromFloat(float value, Half* out) { *out = ToHalf(value); }

// Copies fewer than 8 values, in two pieces of a known size that may overlap.
template <class T>
inline void CopyFew(T* to, const T* from, int count) {
  if (count >= 4) {
    std::memcpy(to, from, 4 * sizeof(T));
    std::memcpy(to + count - 4, from + count - 4, 4 * sizeof(T));
  } else if (count >= 2) {
    std::memcpy(to, from, 2 * sizeof(T));
    std::memcpy(to + count - 2, from + count - 2, 2 * sizeof(T));
  } else if (count == 1) {
    *to = *from;
  }
}

}  // namespace neonext
