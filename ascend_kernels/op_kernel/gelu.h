// GELU(x) = x Phi(x) with the exact error function, and its derivative, on a vector core in float32.
//
// GELU(x) = max(x, 0) - |x| Phi(-|x|), and log Phi(-|x|) is so smooth that a polynomial of odd degree with a negative
// leading coefficient gives Phi(-|x|) with a small relative error into the far tail, where the polynomial runs to minus
// infinity by itself: no division, no comparison, no clamp.  In u = SCALE |x|, with SCALE < 0, it leads with 1, and
// GELU(x) = max(x, 0) + u exp(P(u)).  The derivative is 1/2 plus an odd function, a polynomial in x^2 times x on
// [-BOUND, BOUND], beyond which it is all but 0 or 1.  Coefficients are minimax fits, lowest power first, as precise as
// the type of the result needs: tests/ascend_kernels/test_gelu.py measures them.
#ifndef GELU_H
#define GELU_H
#include "kernel_operator.h"

namespace neocell {

constexpr uint32_t LANES = 64;  // float32 elements that a vector core takes at a time

template <typename T>
struct GeluFit;
template <>
struct GeluFit<half> {
  static constexpr uint32_t TAIL = 5, SLOPE = 9;  // degrees
  static constexpr float SCALE = -0.187001343f, BOUND = 4.3f;
  __aicore__ static inline float Tail(uint32_t power) {
    constexpr float c[TAIL] = {0.983414233f, 4.26029444f, -9.19180107f, 5.14390707f, 3.35348535f};
    return c[power];
  }
  __aicore__ static inline float Slope(uint32_t power) {
    constexpr float c[SLOPE + 1] = {0.797736347f,    -0.265316904f,    0.0590101853f,   -0.00900027435f,
                                    0.000986040919f, -7.77630339e-05f, 4.28651992e-06f, -1.55605463e-07f,
                                    3.32099481e-09f, -3.1420009e-11f};
    return c[power];
  }
};
template <>
struct GeluFit<bfloat16_t> {
  static constexpr uint32_t TAIL = 7, SLOPE = 7;
  static constexpr float SCALE = -0.112179718f, BOUND = 4.0f;
  __aicore__ static inline float Tail(uint32_t power) {
    constexpr float c[TAIL] = {1.49389672f, 7.05947971f, -26.0659447f, 21.7718372f,
                               23.8669624f, 16.3552952f, 6.2289567f};
    return c[power];
  }
  __aicore__ static inline float Slope(uint32_t power) {
    constexpr float c[SLOPE + 1] = {0.796721816f,    -0.262030065f,    0.0559149347f,   -0.00768746948f,
                                    0.000687649241f, -3.84598607e-05f, 1.21381754e-06f, -1.64199676e-08f};
    return c[power];
  }
};

// p = (...(p x + c[last]) x + ...) x + c[0], an instruction for each power.  Each constant fills LANES elements, which
// the instruction reads again and again: its repeat stride is 0.
__aicore__ inline void Horner(const AscendC::LocalTensor<float>& p, const AscendC::LocalTensor<float>& x,
                              const AscendC::LocalTensor<float>& c, uint32_t last, int32_t count) {
  AscendC::SetMaskCount();
  AscendC::SetVectorMask<float, AscendC::MaskMode::COUNTER>(0, count);
  for (uint32_t power = last; power <= last; --power) {
    AscendC::FusedMulAdd<float, false>(p, x, c[power * LANES], AscendC::MASK_PLACEHOLDER, 1, {1, 1, 1, 8, 8, 0});
  }
  AscendC::SetMaskNorm();
  AscendC::ResetMask();
}

template <typename T>
class Gelu {
 public:
  __aicore__ inline void Init(AscendC::TPipe* pipe, uint32_t elements) {
    pipe->InitBuffer(constants_, (LAST + 1) * LANES * sizeof(float));
    pipe->InitBuffer(scaled_, elements * sizeof(float));
    pipe->InitBuffer(power_, elements * sizeof(float));
    for (uint32_t power = 0; power <= LAST; ++power) {
      AscendC::Duplicate(constants_.template Get<float>()[power * LANES], Fit::Tail(power), LANES);
    }
  }

  // x becomes GELU(x).
  __aicore__ inline void Apply(const AscendC::LocalTensor<float>& x, int32_t count) {
    AscendC::LocalTensor<float> u = scaled_.template Get<float>(), p = power_.template Get<float>();
    AscendC::Abs(u, x, count);
    AscendC::Muls(u, u, Fit::SCALE, count);
    AscendC::Adds(p, u, Fit::Tail(LAST + 1), count);
    Horner(p, u, constants_.template Get<float>(), LAST, count);
    AscendC::Exp(p, p, count);
    AscendC::Relu(x, x, count);
    AscendC::MulAddDst(x, u, p, count);
  }

  // Free between two calls of Apply, and as large as its x.
  __aicore__ inline AscendC::LocalTensor<float> Scratch() { return scaled_.template Get<float>(); }

 private:
  using Fit = GeluFit<T>;
  static constexpr uint32_t LAST = Fit::TAIL - 2;  // of the constants that Horner adds
  AscendC::TBuf<AscendC::TPosition::VECCALC> constants_, scaled_, power_;
};

template <typename T>
class GeluSlope {
 public:
  __aicore__ inline void Init(AscendC::TPipe* pipe, uint32_t elements) {
    pipe->InitBuffer(constants_, (LAST + 2) * LANES * sizeof(float));
    pipe->InitBuffer(square_, elements * sizeof(float));
    pipe->InitBuffer(power_, elements * sizeof(float));
    for (uint32_t power = 0; power <= LAST; ++power) {
      AscendC::Duplicate(constants_.template Get<float>()[power * LANES], Fit::Slope(power), LANES);
    }
    AscendC::Duplicate(constants_.template Get<float>()[HALF * LANES], 0.5f, LANES);
  }

  // z becomes GELU'(z).
  __aicore__ inline void Apply(const AscendC::LocalTensor<float>& z, int32_t count) {
    AscendC::LocalTensor<float> s = square_.template Get<float>(), p = power_.template Get<float>();
    AscendC::LocalTensor<float> c = constants_.template Get<float>();
    AscendC::Mins(z, z, Fit::BOUND, count);
    AscendC::Maxs(z, z, -Fit::BOUND, count);
    AscendC::Mul(s, z, z, count);
    AscendC::Muls(p, s, Fit::Slope(Fit::SLOPE), count);
    AscendC::Adds(p, p, Fit::Slope(LAST + 1), count);
    Horner(p, s, c, LAST, count);
    Horner(z, p, c[HALF * LANES], 0, count);
  }

 private:
  using Fit = GeluFit<T>;
  static constexpr uint32_t LAST = Fit::SLOPE - 2, HALF = LAST + 1;
  AscendC::TBuf<AscendC::TPosition::VECCALC> constants_, square_, power_;
};

}  // namespace neocell
#endif
