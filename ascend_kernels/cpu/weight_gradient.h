// The gradient of a matrix that pixels are multiplied with: P Q^T, summed over pixels some tiles at a time.
#pragma once

#include <algorithm>
#include <cstdint>

#include "pixels.h"

namespace neonext {

// Tiles that are summed into the gradients at a time, in chunks of equal size, at least one; tile_bytes: what one of
// them occupies.
inline int ChunkSize(int tiles, int64_t tile_bytes) {
  constexpr int64_t kChunk = 3 << 19;  // bytes
  constexpr int kFewest = 32;          // tiles: every chunk goes through all sums
  const int chunks = Parts(tiles, static_cast<int>(std::max<int64_t>(kFewest, kChunk / tile_bytes)));
  return std::max(1, Parts(tiles, std::max(1, chunks)));
}

// Tiles as a left operand, with pixels as the depth: rows of 16 pixels. With two values in a word, the words of a row
// come from two tiles.
template <class F>
class Along {
  using Word = typename F::Word;

 public:
  Along(Scratch where, int rows, int tiles)
      : rows_(rows), data_(ScratchFor<Word>(where, Parts(tiles, F::kDepth) * stride() + kBehind)) {}

  // Where a row of a tile is. Where words are values, a tile is the right operand of a product over rows, too; else a
  // row is half a line.
  Word* at(int tile, int row) const {
    return data_ + tile / F::kDepth * stride() + row * kTile + tile % F::kDepth * (kTile / F::kDepth);
  }
  // After the last of an odd number of tiles: the words' other halves.
  void Finish(int tiles) const {
    if constexpr (F::kDepth == 2) {
      for (int row = 0; tiles % 2 && row < rows_; ++row) F::StoreHalfLine(at(tiles, row), Vec::Zero());
    }
  }
  // The sum of a row of some tiles.
  float Sum(int row, int tiles) const {
    const typename F::Vector one = F::Broadcast(F::kOne);
    Vec::F sum = Vec::Zero();
    for (int t = 0; t < Parts(tiles, F::kDepth); ++t) {
      const Word* words = data_ + t * stride() + row * kTile;
      for (int i = 0; i < kTile; i += Vec::kLanes) sum = F::MultiplyAdd(F::Load(words + i), one, sum);
    }
    return Vec::Sum(sum);
  }

  const Word* data() const { return data_; }
  int64_t stride() const { return static_cast<int64_t>(rows_) * kTile; }

 private:
  static constexpr int kBehind = Product<F>::kSize;  // words that are read for rows that fill up the last panel

  int rows_;
  Word* data_;
};

// Tiles of x (N, channels, L) as right operands with pixels as the depth: for each tile in blocks of 16 channels, a row
// of 16 channels for every word of the 16 pixels. Missing channels are zero.
template <class F>
class Turned {
  using Word = typename F::Word;

 public:
  Turned(Scratch where, int channels, int tiles)
      : channels(channels),
        blocks(Parts(channels, kTile)),
        tiles_(Parts(tiles, F::kDepth) * F::kDepth),
        data_(ScratchFor<Word>(where, static_cast<int64_t>(tiles_) * blocks * kSize)) {}

  void Take(const float* tile, int at) const {
    for (int block = 0; block < blocks; ++block) {
      const int present = std::min(kTile, channels - block * kTile);
      Word* rows = data_ + (static_cast<int64_t>(block) * tiles_ + at) * kSize;
      if (present < kTile) std::fill_n(rows, kSize, Word{});
      Turn(tile + block * kTile * kTile, present, rows);
    }
  }
  void Finish(int tiles) const {
    for (int block = 0; tiles % F::kDepth && block < blocks; ++block) {
      std::fill_n(data_ + (static_cast<int64_t>(block) * tiles_ + tiles) * kSize, kSize, Word{});
    }
  }

  const Word* block(int i) const { return data_ + static_cast<int64_t>(i) * tiles_ * kSize; }

  const int channels, blocks;

 private:
  static constexpr int kPixels = kTile / F::kDepth;  // words
  static constexpr int kSize = kPixels * kTile;

  static void Turn(const float* from, int present, Word* rows) {
    alignas(64) float near[kTile * kTile];
    if constexpr (!F::kExact) {
      for (int c = 0; c < present; ++c) {
        if constexpr (F::kDepth == 1) {
          for (int i = 0; i < kTile; i += Vec::kLanes) {
            Vec::Store(near + c * kTile + i, F::Enter(Vec::Load(from + c * kTile + i)));
          }
        } else {
          F::StoreHalfLine(near + c * kPixels, Vec::Load(from + c * kTile));
        }
      }
      from = near;
    }
    for (int c = 0; c < present; c += kBlock) {
      for (int pixel = 0; pixel < kPixels; pixel += kBlock) {
        TransposeBlock(from + c * kPixels + pixel, kPixels, std::min(kBlock, present - c), kBlock,
                       reinterpret_cast<float*>(rows) + pixel * kTile + c, kTile);
      }
    }
  }

  int tiles_;
  Word* data_;
};

// Sums of P Q^T (rows x channels). One task adds to one panel of rows at a time.
template <class F>
class WeightGradient {
 public:
  WeightGradient(Scratch where, int rows, int channels)
      : rows_(rows),
        channels_(channels),
        blocks_(Parts(channels, kTile)),
        sums_(ScratchFor(where, static_cast<int64_t>(Parts(rows, F::kRows)) * blocks_ * kSize)) {}

  int panels() const { return Parts(rows_, F::kRows); }

  // Adds some tiles of P and Q; `first` starts the sums anew.
  void Add(int panel, const Along<F>& p, const Turned<F>& q, int tiles, bool first) {
    [[maybe_unused]] const typename F::Session session;
    const typename F::Word* left = p.data() + panel * kSize;
    const int words = Parts(tiles, F::kDepth) * kTile;
    for (int block = 0; block < blocks_; block += 2) {
      const bool both = block + 1 < blocks_;
      const Product<F> product(left, p.stride(), q.block(block), both ? q.block(block + 1) : nullptr, words);
      Put(product.first, at(panel, block), first);
      if (both) Put(product.second, at(panel, block + 1), first);
    }
  }

  // Writes the rows of a panel of the gradient (rows, channels).
  template <class T>
  void WriteRows(int panel, T* out) const {
    const int first = panel * F::kRows;
    for (int r = 0; r < std::min(F::kRows, rows_ - first); ++r) {
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
          for (int r = 0; r < std::min(F::kRows, rows_ - i * F::kRows); ++r)
            FromFloat(from[r * kTile], to + i * F::kRows + r);
        }
      }
    }
  }

  int blocks() const { return blocks_; }

 private:
  static constexpr int kSize = Product<F>::kSize;

  float* at(int panel, int block) const { return sums_ + (static_cast<int64_t>(panel) * blocks_ + block) * kSize; }

  static void Put(const float* product, float* sums, bool first) {
    for (int i = 0; i < kSize; i += Vec::kLanes) {
      const Vec::F value = Vec::Load(product + i);
      Vec::Store(sums + i, first ? value : Vec::Add(Vec::Load(sums + i), value));
    }
  }

  int rows_, channels_, blocks_;
  float* sums_;
};

// out[c] = sum of dy over images and pixels.
template <class T>
void SumOverPixels(const Pixels& pixels, const Planes<T>& dy, T* out) {
  if (dy.rest) {
    const int half = dy.channels / 2;
    SumOverPixels(pixels, Planes<T>{dy.data, half}, out);
    return SumOverPixels(pixels, Planes<T>{dy.rest, half}, out + half);
  }
  ParallelFor(dy.channels, [&](int c) {
    double total = 0;
    for (int64_t image = 0; image < pixels.images; ++image) {
      const T* plane = dy.data + (image * dy.channels + c) * pixels.length;
      Vec::F sum = Vec::Zero();
      EachVector(static_cast<int>(pixels.length),
                 [&](int i, Vec::Mask m) { sum = Vec::Add(sum, Vec::Load<1>(&plane, i, m)); });
      total += dy.factor ? double(dy.factor[image]) * Vec::Sum(sum) : Vec::Sum(sum);
    }
    FromFloat(static_cast<float>(total), out + c);
  });
}

}  // namespace neonext
