// The MLP of a block, y = W2 gelu(W1 x + b1) + b2 at every pixel, forward and backward.
//
// The hidden values never make a trip of their own through memory: a tile of them leaves the first product, meets GELU,
// and enters the second while it is in the cache. Training keeps them, before GELU, in tiles, for the backward pass.
#include "mlp.h"
#include "gelu.h"
#include "mlp_backward.h"
#include "neonext_cpu.h"
#include "tensor.h"

namespace neonext {
namespace {

template <class T, class F>
struct ForwardTensors {
  const T *x, *w1, *b1, *w2, *b2, *added;
  T* y;
  typename F::Kept* hidden_out;  // (tiles, hidden, 16), or null
};

template <class T, class F>
void RunForward(const Sizes& s, const ForwardTensors<T, F>& f) {
  using Word = typename F::Word;
  const Panels<F> w1(Scratch::panels1, f.w1, s.hidden, s.channels), w2(Scratch::panels2, f.w2, s.channels, s.hidden);
  const Rows<T> y{s.pixels, s.channels, f.y, f.b2, f.added};
  const int64_t x_size = AcrossSize<F>(s.channels), h_size = AcrossSize<F>(s.hidden);
  ParallelTiles(s.pixels.tiles(), h_size * sizeof(Word), [&](int first, int count) {
    Word* x = ScratchFor<Word>(Scratch::x, count * x_size);
    Word* h = ScratchFor<Word>(Scratch::hidden, count * h_size);
    LoadAcross<F>(s.pixels, f.x, s.channels, first, count, x);
    for (int t = 0; t < count; ++t) FillUp<F>(h + t * h_size, s.hidden);
    EachProduct(w1, x, count, [&](int t, const float* product, int row, int rows) {
      const T* bias = f.b1 + row;
      typename F::Kept* kept =
          f.hidden_out ? f.hidden_out + (static_cast<int64_t>(first + t) * s.hidden + row) * kTile : nullptr;
      StoreAcross<F>(h + t * h_size + row / F::kDepth * kTile, rows, [&](int r, int i) {
        const Vec::F value = Vec::Add(Vec::Load(product + r * kTile + i), Vec::Set1(ToFloat(bias[r])));
        if (kept) F::Keep(kept + r * kTile + i, value);
        return Gelu<F::kGeluTerms>(value);
      });
    });
    EachProduct(w2, h, count,
                [&](int t, const float* product, int row, int rows) { y.Store(product, row, rows, first + t); });
  });
}

template <class F>
constexpr Type kHiddenType = F::kExact ? Type::f32 : Type::bf16;

bool HasShapes(const Sizes& s, const Tensor& w1, const Tensor& b1, const Tensor& w2, const Tensor& b2) {
  return w1.size() > 0 && w1.HasShape({s.hidden, s.channels}) && b1.HasShape({s.hidden}) &&
         w2.HasShape({s.channels, s.hidden}) && b2.HasShape({s.channels});
}

// count: 6 tensors, or with `added` 7.
template <class F>
int Forward(const Arguments& in, int count, bool training) {
  const Tensor x = in[0], w1 = in[1], b1 = in[2], w2 = in[3], b2 = in[4];
  const Tensor added = in[5], y = in[training ? 5 : count - 1];
  if (!in.AreFloatsLike(x, training ? 6 : count)) return NEONEXT_BAD_TYPE;
  if (x.ndim < 2 || w1.ndim != 2) return NEONEXT_BAD_SHAPE;
  const Sizes s{PixelsOf(x), static_cast<int>(x.shape[1]), static_cast<int>(w1.shape[0])};
  if (!HasShapes(s, w1, b1, w2, b2) || !added.SameShape(x) || !y.SameShape(x)) return NEONEXT_BAD_SHAPE;
  typename F::Kept* hidden = nullptr;
  if (training) {
    if (in[6].type != kHiddenType<F>) return NEONEXT_BAD_TYPE;
    if (!in[6].HasShape({s.pixels.tiles(), s.hidden, kTile})) return NEONEXT_BAD_SHAPE;
    hidden = in[6].As<typename F::Kept>();
  }
  return WithType(x.type, [&](auto type) {
    using T = decltype(type);
    RunForward<T, F>(s, {x.As<T>(), w1.As<T>(), b1.As<T>(), w2.As<T>(), b2.As<T>(),
                         count == 7 && !training ? added.As<T>() : nullptr, y.As<T>(), hidden});
  });
}

template <class F>
int Backward(const Arguments& in) {
  const Tensor x = in[0], hidden = in[1], dy = in[2], w1 = in[3], w2 = in[4];
  for (int i = 0; i < 10; ++i) {
    if (i == 1 ? in[i].type != kHiddenType<F> : !in[i].IsFloat() || in[i].type != x.type) return NEONEXT_BAD_TYPE;
  }
  if (x.ndim < 2 || w1.ndim != 2) return NEONEXT_BAD_SHAPE;
  const Sizes s{PixelsOf(x), static_cast<int>(x.shape[1]), static_cast<int>(w1.shape[0])};
  if (!HasShapes(s, w1, in[7], w2, in[9]) || !dy.SameShape(x) || !in[5].SameShape(x) || !in[6].SameShape(w1) ||
      !in[8].SameShape(w2) || !hidden.HasShape({s.pixels.tiles(), s.hidden, kTile})) {
    return NEONEXT_BAD_SHAPE;
  }
  return WithType(x.type, [&](auto type) {
    using T = decltype(type);
    const BackwardTensors<T, F> arguments{x.As<T>(),     hidden.As<typename F::Kept>(),
                                          dy.As<T>(),    w1.As<T>(),
                                          w2.As<T>(),    in[5].As<T>(),
                                          in[6].As<T>(), in[7].As<T>(),
                                          in[8].As<T>(), in[9].As<T>()};
    BackwardPass<T, F>(s, arguments).Run();
  });
}

}  // namespace
}  // namespace neonext

using namespace neonext;

extern "C" {

int mlp_forward(NEONEXT_PARAMETERS) {
  if (nparam != 6 && nparam != 7) return NEONEXT_BAD_COUNT;
  return Forward<Exact>(NEONEXT_TENSORS, nparam, false);
}

int mlp_forward_bfloat16(NEONEXT_PARAMETERS) {
  if (nparam != 6 && nparam != 7) return NEONEXT_BAD_COUNT;
  return Forward<Bfloat16>(NEONEXT_TENSORS, nparam, false);
}

int mlp_forward_training(NEONEXT_PARAMETERS) {
  return nparam == 7 ? Forward<Exact>(NEONEXT_TENSORS, nparam, true) : NEONEXT_BAD_COUNT;
}

int mlp_forward_training_bfloat16(NEONEXT_PARAMETERS) {
  return nparam == 7 ? Forward<Bfloat16>(NEONEXT_TENSORS, nparam, true) : NEONEXT_BAD_COUNT;
}

int mlp_backward(NEONEXT_PARAMETERS) { return nparam == 10 ? Backward<Exact>(NEONEXT_TENSORS) : NEONEXT_BAD_COUNT; }

int mlp_backward_bfloat16(NEONEXT_PARAMETERS) {
  return nparam == 10 ? Backward<Bfloat16>(NEONEXT_TENSORS) : NEONEXT_BAD_COUNT;
}

}  // extern "C"
