// GELU with the exact error function, and its slope.
//
// With u = |x|, everything comes from E = exp(-u^2 / 2) and R(u) = exp(u^2 / 2) erfc(u / sqrt(2)) / 2: the normal
// distribution is Phi(-u) = E R, its density E / sqrt(2 pi). Phi(-u) itself, not 1 - Phi(u), keeps the relative error
// of GELU's left tail as small as that of the rest.
#pragma once

#include <initializer_list>

#include "gelu_table.h"
#include "simd.h"

namespace neonext {

inline Vec::F constant(float v) { return Vec::set1(v); }
inline Vec::F minus(Vec::F x) { return Vec::sub(Vec::zero(), x); }

struct Normal {
  Vec::F u, e, r;  // |x| (at most 13.24), E, R
};

inline Normal normal(Vec::F x) {
  // Beyond 13.24, x Phi(x) is below the smallest normal number. The order of arguments lets a NaN through.
  const Vec::F u = Vec::min(constant(13.24f), Vec::abs(x));

  // E, with the rounding error of u^2 carried along: u^2 is up to 175, where half a unit in the last place is 8e-6.
  const Vec::F square = Vec::mul(u, u);
  const Vec::F rest = Vec::fma(u, u, minus(square));
  const Vec::F n = Vec::round(Vec::mul(square, constant(-0.5f * 1.44269504f)));
  Vec::F r = Vec::fma(n, constant(-0.693359375f), Vec::mul(square, constant(-0.5f)));
  r = Vec::fma(n, constant(2.12194440e-4f), r);
  r = Vec::fma(rest, constant(-0.5f), r);
  Vec::F e = constant(0.00138146485f);  // exp(r), |r| <= ln(2) / 2
  for (float c : {0.00836873039f, 0.0416683882f, 0.166665205f, 0.499999934f, 1.0f, 1.0f}) {
    e = Vec::fma(e, r, constant(c));
  }
  e = Vec::mul(e, Vec::pow2(n));

  // R(u) (u + 4.25) as a minimax polynomial in t = (u - 4.25) / (u + 4.25), fitted to 0..13.25.
  const Vec::F inverse = Vec::div(constant(1.0f), Vec::add(u, constant(4.25f)));
  const Vec::F t = Vec::fma(constant(-8.5f), inverse, constant(1.0f));
  Vec::F p = constant(-0.000234974876f);
  for (float c : {-0.000366572222f, 0.00218302299f, -0.000750857937f, -0.0193663737f, 0.0852722807f, -0.220515294f,
                  0.418227525f, -0.625129795f, 0.759554208f}) {
    p = Vec::fma(p, t, constant(c));
  }
  return {u, e, Vec::mul(p, inverse)};
}

inline Vec::F gelu(Vec::F x, const Normal& g) {
  const Vec::F left = minus(Vec::mul(g.e, Vec::mul(g.u, g.r)));
  const Vec::F right = Vec::mul(x, Vec::fma(minus(g.e), g.r, constant(1.0f)));
  return Vec::select_negative(x, left, right);
}

struct GeluAndSlope {
  Vec::F gelu, slope;
};

inline GeluAndSlope gelu_and_slope_anywhere(Vec::F x) {  // the slope is Phi(x) + x density(x)
  const Normal g = normal(x);
  const Vec::F left = Vec::mul(g.e, Vec::fma(g.u, constant(-0.398942280f), g.r));
  return {gelu(x, g), Vec::select_negative(x, left, Vec::sub(constant(1.0f), left))};
}

#if defined(NEONEXT_AVX512)

// Where tables of 16 fit into a register, values up to 4.5 take a third of the instructions.
inline Vec::F gelu_near(Vec::F x, Vec::F u, const TablePlace& place) {
  return Vec::fma(minus(u), place.look_up(gelu_table.phi), Vec::max(x, Vec::zero()));
}

inline Vec::F slope_near(Vec::F x, const TablePlace& place) {
  const Vec::F left = place.look_up(gelu_table.slope);
  return Vec::select_negative(x, left, Vec::sub(constant(1.0f), left));
}

// For vectors with any larger value. Each lane has the form of its own value: what becomes of a pixel must not depend
// on its neighbours.
[[gnu::noinline, gnu::cold]] inline GeluAndSlope gelu_and_slope_far(Vec::F x) {
  const Vec::F u = Vec::abs(x), end = constant(GeluTable::kEnd);
  const TablePlace place(u);
  const GeluAndSlope far = gelu_and_slope_anywhere(x);
  return {Vec::select_below(u, end, gelu_near(x, u, place), far.gelu),
          Vec::select_below(u, end, slope_near(x, place), far.slope)};
}

inline Vec::F gelu(Vec::F x) {
  const Vec::F u = Vec::abs(x);
  if (!Vec::all_below(u, constant(GeluTable::kEnd))) return gelu_and_slope_far(x).gelu;
  return gelu_near(x, u, TablePlace(u));
}

inline GeluAndSlope gelu_and_slope(Vec::F x) {
  const Vec::F u = Vec::abs(x);
  if (!Vec::all_below(u, constant(GeluTable::kEnd))) return gelu_and_slope_far(x);
  const TablePlace place(u);
  return {gelu_near(x, u, place), slope_near(x, place)};
}

#else

inline Vec::F gelu(Vec::F x) { return gelu(x, normal(x)); }
inline GeluAndSlope gelu_and_slope(Vec::F x) { return gelu_and_slope_anywhere(x); }

#endif

}  // namespace neonext
