// The gradient of a matrix that pixels are multiplied with: P Q^T, summed over pixels some tiles at a time.
#pragma once

#include <algorithm>
#include <cstdint>

#include "pixels.h"

namespace neonext {

// Tiles that are summed into the gradients at a time, in chunks of equal size, at least one; tile_bytes: what one of
// them occupies.
inline int ChunkSize(int tiles, int64_t tile_bytes) {
  constexpr int64_t kChunk = 3 << 20;  // bytes
  constexpr int kFewest = 32;          // tiles: every chunk goes through all sums
  const int chunks = Parts(tiles, static_cast<int>(std::max<int64_t>(kFewest, kChunk / tile_bytes)));
  return std::max(1, Parts(tiles, std::max(1, chunks)));
}

// Tiles of x (N, channels, L), turned: for each tile in blocks of 16 channels, 16 rows (pixels) of 16 channels. Missing
// channels are zero.
class Turned {
 public:
  Turned(Scratch where, int channels, int tiles)
      : channels(channels),
        blocks(Parts(channels, kTile)),
        tiles_(tiles),
        data_(ScratchFor(where, static_cast<int64_t>(tiles) * blocks * kTile * kTile)) {}

  void Take(const float* tile, int at) {
    for (int block = 0; block < blocks; ++block) {
      const int present = std::min(kTile, channels - block * kTile);
      float* rows = data_ + (static_cast<int64_t>(block) * tiles_ + at) * kTile * kTile;
      if (present < kTile) std::fill_n(rows, kTile * kTile, 0.0f);
      for (int c = 0; c < present; c += kBlock) {
        for (int pixel = 0; pixel < kTile; pixel += kBlock) {
          TransposeBlock(tile + (block * kTile + c) * kTile + pixel, kTile, std::min(kBlock, present - c), kBlock,
                         rows + pixel * kTile + c, kTile);
        }
      }
    }
  }

  const float* block(int i) const { return data_ + static_cast<int64_t>(i) * tiles_ * kTile * kTile; }

  const int channels, blocks;

 private:
  int tiles_;
  float* data_;
};

// Sums of P Q^T (rows x channels): P comes in tiles of `rows` rows, Q turned. One task adds to one panel of rows at a
// time.
class WeightGradient {
 public:
  WeightGradient(Scratch where, int rows, int channels)
      : rows_(rows),
        channels_(channels),
        blocks_(Parts(channels, kTile)),
        sums_(ScratchFor(where, static_cast<int64_t>(Parts(rows, kRows)) * blocks_ * kLine)) {}

  // Floats behind the last tile of P that may be read: those of rows that fill up the last panel.
  static constexpr int kBehind = kLine;

  int panels() const { return Parts(rows_, kRows); }

  // Adds some tiles of P and Q; `first` starts the sums anew.
  void Add(int panel, const float* p, const Turned& q, int tiles, bool first) {
    const float* left = p + panel * kLine;
    const int64_t stride = static_cast<int64_t>(rows_) * kTile;
    for (int block = 0; block < blocks_; block += 2) {
      const bool both = block + 1 < blocks_;
      const Product product(left, stride, q.block(block), both ? q.block(block + 1) : nullptr, tiles * kTile);
      Put(product.first, at(panel, block), first);
      if (both) Put(product.second, at(panel, block + 1), first);
    }
  }

  // Writes the rows of a panel of the gradient (rows, channels).
  template <class T>
  void write_rows(int panel, T* out) const {
    const int first = panel * kRows;
    for (int r = 0; r < std::min(kRows, rows_ - first); ++r) {
      T* to = out + static_cast<int64_t>(first + r) * channels_;
      for (int block = 0; block < blocks_; ++block) {
        const float* from = at(panel, block) + r * kTile;
        EachVector(std::min(kTile, channels_ - block * kTile), [&](int i, Vec::Mask m) {
          T* place = to + block * kTile;
          Vec::Store<1>(&place, i, m, Vec::Load(from + i));
        });
      }
    }
  }

  // Writes the transposed gradient (channels, rows), those of its rows that belong to a block of channels.
  template <class T>
  void WriteTransposed(int block, T* out) const {
    constexpr int kPanels = 16;  // what is read stays in the first cache
    const int channels = std::min(kTile, channels_ - block * kTile);
    for (int panel = 0; panel < panels(); panel += kPanels) {
      for (int c = 0; c < channels; ++c) {
        T* to = out + static_cast<int64_t>(block * kTile + c) * rows_;
        for (int i = panel; i < std::min(panels(), panel + kPanels); ++i) {
          const float* from = at(i, block) + c;
          for (int r = 0; r < std::min(kRows, rows_ - i * kRows); ++r) FromFloat(from[r * kTile], to + i * kRows + r);
        }
      }
    }
  }

  int blocks() const { return blocks_; }

 private:
  float* at(int panel, int block) const { return sums_ + (static_cast<int64_t>(panel) * blocks_ + block) * kLine; }

  static void Put(const float* product, float* sums, bool first) {
    for (int i = 0; i < kLine; i += Vec::kLanes) {
      const Vec::F value = Vec::Load(product + i);
      Vec::Store(sums + i, first ? value : Vec::Add(Vec::Load(sums + i), value));
    }
  }

  int rows_, channels_, blocks_;
  float* sums_;
};

// out[c] = sum of dy (N, channels, L) over images and pixels.
template <class T>
void SumOverPixels(const Pixels& pixels, const T* dy, int channels, T* out) {
  ParallelFor(channels, [&](int c) {
    double total = 0;
    for (int64_t image = 0; image < pixels.images; ++image) {
      const T* plane = dy + (image * channels + c) * pixels.length;
      Vec::F sum = Vec::Zero();
      EachVector(static_cast<int>(pixels.length),
                 [&](int i, Vec::Mask m) { sum = Vec::Add(sum, Vec::Load<1>(&plane, i, m)); });
      total += Vec::Sum(sum);
    }
    FromFloat(static_cast<float>(total), out + c);
  });
}

}  // namespace neonext
