// What the vectorised kernels share. They work tile by tile: a row of blocks by one vector of columns. A plane is
// walked through from top to bottom, but for a block that is cut in two (Run::cut): that comes last, when the top of
// the plane is in the cache. The planes of an image follow each other, as in memory, where they are not small.
#pragma once

#include <algorithm>

#include "plan.h"
#include "simd.h"

namespace neonext {

// What a kernel needs of a vector of columns.
struct Column {
  const int32_t* lane_of;  // sources of the terms of the right product
  int b_at;                // where its coefficients are
  ptrdiff_t in_at, out_at;
  Vec::Mask in_mask, out_mask;
};

constexpr int kColumns = 8;  // that are worked on together

// A run's columns from `first` on, kColumns at most, for `present` images that share the vectors. Gives their number.
// Inline, so that the compiler sees that no store changes them.
template <int planes, int terms>
[[gnu::always_inline]] inline int FillColumns(const Run& run, Lanes Pattern::* side, size_t first, int present,
                                              Column* columns) {
  const int count = static_cast<int>(std::min<size_t>(kColumns, run.columns.size() - first));
  for (int i = 0; i < count; ++i) {
    const Columns& c = run.columns[first + i];
    columns[i] = {(run.patterns[c.pattern].*side).source.data(),
                  c.pattern * terms * Vec::kLanes,
                  c.in_at,
                  c.out_at,
                  Vec::MakeMask<planes>(c.in_count, present),
                  Vec::MakeMask<planes>(c.out_count, present)};
  }
  return count;
}

// The processor does not fetch far enough ahead by itself. So every tile brings in as much as it is long, from so many
// bytes ahead.
constexpr int kAhead = 3072;

// Whether so much is to come.
template <class T>
bool WorthFetching(const Plan& plan, int channels) {
  return ptrdiff_t(channels) * plan.h * plan.w * sizeof(T) > 4 * kAhead;
}

// at: where the row of blocks, of `height` rows each, starts; column: which tile of it this is.
template <int height, bool write, class T>
inline void FetchAhead(const T* at, size_t column) {
  constexpr int kLine = 64, kLines = (height * Vec::kLanes * int(sizeof(T)) + kLine - 1) / kLine;
  const char* const from = reinterpret_cast<const char*>(at) + kAhead + column * kLines * kLine;
  for (int i = 0; i < kLines; ++i) __builtin_prefetch(from + i * kLine, write);
}

// The sum of x(i) * y(i), and of what is at `start` if that is not null. Two chains of multiply-adds, since each has to
// wait for itself.
template <int count, class X, class Y>
inline Vec::F Dot(X x, Y y, const Vec::F* start = nullptr) {
  Vec::F even = Vec::Mul(x(0), y(0));
  if constexpr (count == 1) {
    return start ? Vec::Add(even, *start) : even;
  } else {
    Vec::F odd = start ? Vec::Fma(x(1), y(1), *start) : Vec::Mul(x(1), y(1));
    for (int i = 2; i < count; ++i) {
      Vec::F& sum = i % 2 ? odd : even;
      sum = Vec::Fma(x(i), y(i), sum);
    }
    return Vec::Add(even, odd);
  }
}

}  // namespace neonext
