// Checks of BatchNorm in training.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "driver.h"

namespace neonext {
namespace {

// A layer with random contents, and what it gives by its definition in double precision.
struct Norm {
  int n, c, length;
  double eps = 0.001, kept = 0.9;
  std::vector<double> x, dy, gamma, beta, moving_mean, moving_variance, y, mean, scale, dx, dgamma, dbeta;
  std::vector<Buffer>
      own;  // numbers, x, gamma, beta, moving mean and variance, y, mean, scale, factor, dy, dx, dgamma, dbeta

  Norm(int n, int c, int h, int w, double offset, bool half) : n(n), c(c), length(h * w) {
    const std::vector<int64_t> image{n, c, h, w}, channels{c};
    const auto add = [&](const std::vector<int64_t>& shape, double scale, double plus, bool half) {
      std::vector<double> values(Buffer(shape, half).size());
      for (double& value : values) value = scale * RandomValue() + plus;
      own.emplace_back(shape, half, values);
      for (size_t i = 0; i < values.size(); ++i) values[i] = own.back().at(i);
      return values;
    };
    own.emplace_back(std::vector<int64_t>{2}, false, std::vector<double>{eps, kept});
    eps = own[0].at(0), kept = own[0].at(1);
    x = add(image, 1, offset, half), gamma = add(channels, 1, 0, false), beta = add(channels, 1, 0, false);
    moving_mean = add(channels, 1, 0, false), moving_variance = add(channels, 1, 2, false);
    for (const auto& shape : {image, channels, channels, channels}) own.emplace_back(shape, half && shape.size() == 4);
    dy = add(image, 2, 0, half);
    for (const auto& shape : {image, channels, channels}) own.emplace_back(shape, half && shape.size() == 4);
    Run();
  }

  void Run() {
    y = dx = x;
    mean = scale = dgamma = dbeta = std::vector<double>(c);
    const double count = double(n) * length;
    for (int k = 0; k < c; ++k) {
      const auto each = [&](auto work) {
        for (int i = 0; i < n; ++i)
          for (int p = 0; p < length; ++p) work((size_t(i) * c + k) * length + p);
      };
      double variance = 0;
      each([&](size_t at) { mean[k] += x[at] / count; });
      each([&](size_t at) { variance += (x[at] - mean[k]) * (x[at] - mean[k]) / count; });
      scale[k] = 1 / std::sqrt(variance + eps);
      each([&](size_t at) {
        const double normal = (x[at] - mean[k]) * scale[k];
        y[at] = normal * gamma[k] + beta[k];
        dbeta[k] += dy[at], dgamma[k] += dy[at] * normal;
      });
      each([&](size_t at) {
        const double normal = (x[at] - mean[k]) * scale[k];
        dx[at] = gamma[k] * scale[k] * (dy[at] - dbeta[k] / count - normal * dgamma[k] / count);
      });
      moving_mean[k] = kept * moving_mean[k] + (1 - kept) * mean[k];
      moving_variance[k] = kept * moving_variance[k] + (1 - kept) * variance * count / std::max(1.0, count - 1);
    }
  }

  int Forward() {
    return CallOperator(batch_norm_forward,
                        {&own[0], &own[1], &own[2], &own[3], &own[4], &own[5], &own[6], &own[7], &own[8], &own[9]});
  }
  int Statistics() {
    return CallOperator(batch_norm_statistics,
                        {&own[0], &own[1], &own[2], &own[3], &own[4], &own[5], &own[7], &own[8], &own[9]});
  }
  int Apply() { return CallOperator(batch_norm_apply, {&own[1], &own[7], &own[9], &own[3], &own[6]}); }
  int Backward() {
    return CallOperator(batch_norm_backward,
                        {&own[1], &own[10], &own[7], &own[8], &own[9], &own[11], &own[12], &own[13]});
  }
};

void CheckOne(const Norm& start, bool half, const std::string& name) {
  std::vector<Buffer> first;
  Norm norm = start;
  for (int threads = 1; threads <= 3; ++threads) {
    norm = start;
    neonext_set_threads(threads);
    ExpectCode(name.c_str(), norm.Forward(), 0);
    ExpectCode(name.c_str(), norm.Backward(), 0);
    if (threads == 1) first = norm.own;
    for (size_t i = 0; i < first.size(); ++i) {
      ExpectCode("batch norm: bits that are the same for all threads", first[i].bytes == norm.own[i].bytes, 1);
    }
  }
  Norm without_y = start;
  ExpectCode(name.c_str(), without_y.Statistics(), 0);
  for (int i : {4, 5, 7, 8, 9}) {
    ExpectCode("batch norm: statistics alone", without_y.own[i].bytes == norm.own[i].bytes, 1);
  }
  ExpectCode(name.c_str(), without_y.Apply(), 0);
  ExpectCode("batch norm: applied by themselves", without_y.own[6].bytes == norm.own[6].bytes, 1);
  // Results of a handful of float32 operations, or of one rounding to float16. What depends on (x - mean) scale loses
  // what the mean, rounded to float32, is larger than the differences.
  double largest = 1, largest_mean = 1e-30;
  for (int k = 0; k < norm.c; ++k) {
    largest = std::max(largest, std::fabs(norm.mean[k]) * norm.scale[k]);
    largest_mean = std::max(largest_mean, std::fabs(norm.mean[k]));
  }
  const double limit = half ? 2 : 16 + 8 * largest;
  Compare(name + " y", norm.own[6], norm.y, limit);
  // Values are up to 1 from their offset: a mean may be a small difference of these.
  Compare(name + " mean", norm.own[7], norm.mean, 4 * std::max(1.0, 1 / largest_mean));
  Compare(name + " scale", norm.own[8], norm.scale, 16 + 8 * largest);
  Compare(name + " moving mean", norm.own[4], norm.moving_mean, 4 * std::max(1.0, 1 / largest_mean));
  Compare(name + " moving variance", norm.own[5], norm.moving_variance, 16 + 8 * largest);
  double terms = 1e-30, results = 1e-30;  // dx may be a small difference of these
  for (size_t i = 0; i < norm.dx.size(); ++i) {
    const int channel = static_cast<int>(i / norm.length) % norm.c;
    terms = std::max(terms, std::fabs(norm.dy[i] * norm.gamma[channel] * norm.scale[channel]));
    results = std::max(results, std::fabs(norm.dx[i]));
  }
  Compare(name + " dx", norm.own[11], norm.dx, limit * terms / results);
  // Sums of terms of both signs: beside the largest sum counts what random ones would come to.
  const double count = double(norm.n) * norm.length;
  double largest_gamma = 1e-30, largest_beta = 1e-30, random_sum = 0;
  for (int k = 0; k < norm.c; ++k) {
    largest_gamma = std::max(largest_gamma, std::fabs(norm.dgamma[k]));
    largest_beta = std::max(largest_beta, std::fabs(norm.dbeta[k]));
  }
  for (double value : norm.dy) random_sum += value * value;
  random_sum = 2 * std::sqrt(random_sum / norm.c);  // x^ is seldom above 2
  const double of_sums = (16 + 8 * largest) * std::max(1.0, std::sqrt(count / 256));
  Compare(name + " dgamma", norm.own[12], norm.dgamma, of_sums * std::max(1.0, random_sum / largest_gamma));
  Compare(name + " dbeta", norm.own[13], norm.dbeta, of_sums * std::max(1.0, random_sum / largest_beta));
}

void CheckRefusals() {
  const auto refuse = [](const char* what, int code, void (*spoil)(Norm&)) {
    Norm norm(2, 8, 3, 3, 0, false);
    spoil(norm);
    ExpectCode(what, norm.Forward(), code);
    ExpectCode(what, norm.Backward(), code);
  };
  Norm norm(2, 8, 3, 3, 0, false);
  norm.own[9].shape = {7};
  ExpectCode("batch norm: channels", norm.Apply(), NEONEXT_BAD_SHAPE);
  norm.own[6].dtype = "float16";
  ExpectCode("batch norm: type of y", norm.Apply(), NEONEXT_BAD_TYPE);
  refuse("batch norm: type of x", NEONEXT_BAD_TYPE, [](Norm& n) { n.own[1].dtype = "int32"; });
  refuse("batch norm: channels", NEONEXT_BAD_SHAPE, [](Norm& n) { n.own[8].shape = {7}; });
  refuse("batch norm: type of gamma", NEONEXT_BAD_SHAPE, [](Norm& n) { n.own[8].dtype = "float16"; });
  refuse("batch norm: no pixels", NEONEXT_BAD_SHAPE, [](Norm& n) { n.own[1].shape[3] = 0; });
  ExpectCode("batch norm: number of tensors", CallOperator(batch_norm_forward, {}), NEONEXT_BAD_COUNT);
  ExpectCode("batch norm: number of tensors", CallOperator(batch_norm_statistics, {}), NEONEXT_BAD_COUNT);
  ExpectCode("batch norm: number of tensors", CallOperator(batch_norm_apply, {}), NEONEXT_BAD_COUNT);
  ExpectCode("batch norm: number of tensors", CallOperator(batch_norm_backward, {}), NEONEXT_BAD_COUNT);
}

}  // namespace

void CheckBatchNorm() {
  g_worst = 0;
  int cases = 0;
  const int shapes[][4] = {{2, 3, 1, 1},    {3, 70, 1, 1},   {1, 5, 7, 7},   {4, 130, 7, 7}, {2, 9, 12, 12},
                           {3, 33, 14, 14}, {2, 17, 17, 24}, {2, 4, 56, 56}, {5, 2, 97, 3},  {1, 1, 160, 170}};
  for (const auto& s : shapes) {
    for (double offset : {0.0, 100.0}) {
      for (bool half : {false, true}) {
        if (half && offset > 0) continue;  // float16 has no digits left
        char name[80];
        std::snprintf(name, sizeof(name), "batch norm %d x %d x %d x %d + %g half %d", s[0], s[1], s[2], s[3], offset,
                      half);
        CheckOne(Norm(s[0], s[1], s[2], s[3], offset, half), half, name);
        ++cases;
      }
    }
  }
  CheckRefusals();
  std::printf("%d batch norms, largest error %.3g units in the last place\n", cases, g_worst);
}

}  // namespace neonext
