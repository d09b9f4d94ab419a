// Matrix products over pixels: what the pointwise layers are made of.
//
// The right matrix comes in tiles: rows of 16 floats, as many as the product is deep. The left matrix goes through in
// panels of kRows rows, in lines of 16 values a row: a line of a panel is (kRows, 16), and the lines lie in the order
// in which they are used. (A tile of hidden values is such lines as it is, which the weights' gradients make use of.)
#pragma once

#include <algorithm>
#include <cstdint>

#include "parallel.h"
#include "plan.h"
#include "simd.h"

namespace neonext {

constexpr int kTile = 16;  // floats in a row of a tile, and values of a row in a line of a panel
// With two vectors a row, as many as the registers hold beside two vectors of the right matrix and a value of the left.
constexpr int kRows = Vec::kLanes == 16 ? 14 : 6;
constexpr int kLine = kRows * kTile;

inline int Parts(int64_t size, int of) { return static_cast<int>((size + of - 1) / of); }

// Memory of this thread that stays for its next call; the names tell pieces apart that are in use at the same time.
enum class Scratch { x, dy, hidden, panels1, panels2, dh, gelu, xt, dyt, sum1, sum2, bias, count };
inline float* ScratchFor(Scratch which, int64_t size) {
  static thread_local Aligned<float> pieces[static_cast<int>(Scratch::count)];
  Aligned<float>& piece = pieces[static_cast<int>(which)];
  if (static_cast<int64_t>(piece.size()) < size) piece.resize(size);
  return piece.data();
}

// Calls work(at, mask) for the vectors that cover `count` values.
template <class Work>
inline void EachVector(int count, Work work) {
  for (int i = 0; i < count; i += Vec::kLanes) work(i, Vec::MakeMask<1>(std::min<int>(Vec::kLanes, count - i), 1));
}

// out[v] (kRows x lanes, in rows of kTile) = panel (kRows x depth) times the columns at right[v], rows of kTile.
// Sums run over the depth in order, so that they do not depend on how the columns are put together.
template <int vectors>
inline void MultiplyVectors(const float* line, int64_t line_stride, const float* const* right, int depth,
                            float* const* out) {
  Vec::F sum[kRows][vectors];
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < vectors; ++v) sum[r][v] = Vec::Zero();
  }
  const float* row[vectors];
  for (int v = 0; v < vectors; ++v) row[v] = right[v];
  for (int k = 0; k < depth; k += kTile, line += line_stride) {
    const int count = std::min(kTile, depth - k);
    for (int i = 0; i < count; ++i) {
      Vec::F value[vectors];
      for (int v = 0; v < vectors; ++v) {
        value[v] = Vec::Load(row[v]);
        row[v] += kTile;
      }
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        const Vec::F left = Vec::Set1(line[r * kTile + i]);
        for (int v = 0; v < vectors; ++v) sum[r][v] = Vec::Fma(left, value[v], sum[r][v]);
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < vectors; ++v) Vec::Store(out[v] + r * kTile, sum[r][v]);
  }
}

// Products of one panel with one or two tiles; second may be null.
struct Product {
  alignas(64) float first[kLine], second[kLine];

  Product(const float* panel, int64_t line_stride, const float* tile, const float* other, int depth) {
    if constexpr (Vec::kLanes == kTile) {
      const float* right[] = {tile, other};
      float* out[] = {first, second};
      other ? MultiplyVectors<2>(panel, line_stride, right, depth, out)
            : MultiplyVectors<1>(panel, line_stride, right, depth, out);
    } else {
      Halves(panel, line_stride, tile, depth, first);
      if (other) Halves(panel, line_stride, other, depth, second);
    }
  }

 private:
  static void Halves(const float* panel, int64_t line_stride, const float* tile, int depth, float* to) {
    const float* right[] = {tile, tile + Vec::kLanes};
    float* out[] = {to, to + Vec::kLanes};
    MultiplyVectors<2>(panel, line_stride, right, depth, out);
  }
};

constexpr int kBlock = 8;

// to[c][r] = from[r][c] for a block of rows x columns (at most 8 x 8).
template <class T>
inline void TransposeBlock(const T* from, int64_t from_stride, int rows, int columns, float* to, int64_t to_stride) {
#if defined(NEONEXT_AVX512) || defined(NEONEXT_AVX2)
  if constexpr (sizeof(T) == sizeof(float)) {
    if (rows == kBlock && columns == kBlock) {
      __m256 v[kBlock], w[kBlock];
      for (int r = 0; r < kBlock; ++r) v[r] = _mm256_loadu_ps(from + r * from_stride);
      for (int r = 0; r < kBlock; r += 2) {
        w[r] = _mm256_unpacklo_ps(v[r], v[r + 1]);
        w[r + 1] = _mm256_unpackhi_ps(v[r], v[r + 1]);
      }
      for (int r = 0; r < kBlock; r += 4) {
        v[r] = _mm256_shuffle_ps(w[r], w[r + 2], 0x44);
        v[r + 1] = _mm256_shuffle_ps(w[r], w[r + 2], 0xee);
        v[r + 2] = _mm256_shuffle_ps(w[r + 1], w[r + 3], 0x44);
        v[r + 3] = _mm256_shuffle_ps(w[r + 1], w[r + 3], 0xee);
      }
      for (int r = 0; r < kBlock / 2; ++r) {
        _mm256_storeu_ps(to + r * to_stride, _mm256_permute2f128_ps(v[r], v[r + 4], 0x20));
        _mm256_storeu_ps(to + (r + 4) * to_stride, _mm256_permute2f128_ps(v[r], v[r + 4], 0x31));
      }
      return;
    }
  }
#endif
  for (int c = 0; c < columns; ++c) {
    for (int r = 0; r < rows; ++r) to[c * to_stride + r] = ToFloat(from[r * from_stride + c]);
  }
}

// A matrix in panels, which every task of a call reads. Rows that fill up the last panel are zero.
class Panels {
 public:
  // matrix (rows, depth); transposed: it is stored as (depth, rows).
  template <class T>
  Panels(Scratch where, const T* matrix, int rows, int depth, bool transposed = false)
      : rows(rows), depth(depth), size_(static_cast<int64_t>(Parts(depth, kTile)) * kLine) {
    data_ = ScratchFor(where, count() * size_);
    ParallelFor(count(), [&](int i) {
      float* panel = data_ + i * size_;
      const int first = i * kRows, present = rows_in(i);
      if (present < kRows) std::fill_n(panel, size_, 0.0f);
      for (int k = 0; k < depth; k += kTile, panel += kLine) {
        if (transposed) {
          TakeColumns(matrix + static_cast<int64_t>(k) * rows + first, rows, present, std::min(kTile, depth - k),
                      panel);
        } else {
          take_rows(matrix + static_cast<int64_t>(first) * depth + k, depth, present, std::min(kTile, depth - k),
                    panel);
        }
      }
    });
  }

  int count() const { return Parts(rows, kRows); }
  int rows_in(int panel) const { return std::min(kRows, rows - panel * kRows); }
  Product Times(int panel, const float* tile, const float* other) const {
    return Product(data_ + panel * size_, kLine, tile, other, depth);
  }

  const int rows, depth;

 private:
  template <class T>
  static void take_rows(const T* from, int64_t stride, int rows, int count, float* line) {
    for (int r = 0; r < rows; ++r, from += stride, line += kTile) {
      EachVector(count, [&](int i, Vec::Mask m) { Vec::Store(line + i, Vec::Load<1>(&from, i, m)); });
    }
  }
  template <class T>
  static void TakeColumns(const T* from, int64_t stride, int rows, int count, float* line) {
    for (int k = 0; k < count; k += kBlock) {
      for (int r = 0; r < rows; r += kBlock) {
        TransposeBlock(from + k * stride + r, stride, std::min(kBlock, count - k), std::min(kBlock, rows - r),
                       line + r * kTile + k, kTile);
      }
    }
  }

  int64_t size_;
  float* data_;
};

}  // namespace neonext
