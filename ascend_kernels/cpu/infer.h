// Forward passes that keep nothing in tiles for the backward pass (MLPs in inference, pointwise layers always): pixels
// are the rows of the left operand, output channels the columns of the right one.
//
// Elsewhere it is the other way round (EachProduct). Sums are the same bits. This way little is computed in vain: a
// product has 32 channels, and layers mostly multiples of them; and 14 pixels, of which planes of 7 n x 7 n pixels are
// made. Where pixels are few, threads share out the weights.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

#include "pixels.h"
#include "product.h"

namespace neonext {

// Weights (rows, depth) as right operands: tiles of 16 rows. Rows that fill up the last tile are zero.
template <class F>
class WeightTiles {
  using Word = typename F::Word;

 public:
  static int64_t SizeOf(int rows, int depth) { return WeightTiles(nullptr, rows, depth).size(); }

  // Tiles that are there.
  WeightTiles(const Word* data, int rows, int depth)
      : rows_(rows), words_(WordsOf<F>(depth)), tile_(static_cast<int64_t>(words_) * kTile), data_(data) {}

  template <class T>
  WeightTiles(Scratch where, const T* matrix, int rows, int depth) : WeightTiles(nullptr, rows, depth) {
    Word* const data = ScratchFor<Word>(where, size());
    data_ = data;
    ParallelFor(Parts(rows, kTile), [&](int tile) {
      const int first = tile * kTile;
      Make(matrix + static_cast<int64_t>(first) * depth, std::min(kTile, rows - first), depth, data + tile * tile_);
    });
  }

  const Word* data() const { return data_; }
  int64_t size() const { return Parts(rows_, kTile) * tile_; }
  int64_t bytes() const { return size() * sizeof(Word); }
  int pairs() const { return Parts(rows_, 2 * kTile); }
  // Of a panel and a pair of tiles.
  Product<F> Times(const Word* panel, int pair) const {
    const Word* const tile = data_ + 2 * pair * tile_;
    return Product<F>(panel, Product<F>::kSize, tile, present(pair) > kTile ? tile + tile_ : nullptr, words_);
  }
  // Its rows.
  int present(int pair) const { return std::min(2 * kTile, rows_ - 2 * kTile * pair); }

 private:
  template <class T>
  static void Make(const T* matrix, int present, int depth, Word* tile) {
    constexpr int kSpan = 4 * kBlock;
    alignas(64) float turned[kSpan * kTile];
    if (present < kTile) std::fill_n(turned, kSpan * kTile, 0.0f);
    FillUp<F>(tile, depth);
    for (int k = 0; k < depth; k += kSpan, tile += kSpan / F::kDepth * kTile) {
      const int count = std::min(kSpan, depth - k);
      for (int r = 0; r < present; r += kBlock) {
        for (int i = 0; i < count; i += kBlock) {
          TransposeBlock(matrix + static_cast<int64_t>(r) * depth + k + i, depth, std::min(kBlock, present - r),
                         std::min(kBlock, count - i), turned + i * kTile + r, kTile);
        }
      }
      StoreAcross<F>(tile, count, [&](int r, int i) { return Vec::Load(turned + r * kTile + i); });
    }
  }

  int rows_, words_;
  int64_t tile_;  // words of one
  const Word* data_;
};

// Whether w holds the weights of a matrix (rows, depth): as they are, or, in int32, as neonext_pack made tiles of them.
template <class F>
bool HoldsWeights(const Tensor& w, int64_t rows, int64_t depth) {
  if (w.type != Type::i32) return w.HasShape({rows, depth});
  return std::max(rows, depth) < INT32_MAX && w.HasShape({WeightTiles<F>::SizeOf(rows, depth)});
}

// Their tiles; T: the type of weights as they are.
template <class F, class T>
WeightTiles<F> TilesOf(Scratch where, const Tensor& w, int rows, int depth) {
  if (w.type == Type::i32) return WeightTiles<F>(w.As<typename F::Word>(), rows, depth);
  return WeightTiles<F>(where, w.As<T>(), rows, depth);
}

// Panels of pixels: a tile of the tensor has as many columns as a panel rows, or half as many.
template <class F>
struct PixelPanels {
  using Word = typename F::Word;
  static constexpr int kTiles = Parts(F::kRows, kTile), kWidth = F::kRows / kTiles;

  // The pixels of x (N, C, ...), in tiles of that width.
  static Pixels PixelsOf(const Tensor& x) {
    Pixels pixels = neonext::PixelsOf(x);
    pixels.width = kWidth;
    return pixels;
  }
  static int CountOf(const Pixels& pixels) { return Parts(pixels.tiles(), kTiles); }
  static int64_t SizeOf(int depth) { return static_cast<int64_t>(Parts(WordsOf<F>(depth), kTile)) * Product<F>::kSize; }

  // Panels first.. of x, one behind the other.
  template <class T>
  static void Load(const Pixels& pixels, const Planes<T>& x, int first, int count, Word* panels) {
    constexpr int kLine = Panels<F>::kLine;
    const int64_t size = SizeOf(x.channels);
    const int tiles = std::min(count * kTiles, pixels.tiles() - first * kTiles);
    EachTile(pixels, x, first * kTiles, tiles, [&](int t, const float* tile) {
      Word* line = panels + t / kTiles * size + t % kTiles * kWidth * kTile;
      for (int c = 0; c < x.channels; c += kLine, tile += kLine * kTile, line += Product<F>::kSize) {
        Panels<F>::TakeColumns(tile, kTile, kWidth, std::min(kLine, x.channels - c), line);
      }
    });
  }

  // Hands some channels (16 at most) of a panel's product to what stores rows of channels.
  template <class Target>
  static void Store(const float* product, int first, int rows, int panel, const Target& target) {
    constexpr int kPixels = Parts(kWidth, kBlock) * kBlock;
    alignas(64) float turned[kTile * kTile];
    for (int t = 0; t < kTiles && panel * kTiles + t < target.pixels.tiles(); ++t, product += kWidth * kTile) {
      for (int pixel = 0; pixel < kPixels; pixel += kBlock) {
        for (int c = 0; c < kTile; c += kBlock) {
          TransposeBlock(product + pixel * kTile + c, kTile, kBlock, kBlock, turned + c * kTile + pixel, kTile);
        }
      }
      target.Store(turned, first, rows, panel * kTiles + t);
    }
  }
};

// Panels of what enters a layer's first product, and its second.
template <class F>
struct Operands {
  typename F::Word *x, *h;
};

// Does a pair of weight tiles' part of a product for `count` panels; the first of the operands is number `at` of all.
template <class F>
struct Step {
  int pairs;
  std::function<void(const Operands<F>&, int pair, int first, int count, int at)> run;
};

// Loads the operands of all panels and takes the steps with them, one after the other; sizes are words of a panel. Many
// panels are shared out over the threads, which take all steps with theirs: what is between two steps stays in the
// second cache. Few are gone through by all threads together, each with a part of the weights.
template <class F, class Load>
void TakeSteps(int panels, int64_t x_size, int64_t h_size, int64_t weight_bytes, const std::vector<Step<F>>& steps,
               Load load) {
  using Word = typename F::Word;
  constexpr int kFew = 8;                  // a thread
  constexpr int64_t kMostBytes = 8 << 20;  // that all threads share
  const auto operands = [&](int count) {
    return Operands<F>{ScratchFor<Word>(Scratch::x, count * x_size), ScratchFor<Word>(Scratch::hidden, count * h_size)};
  };
  const int threads = ThreadCount();
  const int64_t bytes = (x_size + h_size) * sizeof(Word);
  if (threads > 1 && panels < kFew * threads && panels * bytes <= kMostBytes) {
    const Operands<F> shared = operands(panels);
    ParallelFor(panels, [&](int i) { load(i, 1, shared.x + i * x_size); });
    for (const Step<F>& step : steps) {
      const int parts = std::min(panels, Parts(4 * threads, step.pairs));
      ParallelFor(step.pairs * parts, [&](int i) {
        [[maybe_unused]] const typename F::Session session;
        const int first = panels * (i % parts) / parts, last = panels * (i % parts + 1) / parts;
        step.run(shared, i / parts, first, last - first, 0);
      });
    }
    return;
  }
  ParallelTiles<1>(panels, bytes, weight_bytes, [&](int at, int count) {
    const Operands<F> own = operands(count);
    load(at, count, own.x);
    [[maybe_unused]] const typename F::Session session;
    for (const Step<F>& step : steps) {
      for (int pair = 0; pair < step.pairs; ++pair) step.run(own, pair, 0, count, at);
    }
  });
}

// The step that ends a layer: products of `size` words a panel, handed to what stores rows.
template <class F, class Target>
Step<F> LastStep(const WeightTiles<F>& weights, typename F::Word* Operands<F>::* of, int64_t size,
                 const Target& target) {
  return {weights.pairs(),
          [&weights, of, size, &target](const Operands<F>& operands, int pair, int first, int count, int at) {
            const int row = 2 * kTile * pair, present = weights.present(pair);
            for (int i = first; i < first + count; ++i) {
              const Product<F> product = weights.Times(operands.*of + i * size, pair);
              PixelPanels<F>::Store(product.first, row, std::min(kTile, present), at + i, target);
              if (present > kTile) PixelPanels<F>::Store(product.second, row + kTile, present - kTile, at + i, target);
            }
          }};
}

}  // namespace neonext
