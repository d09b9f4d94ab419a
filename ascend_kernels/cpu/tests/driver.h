// What the test driver's checks and its benchmark share: tensors, and NeoCells with random contents.
#pragma once

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "golden.h"
#include "half.h"
#include "neonext_cpu.h"

namespace neonext {

// These return the number of failures, which they print.
int Check();
int CheckProducts();
int CheckThreads();
int CheckInterruptions();
void CheckMlp();
void CheckGated();
void CheckGelu();
void CheckUpdate();
void CheckBatchNorm();

inline int g_failures = 0;

inline void ExpectCode(const char* what, int got, int want) {
  if (got != want) {
    std::printf("FAILED %s: returned %d instead of %d\n", what, got, want);
    ++g_failures;
  }
}

inline uint32_t g_seed = 1;

// Uniform in -1..1 with 11 significant bits, so that float16 holds it exactly.
inline double RandomValue() {
  g_seed = g_seed * 1664525u + 1013904223u;
  return static_cast<int>(g_seed >> 21) / 1024.0 - 1.0;
}

// A tensor in one allocation of exactly its size, so that a sanitizer sees the first byte beyond it.
struct Buffer {
  std::vector<int64_t> shape;
  std::string dtype;
  std::vector<char> bytes;

  Buffer(std::vector<int64_t> s, bool half) : shape(std::move(s)), dtype(half ? "float16" : "float32") {
    bytes.assign(size() * (half ? 2 : 4), 0x7f);
  }
  Buffer(std::vector<int64_t> s, bool half, const std::vector<double>& values) : Buffer(std::move(s), half) {
    for (size_t i = 0; i < values.size(); ++i) {
      if (half) {
        FromFloat(static_cast<float>(values[i]), reinterpret_cast<Half*>(bytes.data()) + i);
      } else {
        FromFloat(static_cast<float>(values[i]), reinterpret_cast<float*>(bytes.data()) + i);
      }
    }
  }
  static Buffer OfBfloat16(std::vector<int64_t> shape) {  // as wide as float16
    Buffer buffer(std::move(shape), true);
    buffer.dtype = "bfloat16";
    return buffer;
  }
  explicit Buffer(const std::vector<int32_t>& values) : shape{static_cast<int64_t>(values.size())}, dtype("int32") {
    bytes.assign(values.size() * 4, 0);
    std::memcpy(bytes.data(), values.data(), bytes.size());
  }
  size_t size() const {
    size_t result = 1;
    for (int64_t s : shape) result *= s;
    return result;
  }
  double at(size_t i) const {
    return dtype == "float16" ? ToFloat(reinterpret_cast<const Half*>(bytes.data())[i])
                              : reinterpret_cast<const float*>(bytes.data())[i];
  }
};

inline double g_worst = 0, g_worst_ratio = 0;

// Largest error in units of the last place of the tensor's largest value. With `plain`, what products in bfloat16 come
// to without any other rounding, an error that is twice as large as theirs is allowed beside.
inline void Compare(const std::string& what, const Buffer& got, const std::vector<double>& want, double limit,
                    const std::vector<double>* plain = nullptr) {
  double largest = 1e-30, error = 0, plain_error = 0;
  for (double v : want) largest = std::max(largest, std::fabs(v));
  for (size_t i = 0; i < want.size(); ++i) {
    const double e = std::fabs(got.at(i) - want[i]);
    error = std::isnan(e) ? INFINITY : std::max(error, e);
    if (plain) plain_error = std::max(plain_error, std::fabs((*plain)[i] - want[i]));
  }
  const double unit = got.dtype == "float16" ? std::max(largest / 2048, 0x1p-24) : largest / 16777216;
  if (plain) {
    g_worst_ratio = std::max(g_worst_ratio, (error - limit * unit) / std::max(plain_error, 1e-30));
    error -= 2 * plain_error;
  }
  const double relative = error / unit;
  if (!plain) g_worst = std::max(g_worst, relative);
  if (!(relative <= limit)) {
    std::printf("FAILED %s: error of %.3g units in the last place of %.3g, limit %.3g\n", what.c_str(), relative,
                largest, limit);
    ++g_failures;
  }
}

using Function = int (*)(int, void**, int*, int64_t**, const char**, void*, void*);

inline int CallOperator(Function function, const std::vector<Buffer*>& tensors) {
  std::vector<void*> params;
  std::vector<int> ndims;
  std::vector<int64_t*> shapes;
  std::vector<const char*> dtypes;
  for (Buffer* t : tensors) {
    params.push_back(t->bytes.data());
    ndims.push_back(static_cast<int>(t->shape.size()));
    shapes.push_back(t->shape.data());
    dtypes.push_back(t->dtype.c_str());
  }
  return function(static_cast<int>(params.size()), params.data(), ndims.data(), shapes.data(), dtypes.data(), nullptr,
                  nullptr);
}

// A cell with random contents, and the buffers of both operators.
struct Cell {
  GoldenCell golden;
  bool half_x, half_weights, has_bias;
  std::vector<Buffer> blocks, dblocks;
  std::vector<Buffer> own;  // x, dy, layout, bias, y, dx, dbias

  Cell(std::vector<Group> groups, int n, int h, int w, bool has_bias, bool half_x = false, bool half_weights = false,
       int copies = 1)
      : half_x(half_x), half_weights(half_weights), has_bias(has_bias) {
    golden.groups = groups;
    golden.n = n, golden.h = h, golden.w = w, golden.c = 0, golden.copies = copies;
    golden.h_out = h * groups[0].h_out / groups[0].h_in;
    golden.w_out = w * groups[0].w_out / groups[0].w_in;
    std::vector<int32_t> layout{has_bias};
    const auto random = [](size_t count) {
      std::vector<double> v(count);
      for (double& value : v) value = RandomValue();
      return v;
    };
    blocks.reserve(2 * groups.size());
    for (const Group& g : groups) {
      golden.c += g.channels * copies;
      layout.insert(layout.end(), {g.channels, g.h_out, g.h_in, g.w_in, g.w_out, g.shift_left, g.shift_right});
      golden.left.push_back(random(size_t(g.channels) * g.h_out * g.h_in));
      golden.right.push_back(random(size_t(g.channels) * g.w_in * g.w_out));
      const std::vector<int64_t> left{g.channels, g.h_out, g.h_in}, right{g.channels, g.w_in, g.w_out};
      blocks.emplace_back(left, half_weights, golden.left.back());
      blocks.emplace_back(right, half_weights, golden.right.back());
      dblocks.emplace_back(left, half_weights);
      dblocks.emplace_back(right, half_weights);
    }
    golden.x = random(size_t(n) * golden.c * h * w);
    golden.dy = random(size_t(n) * golden.c * golden.h_out * golden.w_out);
    const int channels = golden.c / copies;
    golden.bias = has_bias ? random(channels) : std::vector<double>(channels, 0.0);
    const std::vector<int64_t> in{n, golden.c, h, w}, out{n, golden.c, golden.h_out, golden.w_out}, c{channels};
    own = {Buffer(in, half_x, golden.x),
           Buffer(out, half_x, golden.dy),
           Buffer(layout),
           Buffer(c, half_weights, golden.bias),
           Buffer(out, half_x),
           Buffer(in, half_x),
           Buffer(c, half_weights)};
  }

  int Forward() {
    std::vector<Buffer*> list{&own[0], &own[2]};
    for (Buffer& b : blocks) list.push_back(&b);
    if (has_bias) list.push_back(&own[3]);
    list.push_back(&own[4]);
    return CallOperator(neocell_forward, list);
  }
  int Backward() {
    std::vector<Buffer*> list{&own[0], &own[1], &own[2]};
    for (Buffer& b : blocks) list.push_back(&b);
    list.push_back(&own[5]);
    for (Buffer& b : dblocks) list.push_back(&b);
    list.push_back(&own[6]);
    return CallOperator(neocell_backward, list);
  }
  std::vector<char> Outputs() const {
    std::vector<char> all = own[4].bytes;
    for (int i : {5, 6}) all.insert(all.end(), own[i].bytes.begin(), own[i].bytes.end());
    for (const Buffer& b : dblocks) all.insert(all.end(), b.bytes.begin(), b.bytes.end());
    return all;
  }
};

inline Group Square(int k, int channels, int shift) { return {channels, k, k, k, k, shift, shift}; }

// Adds a random tensor to `own`, and gives its values.
inline std::vector<double> AddRandom(std::vector<Buffer>& own, const std::vector<int64_t>& shape, double scale,
                                     bool half) {
  Buffer buffer(shape, half);
  std::vector<double> values(buffer.size());
  for (double& value : values) value = scale * RandomValue();
  buffer = Buffer(shape, half, values);
  for (size_t i = 0; i < values.size(); ++i) values[i] = buffer.at(i);
  own.push_back(buffer);
  return values;
}

inline std::vector<Buffer*> Pick(std::vector<Buffer>& own, std::initializer_list<int> numbers) {
  std::vector<Buffer*> result;
  for (int i : numbers) result.push_back(&own[i]);
  return result;
}

// The outputs by 1, 2 and 3 threads: the same bits.
template <class Run>
void CheckThreadCounts(const std::string& name, const std::vector<Buffer>& own, std::initializer_list<int> outputs,
                       Run run) {
  std::vector<char> first;
  for (int threads = 1; threads <= 3; ++threads) {
    neonext_set_threads(threads);
    run();
    std::vector<char> all;
    for (int i : outputs) all.insert(all.end(), own[i].bytes.begin(), own[i].bytes.end());
    if (threads == 1) first = all;
    ExpectCode((name + ": bits that are the same for all threads").c_str(), first == all, 1);
  }
}

inline Buffer Packed(Buffer w, bool brief) {
  const int rows = static_cast<int>(w.shape[0]), depth = static_cast<int>(w.shape[1]);
  Buffer packed({brief ? neonext_packed_size_bfloat16(rows, depth) : neonext_packed_size(rows, depth)}, false);
  packed.dtype = "int32";
  ExpectCode("pack", CallOperator(brief ? neonext_pack_bfloat16 : neonext_pack, {&w, &packed}), 0);
  return packed;
}

// What a call gave it gives again, to the bit, with packed weights; and it refuses those of another size.
inline void CheckPacked(const std::string& name, Function function, bool brief, std::vector<Buffer> own,
                        std::initializer_list<int> tensors, std::initializer_list<int> weights,
                        std::initializer_list<int> outputs) {
  const std::vector<Buffer> plain = own;
  for (int i : outputs) std::fill(own[i].bytes.begin(), own[i].bytes.end(), '\x7f');
  for (int i : weights) own[i] = Packed(own[i], brief);
  ExpectCode(name.c_str(), CallOperator(function, Pick(own, tensors)), 0);
  for (int i : outputs) ExpectCode((name + ": packed").c_str(), own[i].bytes == plain[i].bytes, 1);
  for (int i : weights) {
    ++own[i].shape[0];
    ExpectCode((name + ": packed size").c_str(), CallOperator(function, Pick(own, tensors)), NEONEXT_BAD_SHAPE);
    --own[i].shape[0];
  }
}

// The limit is the error of sums of so many float32 products, or of one rounding to float16.
inline double LimitOf(bool half, int longest) { return half ? 2 : 24 * std::sqrt(std::max(1.0, longest / 600.0)); }

}  // namespace neonext
