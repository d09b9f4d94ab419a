// Checks of the MLP, of the GELU in it, and of the pointwise layer.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "driver.h"
#include "gelu.h"
#include "pixels.h"

namespace neonext {
namespace {

// Adds a random tensor to `own`, and gives its values.
std::vector<double> add_random(std::vector<Buffer>& own, const std::vector<int64_t>& shape, double scale, bool half) {
  Buffer buffer(shape, half);
  std::vector<double> values(buffer.size());
  for (double& value : values) value = scale * random_value();
  buffer = Buffer(shape, half, values);
  for (size_t i = 0; i < values.size(); ++i) values[i] = buffer.at(i);
  own.push_back(buffer);
  return values;
}

std::vector<Buffer*> pick(std::vector<Buffer>& own, std::initializer_list<int> numbers) {
  std::vector<Buffer*> result;
  for (int i : numbers) result.push_back(&own[i]);
  return result;
}

// An MLP with random contents, and the buffers of both operators.
struct Mlp {
  GoldenMlp golden;
  std::vector<Buffer> own;  // x, w1, b1, w2, b2, y, hidden, dy, dx, dw1, db1, dw2, db2

  Mlp(int n, int c, int hidden, int h, int w, bool half) {
    golden.n = n, golden.c = c, golden.hidden = hidden, golden.length = h * w;
    const int64_t tiles = parts(int64_t(n) * h * w, kTile);
    const std::vector<int64_t> image{n, c, h, w}, w1{hidden, c}, b1{hidden}, w2{c, hidden}, b2{c};
    const auto random = [&](const std::vector<int64_t>& shape, double scale) {
      return add_random(own, shape, scale, half);
    };
    golden.x = random(image, 2), golden.w1 = random(w1, 3 / std::sqrt(c)), golden.b1 = random(b1, 1);
    golden.w2 = random(w2, 3 / std::sqrt(hidden)), golden.b2 = random(b2, 1);
    own.emplace_back(image, half);
    own.emplace_back(std::vector<int64_t>{tiles, hidden, kTile}, false);
    golden.dy = random(image, 2);
    for (const auto& shape : {image, w1, b1, w2, b2}) own.emplace_back(shape, half);
  }

  std::vector<Buffer*> list(std::initializer_list<int> numbers) { return pick(own, numbers); }
  int forward(bool keep) {
    return keep ? call(mlp_forward_training, list({0, 1, 2, 3, 4, 5, 6})) : call(mlp_forward, list({0, 1, 2, 3, 4, 5}));
  }
  int backward() { return call(mlp_backward, list({0, 6, 7, 1, 3, 8, 9, 10, 11, 12})); }
};

// y plus another tensor: dy, which has its shape.
void check_added(const std::string& name, Mlp& mlp, double limit) {
  expect_code(name.c_str(), call(mlp_forward, mlp.list({0, 1, 2, 3, 4, 7, 5})), 0);
  std::vector<double> want = mlp.golden.y;
  for (size_t i = 0; i < want.size(); ++i) want[i] += mlp.golden.dy[i];
  compare(name + " with another tensor", mlp.own[5], want, limit);
}

void check_values() {
  const int shapes[][5] = {{1, 1, 1, 1, 1},     {0, 8, 16, 2, 2},  {3, 7, 28, 1, 1},  {2, 24, 40, 5, 7},
                           {1, 64, 70, 14, 14}, {5, 33, 70, 7, 7}, {2, 16, 64, 8, 8}, {1, 40, 160, 24, 24}};
  int cases = 0;
  g_worst = 0;
  for (const auto& s : shapes) {
    for (bool half : {false, true}) {
      Mlp mlp(s[0], s[1], s[2], s[3], s[4], half);
      mlp.golden.run();
      const GoldenMlp& g = mlp.golden;
      char name[64];
      std::snprintf(name, sizeof(name), "mlp N %d C %d hidden %d %d x %d half %d", s[0], s[1], s[2], s[3], s[4], half);
      std::vector<char> first;
      for (int threads = 1; threads <= 3; ++threads) {
        neonext_set_threads(threads);
        expect_code(name, mlp.forward(false), 0);
        const std::vector<char> alone = mlp.own[5].bytes;
        expect_code(name, mlp.forward(true), 0);
        expect_code("y without the hidden values", alone == mlp.own[5].bytes, 1);
        expect_code(name, mlp.backward(), 0);
        std::vector<char> all;
        for (int i : {5, 8, 9, 10, 11, 12}) all.insert(all.end(), mlp.own[i].bytes.begin(), mlp.own[i].bytes.end());
        if (threads == 1) first = all;
        expect_code("bits of the mlp that are the same for all threads", first == all, 1);
      }
      const double limit = half ? 2 : 24;  // the error of sums of a few hundred float32 products
      compare(std::string(name) + " y", mlp.own[5], g.y, limit);
      compare(std::string(name) + " dx", mlp.own[8], g.dx, limit);
      compare(std::string(name) + " dw1", mlp.own[9], g.dw1, limit);
      compare(std::string(name) + " db1", mlp.own[10], g.db1, limit);
      compare(std::string(name) + " dw2", mlp.own[11], g.dw2, limit);
      compare(std::string(name) + " db2", mlp.own[12], g.db2, limit);
      check_added(name, mlp, limit);
      ++cases;
    }
  }
  std::printf("%d mlps, largest error %.3g units in the last place\n", cases, g_worst);
}

void check_pointwise() {
  const int shapes[][5] = {{1, 1, 1, 1, 1},   {0, 8, 16, 2, 2},  {3, 7, 28, 1, 1},
                           {2, 48, 24, 5, 7}, {5, 33, 66, 7, 7}, {1, 40, 15, 24, 24}};
  int cases = 0;
  g_worst = 0;
  for (const auto& s : shapes) {
    for (bool half : {false, true}) {
      const std::vector<int64_t> image{s[0], s[1], s[3], s[4]}, result{s[0], s[2], s[3], s[4]}, w{s[2], s[1]}, b{s[2]};
      GoldenPointwise g;
      g.n = s[0], g.c = s[1], g.out = s[2], g.length = s[3] * s[4];
      std::vector<Buffer> own;  // x, w, b, dy, y, dx, dw, db
      g.x = add_random(own, image, 2, half), g.w = add_random(own, w, 3 / std::sqrt(s[1]), half);
      g.b = add_random(own, b, 1, half), g.dy = add_random(own, result, 2, half);
      for (const auto& shape : {result, image, w, b}) own.emplace_back(shape, half);
      g.run();
      char name[64];
      std::snprintf(name, sizeof(name), "pointwise N %d C %d to %d %d x %d half %d", s[0], s[1], s[2], s[3], s[4],
                    half);
      std::vector<char> first;
      for (int threads = 1; threads <= 3; ++threads) {
        neonext_set_threads(threads);
        expect_code(name, call(pointwise_forward, pick(own, {0, 1, 2, 4})), 0);
        expect_code(name, call(pointwise_backward, pick(own, {0, 3, 1, 5, 6, 7})), 0);
        std::vector<char> all;
        for (int i = 4; i < 8; ++i) all.insert(all.end(), own[i].bytes.begin(), own[i].bytes.end());
        if (threads == 1) first = all;
        expect_code("bits of the pointwise layer that are the same for all threads", first == all, 1);
      }
      const double limit = half ? 2 : 24;
      compare(std::string(name) + " y", own[4], g.y, limit);
      compare(std::string(name) + " dx", own[5], g.dx, limit);
      compare(std::string(name) + " dw", own[6], g.dw, limit);
      compare(std::string(name) + " db", own[7], g.db, limit);
      ++cases;
      own[1].shape = {s[2], s[1] + 1};
      expect_code("pointwise: channels of w", call(pointwise_forward, pick(own, {0, 1, 2, 4})), NEONEXT_BAD_SHAPE);
      own[1].dtype = "bfloat16";
      expect_code("pointwise: type of w", call(pointwise_backward, pick(own, {0, 3, 1, 5, 6, 7})), NEONEXT_BAD_TYPE);
    }
  }
  expect_code("pointwise: number of tensors", call(pointwise_forward, {}), NEONEXT_BAD_COUNT);
  std::printf("%d pointwise layers, largest error %.3g units in the last place\n", cases, g_worst);
}

void check_refusals() {
  const Mlp good(2, 8, 16, 4, 4, false);
  const auto refuse = [&](const char* what, int code, void (*spoil)(Mlp&)) {
    Mlp mlp = good;
    spoil(mlp);
    expect_code(what, mlp.forward(true), code);
    expect_code(what, mlp.backward(), code);
  };
  refuse("mlp: type of x", NEONEXT_BAD_TYPE, [](Mlp& m) { m.own[0].dtype = "bfloat16"; });
  refuse("mlp: type of w1", NEONEXT_BAD_TYPE, [](Mlp& m) { m.own[1].dtype = "float16"; });
  refuse("mlp: type of the hidden values", NEONEXT_BAD_TYPE, [](Mlp& m) { m.own[6].dtype = "float16"; });
  refuse("mlp: channels of w1", NEONEXT_BAD_SHAPE, [](Mlp& m) { m.own[1].shape[1] = 7; });
  refuse("mlp: shape of w2", NEONEXT_BAD_SHAPE, [](Mlp& m) { std::swap(m.own[3].shape[0], m.own[3].shape[1]); });
  refuse("mlp: tiles", NEONEXT_BAD_SHAPE, [](Mlp& m) { m.own[6].shape[0] = 3; });
  Mlp mlp = good;
  expect_code("mlp: number of tensors", call(mlp_forward, mlp.list({0, 1, 2, 3, 4})), NEONEXT_BAD_COUNT);
  expect_code("mlp: number of tensors", call(mlp_forward_training, mlp.list({0, 1, 2, 3, 4, 5})), NEONEXT_BAD_COUNT);
  expect_code("mlp: number of tensors", call(mlp_backward, mlp.list({0, 6, 7, 1, 3})), NEONEXT_BAD_COUNT);
}

// GELU's error in units of the last place: of the value for y, of 1 for the slope, which crosses zero.
void check_gelu() {
  Aligned<float> x, y, slope;
  for (int i = -140000; i <= 100000; ++i) x.push_back(static_cast<float>(i / 10007.0));
  for (float special : {0.0f, -0.0f, 1e-30f, -1e-30f, 1e-42f, -12.99f, -13.5f, 50.0f, -50.0f, 3e38f, -3e38f}) {
    x.push_back(special);
  }
  const size_t infinite = x.size();
  for (float special : {INFINITY, -INFINITY, NAN}) x.push_back(special);
  x.resize((x.size() + Vec::lanes - 1) / Vec::lanes * Vec::lanes);
  y.resize(x.size()), slope.resize(x.size());
  alignas(64) float alone[Vec::lanes];
  for (size_t i = 0; i < x.size(); i += Vec::lanes) {
    const GeluAndSlope both = gelu_and_slope(Vec::load(&x[i]));
    Vec::store(&y[i], both.gelu);
    Vec::store(alone, gelu(Vec::load(&x[i])));
    for (int lane = 0; lane < Vec::lanes; ++lane) {
      const float other = y[i + lane];
      expect_code("gelu alone", alone[lane] == other || (std::isnan(alone[lane]) && std::isnan(other)), 1);
      Aligned<float> same(Vec::lanes, x[i + lane]);  // whatever its neighbours are
      Vec::store(&same[0], gelu(Vec::load(&same[0])));
      expect_code("gelu beside others", same[0] == other || (std::isnan(same[0]) && std::isnan(other)), 1);
    }
    Vec::store(&slope[i], both.slope);
  }
  double worst_y = 0, worst_slope = 0;
  const double unit = 1.0 / 16777216, smallest = 1.2e-38;
  for (size_t i = 0; i < infinite; ++i) {
    const double want = golden_gelu(x[i]);
    if (std::fabs(want) < smallest) {  // may be flushed
      expect_code("gelu below the smallest normal number", std::fabs(y[i]) < smallest, 1);
      continue;
    }
    worst_y = std::max(worst_y, std::fabs(y[i] - want) / std::fabs(want) / unit);
    worst_slope = std::max(worst_slope, std::fabs(slope[i] - golden_gelu_slope(x[i])) / unit);
  }
  std::printf("gelu: largest error %.3g units in the last place, slope %.3g\n", worst_y, worst_slope);
  expect_code("gelu's error above 8 units", !(worst_y <= 8), 0);
  expect_code("the slope's error above 4 units", !(worst_slope <= 4), 0);
  const float* special = &y[infinite];
  expect_code("gelu of infinity", special[0] == INFINITY && std::fabs(special[1]) < 1.2e-38f && std::isnan(special[2]),
              1);
}

}  // namespace

void check_mlp() {
  check_values();
  check_refusals();
  check_pointwise();
  check_gelu();
}

}  // namespace neonext
