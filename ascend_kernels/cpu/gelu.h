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

inline Vec::F Constant(float v) { return Vec::Set1(v); }
inline Vec::F Minus(Vec::F x) { return Vec::Sub(Vec::Zero(), x); }

struct Normal {
  Vec::F u, e, r;  // |x| (at most 13.24), E, R
};

inline Normal NormalAt(Vec::F x) {
  // Beyond 13.24, x Phi(x) is below the smallest normal number. The order of arguments lets a NaN through.
  const Vec::F u = Vec::Min(Constant(13.24f), Vec::Abs(x));

  // E, with the rounding error of u^2 carried along: u^2 is up to 175, where half a unit in the last place is 8e-6.
  const Vec::F square = Vec::Mul(u, u);
  const Vec::F rest = Vec::Fma(u, u, Minus(square));
  const Vec::F n = Vec::Round(Vec::Mul(square, Constant(-0.5f * 1.44269504f)));
  Vec::F r = Vec::Fma(n, Constant(-0.693359375f), Vec::Mul(square, Constant(-0.5f)));
  r = Vec::Fma(n, Constant(2.12194440e-4f), r);
  r = Vec::Fma(rest, Constant(-0.5f), r);
  Vec::F e = Constant(0.00138146485f);  // exp(r), |r| <= ln(2) / 2
  for (float c : {0.00836873039f, 0.0416683882f, 0.166665205f, 0.499999934f, 1.0f, 1.0f}) {
    e = Vec::Fma(e, r, Constant(c));
  }
  e = Vec::Mul(e, Vec::Pow2(n));

  // R(u) (u + 4.25) as a minimax polynomial in t = (u - 4.25) / (u + 4.25), fitted to 0..13.25.
  const Vec::F inverse = Vec::Div(Constant(1.0f), Vec::Add(u, Constant(4.25f)));
  const Vec::F t = Vec::Fma(Constant(-8.5f), inverse, Constant(1.0f));
  Vec::F p = Constant(-0.000234974876f);
  for (float c : {-0.000366572222f, 0.00218302299f, -0.000750857937f, -0.0193663737f, 0.0852722807f, -0.220515294f,
                  0.418227525f, -0.625129795f, 0.759554208f}) {
    p = Vec::Fma(p, t, Constant(c));
  }
  return {u, e, Vec::Mul(p, inverse)};
}

inline Vec::F Gelu(Vec::F x, const Normal& g) {
  const Vec::F left = Minus(Vec::Mul(g.e, Vec::Mul(g.u, g.r)));
  const Vec::F right = Vec::Mul(x, Vec::Fma(Minus(g.e), g.r, Constant(1.0f)));
  return Vec::SelectNegative(x, left, right);
}

struct GeluAndSlope {
  Vec::F gelu, slope;
};

inline GeluAndSlope GeluWithSlopeAnywhere(Vec::F x) {  // the slope is Phi(x) + x density(x)
  const Normal g = NormalAt(x);
  const Vec::F left = Vec::Mul(g.e, Vec::Fma(g.u, Constant(-0.398942280f), g.r));
  return {Gelu(x, g), Vec::SelectNegative(x, left, Vec::Sub(Constant(1.0f), left))};
}

#if defined(NEONEXT_AVX512) || defined(NEONEXT_AVX2)

// Where one instruction looks up a value for every lane, values up to 4.5 take fewer: a third of them on AVX-512.
template <int terms>
inline Vec::F GeluNear(Vec::F x, Vec::F u, const TablePlace& place) {
  return Vec::Fma(Minus(u), place.LookUp(kGeluTable<terms>.phi), Vec::Max(x, Vec::Zero()));
}

template <int terms>
inline GeluAndSlope GeluWithSlopeNear(Vec::F x, Vec::F u, const TablePlace& place) {
  const GeluTable<terms>& table = kGeluTable<terms>;
  Vec::F phi, left;  // left: the slope at -u, which is Phi(-u) + u times the derivative of Phi(-u)
  if constexpr (GeluIntervals::kSlopeTable) {
    phi = place.LookUp(table.phi);
    left = place.LookUp(table.slope);
  } else {
    Vec::F derivative;
    phi = place.LookUp(table.phi, &derivative);
    left = Vec::Fma(u, derivative, phi);
  }
  return {Vec::Fma(Minus(u), phi, Vec::Max(x, Vec::Zero())),
          Vec::SelectNegative(x, left, Vec::Sub(Constant(1.0f), left))};
}

// For vectors with any larger value. Each lane has the form of its own value: what becomes of a pixel must not depend
// on its neighbours.
template <int terms>
[[gnu::noinline, gnu::cold]] inline GeluAndSlope GeluWithSlopeFar(Vec::F x) {
  const Vec::F u = Vec::Abs(x), end = Constant(GeluIntervals::kEnd);
  const GeluAndSlope near = GeluWithSlopeNear<terms>(x, u, TablePlace(u)), far = GeluWithSlopeAnywhere(x);
  return {Vec::SelectBelow(u, end, near.gelu, far.gelu), Vec::SelectBelow(u, end, near.slope, far.slope)};
}

// terms: see GeluIntervals.
template <int terms>
inline Vec::F Gelu(Vec::F x) {
  const Vec::F u = Vec::Abs(x);
  if (!Vec::AllBelow(u, Constant(GeluIntervals::kEnd))) return GeluWithSlopeFar<terms>(x).gelu;
  return GeluNear<terms>(x, u, TablePlace(u));
}

template <int terms>
inline GeluAndSlope GeluWithSlope(Vec::F x) {
  const Vec::F u = Vec::Abs(x);
  if (!Vec::AllBelow(u, Constant(GeluIntervals::kEnd))) return GeluWithSlopeFar<terms>(x);
  return GeluWithSlopeNear<terms>(x, u, TablePlace(u));
}

#else

template <int>
inline Vec::F Gelu(Vec::F x) {
  return Gelu(x, NormalAt(x));
}
template <int>
inline GeluAndSlope GeluWithSlope(Vec::F x) {
  return GeluWithSlopeAnywhere(x);
}

#endif

}  // namespace neonext
