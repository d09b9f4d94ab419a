// Matrix products over pixels: what the pointwise layers are made of.
//
// The pixels of all images, N images of L each, are the columns of one matrix, cut into tiles of 32. A tile of a tensor
// (N, C, L) is C rows of 32 floats; columns beyond the last pixel are zero. The matrix on the left goes through in panels
// of kRows rows, whose values lie in the order in which they are used.
#pragma once

#include <algorithm>
#include <cstdint>

#include "plan.h"
#include "simd.h"

namespace neonext {

constexpr int kTile = 32;  // columns of a tile
constexpr int kLine = 16;  // values of one row that lie side by side in a panel
// With two vectors a row, as many as the registers hold beside two vectors of the right matrix and a value of the left.
constexpr int kRows = Vec::lanes == 16 ? 14 : 6;

inline int parts(int64_t size, int of) { return static_cast<int>((size + of - 1) / of); }

inline int64_t panel_size(int depth) { return static_cast<int64_t>(parts(depth, kLine)) * kLine * kRows; }

// Calls work(at, mask) for the vectors that cover `count` values.
template <class Work>
inline void each_vector(int count, Work work) {
  for (int i = 0; i < count; i += Vec::lanes) work(i, Vec::mask<1>(std::min<int>(Vec::lanes, count - i), 1));
}

// A panel from rows (at most kRows) of a matrix; missing rows are zero.
template <class T>
inline void pack_panel(const T* matrix, int64_t row_stride, int rows, int depth, float* panel) {
  for (int k = 0; k < depth; k += kLine) {
    for (int r = 0; r < kRows; ++r, panel += kLine) {
      if (r < rows) {
        const T* from = matrix + r * row_stride + k;
        each_vector(std::min(kLine, depth - k),
                    [&](int i, Vec::Mask m) { Vec::store(panel + i, Vec::load<1>(&from, i, m)); });
      } else {
        for (int i = 0; i < kLine; i += Vec::lanes) Vec::store(panel + i, Vec::zero());
      }
    }
  }
}

// out (kRows x 32) = panel (kRows x depth) times tile (depth x 32). Sums run over the depth in order.
inline void multiply(const float* panel, const float* tile, int depth, float* out) {
  for (int side = 0; side < kTile; side += 2 * Vec::lanes) {
    Vec::F sum[kRows][2];
    for (int r = 0; r < kRows; ++r) sum[r][0] = sum[r][1] = Vec::zero();
    const float* line = panel;
    const float* row = tile + side;
    for (int k = 0; k < depth; k += kLine, line += kRows * kLine) {
      const int count = std::min(kLine, depth - k);
      for (int i = 0; i < count; ++i, row += kTile) {
        const Vec::F first = Vec::load(row), second = Vec::load(row + Vec::lanes);
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r) {
          const Vec::F value = Vec::set1(line[r * kLine + i]);
          sum[r][0] = Vec::fma(value, first, sum[r][0]);
          sum[r][1] = Vec::fma(value, second, sum[r][1]);
        }
      }
    }
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      Vec::store(out + r * kTile + side, sum[r][0]);
      Vec::store(out + r * kTile + side + Vec::lanes, sum[r][1]);
    }
  }
}

// The columns of a tensor (N, C, L).
struct Pixels {
  int64_t images, length;

  int64_t count() const { return images * length; }
  int tiles() const { return parts(count(), kTile); }

  // Calls work(column of the tile, its pixel in a plane, number of pixels, image) for every stretch that lies in one.
  template <class Work>
  void each_stretch(int tile, Work work) const {
    int64_t pixel = static_cast<int64_t>(tile) * kTile;
    const int64_t end = std::min(pixel + kTile, count());
    for (int column = 0; pixel < end;) {
      const int64_t image = pixel / length, at = pixel % length;
      const int size = static_cast<int>(std::min(length - at, end - pixel));
      work(column, at, size, image);
      column += size;
      pixel += size;
    }
  }
};

// A tile of x (N, channels, L).
template <class T>
inline void load_tile(const Pixels& pixels, const T* x, int channels, int tile, float* out) {
  if ((tile + 1) * static_cast<int64_t>(kTile) > pixels.count()) std::fill_n(out, channels * kTile, 0.0f);
  pixels.each_stretch(tile, [&](int column, int64_t at, int size, int64_t image) {
    const T* from = x + image * channels * pixels.length + at;
    each_vector(size, [&](int i, Vec::Mask m) {
      float* to = out + column;
      for (int c = 0; c < channels; ++c) {
        Vec::store<1>(&to, c * kTile + i, m, Vec::load<1>(&from, c * pixels.length + i, m));
      }
    });
  });
}

// Rows first..first + rows - 1 of a tile of y (N, channels, L), plus a bias a row unless it is null.
template <class T>
inline void store_rows(const Pixels& pixels, const float* values, int first, int rows, const T* bias, int channels,
                       int tile, T* y) {
  pixels.each_stretch(tile, [&](int column, int64_t at, int size, int64_t image) {
    T* to = y + (image * channels + first) * pixels.length + at;
    each_vector(size, [&](int i, Vec::Mask m) {
      const float* from = values + column;
      for (int r = 0; r < rows; ++r) {
        const Vec::F value = Vec::load<1>(&from, r * kTile + i, m);
        const Vec::F shift = Vec::set1(bias ? to_float(bias[first + r]) : 0.0f);
        Vec::store<1>(&to, r * pixels.length + i, m, Vec::add(value, shift));
      }
    });
  });
}

constexpr int kBlock = 8;

// to[c][r] = from[r][c] for a block of rows x columns (at most 8 x 8).
template <class T>
inline void transpose_block(const T* from, int64_t from_stride, int rows, int columns, float* to, int64_t to_stride) {
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
    for (int r = 0; r < rows; ++r) to[c * to_stride + r] = to_float(from[r * from_stride + c]);
  }
}

// Memory of this thread that stays for its next call; `which` tells pieces apart.
inline float* scratch(int which, int64_t size) {
  static thread_local Aligned<float> pieces[16];
  if (static_cast<int64_t>(pieces[which].size()) < size) pieces[which].resize(size);
  return pieces[which].data();
}

}  // namespace neonext
