// A pointwise layer, y = W x + b at every pixel, forward and backward.
#include <algorithm>

#include "neonext_cpu.h"
#include "pixels.h"
#include "tensor.h"
#include "weight_gradient.h"

namespace neonext {
namespace {

template <class T, class F>
void Forward(const Pixels& pixels, int in, int out, const T* x, const T* w, const T* b, T* y) {
  using Word = typename F::Word;
  const Panels<F> weight(Scratch::panels1, w, out, in);
  const Rows<T> rows{pixels, out, y, b};
  const int64_t size = AcrossSize<F>(in);
  ParallelTiles(pixels.tiles(), size * sizeof(Word), [&](int first, int count) {
    Word* tiles = ScratchFor<Word>(Scratch::x, count * size);
    LoadAcross<F>(pixels, Planes<T>{x, in}, first, count, tiles);
    EachProduct(weight, tiles, count,
                [&](int t, const float* product, int row, int n) { rows.Store(product, row, n, first + t); });
  });
}

template <class T, class F>
void Backward(const Pixels& pixels, int in, int out, const T* x, const T* dy, const T* w, T* dx, T* dw, T* db) {
  using Word = typename F::Word;
  const Panels<F> weight(Scratch::panels1, w, in, out, true);
  const int64_t bytes = (int64_t(in) + out) * kTile * sizeof(Word) / F::kDepth;
  const int tiles = pixels.tiles(), chunk = ChunkSize(tiles, bytes);
  const Turned<F> xt(Scratch::xt, in, chunk);
  const Along<F> p(Scratch::dh, out, chunk);
  WeightGradient<F> gradient(Scratch::sum1, out, in);
  const Rows<T> rows{pixels, in, dx};
  const Planes<T> x_planes{x, in}, dy_planes{dy, out};
  int first = 0;
  do {  // without a pixel once, for sums of zero
    const int count = std::min(chunk, tiles - first);
    ParallelTiles(count, bytes, [&](int at, int n) {
      EachTile(pixels, x_planes, first + at, n, [&](int t, const float* tile) { xt.Take(tile, at + t); });
      Word* across;
      if constexpr (F::kDepth == 1) {
        across = p.at(at, 0);
      } else {
        across = ScratchFor<Word>(Scratch::dy, n * AcrossSize<F>(out));
      }
      LoadAcross<F>(pixels, dy_planes, first + at, n, across, [&]([[maybe_unused]] int t, const float* tile) {
        if constexpr (F::kDepth == 2) {
          for (int r = 0; r < out; ++r) F::StoreHalfLine(p.at(at + t, r), Vec::Load(tile + r * kTile));
        }
      });
      EachProduct(weight, across, n, [&](int t, const float* product, int row, int count) {
        rows.Store(product, row, count, first + at + t);
      });
    });
    p.Finish(count), xt.Finish(count);
    ParallelFor(gradient.panels(), [&](int panel) { gradient.Add(panel, p, xt, count, first == 0); });
    first += chunk;
  } while (first < tiles);
  ParallelFor(gradient.panels(), [&](int panel) { gradient.WriteRows(panel, dw); });
  SumOverPixels(pixels, dy_planes, db);
}

// Whether y has x's images and pixels, and the channels of the matrix w (out, in) fit both.
bool Fit(const Tensor& x, const Tensor& w, const Tensor& b, const Tensor& y) {
  return x.ndim >= 2 && y.ndim == x.ndim && w.HasShape({y.shape[1], x.shape[1]}) && b.HasShape({y.shape[1]}) &&
         x.shape[0] == y.shape[0] && w.size() > 0 && std::equal(x.shape + 2, x.shape + x.ndim, y.shape + 2);
}

template <class F>
int Forward(const Arguments& in) {
  const Tensor x = in[0], w = in[1], b = in[2], y = in[3];
  if (!in.AreFloatsLike(x, 4)) return NEONEXT_BAD_TYPE;
  if (!Fit(x, w, b, y)) return NEONEXT_BAD_SHAPE;
  return WithType(x.type, [&](auto type) {
    using T = decltype(type);
    Forward<T, F>(PixelsOf(x), static_cast<int>(x.shape[1]), static_cast<int>(y.shape[1]), x.As<T>(), w.As<T>(),
                  b.As<T>(), y.As<T>());
  });
}

template <class F>
int Backward(const Arguments& in) {
  const Tensor x = in[0], dy = in[1], w = in[2];
  const Tensor dx = in[3], dw = in[4], db = in[5];
  if (!in.AreFloatsLike(x, 6)) return NEONEXT_BAD_TYPE;
  if (!Fit(x, w, db, dy) || !dx.SameShape(x) || !dw.SameShape(w)) return NEONEXT_BAD_SHAPE;
  return WithType(x.type, [&](auto type) {
    using T = decltype(type);
    Backward<T, F>(PixelsOf(x), static_cast<int>(x.shape[1]), static_cast<int>(dy.shape[1]), x.As<T>(), dy.As<T>(),
                   w.As<T>(), dx.As<T>(), dw.As<T>(), db.As<T>());
  });
}

}  // namespace
}  // namespace neonext

using namespace neonext;

extern "C" {

int pointwise_forward(NEONEXT_PARAMETERS) { return nparam == 4 ? Forward<Exact>(NEONEXT_TENSORS) : NEONEXT_BAD_COUNT; }

int pointwise_forward_bfloat16(NEONEXT_PARAMETERS) {
  return nparam == 4 ? Forward<Bfloat16>(NEONEXT_TENSORS) : NEONEXT_BAD_COUNT;
}

int pointwise_backward(NEONEXT_PARAMETERS) {
  return nparam == 6 ? Backward<Exact>(NEONEXT_TENSORS) : NEONEXT_BAD_COUNT;
}

int pointwise_backward_bfloat16(NEONEXT_PARAMETERS) {
  return nparam == 6 ? Backward<Bfloat16>(NEONEXT_TENSORS) : NEONEXT_BAD_COUNT;
}

}  // extern "C"
