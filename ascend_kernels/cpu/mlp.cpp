// The MLP of a block, y = W2 gelu(W1 x + b1) + b2 at every pixel, and its branch, y = trunk + keep MLP((x - centre)
// scale + shift), forward and backward.
//
// The hidden values never make a trip of their own through memory: a tile of them leaves the first product, meets GELU,
// and enters the second while it is in the cache. Training keeps them, before GELU, in tiles, for the backward pass.
#include "mlp.h"
#include "gelu.h"
#include "infer.h"
#include "mlp_backward.h"
#include "neonext_cpu.h"
#include "tensor.h"

namespace neonext {
namespace {

template <class T, class F>
struct ForwardTensors {
  Planes<T> x;
  Tensor w1, w2;
  const T* b1;
  Rows<T> y;
  typename F::Kept* hidden_out;  // (tiles, hidden, 16); null in inference
};

template <class T, class F>
void Train(const Sizes& s, const ForwardTensors<T, F>& f) {
  using Word = typename F::Word;
  const Panels<F> w1(Scratch::panels1, f.w1.template As<T>(), s.hidden, s.channels);
  const Panels<F> w2(Scratch::panels2, f.w2.template As<T>(), s.channels, s.hidden);
  const int64_t x_size = AcrossSize<F>(s.channels), h_size = AcrossSize<F>(s.hidden);
  ParallelTiles<2>(s.pixels.tiles(), h_size * sizeof(Word), w1.bytes() + w2.bytes(), [&](int first, int count) {
    Word* x = ScratchFor<Word>(Scratch::x, count * x_size);
    Word* h = ScratchFor<Word>(Scratch::hidden, count * h_size);
    LoadAcross<F>(s.pixels, f.x, first, count, x);
    for (int t = 0; t < count; ++t) FillUp<F>(h + t * h_size, s.hidden);
    EachProduct(w1, x, count, [&](int t, const float* product, int row, int rows) {
      const T* bias = f.b1 + row;
      typename F::Kept* kept = f.hidden_out + (static_cast<int64_t>(first + t) * s.hidden + row) * kTile;
      StoreAcross<F>(h + t * h_size + row / F::kDepth * kTile, rows, [&](int r, int i) {
        const Vec::F value = Vec::Add(Vec::Load(product + r * kTile + i), Vec::Set1(ToFloat(bias[r])));
        F::Keep(kept + r * kTile + i, value);
        return Gelu<F::kGeluTerms>(value);
      });
    });
    EachProduct(w2, h, count,
                [&](int t, const float* product, int row, int rows) { f.y.Store(product, row, rows, first + t); });
  });
}

// gelu(product + bias) as lines of the panel that enters the second product. both: the pair of tiles has its second.
template <class F>
void StoreHidden(const Product<F>& product, const float* bias, bool both, typename F::Word* line) {
  const auto value = [bias](const float* of, int r, int column) {
    return Gelu<F::kGeluTerms>(Vec::Add(Vec::Load(of + r * kTile + column % kTile), Vec::Load(bias + column)));
  };
  for (int r = 0; r < F::kRows; ++r, line += kTile) {
    if constexpr (F::kDepth == 2) {
      F::StoreLine(line, value(product.first, r, 0), both ? value(product.second, r, kTile) : Vec::Zero());
    } else {
      for (int c = 0; c < kTile; c += Vec::kLanes) {
        Vec::Store(line + c, F::Enter(value(product.first, r, c)));
        if (both) Vec::Store(line + Product<F>::kSize + c, F::Enter(value(product.second, r, kTile + c)));
      }
    }
  }
}

template <class T, class F>
Step<F> HiddenStep(const WeightTiles<F>& weights, const T* bias, int64_t x_size, int64_t h_size) {
  return {weights.pairs(), [=, &weights](const Operands<F>& operands, int pair, int first, int count, int) {
            constexpr int kLines = 2 / F::kDepth;  // that a pair makes
            const int present = weights.present(pair);
            alignas(64) float own[2 * kTile] = {};
            for (int i = 0; i < present; ++i) own[i] = ToFloat(bias[2 * kTile * pair + i]);
            for (int i = first; i < first + count; ++i) {
              StoreHidden(weights.Times(operands.x + i * x_size, pair), own, present > kTile,
                          operands.h + i * h_size + kLines * pair * Product<F>::kSize);
            }
          }};
}

template <class T, class F>
void Infer(const Sizes& s, const ForwardTensors<T, F>& f) {
  const auto w1 = TilesOf<F, T>(Scratch::panels1, f.w1, s.hidden, s.channels);
  const auto w2 = TilesOf<F, T>(Scratch::panels2, f.w2, s.channels, s.hidden);
  const int64_t x_size = PixelPanels<F>::SizeOf(s.channels), h_size = PixelPanels<F>::SizeOf(s.hidden);
  TakeSteps<F>(
      PixelPanels<F>::CountOf(s.pixels), x_size, h_size, w1.bytes() + w2.bytes(),
      {HiddenStep(w1, f.b1, x_size, h_size), LastStep(w2, &Operands<F>::h, h_size, f.y)},
      [&](int first, int count, typename F::Word* to) { PixelPanels<F>::Load(s.pixels, f.x, first, count, to); });
}

template <class F>
constexpr Type kHiddenType = F::kExact ? Type::f32 : Type::bf16;

template <class F>
bool HaveShapes(const Sizes& s, const Tensor& w1, const Tensor& b1, const Tensor& w2, const Tensor& b2) {
  return w1.size() > 0 && HoldsWeights<F>(w1, s.hidden, s.channels) && b1.HasShape({s.hidden}) &&
         HoldsWeights<F>(w2, s.channels, s.hidden) && b2.HasShape({s.channels});
}

// The tensors that make a branch of an MLP: keep (N), centre, scale and shift (C), float32.
struct Branch {
  const float *keep = nullptr, *centre = nullptr, *scale = nullptr, *shift = nullptr;
};

// From tensor `first` on; gives the code of an error.
int TakeBranch(const Arguments& in, int first, const Sizes& s, Branch* out) {
  for (int i = 0; i < 4; ++i) {
    if (in[first + i].type != Type::f32) return NEONEXT_BAD_TYPE;
    if (!in[first + i].HasShape({i ? s.channels : s.pixels.images})) return NEONEXT_BAD_SHAPE;
  }
  *out = {in[first].As<float>(), in[first + 1].As<float>(), in[first + 2].As<float>(), in[first + 3].As<float>()};
  return NEONEXT_OK;
}

// Tensors: x, w1, b1, w2, b2; of a branch trunk and those of Branch; y; in training the hidden values.
template <class F>
int Forward(const Arguments& in, bool branch, bool training) {
  const Tensor x = in[0], w1 = in[1], b1 = in[2], w2 = in[3], b2 = in[4];
  const int at = branch ? 10 : 5;
  const Tensor y = in[at], trunk = branch ? in[5] : y;
  if (!(training ? in.AreFloatsLike(x, 5) : in.AreFloatsLike(x, 5, {1, 3})) || y.type != x.type || trunk.type != x.type)
    return NEONEXT_BAD_TYPE;
  if (x.ndim < 2 || b1.ndim != 1) return NEONEXT_BAD_SHAPE;
  const Pixels pixels = training ? PixelsOf(x) : PixelPanels<F>::PixelsOf(x);
  const Sizes s{pixels, static_cast<int>(x.shape[1]), static_cast<int>(b1.shape[0])};
  if (!HaveShapes<F>(s, w1, b1, w2, b2) || !trunk.SameShape(x) || !y.SameShape(x)) return NEONEXT_BAD_SHAPE;
  Branch of;
  if (const int code = branch ? TakeBranch(in, 6, s, &of) : NEONEXT_OK) return code;
  typename F::Kept* hidden = nullptr;
  if (training) {
    if (in[at + 1].type != kHiddenType<F>) return NEONEXT_BAD_TYPE;
    if (!in[at + 1].HasShape({s.pixels.tiles(), s.hidden, kTile})) return NEONEXT_BAD_SHAPE;
    hidden = in[at + 1].As<typename F::Kept>();
  }
  return WithType(x.type, [&](auto type) {
    using T = decltype(type);
    const Rows<T> rows{s.pixels, s.channels, y.As<T>(), b2.As<T>(), of.keep, branch ? trunk.As<T>() : nullptr};
    const Planes<T> planes{x.As<T>(), s.channels, of.centre, of.scale, of.shift};
    const ForwardTensors<T, F> tensors{planes, w1, w2, b1.As<T>(), rows, hidden};
    hidden ? Train<T, F>(s, tensors) : Infer<T, F>(s, tensors);
  });
}

// Tensors: x, hidden values, dy, w1, w2; those of Branch, if it is one; dx, dw1, db1, dw2, db2.
template <class F>
int Backward(const Arguments& in, bool branch) {
  const Tensor x = in[0], hidden = in[1], dy = in[2], w1 = in[3], w2 = in[4];
  const int at = branch ? 9 : 5;
  const Tensor dx = in[at], dw1 = in[at + 1], db1 = in[at + 2], dw2 = in[at + 3], db2 = in[at + 4];
  if (hidden.type != kHiddenType<F> || !x.IsFloat()) return NEONEXT_BAD_TYPE;
  for (const Tensor& each : {dy, w1, w2, dx, dw1, db1, dw2, db2}) {
    if (each.type != x.type) return NEONEXT_BAD_TYPE;
  }
  if (x.ndim < 2 || w1.ndim != 2) return NEONEXT_BAD_SHAPE;
  const Sizes s{PixelsOf(x), static_cast<int>(x.shape[1]), static_cast<int>(w1.shape[0])};
  if (!HaveShapes<F>(s, w1, db1, w2, db2) || !dy.SameShape(x) || !dx.SameShape(x) || !dw1.SameShape(w1) ||
      !dw2.SameShape(w2) || !hidden.HasShape({s.pixels.tiles(), s.hidden, kTile})) {
    return NEONEXT_BAD_SHAPE;
  }
  Branch of;
  if (const int code = branch ? TakeBranch(in, 5, s, &of) : NEONEXT_OK) return code;
  return WithType(x.type, [&](auto type) {
    using T = decltype(type);
    const BackwardTensors<T, F> arguments{{x.As<T>(), s.channels, of.centre, of.scale, of.shift},
                                          hidden.As<typename F::Kept>(),
                                          {dy.As<T>(), s.channels, nullptr, nullptr, nullptr, of.keep},
                                          w1.As<T>(),
                                          w2.As<T>(),
                                          dx.As<T>(),
                                          dw1.As<T>(),
                                          db1.As<T>(),
                                          dw2.As<T>(),
                                          db2.As<T>()};
    BackwardPass<T, F>(s, arguments).Run();
  });
}

}  // namespace
}  // namespace neonext

using namespace neonext;

extern "C" {

int mlp_forward(NEONEXT_PARAMETERS) {
  if (nparam != 6 && nparam != 11) return NEONEXT_BAD_COUNT;
  return Forward<Exact>(NEONEXT_TENSORS, nparam == 11, false);
}

int mlp_forward_bfloat16(NEONEXT_PARAMETERS) {
  if (nparam != 6 && nparam != 11) return NEONEXT_BAD_COUNT;
  return Forward<Bfloat16>(NEONEXT_TENSORS, nparam == 11, false);
}

int mlp_forward_training(NEONEXT_PARAMETERS) {
  if (nparam != 7 && nparam != 12) return NEONEXT_BAD_COUNT;
  return Forward<Exact>(NEONEXT_TENSORS, nparam == 12, true);
}

int mlp_forward_training_bfloat16(NEONEXT_PARAMETERS) {
  if (nparam != 7 && nparam != 12) return NEONEXT_BAD_COUNT;
  return Forward<Bfloat16>(NEONEXT_TENSORS, nparam == 12, true);
}

int mlp_backward(NEONEXT_PARAMETERS) {
  if (nparam != 10 && nparam != 14) return NEONEXT_BAD_COUNT;
  return Backward<Exact>(NEONEXT_TENSORS, nparam == 14);
}

int mlp_backward_bfloat16(NEONEXT_PARAMETERS) {
  if (nparam != 10 && nparam != 14) return NEONEXT_BAD_COUNT;
  return Backward<Bfloat16>(NEONEXT_TENSORS, nparam == 14);
}

}  // extern "C"
