// Checks of a pointwise layer whose result is in halves, and of one behind a gate.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "driver.h"

namespace neonext {
namespace {

struct Case {
  int n, c, out, h, w;
  bool half, brief;

  std::string Name(const char* what) const {
    char name[100];
    std::snprintf(name, sizeof(name), "%s N %d C %d to %d %d x %d half %d bfloat16 %d", what, n, c, out, h, w, half,
                  brief);
    return name;
  }
  double Limit() const { return LimitOf(half, std::max(out, n * h * w)); }
};

// Weights and biases of a layer with random contents, added to `own`.
GoldenPointwise RandomLayer(const Case& a, std::vector<Buffer>& own) {
  GoldenPointwise g;
  g.n = a.n, g.c = a.c, g.out = a.out, g.length = a.h * a.w;
  g.w = AddRandom(own, {a.out, a.c}, 3 / std::sqrt(a.c), a.half), g.b = AddRandom(own, {a.out}, 1, a.half);
  return g;
}

// The channels of a half of a tensor (n, 2 channels, length).
std::vector<double> HalfOf(const std::vector<double>& whole, int n, size_t half, bool last) {
  std::vector<double> result;
  for (int i = 0; i < n; ++i) {
    const auto begin = whole.begin() + (2 * i + last) * half;
    result.insert(result.end(), begin, begin + half);
  }
  return result;
}

void CheckHalves(const Case& a) {
  std::vector<Buffer> own;  // w, b, x, dy of both, y of both, dx, dw, db
  GoldenPointwise g = RandomLayer(a, own);
  const std::vector<int64_t> image{a.n, a.c, a.h, a.w}, half{a.n, a.out / 2, a.h, a.w};
  g.x = AddRandom(own, image, 2, a.half);
  const std::vector<double> dys[] = {AddRandom(own, half, 2, a.half), AddRandom(own, half, 2, a.half)};
  const size_t size = size_t(a.out) / 2 * g.length;
  for (int i = 0; i < a.n; ++i) {
    for (const auto& dy : dys) g.dy.insert(g.dy.end(), dy.begin() + i * size, dy.begin() + (i + 1) * size);
  }
  for (const auto& shape : {half, half, image, {a.out, a.c}, {a.out}}) own.emplace_back(shape, a.half);
  GoldenPointwise rounded = g;
  g.Run(), rounded.Run(true);
  const std::string name = a.Name("halves");
  const auto forward = a.brief ? halves_forward_bfloat16 : halves_forward;
  const auto backward = a.brief ? halves_backward_bfloat16 : halves_backward;
  CheckThreadCounts(name, own, {5, 6, 7, 8, 9}, [&] {
    ExpectCode(name.c_str(), CallOperator(forward, Pick(own, {2, 0, 1, 5, 6})), 0);
    ExpectCode(name.c_str(), CallOperator(backward, Pick(own, {2, 3, 4, 0, 7, 8, 9})), 0);
  });
  CheckPacked(name, forward, a.brief, own, {2, 0, 1, 5, 6}, {0}, {5, 6});
  const auto compare = [&](const char* part, int number, const std::vector<double>& want,
                           const std::vector<double>& plain) {
    Compare(name + part, own[number], want, a.Limit(), a.brief ? &plain : nullptr);
  };
  for (int last : {0, 1}) compare(" y", 5 + last, HalfOf(g.y, a.n, size, last), HalfOf(rounded.y, a.n, size, last));
  compare(" dx", 7, g.dx, rounded.dx), compare(" dw", 8, g.dw, rounded.dw), compare(" db", 9, g.db, rounded.db);
  own[6].shape = image;
  ExpectCode("halves: the other half", CallOperator(forward, Pick(own, {2, 0, 1, 5, 6})),
             image == half ? 0 : NEONEXT_BAD_SHAPE);
  own[4].dtype = "int32";
  ExpectCode("halves: type", CallOperator(backward, Pick(own, {2, 3, 4, 0, 7, 8, 9})), NEONEXT_BAD_TYPE);
}

void CheckBehindGate(const Case& a) {
  std::vector<Buffer> own;  // w, b, u, z, dy, trunk, keep, y, du, dz, dw, db
  GoldenPointwise g = RandomLayer(a, own);
  const std::vector<int64_t> image{a.n, a.c, a.h, a.w}, result{a.n, a.out, a.h, a.w};
  const auto u = AddRandom(own, image, 3, a.half), z = AddRandom(own, image, 2, a.half);
  g.dy = AddRandom(own, result, 2, a.half);
  const auto trunk = AddRandom(own, result, 2, a.half), keep = AddRandom(own, {a.n}, 2, false);
  for (const auto& shape : {result, image, image, {a.out, a.c}, {a.out}}) own.emplace_back(shape, a.half);
  for (size_t i = 0; i < u.size(); ++i) g.x.push_back(GoldenGelu(u[i]) * z[i]);
  for (size_t i = 0; i < g.dy.size(); ++i) g.dy[i] *= keep[i / g.length / a.out];
  GoldenPointwise rounded = g;
  g.Run();
  if (a.brief) rounded.Run(true);
  const std::string name = a.Name("gate");
  const auto forward = a.brief ? gated_forward_bfloat16 : gated_forward;
  const auto backward = a.brief ? gated_backward_bfloat16 : gated_backward;
  CheckThreadCounts(name, own, {7, 8, 9, 10, 11}, [&] {
    ExpectCode(name.c_str(), CallOperator(forward, Pick(own, {2, 3, 0, 1, 5, 6, 7})), 0);
    ExpectCode(name.c_str(), CallOperator(backward, Pick(own, {2, 3, 4, 0, 6, 8, 9, 10, 11})), 0);
  });
  CheckPacked(name, forward, a.brief, own, {2, 3, 0, 1, 5, 6, 7}, {0}, {7});
  const auto compare = [&](const char* part, int number, auto values) {
    const std::vector<double> plain = values(rounded);
    Compare(name + part, own[number], values(g), a.Limit(), a.brief ? &plain : nullptr);
  };
  const auto each = [](const std::vector<double>& of, auto value) {
    std::vector<double> values(of.size());
    for (size_t i = 0; i < of.size(); ++i) values[i] = value(i);
    return values;
  };
  using Golden = const GoldenPointwise&;
  compare(" y", 7, [&](Golden p) {
    return each(p.y, [&](size_t i) { return trunk[i] + keep[i / p.length / a.out] * p.y[i]; });
  });
  compare(" du", 8,
          [&](Golden p) { return each(p.dx, [&](size_t i) { return p.dx[i] * z[i] * GoldenGeluSlope(u[i]); }); });
  compare(" dz", 9, [&](Golden p) { return each(p.dx, [&](size_t i) { return p.dx[i] * GoldenGelu(u[i]); }); });
  compare(" dw", 10, [](Golden p) { return p.dw; });
  compare(" db", 11, [](Golden p) { return p.db; });
  own[6].shape = {a.n + 1};
  ExpectCode("gate: images of keep", CallOperator(forward, Pick(own, {2, 3, 0, 1, 5, 6, 7})), NEONEXT_BAD_SHAPE);
  own[6].dtype = "float16";
  ExpectCode("gate: type of keep", CallOperator(backward, Pick(own, {2, 3, 4, 0, 6, 8, 9, 10, 11})), NEONEXT_BAD_TYPE);
}

}  // namespace

void CheckGated() {
  const int shapes[][5] = {{1, 1, 2, 1, 1},   {0, 8, 16, 2, 2},    {3, 7, 28, 1, 1},   {2, 48, 24, 5, 7},
                           {5, 33, 66, 7, 7}, {1, 40, 14, 24, 24}, {1, 5, 2500, 8, 73}};
  int cases = 0;
  g_worst = g_worst_ratio = 0;
  for (const auto& s : shapes) {
    for (bool half : {false, true}) {
      for (bool brief : {false, true}) {
        const Case one{s[0], s[1], s[2], s[3], s[4], half, brief};
        (cases / 4 + half + brief) % 2 ? CheckHalves(one) : CheckBehindGate(one);  // each in turn
        ++cases;
      }
    }
  }
  for (const auto function : {halves_forward, halves_backward_bfloat16, gated_forward_bfloat16, gated_backward}) {
    ExpectCode("gated: number of tensors", CallOperator(function, {}), NEONEXT_BAD_COUNT);
  }
  std::printf(
      "%d gated layers, largest error %.3g units in the last place, in bfloat16 %.2f times that of the products\n",
      cases, g_worst, g_worst_ratio);
}

}  // namespace neonext
