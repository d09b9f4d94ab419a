// A pointwise layer, y = W x + b at every pixel, forward and backward.
#include <algorithm>

#include "neonext_cpu.h"
#include "pixels.h"
#include "tensor.h"
#include "weight_gradient.h"

namespace neonext {
namespace {

template <class T>
void Forward(const Pixels& pixels, int in, int out, const T* x, const T* w, const T* b, T* y) {
  const Panels weight(Scratch::panels1, w, out, in);
  const Rows<T> rows{pixels, out, y, b, nullptr};
  const int64_t size = static_cast<int64_t>(in) * kTile;
  ParallelTiles(pixels.tiles(), size * sizeof(float), [&](int first, int count) {
    float* tiles = ScratchFor(Scratch::x, count * size);
    LoadTiles(pixels, x, in, first, count, tiles);
    EachProduct(weight, tiles, count,
                [&](int t, const float* product, int row, int n) { rows.Store(product, row, n, first + t); });
  });
}

template <class T>
void Backward(const Pixels& pixels, int in, int out, const T* x, const T* dy, const T* w, T* dx, T* dw, T* db) {
  const Panels weight(Scratch::panels1, w, in, out, true);
  const int64_t in_size = static_cast<int64_t>(in) * kTile, out_size = static_cast<int64_t>(out) * kTile;
  const int tiles = pixels.tiles(), chunk = ChunkSize(tiles, (in_size + out_size) * sizeof(float));
  Turned xt(Scratch::xt, in, chunk);
  float* const p = ScratchFor(Scratch::dh, chunk * out_size + WeightGradient::kBehind);
  WeightGradient gradient(Scratch::sum1, out, in);
  const Rows<T> rows{pixels, in, dx, nullptr, nullptr};
  int first = 0;
  do {  // without a pixel once, for sums of zero
    const int count = std::min(chunk, tiles - first);
    ParallelTiles(count, (in_size + out_size) * sizeof(float), [&](int at, int n) {
      float* values = ScratchFor(Scratch::x, n * in_size);
      LoadTiles(pixels, x, in, first + at, n, values);
      LoadTiles(pixels, dy, out, first + at, n, p + at * out_size);
      for (int t = 0; t < n; ++t) xt.Take(values + t * in_size, at + t);
      EachProduct(weight, p + at * out_size, n, [&](int t, const float* product, int row, int count) {
        rows.Store(product, row, count, first + at + t);
      });
    });
    ParallelFor(gradient.panels(), [&](int panel) { gradient.Add(panel, p, xt, count, first == 0); });
    first += chunk;
  } while (first < tiles);
  ParallelFor(gradient.panels(), [&](int panel) { gradient.write_rows(panel, dw); });
  SumOverPixels(pixels, dy, out, db);
}

// Whether y has x's images and pixels, and the channels of the matrix w (out, in) fit both.
bool Fit(const Tensor& x, const Tensor& w, const Tensor& b, const Tensor& y) {
  return x.ndim >= 2 && y.ndim == x.ndim && w.HasShape({y.shape[1], x.shape[1]}) && b.HasShape({y.shape[1]}) &&
         x.shape[0] == y.shape[0] && w.size() > 0 && std::equal(x.shape + 2, x.shape + x.ndim, y.shape + 2);
}

}  // namespace
}  // namespace neonext

extern "C" {

int pointwise_forward(int nparam, void** params, int* ndims, int64_t** shapes, const char** dtypes, void*, void*) {
  using namespace neonext;
  if (nparam != 4) return NEONEXT_BAD_COUNT;
  const Arguments arguments{params, ndims, shapes, dtypes};
  const Tensor x = arguments[0], w = arguments[1], b = arguments[2], y = arguments[3];
  if (!arguments.are_floats_like(x, 4)) return NEONEXT_BAD_TYPE;
  if (!Fit(x, w, b, y)) return NEONEXT_BAD_SHAPE;
  return WithType(x.type, [&](auto type) {
    using T = decltype(type);
    Forward<T>(PixelsOf(x), static_cast<int>(x.shape[1]), static_cast<int>(y.shape[1]), x.As<T>(), w.As<T>(), b.As<T>(),
               y.As<T>());
  });
}

int pointwise_backward(int nparam, void** params, int* ndims, int64_t** shapes, const char** dtypes, void*, void*) {
  using namespace neonext;
  if (nparam != 6) return NEONEXT_BAD_COUNT;
  const Arguments arguments{params, ndims, shapes, dtypes};
  const Tensor x = arguments[0], dy = arguments[1], w = arguments[2];
  const Tensor dx = arguments[3], dw = arguments[4], db = arguments[5];
  if (!arguments.are_floats_like(x, 6)) return NEONEXT_BAD_TYPE;
  if (!Fit(x, w, db, dy) || !dx.SameShape(x) || !dw.SameShape(w)) return NEONEXT_BAD_SHAPE;
  return WithType(x.type, [&](auto type) {
    using T = decltype(type);
    Backward<T>(PixelsOf(x), static_cast<int>(x.shape[1]), static_cast<int>(dy.shape[1]), x.As<T>(), dy.As<T>(),
                w.As<T>(), dx.As<T>(), dw.As<T>(), db.As<T>());
  });
}

}  // extern "C"
