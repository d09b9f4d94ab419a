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

template <class T>
struct ForwardTensors {
  const T *x, *w1, *b1, *w2, *b2, *added;
  T* y;
  float* hidden_out;  // (tiles, hidden, 16), or null
};

template <class T>
void RunForward(const Sizes& s, const ForwardTensors<T>& f) {
  const Panels w1(Scratch::panels1, f.w1, s.hidden, s.channels), w2(Scratch::panels2, f.w2, s.channels, s.hidden);
  const Rows<T> y{s.pixels, s.channels, f.y, f.b2, f.added};
  const int64_t c_size = static_cast<int64_t>(s.channels) * kTile, h_size = static_cast<int64_t>(s.hidden) * kTile;
  ParallelTiles(s.pixels.tiles(), h_size * sizeof(float), [&](int first, int count) {
    float* x = ScratchFor(Scratch::x, count * c_size);
    float* h = ScratchFor(Scratch::hidden, count * h_size);
    LoadTiles(s.pixels, f.x, s.channels, first, count, x);
    EachProduct(w1, x, count, [&](int t, const float* product, int row, int rows) {
      float* kept = f.hidden_out ? f.hidden_out + (first + t) * h_size + row * kTile : nullptr;
      float* to = h + t * h_size + row * kTile;
      for (int r = 0; r < rows; ++r) {
        const Vec::F bias = Vec::Set1(ToFloat(f.b1[row + r]));
        for (int i = r * kTile; i < (r + 1) * kTile; i += Vec::kLanes) {
          const Vec::F value = Vec::Add(Vec::Load(product + i), bias);
          if (kept) Vec::Store<1>(&kept, i, Vec::MakeMask<1>(Vec::kLanes, 1), value);
          Vec::Store(to + i, Gelu(value));
        }
      }
    });
    EachProduct(w2, h, count,
                [&](int t, const float* product, int row, int rows) { y.Store(product, row, rows, first + t); });
  });
}

bool HasShapes(const Sizes& s, const Tensor& w1, const Tensor& b1, const Tensor& w2, const Tensor& b2) {
  return w1.size() > 0 && w1.HasShape({s.hidden, s.channels}) && b1.HasShape({s.hidden}) &&
         w2.HasShape({s.channels, s.hidden}) && b2.HasShape({s.channels});
}

// count: 6 tensors, or with `added` 7.
int Forward(const Arguments& in, int count, bool training) {
  const Tensor x = in[0], w1 = in[1], b1 = in[2], w2 = in[3], b2 = in[4];
  const Tensor added = in[5], y = in[training ? 5 : count - 1];
  if (!in.are_floats_like(x, training ? 6 : count)) return NEONEXT_BAD_TYPE;
  if (x.ndim < 2 || w1.ndim != 2) return NEONEXT_BAD_SHAPE;
  const Sizes s{PixelsOf(x), static_cast<int>(x.shape[1]), static_cast<int>(w1.shape[0])};
  if (!HasShapes(s, w1, b1, w2, b2) || !added.SameShape(x) || !y.SameShape(x)) return NEONEXT_BAD_SHAPE;
  float* hidden = nullptr;
  if (training) {
    if (in[6].type != Type::f32) return NEONEXT_BAD_TYPE;
    if (!in[6].HasShape({s.pixels.tiles(), s.hidden, kTile})) return NEONEXT_BAD_SHAPE;
    hidden = in[6].As<float>();
  }
  return WithType(x.type, [&](auto type) {
    using T = decltype(type);
    RunForward<T>(s, {x.As<T>(), w1.As<T>(), b1.As<T>(), w2.As<T>(), b2.As<T>(),
                      count == 7 && !training ? added.As<T>() : nullptr, y.As<T>(), hidden});
  });
}

}  // namespace
}  // namespace neonext

extern "C" {

int mlp_forward(int nparam, void** params, int* ndims, int64_t** shapes, const char** dtypes, void*, void*) {
  if (nparam != 6 && nparam != 7) return NEONEXT_BAD_COUNT;
  return neonext::Forward({params, ndims, shapes, dtypes}, nparam, false);
}

int mlp_forward_training(int nparam, void** params, int* ndims, int64_t** shapes, const char** dtypes, void*, void*) {
  if (nparam != 7) return NEONEXT_BAD_COUNT;
  return neonext::Forward({params, ndims, shapes, dtypes}, nparam, true);
}

int mlp_backward(int nparam, void** params, int* ndims, int64_t** shapes, const char** dtypes, void*, void*) {
  using namespace neonext;
  if (nparam != 10) return NEONEXT_BAD_COUNT;
  const Arguments in{params, ndims, shapes, dtypes};
  const Tensor x = in[0], hidden = in[1], dy = in[2], w1 = in[3], w2 = in[4];
  for (int i = 0; i < 10; ++i) {
    if (i == 1 ? in[i].type != Type::f32 : !in[i].is_float() || in[i].type != x.type) return NEONEXT_BAD_TYPE;
  }
  if (x.ndim < 2 || w1.ndim != 2) return NEONEXT_BAD_SHAPE;
  const Sizes s{PixelsOf(x), static_cast<int>(x.shape[1]), static_cast<int>(w1.shape[0])};
  if (!HasShapes(s, w1, in[7], w2, in[9]) || !dy.SameShape(x) || !in[5].SameShape(x) || !in[6].SameShape(w1) ||
      !in[8].SameShape(w2) || !hidden.HasShape({s.pixels.tiles(), s.hidden, kTile})) {
    return NEONEXT_BAD_SHAPE;
  }
  return WithType(x.type, [&](auto type) {
    using T = decltype(type);
    const BackwardTensors<T> arguments{x.As<T>(),     hidden.As<float>(), dy.As<T>(),    w1.As<T>(),    w2.As<T>(),
                                       in[5].As<T>(), in[6].As<T>(),      in[7].As<T>(), in[8].As<T>(), in[9].As<T>()};
    BackwardPass<T>(s, arguments).Run();
  });
}

}  // extern "C"
