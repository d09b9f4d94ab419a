// The backward pass of the MLP of a block.
#pragma once

#include <algorithm>
#include <cstdint>

#include "gelu.h"
#include "mlp.h"
#include "weight_gradient.h"

namespace neonext {

template <class T, class F>
struct BackwardTensors {
  Planes<T> x;
  const typename F::Kept* hidden;
  Planes<T> dy;
  const T *w1, *w2;
  T *dx, *dw1, *db1, *dw2, *db2;
};

// The backward pass over some tiles at a time: first what belongs to each pixel, then the sums over pixels.
template <class T, class F>
class BackwardPass {
 public:
  BackwardPass(const Sizes& sizes, const BackwardTensors<T, F>& arguments)
      : s(sizes),
        a(arguments),
        w1(Scratch::panels1, a.w1, s.channels, s.hidden, true),
        w2(Scratch::panels2, a.w2, s.hidden, s.channels, true),
        chunk(ChunkSize(s.pixels.tiles(), tile_bytes())),
        dh(Scratch::dh, s.hidden, chunk),
        g(Scratch::gelu, s.hidden, chunk),
        xt(Scratch::xt, s.channels, chunk),
        dyt(Scratch::dyt, s.channels, chunk),
        dw1(Scratch::sum1, s.hidden, s.channels),
        dw2(Scratch::sum2, s.hidden, s.channels),
        db1(ScratchFor(Scratch::bias, s.hidden)) {}

  void Run() {
    int first = 0;
    do {  // without a pixel once, for sums of zero
      const int count = std::min(chunk, s.pixels.tiles() - first);
      ParallelTiles<2>(count, tile_bytes(), w1.bytes() + w2.bytes(), [&](int at, int n) { PerPixel(first, at, n); });
      for (const Along<F>& each : {dh, g}) each.Finish(count);
      for (const Turned<F>& each : {xt, dyt}) each.Finish(count);
      ParallelFor(dw1.panels(), [&](int panel) {
        dw1.Add(panel, dh, xt, count, first == 0);
        dw2.Add(panel, g, dyt, count, first == 0);
        for (int row = panel * F::kRows; row < std::min(s.hidden, (panel + 1) * F::kRows); ++row) {
          db1[row] = dh.Sum(row, count) + (first == 0 ? 0.0f : db1[row]);
        }
      });
      first += chunk;
    } while (first < s.pixels.tiles());
    ParallelFor(dw1.panels(), [&](int panel) { dw1.WriteRows(panel, a.dw1); });
    ParallelFor(dw2.blocks(), [&](int block) { dw2.WriteTransposed(block, a.dw2); });
    for (int i = 0; i < s.hidden; ++i) FromFloat(db1[i], a.db1 + i);
    SumOverPixels(s.pixels, a.dy, a.db2);
  }

 private:
  using Word = typename F::Word;

  int64_t h_size() const { return static_cast<int64_t>(s.hidden) * kTile; }
  int64_t tile_bytes() const { return 2 * h_size() * sizeof(Word) / F::kDepth; }

  // dH = (W2^T dY) slope(H), G = gelu(H) and dX = W1^T dH of tiles at.. of the chunk, and X and dY turned.
  void PerPixel(int first, int at, int count) {
    Word* dy = ScratchFor<Word>(Scratch::dy, count * AcrossSize<F>(s.channels));
    LoadAcross<F>(s.pixels, a.dy, first + at, count, dy, [&](int t, const float* tile) { dyt.Take(tile, at + t); });
    EachTile(s.pixels, a.x, first + at, count, [&](int t, const float* tile) { xt.Take(tile, at + t); });
    Word* dh_across;
    if constexpr (F::kDepth == 1) {
      dh_across = dh.at(at, 0);
    } else {
      dh_across = ScratchFor<Word>(Scratch::hidden, count * AcrossSize<F>(s.hidden));
      for (int t = 0; t < count; ++t) FillUp<F>(dh_across + t * AcrossSize<F>(s.hidden), s.hidden);
    }
    EachProduct(w2, dy, count, [&](int t, const float* product, int row, int rows) {
      const typename F::Kept* h = a.hidden + (first + at + t) * h_size() + row * kTile;
      if (t + 2 < count) Fetch(h + 2 * h_size(), rows * kTile);
      Word* const to = dh_across + t * AcrossSize<F>(s.hidden) + row / F::kDepth * kTile;
      [[maybe_unused]] Word *const g_along = g.at(at + t, row), *const dh_along = dh.at(at + t, row);
      StoreAcross<F>(to, rows, [&](int r, int i) {
        const GeluAndSlope value = GeluWithSlope<F::kGeluTerms>(F::Recall(h + r * kTile + i));
        const Vec::F result = Vec::Mul(value.slope, Vec::Load(product + r * kTile + i));
        if constexpr (F::kDepth == 1) {
          Vec::Store(g_along + r * kTile + i, F::Enter(value.gelu));
        } else {
          F::StoreHalfLine(g_along + r * kTile, value.gelu);
          F::StoreHalfLine(dh_along + r * kTile, result);
        }
        return result;
      });
    });
    const Rows<T> dx{s.pixels, s.channels, a.dx};
    EachProduct(w1, dh_across, count,
                [&](int t, const float* product, int row, int rows) { dx.Store(product, row, rows, first + at + t); });
  }

  const Sizes& s;
  const BackwardTensors<T, F>& a;
  const Panels<F> w1, w2;  // transposed
  const int chunk;
  const Along<F> dh, g;
  const Turned<F> xt, dyt;
  WeightGradient<F> dw1, dw2;  // of W2, the transposed one
  float* const db1;
};

}  // namespace neonext
