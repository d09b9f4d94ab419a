// The pixels of all images as the columns of one matrix, N images of L pixels each, cut into tiles.
//
// A tile of a tensor (N, C, L) is C rows of 16 floats, of which the first `width` are pixels, or zero beyond the last.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "gelu.h"
#include "product.h"
#include "tensor.h"

namespace neonext {

struct Pixels {
  int64_t images, length;
  int width = kTile;

  int64_t count() const { return images * length; }
  int tiles() const { return Parts(count(), width); }

  // Calls work(tile, column in it, pixel in the plane, number of pixels, image) for every stretch of `count` tiles from
  // `first` on that lies in one tile and one image; tiles are counted from `first`.
  template <class Work>
  void EachStretch(int first, int count, Work work) const {
    const int64_t begin = static_cast<int64_t>(first) * width;
    int64_t left = std::min(static_cast<int64_t>(count) * width, this->count() - begin);
    if (left <= 0) return;
    int64_t image = begin / length, at = begin % length;
    for (int tile = 0, column = 0; left > 0;) {
      const int64_t size = std::min({length - at, left, static_cast<int64_t>(width - column)});
      work(tile, column, at, static_cast<int>(size), image);
      left -= size;
      if ((at += size) == length) at = 0, ++image;
      if ((column += size) == width) column = 0, ++tile;
    }
  }
};

// Of x (N, C, ...).
inline Pixels PixelsOf(const Tensor& x) {
  return {x.shape[0], x.size() / std::max<int64_t>(1, x.shape[0] * x.shape[1])};
}

// A tensor (N, channels, L) as it is read: (value - centre) scale + shift of its channel, or times `factor` of its
// image, or times gelu() of a tensor like it; null for none. With `rest`, a tensor of the last half of its channels,
// the first has the others.
template <class T>
struct Planes {
  const T* data;
  int channels;
  const float *centre = nullptr, *scale = nullptr, *shift = nullptr, *factor = nullptr;
  const T *gate = nullptr, *rest = nullptr;
};

// Some tiles of x as floats, a tile at every tile_size of out. Channel by channel: memory is walked through in
// stretches that are as long as the tiles together. The processor does not foresee where the next ones are.
template <class T>
inline void LoadRows(const Pixels& pixels, const Planes<T>& x, int first, int count, int64_t tile_size, float* out) {
  constexpr int kChannelsAhead = 4;
  struct Part {
    const T* from;
    float* to;
    Vec::Mask mask;
    float factor;
  };
  if ((first + count) * static_cast<int64_t>(pixels.width) > pixels.count()) {
    std::fill_n(out + (count - 1) * tile_size, x.channels * kTile, 0.0f);
  }
  thread_local std::vector<Part> parts;
  parts.clear();
  pixels.EachStretch(first, count, [&](int tile, int column, int64_t at, int size, int64_t image) {
    const T* from = x.data + image * x.channels * pixels.length + at;
    float* to = out + tile * tile_size + column;
    const float factor = x.factor ? x.factor[image] : 1.0f;
    EachVector(size, [&](int i, Vec::Mask m) { parts.push_back({from + i, to + i, m, factor}); });
  });
  const auto of = [](const float* values, int c) { return Vec::Set1(values ? values[c] : 0.0f); };
  for (int c = 0; c < x.channels; ++c) {
    const int64_t from = c * pixels.length, to = static_cast<int64_t>(c) * kTile;
    const Vec::F centre = of(x.centre, c), scale = of(x.scale, c), shift = of(x.shift, c);
    for (const Part& part : parts) {
      __builtin_prefetch(part.from + from + kChannelsAhead * pixels.length);
      Vec::F value = Vec::Load<1>(&part.from, from, part.mask);
      if (x.centre) value = Vec::Fma(Vec::Sub(value, centre), scale, shift);
      if (x.factor) value = Vec::Mul(value, Vec::Set1(part.factor));
      Vec::Store<1>(&part.to, to, part.mask, value);
    }
  }
}

// tiles = tiles times gelu() of those of gate.
template <class T>
[[gnu::noinline]] void MultiplyByGelu(const Pixels& pixels, const Planes<T>& gate, int first, int count, float* tiles) {
  const int64_t size = static_cast<int64_t>(gate.channels) * kTile;
  float* own = ScratchFor(Scratch::gate, size);
  for (int t = 0; t < count; ++t, tiles += size) {
    LoadRows(pixels, gate, first + t, 1, size, own);
    for (int64_t i = 0; i < size; i += Vec::kLanes) {
      Vec::Store(tiles + i, Vec::Mul(Vec::Load(tiles + i), Gelu<Exact::kGeluTerms>(Vec::Load(own + i))));
    }
  }
}

// Some tiles of x, one behind the other, as floats.
template <class T>
inline void LoadTiles(const Pixels& pixels, const Planes<T>& x, int first, int count, float* out) {
  const int64_t size = static_cast<int64_t>(x.channels) * kTile;
  if (x.rest) {
    const int half = x.channels / 2;
    LoadRows(pixels, Planes<T>{x.data, half}, first, count, size, out);
    LoadRows(pixels, Planes<T>{x.rest, half}, first, count, size, out + half * kTile);
    return;
  }
  LoadRows(pixels, x, first, count, size, out);
  if (x.gate) MultiplyByGelu(pixels, Planes<T>{x.gate, x.channels}, first, count, out);
}

// Calls take(tile, its floats) for some tiles of x.
template <class T, class Take>
inline void EachTile(const Pixels& pixels, const Planes<T>& x, int first, int count, Take take) {
  constexpr int kBytes = 128 << 10, kMost = 8;  // of tiles that are read together
  const int64_t size = static_cast<int64_t>(x.channels) * kTile;
  const int together = static_cast<int>(std::clamp<int64_t>(kBytes / (size * sizeof(float)), 1, kMost));
  float* tiles = ScratchFor(Scratch::tile, together * size);
  for (int t = 0; t < count; t += together) {
    const int present = std::min(together, count - t);
    LoadTiles(pixels, x, first + t, present, tiles);
    for (int i = 0; i < present; ++i) take(t + i, tiles + i * size);
  }
}

// Words of a tile of so many rows, as a right operand.
template <class F>
int64_t AcrossSize(int rows) {
  return static_cast<int64_t>(WordsOf<F>(rows)) * kTile;
}

// Some tiles of x as right operands, one behind the other. Calls take(tile, its floats) for each.
template <class F, class T, class Take>
inline void LoadAcross(const Pixels& pixels, const Planes<T>& x, int first, int count, typename F::Word* out,
                       Take take) {
  const int64_t size = AcrossSize<F>(x.channels);
  if constexpr (F::kExact) {
    LoadTiles(pixels, x, first, count, out);
    for (int t = 0; t < count; ++t) take(t, out + t * size);
  } else {
    EachTile(pixels, x, first, count, [&](int t, const float* tile) {
      StoreAcross<F>(out + t * size, x.channels, [&](int r, int i) { return Vec::Load(tile + r * kTile + i); });
      FillUp<F>(out + t * size, x.channels);
      take(t, tile);
    });
  }
}

template <class F, class T>
inline void LoadAcross(const Pixels& pixels, const Planes<T>& x, int first, int count, typename F::Word* out) {
  LoadAcross<F>(pixels, x, first, count, out, [](int, const float*) {});
}

// What is written to some rows of a tensor (N, channels, L): a product, plus a value a row, times a factor an image,
// plus another tensor of this shape; null for none. With `rest` the last half of the rows is a tensor of its own.
template <class T>
struct Rows {
  const Pixels& pixels;
  int channels;
  T* y;
  const T* bias = nullptr;
  const float* factor = nullptr;
  const T* added = nullptr;
  T* rest = nullptr;

  void Store(const float* values, int first, int rows, int tile) const {
    if (!rest) return StoreWhole(values, first, rows, tile);
    const int half = channels / 2, before = std::clamp(half - first, 0, rows);
    if (before > 0) Rows{pixels, half, y, bias}.StoreWhole(values, first, before, tile);
    if (before == rows) return;
    const Rows last{pixels, half, rest, bias ? bias + half : nullptr};
    last.StoreWhole(values + before * kTile, first + before - half, rows - before, tile);
  }

 private:
  static constexpr int kRowsAhead = 2 * kTile;  // what the next product has, or later ones

  void StoreWhole(const float* values, int first, int rows, int tile) const {
    pixels.EachStretch(tile, 1, [&](int, int column, int64_t at, int size, int64_t image) {
      const int64_t start = (image * channels + first) * pixels.length + at;
      T* to = y + start;
      const T* other = added ? added + start : nullptr;
      const Vec::F scale = Vec::Set1(factor ? factor[image] : 1.0f);
      EachVector(size, [&](int i, Vec::Mask m) {
        const float* from = values + column;
        for (int r = 0; r < rows; ++r) {
          const int64_t next = (r + kRowsAhead) * pixels.length + i;
          __builtin_prefetch(to + next, 1);
          if (other) __builtin_prefetch(other + next);
          Vec::F value = Vec::Load<1>(&from, r * kTile + i, m);
          if (bias) value = Vec::Add(value, Vec::Set1(ToFloat(bias[first + r])));
          if (factor) value = Vec::Mul(value, scale);
          if (other) value = Vec::Add(value, Vec::Load<1>(&other, r * pixels.length + i, m));
          Vec::Store<1>(&to, r * pixels.length + i, m, value);
        }
      });
    });
  }
};

// Gradients of z and u in z gelu(u) for products that are those of the whole; all tensors are (N, channels, L).
template <class T>
struct GateRows {
  const Pixels& pixels;
  int channels;
  const T *u, *z;
  T *du, *dz;

  void Store(const float* values, int first, int rows, int tile) const {
    pixels.EachStretch(tile, 1, [&](int, int column, int64_t at, int size, int64_t image) {
      const int64_t start = (image * channels + first) * pixels.length + at;
      const T *gate = u + start, *value = z + start;
      T *to_gate = du + start, *to_value = dz + start;
      EachVector(size, [&](int i, Vec::Mask m) {
        const float* from = values + column;
        for (int r = 0; r < rows; ++r) {
          const int64_t place = r * pixels.length + i;
          const Vec::F product = Vec::Load<1>(&from, r * kTile + i, m);
          const GeluAndSlope of = GeluWithSlope<Exact::kGeluTerms>(Vec::Load<1>(&gate, place, m));
          Vec::Store<1>(&to_value, place, m, Vec::Mul(product, of.gelu));
          Vec::Store<1>(&to_gate, place, m, Vec::Mul(Vec::Mul(product, Vec::Load<1>(&value, place, m)), of.slope));
        }
      });
    });
  }
};

// Calls work(first, count) for groups of the tiles 0..count - 1, shared out evenly over the threads; tile_bytes: what a
// tile occupies while it is worked on; weight_bytes: the panels that every task goes through. Few tiles stay in the
// second cache; but where the panels are larger than it, it pays to go through them less often. together: tiles that
// are multiplied together, in whose multiples they are shared out.
template <int together, class Work>
inline void ParallelTiles(int tiles, int64_t tile_bytes, int64_t weight_bytes, Work work) {
  constexpr int64_t kNear = 512 << 10;
  const int most = static_cast<int>(std::max<int64_t>(together, std::max(kNear, weight_bytes / 4) / tile_bytes));
  const int groups = Parts(tiles, together), threads = ThreadCount();
  const int tasks = std::min(groups, Parts(Parts(tiles, most), threads) * threads);
  ParallelFor(tasks, [&](int i) {
    const int first = together * static_cast<int>(int64_t(groups) * i / tasks);
    const int last = std::min(tiles, together * static_cast<int>(int64_t(groups) * (i + 1) / tasks));
    work(first, last - first);
  });
}

// Calls work(panel, tile, product of both, its first row, its number of rows) for all panels and `count` tiles.
template <class F, class Work>
inline void EachProduct(const Panels<F>& left, const typename F::Word* tiles, int count, Work work) {
  [[maybe_unused]] const typename F::Session session;
  const int64_t size = static_cast<int64_t>(left.words) * kTile;
  for (int panel = 0; panel < left.count(); ++panel) {
    for (int t = 0; t < count; t += 2) {
      const bool both = t + 1 < count;
      const Product<F> product = left.Times(panel, tiles + t * size, both ? tiles + (t + 1) * size : nullptr);
      work(t, product.first, panel * F::kRows, left.rows_in(panel));
      if (both) work(t + 1, product.second, panel * F::kRows, left.rows_in(panel));
    }
  }
}

}  // namespace neonext
