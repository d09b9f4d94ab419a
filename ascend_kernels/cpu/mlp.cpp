// The MLP of a block, y = W2 gelu(W1 x + b1) + b2 at every pixel, forward and backward.
//
// The hidden values never make a trip of their own through memory: a tile of them leaves the first product, meets GELU,
// and enters the second while it is in the cache. Training keeps them, before GELU, in tiles, for the backward pass.
#include <cstring>

#include "gelu.h"
#include "neonext_cpu.h"
#include "parallel.h"
#include "product.h"
#include "tensor.h"

namespace neonext {
namespace {

// Tiles that one task takes through a panel of weights together, as far as their hidden values stay near.
constexpr int64_t kNear = 3 << 20;   // bytes
constexpr int kChunk = 16;           // tiles, at least, that are summed into the weights' gradients at a time

template <class T>
struct Forward {
  const T *x, *w1, *b1, *w2, *b2;
  T* y;
  float* hidden_out;  // (tiles, hidden, 32), or null
};

struct Sizes {
  Pixels pixels;
  int channels, hidden;
};

// Tasks of equal size for all threads, each of at most `most` of `count` tiles.
int group_size(int count, int64_t tile_bytes) {
  const int most = static_cast<int>(std::max<int64_t>(1, kNear / tile_bytes));
  return std::max(1, std::min(most, parts(count, thread_count())));
}

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

template <class T>
struct Backward {
  const T* x;
  const float* hidden;
  const T *dy, *w1, *w2;
  T *dx, *dw1, *db1, *dw2, *db2;
};

// to (columns x rows) = from (rows x columns), transposed, a row of blocks for each task.
template <class T>
void transpose(const T* from, int rows, int columns, float* to) {
  parallel_for(parts(rows, kBlock), [&](int task) {
    const int row = task * kBlock, count = std::min(kBlock, rows - row);
    for (int column = 0; column < columns; column += kBlock) {
      transpose_block(from + static_cast<int64_t>(row) * columns + column, columns, count,
                      std::min(kBlock, columns - column), to + static_cast<int64_t>(column) * rows + row, rows);
    }
  });
}

// The backward pass over some tiles at a time: first what belongs to each pixel, then the sums over pixels.
template <class T>
class BackwardPass {
 public:
  BackwardPass(const Sizes& sizes, const Backward<T>& arguments) : s(sizes), a(arguments) {
    const int tiles = s.pixels.tiles(), most = std::max<int>(kChunk, kNear / (s.hidden * kTile * 2 * sizeof(float)));
    chunk = parts(tiles, parts(tiles, most));
    blocks = parts(s.channels, kTile);
    const int64_t weights = static_cast<int64_t>(s.channels) * s.hidden;
    w1t = scratch(6, weights);
    w2t = scratch(7, weights);
    const int64_t pixels = static_cast<int64_t>(chunk) * kTile;
    dh = scratch(8, pixels * s.hidden);
    g = scratch(9, pixels * s.hidden);
    xt = scratch(10, pixels * kTile * blocks);
    dyt = scratch(11, pixels * kTile * blocks);
    const int64_t sums = static_cast<int64_t>(parts(s.hidden, kRows)) * blocks * kRows * kTile;
    sum1 = scratch(12, sums);
    sum2 = scratch(13, sums);
    bias1 = scratch(14, s.hidden);
  }

  void run() {
    transpose(a.w1, s.hidden, s.channels, w1t);
    transpose(a.w2, s.channels, s.hidden, w2t);
    for (int first = 0; first < s.pixels.tiles(); first += chunk) {
      const int count = std::min(chunk, s.pixels.tiles() - first);
      const int group = group_size(count, static_cast<int64_t>(s.hidden) * kTile * 2 * sizeof(float));
      parallel_for(parts(count, group), [&](int task) {
        per_pixel(first, task * group, std::min(group, count - task * group), count);
      });
      parallel_for(parts(s.hidden, kRows), [&](int panel) { add_to_sums(panel, count, first == 0); });
    }
    parallel_for(parts(s.hidden, kRows), [&](int panel) { write_rows(panel); });
    parallel_for(blocks, [&](int block) { write_columns(block); });
    parallel_for(s.channels, [&](int c) { sum_of_dy(c); });
  }

 private:
  // dH = (W2^T dY) slope(H), G = gelu(H) and dX = W1^T dH of tiles at.. of the chunk, and X and dY transposed.
  void per_pixel(int first, int at, int count, int chunk_count) {
    const int c_size = s.channels * kTile, h_size = s.hidden * kTile;
    float* dy = scratch(3, static_cast<int64_t>(count) * c_size);
    float* x = scratch(4, c_size);
    float* panel = scratch(2, panel_size(std::max(s.channels, s.hidden)));
    alignas(64) float out[kRows * kTile];
    for (int t = 0; t < count; ++t) {
      load_tile(s.pixels, a.x, s.channels, first + at + t, x);
      load_tile(s.pixels, a.dy, s.channels, first + at + t, dy + t * c_size);
      turn(x, at + t, chunk_count, xt);
      turn(dy + t * c_size, at + t, chunk_count, dyt);
    }
    for (int row = 0; row < s.hidden; row += kRows) {
      const int rows = std::min(kRows, s.hidden - row);
      pack_panel(w2t + static_cast<int64_t>(row) * s.channels, s.channels, rows, s.channels, panel);
      for (int t = 0; t < count; ++t) {
        multiply(panel, dy + t * c_size, s.channels, out);
        const float* h = a.hidden + static_cast<int64_t>(first + at + t) * h_size + row * kTile;
        const int64_t to = static_cast<int64_t>(at + t) * h_size + row * kTile;
        for (int i = 0; i < rows * kTile; i += Vec::lanes) {
          const GeluAndSlope value = gelu_and_slope(Vec::load<1>(&h, i, Vec::mask<1>(Vec::lanes, 1)));
          Vec::store(g + to + i, value.gelu);
          Vec::store(dh + to + i, Vec::mul(value.slope, Vec::load(out + i)));
        }
      }
    }
    for (int row = 0; row < s.channels; row += kRows) {
      const int rows = std::min(kRows, s.channels - row);
      pack_panel(w1t + static_cast<int64_t>(row) * s.hidden, s.hidden, rows, s.hidden, panel);
      for (int t = 0; t < count; ++t) {
        multiply(panel, dh + static_cast<int64_t>(at + t) * h_size, s.hidden, out);
        store_rows<T>(s.pixels, out, row, rows, nullptr, s.channels, first + at + t, a.dx);
      }
    }
  }

  // A tile (C x 32) becomes 32 rows in each of the blocks of 32 channels that `to` is made of.
  void turn(const float* tile, int at, int chunk_count, float* to) {
    for (int block = 0; block < blocks; ++block) {
      const int channels = std::min(kTile, s.channels - block * kTile);
      float* rows = to + (static_cast<int64_t>(block) * chunk_count + at) * kTile * kTile;
      if (channels < kTile) std::fill_n(rows, kTile * kTile, 0.0f);
      const float* from = tile + block * kTile * kTile;
      for (int c = 0; c < channels; c += kBlock) {
        for (int pixel = 0; pixel < kTile; pixel += kBlock) {
          transpose_block(from + c * kTile + pixel, kTile, std::min(kBlock, channels - c), kBlock,
                          rows + pixel * kTile + c, kTile);
        }
      }
    }
  }

  // dW1 += dH X^T, dW2^T += G dY^T, db1 += dH 1, for the hidden rows of one panel.
  void add_to_sums(int panel, int count, bool first) {
    const int depth = count * kTile, row = panel * kRows, rows = std::min(kRows, s.hidden - row);
    float* left = scratch(5, panel_size(depth));
    alignas(64) float out[kRows * kTile];
    for (int second = 0; second < 2; ++second) {
      const float* values = second ? g : dh;
      const float* right = second ? dyt : xt;
      float* sums = (second ? sum2 : sum1) + sum_at(panel, 0);
      for (int t = 0; t < count; ++t) {
        const float* tile = values + (static_cast<int64_t>(t) * s.hidden + row) * kTile;
        pack_panel(tile, kTile, rows, kTile, left + t * panel_size(kTile));
      }
      for (int block = 0; block < blocks; ++block) {
        multiply(left, right + static_cast<int64_t>(block) * depth * kTile, depth, out);
        float* to = sums + block * kRows * kTile;
        for (int i = 0; i < kRows * kTile; i += Vec::lanes) {
          Vec::store(to + i, first ? Vec::load(out + i) : Vec::add(Vec::load(to + i), Vec::load(out + i)));
        }
      }
      if (second) continue;
      for (int r = 0; r < rows; ++r) {
        Vec::F sum = Vec::zero();
        for (int k = 0; k < depth; k += kLine) {
          for (int i = 0; i < kLine; i += Vec::lanes) sum = Vec::add(sum, Vec::load(left + k * kRows + r * kLine + i));
        }
        bias1[row + r] = Vec::sum(sum) + (first ? 0.0f : bias1[row + r]);
      }
    }
  }

  // The rows of dW1 and db1 that belong to a panel.
  void write_rows(int panel) {
    const int row = panel * kRows, rows = std::min(kRows, s.hidden - row);
    for (int r = 0; r < rows; ++r) {
      from_float(bias1[row + r], a.db1 + row + r);
      T* to = a.dw1 + static_cast<int64_t>(row + r) * s.channels;
      for (int c = 0; c < s.channels; ++c) from_float(sum1[sum_at(panel, c / kTile) + r * kTile + c % kTile], to + c);
    }
  }

  // The rows of dW2 that belong to a block of channels, some panels at a time: what is read stays in the first cache.
  void write_columns(int block) {
    constexpr int kPanels = 16;
    const int first = block * kTile, channels = std::min(kTile, s.channels - first);
    for (int row = 0; row < s.hidden; row += kPanels * kRows) {
      for (int c = 0; c < channels; ++c) {
        T* to = a.dw2 + static_cast<int64_t>(first + c) * s.hidden;
        for (int at = row; at < std::min(s.hidden, row + kPanels * kRows); at += kRows) {
          const float* sums = sum2 + sum_at(at / kRows, block) + c;
          for (int r = 0; r < std::min(kRows, s.hidden - at); ++r) from_float(sums[r * kTile], to + at + r);
        }
      }
    }
  }

  int64_t sum_at(int panel, int block) const { return (static_cast<int64_t>(panel) * blocks + block) * kRows * kTile; }

  void sum_of_dy(int c) {
    double total = 0;
    for (int64_t image = 0; image < s.pixels.images; ++image) {
      const T* plane = a.dy + (image * s.channels + c) * s.pixels.length;
      Vec::F sum = Vec::zero();
      each_vector(static_cast<int>(s.pixels.length),
                  [&](int i, Vec::Mask m) { sum = Vec::add(sum, Vec::load<1>(&plane, i, m)); });
      total += Vec::sum(sum);
    }
    from_float(static_cast<float>(total), a.db2 + c);
  }

  const Sizes& s;
  const Backward<T>& a;
  int chunk, blocks;
  float *w1t, *w2t, *dh, *g, *xt, *dyt, *sum1, *sum2, *bias1;
};

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
