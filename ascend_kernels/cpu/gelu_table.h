// GELU near zero from tables: of Phi(-u) and of GELU's slope at -u, for u = |x| < 4.5, as polynomials on as many
// intervals as a permutation tells apart.
#pragma once

#include <cmath>

#include "simd.h"

namespace neonext {

struct GeluIntervals {
  static constexpr int kIntervals = Vec::kLanes;
  static constexpr int kTerms = kIntervals == 16 ? 7 : 9;       // for float32's precision
  static constexpr int kRoughTerms = kIntervals == 16 ? 4 : 7;  // for that of bfloat16
  static constexpr float kEnd = 4.5f;
  static constexpr float kPerUnit = kIntervals == 16 ? 3.4375f : 1.65625f;  // interval i is i - 1/2 to i + 1/2 of them
  // Where in an interval its polynomial starts. Phi(-u) falls: over a wide interval by so much that what rounding does
  // to its middle would be large at its end, so that is where it starts.
  static constexpr float kOrigin = kIntervals == 16 ? 0.0f : 0.5f;
  // Whether the slope has a table of its own. Where permutations are slow, Phi(-u)'s polynomial gives it as well.
  static constexpr bool kSlopeTable = kIntervals == 16;
};

template <int terms>
struct GeluTable : GeluIntervals {
  // coefficients[t][i]: of f^t, f = u kPerUnit - i - kOrigin
  alignas(64) float phi[terms][kIntervals], slope[terms][kIntervals];

  GeluTable() {
    for (int i = 0; i < kIntervals; ++i) {
      Fit(i, phi, [](double u) { return 0.5 * std::erfc(u * std::sqrt(0.5)); });
      if (!kSlopeTable) continue;
      Fit(i, slope, [](double u) {
        return 0.5 * std::erfc(u * std::sqrt(0.5)) - u * std::exp(-0.5 * u * u) * 0.39894228040143268;
      });
    }
  }

 private:
  // The polynomial through the Chebyshev nodes of interval i, by divided differences.
  template <class Function>
  static void Fit(int i, float (*coefficients)[kIntervals], Function function) {
    double node[terms], difference[terms], power[terms] = {};
    for (int n = 0; n < terms; ++n) {
      node[n] = 0.5 * std::cos(3.14159265358979323846 * (n + 0.5) / terms) - kOrigin;
      difference[n] = function((i + kOrigin + node[n]) / kPerUnit);
    }
    for (int order = 1; order < terms; ++order) {
      for (int n = terms - 1; n >= order; --n) {
        difference[n] = (difference[n] - difference[n - 1]) / (node[n] - node[n - order]);
      }
    }
    for (int n = terms - 1; n >= 0; --n) {  // power = power (f - node[n]) + difference[n]
      for (int t = terms - 1; t >= 0; --t) power[t] = (t ? power[t - 1] : 0) - node[n] * power[t];
      power[0] += difference[n];
    }
    for (int t = 0; t < terms; ++t) coefficients[t][i] = static_cast<float>(power[t]);
  }
};

template <int terms>
inline const GeluTable<terms> kGeluTable;

#if defined(NEONEXT_AVX512) || defined(NEONEXT_AVX2)

// Interval and place in it, for every lane of u.
struct TablePlace {
  using Table = GeluIntervals;

  Vec::I interval;
  Vec::F f;

  explicit TablePlace(Vec::F u) {
    const Vec::F magic = Vec::Set1(12582912.0f);  // 1.5 * 2^23: what is added to it is rounded to whole numbers
    const Vec::F rounded = Vec::Fma(u, Vec::Set1(Table::kPerUnit), magic);
    interval = Vec::Bits(rounded);
    Vec::F minus = Vec::Sub(magic, rounded);
    if constexpr (Table::kOrigin > 0) minus = Vec::Sub(minus, Vec::Set1(Table::kOrigin));
    f = Vec::Fma(u, Vec::Set1(Table::kPerUnit), minus);
  }
  template <int terms>
  Vec::F LookUp(const float (&coefficients)[terms][Table::kIntervals]) const {
    Vec::F sum = Vec::Permute(Vec::Load(coefficients[terms - 1]), interval);
#pragma GCC unroll 16
    for (int t = terms - 2; t >= 0; --t) {
      sum = Vec::Fma(sum, f, Vec::Permute(Vec::Load(coefficients[t]), interval));
    }
    return sum;
  }
  // The same with its derivative by u.
  template <int terms>
  Vec::F LookUp(const float (&coefficients)[terms][Table::kIntervals], Vec::F* derivative) const {
    Vec::F by_f = Vec::Permute(Vec::Load(coefficients[terms - 1]), interval);
    Vec::F sum = Vec::Fma(by_f, f, Vec::Permute(Vec::Load(coefficients[terms - 2]), interval));
#pragma GCC unroll 16
    for (int t = terms - 3; t >= 0; --t) {
      by_f = Vec::Fma(by_f, f, sum);
      sum = Vec::Fma(sum, f, Vec::Permute(Vec::Load(coefficients[t]), interval));
    }
    *derivative = Vec::Mul(by_f, Vec::Set1(Table::kPerUnit));
    return sum;
  }
};

#endif

}  // namespace neonext
