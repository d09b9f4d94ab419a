// The backward pass of the MLP of a block.
#pragma once

#include <algorithm>
#include <cstdint>

#include "gelu.h"
#include "mlp.h"
#include "parallel.h"
#include "product.h"

namespace neonext {

constexpr int kChunk = 16;  // tiles, at least, that are summed into the weights' gradients at a time

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

}  // namespace neonext
