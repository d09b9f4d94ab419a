// The backward pass of the MLP of a block.
#pragma once

#include <algorithm>
#include <cstdint>

#include "gelu.h"
#include "mlp.h"
#include "weight_gradient.h"

namespace neonext {

template <class T>
struct BackwardTensors {
  const T* x;
  const float* hidden;
  const T *dy, *w1, *w2;
  T *dx, *dw1, *db1, *dw2, *db2;
};

// The backward pass over some tiles at a time: first what belongs to each pixel, then the sums over pixels.
template <class T>
class BackwardPass {
 public:
  BackwardPass(const Sizes& sizes, const BackwardTensors<T>& arguments)
      : s(sizes),
        a(arguments),
        w1(Scratch::panels1, a.w1, s.channels, s.hidden, true),
        w2(Scratch::panels2, a.w2, s.hidden, s.channels, true),
        chunk(ChunkSize(s.pixels.tiles(), 2 * h_size() * sizeof(float))),
        dh(ScratchFor(Scratch::dh, chunk * h_size() + WeightGradient::kBehind)),
        g(ScratchFor(Scratch::gelu, chunk * h_size() + WeightGradient::kBehind)),
        xt(Scratch::xt, s.channels, chunk),
        dyt(Scratch::dyt, s.channels, chunk),
        dw1(Scratch::sum1, s.hidden, s.channels),
        dw2(Scratch::sum2, s.hidden, s.channels),
        db1(ScratchFor(Scratch::bias, s.hidden)) {}

  void Run() {
    int first = 0;
    do {  // without a pixel once, for sums of zero
      const int count = std::min(chunk, s.pixels.tiles() - first);
      ParallelTiles(count, 2 * h_size() * sizeof(float), [&](int at, int n) { PerPixel(first, at, n); });
      ParallelFor(dw1.panels(), [&](int panel) {
        dw1.Add(panel, dh, xt, count, first == 0);
        dw2.Add(panel, g, dyt, count, first == 0);
        SumOfDh(panel, count, first == 0);
      });
      first += chunk;
    } while (first < s.pixels.tiles());
    ParallelFor(dw1.panels(), [&](int panel) { dw1.write_rows(panel, a.dw1); });
    ParallelFor(dw2.blocks(), [&](int block) { dw2.WriteTransposed(block, a.dw2); });
    for (int i = 0; i < s.hidden; ++i) FromFloat(db1[i], a.db1 + i);
    SumOverPixels(s.pixels, a.dy, s.channels, a.db2);
  }

 private:
  int64_t c_size() const { return static_cast<int64_t>(s.channels) * kTile; }
  int64_t h_size() const { return static_cast<int64_t>(s.hidden) * kTile; }

  // dH = (W2^T dY) slope(H), G = gelu(H) and dX = W1^T dH of tiles at.. of the chunk, and X and dY turned.
  void PerPixel(int first, int at, int count) {
    float* x = ScratchFor(Scratch::x, count * c_size());
    float* dy = ScratchFor(Scratch::dy, count * c_size());
    LoadTiles(s.pixels, a.x, s.channels, first + at, count, x);
    LoadTiles(s.pixels, a.dy, s.channels, first + at, count, dy);
    for (int t = 0; t < count; ++t) {
      xt.Take(x + t * c_size(), at + t);
      dyt.Take(dy + t * c_size(), at + t);
    }
    float* const dh_at = dh + at * h_size();
    EachProduct(w2, dy, count, [&](int t, const float* product, int row, int rows) {
      const int64_t to = t * h_size() + row * kTile;
      const float* h = a.hidden + (first + at) * h_size() + to;
      for (int i = 0; i < rows * kTile; i += Vec::kLanes) {
        const GeluAndSlope value = GeluWithSlope(Vec::Load<1>(&h, i, Vec::MakeMask<1>(Vec::kLanes, 1)));
        Vec::Store(g + at * h_size() + to + i, value.gelu);
        Vec::Store(dh_at + to + i, Vec::Mul(value.slope, Vec::Load(product + i)));
      }
    });
    const Rows<T> dx{s.pixels, s.channels, a.dx, nullptr, nullptr};
    EachProduct(w1, dh_at, count,
                [&](int t, const float* product, int row, int rows) { dx.Store(product, row, rows, first + at + t); });
  }

  void SumOfDh(int panel, int count, bool first) {
    for (int row = panel * kRows; row < std::min(s.hidden, (panel + 1) * kRows); ++row) {
      Vec::F sum = Vec::Zero();
      for (int t = 0; t < count; ++t) {
        const float* values = dh + t * h_size() + row * kTile;
        for (int i = 0; i < kTile; i += Vec::kLanes) sum = Vec::Add(sum, Vec::Load(values + i));
      }
      db1[row] = Vec::Sum(sum) + (first ? 0.0f : db1[row]);
    }
  }

  const Sizes& s;
  const BackwardTensors<T>& a;
  const Panels w1, w2;  // transposed
  const int chunk;
  float *const dh, *const g;
  Turned xt, dyt;
  WeightGradient dw1, dw2;  // of W2, the transposed one
  float* const db1;
};

}  // namespace neonext
