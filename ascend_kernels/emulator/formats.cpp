// The 16-bit number formats: to float32 and back.
#include <cmath>
#include <cstring>

#include "machine.h"

namespace emulator {

namespace {

constexpr uint16_t NOT_A_NUMBER = 0x7FC0;  // in fp16 and in bf16

}  // namespace

float Widen(uint16_t bits, Format format) {
  uint32_t word;
  if (format == Format::BF16) {
    word = static_cast<uint32_t>(bits) << 16;
  } else {
    uint32_t sign = (bits & 0x8000u) << 16, exponent = bits >> 10 & 31, mantissa = bits & 1023;
    if (exponent == 0) {
      float tiny = std::ldexp(static_cast<float>(mantissa), -24);
      return sign ? -tiny : tiny;
    }
    word = sign | (exponent == 31 ? 0x7F800000u : (exponent + 112) << 23) | mantissa << 13;
  }
  float value;
  std::memcpy(&value, &word, 4);
  return value;
}

uint16_t Narrow(float value, Format format) {
  uint32_t word;
  std::memcpy(&word, &value, 4);
  if (std::isnan(value)) {
    return NOT_A_NUMBER;
  }
  if (format == Format::BF16) {
    return static_cast<uint16_t>((word + 0x7FFF + (word >> 16 & 1)) >> 16);
  }
  uint16_t sign = static_cast<uint16_t>(word >> 16 & 0x8000);
  float magnitude = std::fabs(value);
  // CTRL[48] = 0: the hardware saturates instead of producing infinities
  if (magnitude >= 65520.0f) {
    return sign | 0x7BFF;
  }
  if (magnitude < 6.103515625e-5f) {
    return sign | static_cast<uint16_t>(std::nearbyint(std::ldexp(magnitude, 24)));
  }
  word &= 0x7FFFFFFF;
  word += 0xFFF + (word >> 13 & 1);
  return sign | static_cast<uint16_t>((word >> 13) - (112u << 10));
}

}  // namespace emulator
