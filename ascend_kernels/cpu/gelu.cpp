// GELU with the exact error function, forward and backward, in one pass over memory.
//
// With u = |x|, everything comes from E = exp(-u^2 / 2) and R(u) = exp(u^2 / 2) erfc(u / sqrt(2)) / 2: the normal
// distribution is Phi(-u) = E R, its density E / sqrt(2 pi). Phi(-u) itself, not 1 - Phi(u), keeps the relative error of
// GELU's left tail as small as that of the rest.
#include <algorithm>

#include "neonext_cpu.h"
#include "parallel.h"
#include "simd.h"
#include "tensor.h"

namespace neonext {
namespace {

using F = Vec::F;

inline F constant(float v) { return Vec::set1(v); }
inline F minus(F x) { return Vec::sub(Vec::zero(), x); }

struct Normal {
  F u, e, r;  // |x| (at most 13.24), E, R
};

inline Normal normal(F x) {
  // Beyond 13.24, x Phi(x) is below the smallest normal number. The order of arguments lets a NaN through.
  const F u = Vec::min(constant(13.24f), Vec::abs(x));

  // E, with the rounding error of u^2 carried along: u^2 is up to 175, where half a unit in the last place is 8e-6.
  const F square = Vec::mul(u, u);
  const F rest = Vec::fma(u, u, minus(square));
  const F n = Vec::round(Vec::mul(square, constant(-0.5f * 1.44269504f)));
  F r = Vec::fma(n, constant(-0.693359375f), Vec::mul(square, constant(-0.5f)));
  r = Vec::fma(n, constant(2.12194440e-4f), r);
  r = Vec::fma(rest, constant(-0.5f), r);
  F e = constant(0.00138146485f);  // exp(r), |r| <= ln(2) / 2
  for (float c : {0.00836873039f, 0.0416683882f, 0.166665205f, 0.499999934f, 1.0f, 1.0f}) {
    e = Vec::fma(e, r, constant(c));
  }
  e = Vec::mul(e, Vec::pow2(n));

  // R(u) (u + 4.25) as a minimax polynomial in t = (u - 4.25) / (u + 4.25), fitted to 0..13.25.
  const F inverse = Vec::div(constant(1.0f), Vec::add(u, constant(4.25f)));
  const F t = Vec::fma(constant(-8.5f), inverse, constant(1.0f));
  F p = constant(-0.000234974876f);
  for (float c : {-0.000366572222f, 0.00218302299f, -0.000750857937f, -0.0193663737f, 0.0852722807f, -0.220515294f,
                  0.418227525f, -0.625129795f, 0.759554208f}) {
    p = Vec::fma(p, t, constant(c));
  }
  return {u, e, Vec::mul(p, inverse)};
}

inline F gelu(F x) {
  const Normal g = normal(x);
  const F left = minus(Vec::mul(g.e, Vec::mul(g.u, g.r)));
  const F right = Vec::mul(x, Vec::fma(minus(g.e), g.r, constant(1.0f)));
  return Vec::select_negative(x, left, right);
}

inline F gelu_slope(F x) {  // Phi(x) + x density(x)
  const Normal g = normal(x);
  const F left = Vec::mul(g.e, Vec::fma(g.u, constant(-0.398942280f), g.r));
  return Vec::select_negative(x, left, Vec::sub(constant(1.0f), left));
}

template <class T>
void gelu_range(const T* x, T* y, int64_t count) {
  for (int64_t i = 0; i < count; i += Vec::lanes) {
    const auto mask = Vec::mask<1>(static_cast<int>(std::min<int64_t>(Vec::lanes, count - i)), 1);
    Vec::store<1>(&y, i, mask, gelu(Vec::load<1>(&x, i, mask)));
  }
}

template <class T>
void slope_range(const T* x, const T* dy, T* dx, int64_t count) {
  for (int64_t i = 0; i < count; i += Vec::lanes) {
    const auto mask = Vec::mask<1>(static_cast<int>(std::min<int64_t>(Vec::lanes, count - i)), 1);
    Vec::store<1>(&dx, i, mask, Vec::mul(gelu_slope(Vec::load<1>(&x, i, mask)), Vec::load<1>(&dy, i, mask)));
  }
}

constexpr int64_t kPart = 1 << 14;

// Calls work(first, count) on parts of 0..size-1.
template <class Work>
void in_parts(int64_t size, Work work) {
  parallel_for(static_cast<int>((size + kPart - 1) / kPart), [&](int i) {
    const int64_t first = i * kPart;
    work(first, std::min(kPart, size - first));
  });
}

template <class T>
const T* input(const Tensor& t) {
  return static_cast<const T*>(t.data);
}

template <class T>
void forward(const Tensor& x, const Tensor& y) {
  in_parts(x.size(), [&](int64_t first, int64_t count) {
    gelu_range(input<T>(x) + first, static_cast<T*>(y.data) + first, count);
  });
}

template <class T>
void backward(const Tensor& x, const Tensor& dy, const Tensor& dx) {
  in_parts(x.size(), [&](int64_t first, int64_t count) {
    slope_range(input<T>(x) + first, input<T>(dy) + first, static_cast<T*>(dx.data) + first, count);
  });
}

int check(int count, int expected, const Arguments& arguments) {
  if (count != expected) return NEONEXT_BAD_COUNT;
  for (int i = 0; i < count; ++i) {
    if (!arguments[i].is_float() || arguments[i].type != arguments[0].type) return NEONEXT_BAD_TYPE;
    if (!arguments[i].same_shape(arguments[0])) return NEONEXT_BAD_SHAPE;
  }
  return NEONEXT_OK;
}

}  // namespace
}  // namespace neonext

extern "C" {

int gelu_forward(int nparam, void** params, int* ndims, int64_t** shapes, const char** dtypes, void*, void*) {
  const neonext::Arguments arguments{params, ndims, shapes, dtypes};
  if (const int bad = neonext::check(nparam, 2, arguments)) return bad;
  const auto run = arguments[0].type == neonext::Type::f32 ? neonext::forward<float> : neonext::forward<neonext::Half>;
  run(arguments[0], arguments[1]);
  return NEONEXT_OK;
}

int gelu_backward(int nparam, void** params, int* ndims, int64_t** shapes, const char** dtypes, void*, void*) {
  const neonext::Arguments arguments{params, ndims, shapes, dtypes};
  if (const int bad = neonext::check(nparam, 3, arguments)) return bad;
  const auto run = arguments[0].type == neonext::Type::f32 ? neonext::backward<float> : neonext::backward<neonext::Half>;
  run(arguments[0], arguments[1], arguments[2]);
  return NEONEXT_OK;
}

}  // extern "C"
