// A pointwise layer, y = W x + b at every pixel, forward and backward; with a result in halves, or of a gated x.
#include <algorithm>

#include "infer.h"
#include "neonext_cpu.h"
#include "pixels.h"
#include "tensor.h"
#include "weight_gradient.h"

namespace neonext {
namespace {

template <class T, class F>
void Forward(const Planes<T>& x, const Tensor& w, const Rows<T>& y) {
  const auto weights = TilesOf<F, T>(Scratch::panels1, w, y.channels, x.channels);
  const int64_t size = PixelPanels<F>::SizeOf(x.channels);
  TakeSteps<F>(
      PixelPanels<F>::CountOf(y.pixels), size, 0, weights.bytes(), {LastStep(weights, &Operands<F>::x, size, y)},
      [&](int first, int count, typename F::Word* to) { PixelPanels<F>::Load(y.pixels, x, first, count, to); });
}

// dx: of x, or of both factors of a gated x.
template <class F, class T, class Gradient>
void Backward(const Planes<T>& x, const Planes<T>& dy, const T* w, const Gradient& dx, T* dw, T* db) {
  using Word = typename F::Word;
  const Pixels& pixels = dx.pixels;
  const int in = x.channels, out = dy.channels;
  const Panels<F> weight(Scratch::panels1, w, in, out, true);
  const int64_t bytes = (int64_t(in) + out) * kTile * sizeof(Word) / F::kDepth;
  const int tiles = pixels.tiles(), chunk = ChunkSize(tiles, bytes);
  const Turned<F> xt(Scratch::xt, in, chunk);
  const Along<F> p(Scratch::dh, out, chunk);
  WeightGradient<F> gradient(Scratch::sum1, out, in);
  int first = 0;
  do {  // without a pixel once, for sums of zero
    const int count = std::min(chunk, tiles - first);
    ParallelTiles<2>(count, bytes, weight.bytes(), [&](int at, int n) {
      EachTile(pixels, x, first + at, n, [&](int t, const float* tile) { xt.Take(tile, at + t); });
      Word* across;
      if constexpr (F::kDepth == 1) {
        across = p.at(at, 0);
      } else {
        across = ScratchFor<Word>(Scratch::dy, n * AcrossSize<F>(out));
      }
      LoadAcross<F>(pixels, dy, first + at, n, across, [&]([[maybe_unused]] int t, const float* tile) {
        if constexpr (F::kDepth == 2) {
          for (int r = 0; r < out; ++r) F::StoreHalfLine(p.at(at + t, r), Vec::Load(tile + r * kTile));
        }
      });
      EachProduct(weight, across, n, [&](int t, const float* product, int row, int count) {
        dx.Store(product, row, count, first + at + t);
      });
    });
    p.Finish(count), xt.Finish(count);
    ParallelFor(gradient.panels(), [&](int panel) { gradient.Add(panel, p, xt, count, first == 0); });
    first += chunk;
  } while (first < tiles);
  ParallelFor(gradient.panels(), [&](int panel) { gradient.WriteRows(panel, dw); });
  SumOverPixels(pixels, dy, db);
}

// Whether y has x's images and pixels, and the channels of the matrix w (out, in) fit both; halves: y is one of two.
template <class F>
bool Fit(const Tensor& x, const Tensor& w, const Tensor& b, const Tensor& y, bool halves = false) {
  const int64_t out = y.ndim < 2 ? 0 : y.shape[1] * (halves ? 2 : 1);
  return x.ndim >= 2 && y.ndim == x.ndim && HoldsWeights<F>(w, out, x.shape[1]) && b.HasShape({out}) &&
         x.shape[0] == y.shape[0] && w.size() > 0 && std::equal(x.shape + 2, x.shape + x.ndim, y.shape + 2);
}

// A tensor as it is, and one whose last half of the channels is another.
template <class T>
Planes<T> Whole(const Tensor& x) {
  return {x.As<T>(), static_cast<int>(x.shape[1])};
}
template <class T>
Planes<T> Halves(const Tensor& first, const Tensor& last) {
  return {first.As<T>(), 2 * static_cast<int>(first.shape[1]), nullptr, nullptr, nullptr, nullptr, nullptr,
          last.As<T>()};
}

template <class F>
int Forward(const Arguments& in, bool halves) {
  const Tensor x = in[0], w = in[1], b = in[2], y = in[3], last = in[halves ? 4 : 3];
  if (!in.AreFloatsLike(x, halves ? 5 : 4, {1})) return NEONEXT_BAD_TYPE;
  if (!Fit<F>(x, w, b, y, halves) || !last.SameShape(y)) return NEONEXT_BAD_SHAPE;
  return WithType(x.type, [&](auto type) {
    using T = decltype(type);
    const Pixels pixels = PixelPanels<F>::PixelsOf(x);
    Rows<T> rows{pixels, static_cast<int>(b.shape[0]), y.As<T>(), b.As<T>()};
    if (halves) rows.rest = last.As<T>();
    Forward<T, F>(Whole<T>(x), w, rows);
  });
}

template <class F>
int Backward(const Arguments& in, bool halves) {
  const int at = halves ? 3 : 2;
  const Tensor x = in[0], dy = in[1], last = in[at - 1], w = in[at];
  const Tensor dx = in[at + 1], dw = in[at + 2], db = in[at + 3];
  if (!in.AreFloatsLike(x, at + 4)) return NEONEXT_BAD_TYPE;
  if (!Fit<F>(x, w, db, dy, halves) || !last.SameShape(dy)) return NEONEXT_BAD_SHAPE;
  if (!dx.SameShape(x) || !dw.SameShape(w)) return NEONEXT_BAD_SHAPE;
  return WithType(x.type, [&](auto type) {
    using T = decltype(type);
    const Rows<T> rows{PixelsOf(x), static_cast<int>(x.shape[1]), dx.As<T>()};
    Backward<F>(Whole<T>(x), halves ? Halves<T>(dy, last) : Whole<T>(dy), w.As<T>(), rows, dw.As<T>(), db.As<T>());
  });
}

// z gelu(u).
template <class T>
Planes<T> Gated(const Tensor& u, const Tensor& z) {
  Planes<T> planes = Whole<T>(z);
  planes.gate = u.As<T>();
  return planes;
}

// Whether a gated product's u and z are alike, and keep is a factor for each of their images.
bool AreGated(const Tensor& u, const Tensor& z, const Tensor& keep) {
  return z.SameShape(u) && u.ndim >= 2 && keep.HasShape({u.shape[0]});
}

template <class F>
int GatedForward(const Arguments& in) {
  const Tensor u = in[0], z = in[1], w = in[2], b = in[3], trunk = in[4], keep = in[5], y = in[6];
  if (!in.AreFloatsLike(u, 5, {2}) || y.type != u.type || keep.type != Type::f32) return NEONEXT_BAD_TYPE;
  if (!AreGated(u, z, keep) || !Fit<F>(u, w, b, y) || !trunk.SameShape(y)) return NEONEXT_BAD_SHAPE;
  return WithType(u.type, [&](auto type) {
    using T = decltype(type);
    const Pixels pixels = PixelPanels<F>::PixelsOf(u);
    const Rows<T> rows{pixels, static_cast<int>(y.shape[1]), y.As<T>(), b.As<T>(), keep.As<float>(), trunk.As<T>()};
    Forward<T, F>(Gated<T>(u, z), w, rows);
  });
}

template <class F>
int GatedBackward(const Arguments& in) {
  const Tensor u = in[0], z = in[1], dy = in[2], w = in[3], keep = in[4];
  const Tensor du = in[5], dz = in[6], dw = in[7], db = in[8];
  if (!in.AreFloatsLike(u, 4) || keep.type != Type::f32) return NEONEXT_BAD_TYPE;
  for (const Tensor& each : {du, dz, dw, db}) {
    if (each.type != u.type) return NEONEXT_BAD_TYPE;
  }
  if (!AreGated(u, z, keep) || !Fit<F>(u, w, db, dy)) return NEONEXT_BAD_SHAPE;
  if (!du.SameShape(u) || !dz.SameShape(u) || !dw.SameShape(w)) return NEONEXT_BAD_SHAPE;
  return WithType(u.type, [&](auto type) {
    using T = decltype(type);
    const GateRows<T> rows{PixelsOf(u), static_cast<int>(u.shape[1]), u.As<T>(), z.As<T>(), du.As<T>(), dz.As<T>()};
    Planes<T> result = Whole<T>(dy);
    result.factor = keep.As<float>();
    Backward<F>(Gated<T>(u, z), result, w.As<T>(), rows, dw.As<T>(), db.As<T>());
  });
}

}  // namespace
}  // namespace neonext

using namespace neonext;

extern "C" {

int pointwise_forward(NEONEXT_PARAMETERS) {
  return nparam == 4 ? Forward<Exact>(NEONEXT_TENSORS, false) : NEONEXT_BAD_COUNT;
}

int pointwise_forward_bfloat16(NEONEXT_PARAMETERS) {
  return nparam == 4 ? Forward<Bfloat16>(NEONEXT_TENSORS, false) : NEONEXT_BAD_COUNT;
}

int pointwise_backward(NEONEXT_PARAMETERS) {
  return nparam == 6 ? Backward<Exact>(NEONEXT_TENSORS, false) : NEONEXT_BAD_COUNT;
}

int pointwise_backward_bfloat16(NEONEXT_PARAMETERS) {
  return nparam == 6 ? Backward<Bfloat16>(NEONEXT_TENSORS, false) : NEONEXT_BAD_COUNT;
}

int halves_forward(NEONEXT_PARAMETERS) {
  return nparam == 5 ? Forward<Exact>(NEONEXT_TENSORS, true) : NEONEXT_BAD_COUNT;
}

int halves_forward_bfloat16(NEONEXT_PARAMETERS) {
  return nparam == 5 ? Forward<Bfloat16>(NEONEXT_TENSORS, true) : NEONEXT_BAD_COUNT;
}

int halves_backward(NEONEXT_PARAMETERS) {
  return nparam == 7 ? Backward<Exact>(NEONEXT_TENSORS, true) : NEONEXT_BAD_COUNT;
}

int halves_backward_bfloat16(NEONEXT_PARAMETERS) {
  return nparam == 7 ? Backward<Bfloat16>(NEONEXT_TENSORS, true) : NEONEXT_BAD_COUNT;
}

int gated_forward(NEONEXT_PARAMETERS) { return nparam == 7 ? GatedForward<Exact>(NEONEXT_TENSORS) : NEONEXT_BAD_COUNT; }

int gated_forward_bfloat16(NEONEXT_PARAMETERS) {
  return nparam == 7 ? GatedForward<Bfloat16>(NEONEXT_TENSORS) : NEONEXT_BAD_COUNT;
}

int gated_backward(NEONEXT_PARAMETERS) {
  return nparam == 9 ? GatedBackward<Exact>(NEONEXT_TENSORS) : NEONEXT_BAD_COUNT;
}

int gated_backward_bfloat16(NEONEXT_PARAMETERS) {
  return nparam == 9 ? GatedBackward<Bfloat16>(NEONEXT_TENSORS) : NEONEXT_BAD_COUNT;
}

}  // extern "C"
