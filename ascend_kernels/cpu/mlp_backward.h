// The backward pass of the MLP of a block.
#pragma once

#include <algorithm>
#include <cstdint>

#include "gelu.h"
#include "mlp.h"
#include "weight_gradient.h"

namespace neonext {

template <class T>
struct Backward {
  const T* x;
  const float* hidden;
  const T *dy, *w1, *w2;
  T *dx, *dw1, *db1, *dw2, *db2;
};

// The backward pass over some tiles at a time: first what belongs to each pixel, then the sums over pixels.
template <class T>
class BackwardPass {
 public:
  BackwardPass(const Sizes& sizes, const Backward<T>& arguments)
      : s(sizes),
        a(arguments),
        w1(Scratch::panels1, a.w1, s.channels, s.hidden, true),
        w2(Scratch::panels2, a.w2, s.hidden, s.channels, true),
        chunk(chunk_size(s.pixels.tiles(), 2 * h_size() * sizeof(float))),
        dh(scratch(Scratch::dh, chunk * h_size() + WeightGradient::kBehind)),
        g(scratch(Scratch::gelu, chunk * h_size() + WeightGradient::kBehind)),
        xt(Scratch::xt, s.channels, chunk),
        dyt(Scratch::dyt, s.channels, chunk),
        dw1(Scratch::sum1, s.hidden, s.channels),
        dw2(Scratch::sum2, s.hidden, s.channels),
        db1(scratch(Scratch::bias, s.hidden)) {}

  void run() {
    int first = 0;
    do {  // without a pixel once, for sums of zero
      const int count = std::min(chunk, s.pixels.tiles() - first);
      parallel_tiles(count, 2 * h_size() * sizeof(float), [&](int at, int n) { per_pixel(first, at, n); });
      parallel_for(dw1.panels(), [&](int panel) {
        dw1.add(panel, dh, xt, count, first == 0);
        dw2.add(panel, g, dyt, count, first == 0);
        sum_of_dh(panel, count, first == 0);
      });
      first += chunk;
    } while (first < s.pixels.tiles());
    parallel_for(dw1.panels(), [&](int panel) { dw1.write_rows(panel, a.dw1); });
    parallel_for(dw2.blocks(), [&](int block) { dw2.write_transposed(block, a.dw2); });
    for (int i = 0; i < s.hidden; ++i) from_float(db1[i], a.db1 + i);
    sum_over_pixels(s.pixels, a.dy, s.channels, a.db2);
  }

 private:
  int64_t c_size() const { return static_cast<int64_t>(s.channels) * kTile; }
  int64_t h_size() const { return static_cast<int64_t>(s.hidden) * kTile; }

  // dH = (W2^T dY) slope(H), G = gelu(H) and dX = W1^T dH of tiles at.. of the chunk, and X and dY turned.
  void per_pixel(int first, int at, int count) {
    float* x = scratch(Scratch::x, count * c_size());
    float* dy = scratch(Scratch::dy, count * c_size());
    load_tiles(s.pixels, a.x, s.channels, first + at, count, x);
    load_tiles(s.pixels, a.dy, s.channels, first + at, count, dy);
    for (int t = 0; t < count; ++t) {
      xt.take(x + t * c_size(), at + t);
      dyt.take(dy + t * c_size(), at + t);
    }
    float* const dh_at = dh + at * h_size();
    each_product(w2, dy, count, [&](int t, const float* product, int row, int rows) {
      const int64_t to = t * h_size() + row * kTile;
      const float* h = a.hidden + (first + at) * h_size() + to;
      for (int i = 0; i < rows * kTile; i += Vec::lanes) {
        const GeluAndSlope value = gelu_and_slope(Vec::load<1>(&h, i, Vec::mask<1>(Vec::lanes, 1)));
        Vec::store(g + at * h_size() + to + i, value.gelu);
        Vec::store(dh_at + to + i, Vec::mul(value.slope, Vec::load(product + i)));
      }
    });
    const Rows<T> dx{s.pixels, s.channels, a.dx, nullptr, nullptr};
    each_product(w1, dh_at, count,
                 [&](int t, const float* product, int row, int rows) { dx.store(product, row, rows, first + at + t); });
  }

  void sum_of_dh(int panel, int count, bool first) {
    for (int row = panel * kRows; row < std::min(s.hidden, (panel + 1) * kRows); ++row) {
      Vec::F sum = Vec::zero();
      for (int t = 0; t < count; ++t) {
        const float* values = dh + t * h_size() + row * kTile;
        for (int i = 0; i < kTile; i += Vec::lanes) sum = Vec::add(sum, Vec::load(values + i));
      }
      db1[row] = Vec::sum(sum) + (first ? 0.0f : db1[row]);
    }
  }

  const Sizes& s;
  const Backward<T>& a;
  const Panels w1, w2;  // transposed
  const int chunk;
  float *const dh, *const g;
  Turned xt, dyt;
  WeightGradient dw1, dw2;  // of W2, the transposed one
  float* const db1;
};

}  // namespace neonext
