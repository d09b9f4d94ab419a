// GELU(x) = x Phi(x) with the exact error function, and its derivative, on a vector core in float32.
//
// With t = |x|, GELU(x) = max(x, 0) - t Phi(-t), and log Phi(-t) is so smooth that a polynomial of odd degree with a
// negative leading coefficient gives Phi(-t) = exp(P(t)) with a small relative error into the far tail, where P runs to
// minus infinity by itself: no division, no comparison, no clamp.  The derivative is 1/2 plus an odd function, a
// polynomial in x^2 times x on [-BOUND, BOUND], beyond which it is all but 0 or 1.  Coefficients are minimax fits,
// lowest power first, as precise as the type of the result needs: tests/ascend_kernels/test_gelu.py measures them.
#ifndef GELU_H
#define GELU_H
#include "kernel_operator.h"

namespace neocell {

template <typename T>
struct GeluFit;
template <>
struct GeluFit<half> {
  static constexpr uint32_t TAIL = 5, SLOPE = 9;
  __aicore__ static inline float Tail(uint32_t power) {
    constexpr float c[TAIL + 1] = {-0.693225265f, -0.796680808f,  -0.32143271f,
                                   -0.033637777f, 0.00410086336f, -0.0002286776f};
    return c[power];
  }
  static constexpr float BOUND = 4.3f;
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
  __aicore__ static inline float Tail(uint32_t power) {
    constexpr float c[TAIL + 1] = {-0.693756402f,  -0.791930437f,    -0.328021377f,   -0.0307353456f,
                                   0.00377967558f, -0.000290556171f, 1.24137041e-05f, -2.23563248e-07f};
    return c[power];
  }
  static constexpr float BOUND = 4.0f;
  __aicore__ static inline float Slope(uint32_t power) {
    constexpr float c[SLOPE + 1] = {0.796721816f,    -0.262030065f,    0.0559149347f,   -0.00768746948f,
                                    0.000687649241f, -3.84598607e-05f, 1.21381754e-06f, -1.64199676e-08f};
    return c[power];
  }
};

// p = c[0] + c[1] t + ... of odd degree, with square = t^2.
template <uint32_t DEGREE>
__aicore__ inline void Polynomial(const AscendC::LocalTensor<float>& p, const AscendC::LocalTensor<float>& t,
                                  const AscendC::LocalTensor<float>& square, float (*c)(uint32_t), int32_t count) {
  AscendC::Mul(square, t, t, count);
  AscendC::Muls(p, t, c(DEGREE), count);
  AscendC::Adds(p, p, c(DEGREE - 1), count);
  for (uint32_t power = DEGREE - 2; power < DEGREE; power -= 2) {
    AscendC::Mul(p, p, square, count);
    AscendC::Axpy(p, t, c(power), count);
    AscendC::Adds(p, p, c(power - 1), count);
  }
}

// x becomes GELU(x); t, square and p are of its size.
template <typename T>
__aicore__ inline void Gelu(const AscendC::LocalTensor<float>& x, const AscendC::LocalTensor<float>& t,
                            const AscendC::LocalTensor<float>& square, const AscendC::LocalTensor<float>& p,
                            int32_t count) {
  using Fit = GeluFit<T>;
  AscendC::Abs(t, x, count);
  Polynomial<Fit::TAIL>(p, t, square, Fit::Tail, count);
  AscendC::Exp(p, p, count);
  AscendC::Mul(p, p, t, count);
  AscendC::Relu(x, x, count);
  AscendC::Sub(x, x, p, count);
}

// z becomes GELU'(z); s, square and p are of its size.
template <typename T>
__aicore__ inline void GeluSlope(const AscendC::LocalTensor<float>& z, const AscendC::LocalTensor<float>& s,
                                 const AscendC::LocalTensor<float>& square, const AscendC::LocalTensor<float>& p,
                                 int32_t count) {
  using Fit = GeluFit<T>;
  AscendC::Mins(z, z, Fit::BOUND, count);
  AscendC::Maxs(z, z, -Fit::BOUND, count);
  AscendC::Mul(s, z, z, count);
  Polynomial<Fit::SLOPE>(p, s, square, Fit::Slope, count);
  AscendC::Mul(z, z, p, count);
  AscendC::Adds(z, z, 0.5f, count);
}

}  // namespace neocell
#endif
