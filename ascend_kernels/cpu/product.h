// Matrix products over pixels: what the pointwise layers are made of. operand.h says how operands are written down.
#pragma once

#include <algorithm>
#include <cstdint>

#include "operand.h"
#include "parallel.h"
#include "tensor.h"

namespace neonext {

// Calls work(at, mask) for the vectors that cover `count` values.
template <class Work>
inline void EachVector(int count, Work work) {
  for (int i = 0; i < count; i += Vec::kLanes) work(i, Vec::MakeMask<1>(std::min<int>(Vec::kLanes, count - i), 1));
}

constexpr int kBlock = 8;  // rows and columns that are transposed together

// Products of one panel with one or two tiles; other may be null. There is room behind their rows for whole blocks.
template <class F>
struct Product {
  static constexpr int kSize = F::kRows * kTile, kRoom = Parts(F::kRows, kBlock) * kBlock * kTile;
  alignas(64) float first[kRoom], second[kRoom];

  Product(const typename F::Word* panel, int64_t line_stride, const typename F::Word* tile,
          const typename F::Word* other, int words) {
    F::Multiply(panel, line_stride, tile, other, words, first, second);
  }
};

// to[c][r] = from[r][c] for a block of rows x columns (at most 8 x 8).
template <class T>
inline void TransposeBlock(const T* from, int64_t from_stride, int rows, int columns, float* to, int64_t to_stride) {
#if defined(NEONEXT_AVX512) || defined(NEONEXT_AVX2)
  if constexpr (sizeof(T) == sizeof(float)) {
    if (rows == kBlock) {
      __m256 v[kBlock], w[kBlock];
      if (columns == kBlock) {
        for (int r = 0; r < kBlock; ++r) v[r] = _mm256_loadu_ps(from + r * from_stride);
      } else {
        const __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(columns), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
        for (int r = 0; r < kBlock; ++r) v[r] = _mm256_maskload_ps(from + r * from_stride, mask);
      }
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
        if (r < columns) _mm256_storeu_ps(to + r * to_stride, _mm256_permute2f128_ps(v[r], v[r + 4], 0x20));
        if (r + 4 < columns) _mm256_storeu_ps(to + (r + 4) * to_stride, _mm256_permute2f128_ps(v[r], v[r + 4], 0x31));
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
template <class F>
class Panels {
  using Word = typename F::Word;

 public:
  // transposed: the matrix (rows, depth) is stored as (depth, rows).
  template <class T>
  Panels(Scratch where, const T* matrix, int rows, int depth, bool transposed = false)
      : rows(rows), words(WordsOf<F>(depth)), size_(static_cast<int64_t>(Parts(words, kTile)) * Product<F>::kSize) {
    Word* const data = ScratchFor<Word>(where, size());
    data_ = data;
    ParallelFor(count(), [&](int i) {
      Word* panel = data + i * size_;
      const int first = i * F::kRows, present = rows_in(i);
      if (present < F::kRows || depth % kLine != 0) std::fill_n(panel, size_, Word{});
      for (int k = 0; k < depth; k += kLine, panel += Product<F>::kSize) {
        const int count = std::min(kLine, depth - k);
        if (transposed) {
          TakeColumns(matrix + static_cast<int64_t>(k) * rows + first, rows, present, count, panel);
        } else {
          TakeRows(matrix + static_cast<int64_t>(first) * depth + k, depth, present, count, panel);
        }
      }
    });
  }

  int64_t size() const { return count() * size_; }
  int64_t bytes() const { return size() * sizeof(Word); }
  int count() const { return Parts(rows, F::kRows); }
  int rows_in(int panel) const { return std::min(F::kRows, rows - panel * F::kRows); }
  Product<F> Times(int panel, const typename F::Word* tile, const typename F::Word* other) const {
    return Product<F>(data_ + panel * size_, Product<F>::kSize, tile, other, words);
  }

  const int rows, words;

  static constexpr int kLine = kTile * F::kDepth;  // values of a row in a line

  // Writes a line from `count` columns of `rows` values, a column every `stride`.
  template <class T>
  static void TakeColumns(const T* from, int64_t stride, int rows, int count, Word* line) {
    alignas(64) float turned[F::kRows * kLine];
    float* to = turned;
    if constexpr (F::kExact) to = line;
    for (int k = 0; k < count; k += kBlock) {
      for (int r = 0; r < rows; r += kBlock) {
        TransposeBlock(from + k * stride + r, stride, std::min(kBlock, count - k), std::min(kBlock, rows - r),
                       to + r * kLine + k, kLine);
      }
    }
    if constexpr (!F::kExact) TakeRows<float>(turned, kLine, rows, count, line);
  }

 private:
  template <class T>
  static void TakeRows(const T* from, int64_t stride, int rows, int count, Word* line) {
    for (int r = 0; r < rows; ++r, from += stride, line += kTile) StoreRow(from, count, line);
  }
  template <class T>
  static void StoreRow(const T* from, int count, Word* to) {
    if constexpr (F::kDepth == 1) {
      EachVector(count, [&](int i, Vec::Mask m) { Vec::Store(to + i, F::Enter(Vec::Load<1>(&from, i, m))); });
    } else {
      const auto part = [&](int i) {
        return Vec::Load<1>(&from, i, Vec::MakeMask<1>(std::clamp<int>(count - i, 0, Vec::kLanes), 1));
      };
      F::StoreLine(to, part(0), part(Vec::kLanes));
    }
  }

  int64_t size_;  // of one
  const Word* data_;
};

}  // namespace neonext
