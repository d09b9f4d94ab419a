// The tier with CANN's own headers, vector core: the intrinsics of copies and element-wise operations.
#include <kernel_operator.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "device.h"

using emulator::Bytes;
using emulator::Format;
using emulator::TheMachine;
using Fp16 = half;
using Bf16 = bfloat16_t;

namespace {

bool g_counting = false;  // the mask is a number of elements; no other mode is modelled
uint32_t g_count = 0;

template <typename T>
uint32_t Size(uint32_t count) {
  return count * static_cast<uint32_t>(sizeof(T));
}

template <typename D, typename Function>
void Elementwise(const char* call, uint32_t rate, uint32_t widest, D* d, std::initializer_list<Bytes> sources,
                 Function f) {
  if (!g_counting) {
    TheMachine().Die(std::string(call) + ": only the form with a count is modelled");
  }
  TheMachine().VectorAccess(call, emulator::VectorCycles(g_count, widest) * rate, {d, Size<D>(g_count)}, sources);
  for (uint32_t i = 0; !emulator::TheDevice().Dry() && i < g_count; ++i) {
    d[i] = f(i);
  }
}

void CopyIn(void* ub, void* gm, uint16_t count, uint32_t bytes, uint32_t gmGap, uint32_t ubGap) {
  TheMachine().CopyToUb(ub, gm, {count, bytes, gmGap, ubGap * 32});
}

}  // namespace

void set_mask_count() { g_counting = true; }
void set_mask_norm() { g_counting = false; }
void set_vector_mask(uint64_t, uint64_t low) { g_count = static_cast<uint32_t>(low); }

// ---------------------------------------------------------------------------------------------------------- copies
void copy_gm_to_ubuf(void* ub, void* gm, uint8_t, uint16_t count, uint16_t length, uint16_t gmGap, uint16_t ubGap) {
  CopyIn(ub, gm, count, length * 32, gmGap * 32, ubGap);
}
void copy_gm_to_ubuf_align_b16(void* ub, void* gm, uint8_t, uint16_t count, uint32_t bytes, uint8_t, uint8_t,
                               uint32_t gmGap, uint32_t ubGap) {
  CopyIn(ub, gm, count, bytes, gmGap, ubGap);
}
void copy_ubuf_to_gm_align_b16(void* gm, void* ub, uint8_t, uint16_t count, uint32_t bytes, uint8_t, uint8_t,
                               uint32_t ubGap, uint32_t gmGap) {
  TheMachine().CopyFromUb(gm, ub, {count, bytes, gmGap, ubGap * 32});
}
void copy_gm_to_cbuf(void*, void*, uint8_t, uint16_t, uint16_t, uint16_t, uint16_t, pad_t) {
  TheMachine().Die("DataCopy to L1 without Nd2Nz is not modelled");
}
void copy_ubuf_to_gm(void*, void*, uint8_t, uint16_t, uint16_t, uint16_t, uint16_t) {
  TheMachine().Die("DataCopy from UB is not modelled, only DataCopyPad");
}

// ------------------------------------------------------------------------------------------------------ arithmetic
#define UNARY(NAME, CALL, RATE, EXPRESSION)                                                             \
  void NAME(float* d, float* s, uint8_t, uint16_t, uint16_t, uint8_t, uint8_t) {                        \
    Elementwise(CALL, RATE, 4, d, {{s, Size<float>(g_count)}}, [=](uint32_t i) { return EXPRESSION; }); \
  }
UNARY(vabs, "Abs", 1, std::fabs(s[i]))
UNARY(vexp, "Exp", emulator::SLOW, emulator::RoughExp(s[i]))
UNARY(vrelu, "Relu", 1, s[i] < 0.0f ? 0.0f : s[i])

#define BINARY(NAME, CALL, EXPRESSION)                                                                     \
  void NAME(float* d, float* a, float* b, uint8_t, uint8_t, uint8_t, uint8_t, uint8_t, uint8_t, uint8_t) { \
    Elementwise(CALL, 1, 4, d, {{a, Size<float>(g_count)}, {b, Size<float>(g_count)}},                     \
                [=](uint32_t i) { return EXPRESSION; });                                                   \
  }
BINARY(vadd, "Add", a[i] + b[i])
BINARY(vsub, "Sub", a[i] - b[i])
BINARY(vmul, "Mul", a[i] * b[i])

#define SCALAR(NAME, CALL, EXPRESSION, ...)                                                          \
  void NAME(float* d, float* s, float c, uint8_t, uint16_t, uint16_t, __VA_ARGS__) {                 \
    Elementwise(CALL, 1, 4, d, {{s, Size<float>(g_count)}}, [=](uint32_t i) { return EXPRESSION; }); \
  }
SCALAR(vadds, "Adds", s[i] + c, uint16_t, uint16_t)
SCALAR(vmuls, "Muls", s[i] * c, uint16_t, uint16_t)
SCALAR(vmaxs, "Maxs", std::fmax(s[i], c), uint8_t, uint8_t, bool, bool)
SCALAR(vmins, "Mins", std::fmin(s[i], c), uint8_t, uint8_t, bool, bool)

void vaxpy(float* d, float* s, float c, uint8_t, uint16_t, uint16_t, uint8_t, uint8_t) {
  Elementwise("Axpy", 1, 4, d, {{s, Size<float>(g_count)}, {d, Size<float>(g_count)}},
              [=](uint32_t i) { return s[i] * c + d[i]; });
}

void vector_dup(float* d, float c, uint8_t, uint16_t, uint16_t, uint8_t, uint8_t) {
  Elementwise("Duplicate", 1, 4, d, {}, [=](uint32_t) { return c; });
}
void vmla(float* d, float* a, float* b, uint8_t, uint8_t, uint8_t, uint8_t, uint8_t, uint8_t, uint8_t) {
  Elementwise("MulAddDst", 1, 4, d, {{a, Size<float>(g_count)}, {b, Size<float>(g_count)}, {d, Size<float>(g_count)}},
              [=](uint32_t i) { return a[i] * b[i] + d[i]; });
}
void vmadd(float* d, float* a, float* b, uint8_t, uint8_t, uint8_t, uint8_t, uint8_t, uint8_t, uint8_t stride) {
  uint32_t lanes = stride == 0 ? std::min(g_count, 64u) : g_count;  // a stride of 0: the same 256 B again and again
  Elementwise("FusedMulAdd", 1, 4, d, {{a, Size<float>(g_count)}, {b, Size<float>(lanes)}, {d, Size<float>(g_count)}},
              [=](uint32_t i) { return d[i] * a[i] + b[i % lanes]; });
}

// ----------------------------------------------------------------------------------------------------------- casts
#define WIDEN(NAME, T, FORMAT, STRIDE)                                          \
  void NAME(float* d, T* s, uint8_t, uint16_t, uint16_t, STRIDE, STRIDE) {      \
    Elementwise("Cast", 1, 4, d, {{s, Size<T>(g_count)}},                       \
                [=](uint32_t i) { return emulator::Widen(s[i].val, FORMAT); }); \
  }
WIDEN(vconv_f162f32, Fp16, Format::F16, uint8_t)
WIDEN(vconv_bf162f32, Bf16, Format::BF16, uint16_t)

#define NARROW(NAME, T, FORMAT)                                                 \
  void NAME(T* d, float* s, uint8_t, uint16_t, uint16_t, uint16_t, uint16_t) {  \
    Elementwise("Cast", 1, 4, d, {{s, Size<float>(g_count)}}, [=](uint32_t i) { \
      T value;                                                                  \
      value.val = emulator::Narrow(s[i], FORMAT);                               \
      return value;                                                             \
    });                                                                         \
  }
NARROW(vconv_f322f16r, Fp16, Format::F16)
NARROW(vconv_f322bf16r, Bf16, Format::BF16)

#define OTHER_ROUNDING(NAME, T, STRIDE)                                \
  void NAME(T*, float*, uint8_t, uint16_t, uint16_t, STRIDE, STRIDE) { \
    TheMachine().Die("Cast: only CAST_RINT is modelled");              \
  }
OTHER_ROUNDING(vconv_f322f16, Fp16, uint8_t)
OTHER_ROUNDING(vconv_f322f16a, Fp16, uint16_t)
OTHER_ROUNDING(vconv_f322f16c, Fp16, uint16_t)
OTHER_ROUNDING(vconv_f322f16f, Fp16, uint16_t)
OTHER_ROUNDING(vconv_f322f16o, Fp16, uint8_t)
OTHER_ROUNDING(vconv_f322f16z, Fp16, uint16_t)
OTHER_ROUNDING(vconv_f322bf16a, Bf16, uint16_t)
OTHER_ROUNDING(vconv_f322bf16c, Bf16, uint16_t)
OTHER_ROUNDING(vconv_f322bf16f, Bf16, uint16_t)
OTHER_ROUNDING(vconv_f322bf16z, Bf16, uint16_t)
