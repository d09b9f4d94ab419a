// The MLP of a block, y = W2 gelu(W1 x + b1) + b2 at every pixel, forward and backward.
//
// The hidden values never make a trip of their own through memory: a tile of them leaves the first product, meets GELU,
// and enters the second while it is in the cache. Training keeps them, before GELU, in tiles, for the backward pass.
#include <cstring>

#include "gelu.h"
#include "mlp.h"
#include "mlp_backward.h"
#include "neonext_cpu.h"
#include "parallel.h"
#include "product.h"
#include "tensor.h"

namespace neonext {
namespace {

template <class T>
struct Forward {
  const T *x, *w1, *b1, *w2, *b2;
  T* y;
  float* hidden_out;  // (tiles, hidden, 32), or null
};

template <class T>
void forward(const Sizes& s, const Forward<T>& f) {
  const int64_t tile_bytes = static_cast<int64_t>(s.hidden) * kTile * sizeof(float);
  const int tiles = s.pixels.tiles(), group = group_size(tiles, tile_bytes);
  parallel_for(parts(tiles, group), [&](int task) {
    const int first = task * group, count = std::min(group, tiles - first);
    const int x_size = s.channels * kTile, h_size = s.hidden * kTile;
    float* x = scratch(0, static_cast<int64_t>(group) * x_size);
    float* h = scratch(1, static_cast<int64_t>(group) * h_size);
    float* panel = scratch(2, panel_size(std::max(s.channels, s.hidden)));
    alignas(64) float out[kRows * kTile];
    for (int t = 0; t < count; ++t) load_tile(s.pixels, f.x, s.channels, first + t, x + t * x_size);
    for (int row = 0; row < s.hidden; row += kRows) {
      const int rows = std::min(kRows, s.hidden - row);
      pack_panel(f.w1 + static_cast<int64_t>(row) * s.channels, s.channels, rows, s.channels, panel);
      for (int t = 0; t < count; ++t) {
        multiply(panel, x + t * x_size, s.channels, out);
        float* kept = f.hidden_out ? f.hidden_out + (static_cast<int64_t>(first + t) * s.hidden + row) * kTile : nullptr;
        float* to = h + t * h_size + row * kTile;
        for (int r = 0; r < rows; ++r) {
          const Vec::F bias = Vec::set1(to_float(f.b1[row + r]));
          for (int i = r * kTile; i < (r + 1) * kTile; i += Vec::lanes) {
            const Vec::F value = Vec::add(Vec::load(out + i), bias);
            if (kept) Vec::store<1>(&kept, i, Vec::mask<1>(Vec::lanes, 1), value);
            Vec::store(to + i, gelu(value));
          }
        }
      }
    }
    for (int row = 0; row < s.channels; row += kRows) {
      const int rows = std::min(kRows, s.channels - row);
      pack_panel(f.w2 + static_cast<int64_t>(row) * s.hidden, s.hidden, rows, s.hidden, panel);
      for (int t = 0; t < count; ++t) {
        multiply(panel, h + t * h_size, s.hidden, out);
        store_rows(s.pixels, out, row, rows, f.b2, s.channels, first + t, f.y);
      }
    }
  });
}

bool has_shape(const Tensor& t, std::initializer_list<int64_t> shape) {
  return t.ndim == static_cast<int>(shape.size()) && std::equal(shape.begin(), shape.end(), t.shape);
}

// x (N, C, ...), w1 (hidden, C).
Sizes sizes_of(const Tensor& x, const Tensor& w1) {
  const int64_t pixels = x.size() / std::max<int64_t>(1, x.shape[0] * x.shape[1]);
  return {{x.shape[0], pixels}, static_cast<int>(x.shape[1]), static_cast<int>(w1.shape[0])};
}

template <class T>
T* data(const Tensor& t) {
  return static_cast<T*>(t.data);
}

int forward(const Arguments& in, bool training) {
  const Tensor x = in[0], w1 = in[1], b1 = in[2], w2 = in[3], b2 = in[4], y = in[5];
  for (int i = 0; i < 6; ++i) {
    if (!in[i].is_float() || in[i].type != x.type) return NEONEXT_BAD_TYPE;
  }
  if (x.ndim < 2 || w1.ndim != 2) return NEONEXT_BAD_SHAPE;
  const Sizes s = sizes_of(x, w1);
  if (!has_shape(w1, {s.hidden, s.channels}) || !has_shape(b1, {s.hidden}) || !has_shape(w2, {s.channels, s.hidden}) ||
      !has_shape(b2, {s.channels}) || !y.same_shape(x)) {
    return NEONEXT_BAD_SHAPE;
  }
  float* hidden = nullptr;
  if (training) {
    if (in[6].type != Type::f32) return NEONEXT_BAD_TYPE;
    if (!has_shape(in[6], {s.pixels.tiles(), s.hidden, kTile})) return NEONEXT_BAD_SHAPE;
    hidden = data<float>(in[6]);
  }
  const auto run = [&](auto type) {
    using T = decltype(type);
    forward<T>(s, {data<T>(x), data<T>(w1), data<T>(b1), data<T>(w2), data<T>(b2), data<T>(y), hidden});
  };
  x.type == Type::f32 ? run(float{}) : run(Half{});
  return NEONEXT_OK;
}

}  // namespace
}  // namespace neonext

extern "C" {

int mlp_forward(int nparam, void** params, int* ndims, int64_t** shapes, const char** dtypes, void*, void*) {
  if (nparam != 6) return NEONEXT_BAD_COUNT;
  return neonext::forward({params, ndims, shapes, dtypes}, false);
}

int mlp_forward_training(int nparam, void** params, int* ndims, int64_t** shapes, const char** dtypes, void*, void*) {
  if (nparam != 7) return NEONEXT_BAD_COUNT;
  return neonext::forward({params, ndims, shapes, dtypes}, true);
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
  const Sizes s = sizes_of(x, w1);
  if (!has_shape(w1, {s.hidden, s.channels}) || !has_shape(w2, {s.channels, s.hidden}) || !dy.same_shape(x) ||
      !has_shape(hidden, {s.pixels.tiles(), s.hidden, kTile}) || !in[5].same_shape(x) || !in[6].same_shape(w1) ||
      !has_shape(in[7], {s.hidden}) || !in[8].same_shape(w2) || !has_shape(in[9], {s.channels})) {
    return NEONEXT_BAD_SHAPE;
  }
  const auto run = [&](auto type) {
    using T = decltype(type);
    const Backward<T> arguments{data<T>(x),     data<float>(hidden), data<T>(dy),    data<T>(w1),    data<T>(w2),
                                data<T>(in[5]), data<T>(in[6]),      data<T>(in[7]), data<T>(in[8]), data<T>(in[9])};
    BackwardPass<T>(s, arguments).run();
  };
  x.type == Type::f32 ? run(float{}) : run(Half{});
  return NEONEXT_OK;
}

}  // extern "C"
