// Checks of the MLP and of the pointwise layer.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "driver.h"
#include "tensor.h"

namespace neonext {
namespace {

// An MLP with random contents, and the buffers of both operators.
struct Mlp {
  GoldenMlp golden;
  bool brief;  // in bfloat16
  std::vector<Buffer>
      own;  // x, w1, b1, w2, b2, y, hidden, dy, dx, dw1, db1, dw2, db2; trunk, keep, centre, scale, shift
  std::vector<double> trunk, keep, centre, scale, shift;

  Mlp(int n, int c, int hidden, int h, int w, bool half, bool brief) : brief(brief) {
    golden.n = n, golden.c = c, golden.hidden = hidden, golden.length = h * w;
    const int64_t tiles = Parts(int64_t(n) * h * w, kTile);
    const std::vector<int64_t> image{n, c, h, w}, w1{hidden, c}, b1{hidden}, w2{c, hidden}, b2{c};
    const auto random = [&](const std::vector<int64_t>& shape, double scale) {
      return AddRandom(own, shape, scale, half);
    };
    golden.x = random(image, 2), golden.w1 = random(w1, 3 / std::sqrt(c)), golden.b1 = random(b1, 1);
    golden.w2 = random(w2, 3 / std::sqrt(hidden)), golden.b2 = random(b2, 1);
    own.emplace_back(image, half);
    const std::vector<int64_t> kept{tiles, hidden, kTile};
    own.push_back(brief ? Buffer::OfBfloat16(kept) : Buffer(kept, false));
    golden.dy = random(image, 2);
    for (const auto& shape : {image, w1, b1, w2, b2}) own.emplace_back(shape, half);
    trunk = random(image, 2), keep = AddRandom(own, {n}, 2, false);
    centre = AddRandom(own, {c}, 1, false), scale = AddRandom(own, {c}, 2, false),
    shift = AddRandom(own, {c}, 1, false);
  }

  // What the gradients and the result of the branch are those of, without trunk and keep.
  GoldenMlp OfBranch() const {
    GoldenMlp g = golden;
    for (size_t i = 0; i < g.x.size(); ++i) {
      const size_t channel = i / g.length % g.c;
      g.x[i] = (g.x[i] - centre[channel]) * scale[channel] + shift[channel];
      g.dy[i] *= keep[i / g.length / g.c];
    }
    return g;
  }

  std::vector<Buffer*> List(std::initializer_list<int> numbers) { return Pick(own, numbers); }
  int Forward(bool training, bool branch) {
    const auto kept = brief ? mlp_forward_training_bfloat16 : mlp_forward_training;
    if (branch) {
      return training ? CallOperator(kept, List({0, 1, 2, 3, 4, 13, 14, 15, 16, 17, 5, 6}))
                      : Alone({0, 1, 2, 3, 4, 13, 14, 15, 16, 17, 5});
    }
    return training ? CallOperator(kept, List({0, 1, 2, 3, 4, 5, 6})) : Alone({0, 1, 2, 3, 4, 5});
  }
  int Backward(bool branch) {
    const auto backward = brief ? mlp_backward_bfloat16 : mlp_backward;
    return branch ? CallOperator(backward, List({0, 6, 7, 1, 3, 14, 15, 16, 17, 8, 9, 10, 11, 12}))
                  : CallOperator(backward, List({0, 6, 7, 1, 3, 8, 9, 10, 11, 12}));
  }

 private:
  int Alone(std::initializer_list<int> numbers) {
    return CallOperator(brief ? mlp_forward_bfloat16 : mlp_forward, List(numbers));
  }
};

void CheckOneMlp(Mlp mlp, bool half, bool branch, const char* what) {
  GoldenMlp g = branch ? mlp.OfBranch() : mlp.golden;
  GoldenMlp rounded = g;
  g.Run();
  if (mlp.brief) rounded.Run(true);
  for (GoldenMlp* each : {&g, &rounded}) {
    for (size_t i = 0; branch && i < each->y.size(); ++i) {
      each->y[i] = mlp.trunk[i] + mlp.keep[i / g.length / g.c] * each->y[i];
    }
  }
  const std::string name = std::string(what) + (branch ? " branch" : "");
  CheckThreadCounts(name, mlp.own, {5, 8, 9, 10, 11, 12}, [&] {
    ExpectCode(what, mlp.Forward(false, branch), 0);
    const std::vector<char> alone = mlp.own[5].bytes;
    ExpectCode(what, mlp.Forward(true, branch), 0);
    ExpectCode("y without the hidden values", alone == mlp.own[5].bytes, 1);
    ExpectCode(what, mlp.Backward(branch), 0);
  });
  CheckPacked(name, mlp.brief ? mlp_forward_bfloat16 : mlp_forward, mlp.brief, mlp.own,
              branch ? std::initializer_list<int>{0, 1, 2, 3, 4, 13, 14, 15, 16, 17, 5}
                     : std::initializer_list<int>{0, 1, 2, 3, 4, 5},
              {1, 3}, {5});
  const double limit = LimitOf(half, std::max(g.hidden, g.n * g.length));
  using Values = std::vector<double> GoldenMlp::*;
  const auto compare = [&](const char* part, int number, Values values) {
    Compare(name + part, mlp.own[number], g.*values, limit, mlp.brief ? &(rounded.*values) : nullptr);
  };
  compare(" y", 5, &GoldenMlp::y);
  compare(" dx", 8, &GoldenMlp::dx);
  compare(" dw1", 9, &GoldenMlp::dw1);
  compare(" db1", 10, &GoldenMlp::db1);
  compare(" dw2", 11, &GoldenMlp::dw2);
  compare(" db2", 12, &GoldenMlp::db2);
}

// Leaves NaN in all memory that stays for the next call: none of it may reach a result.
void LeaveNaN() {
  for (bool brief : {false, true}) {
    Mlp mlp(1, 64, 2048, 32, 32, false, brief);
    for (int i : {0, 1, 3, 7}) std::fill(mlp.own[i].bytes.begin(), mlp.own[i].bytes.end(), '\xff');
    for (bool training : {false, true}) ExpectCode("mlp of NaN", mlp.Forward(training, false), 0);
    ExpectCode("mlp of NaN", mlp.Backward(false), 0);
  }
}

void CheckValues() {
  LeaveNaN();
  // The last has more tiles than are summed at a time, and an odd number of them.
  const int shapes[][5] = {{1, 1, 1, 1, 1},     {0, 8, 16, 2, 2},   {3, 7, 28, 1, 1},  {2, 24, 40, 5, 7},
                           {1, 64, 70, 14, 14}, {5, 33, 70, 7, 7},  {2, 16, 64, 8, 8}, {1, 40, 160, 24, 24},
                           {2, 5, 9, 3, 5},     {1, 3, 2048, 8, 73}};
  int cases = 0;
  g_worst = 0;
  for (const auto& s : shapes) {
    for (bool half : {false, true}) {
      for (bool brief : {false, true}) {
        char name[80];
        std::snprintf(name, sizeof(name), "mlp N %d C %d hidden %d %d x %d half %d bfloat16 %d", s[0], s[1], s[2], s[3],
                      s[4], half, brief);
        // Both forms are one template: each is tried with half of what it is instantiated for.
        CheckOneMlp(Mlp(s[0], s[1], s[2], s[3], s[4], half, brief), half, half == brief, name);
        ++cases;
      }
    }
  }
  std::printf("%d mlps, largest error %.3g units in the last place, in bfloat16 %.2f times that of the products\n",
              cases, g_worst, g_worst_ratio);
}

void CheckPointwise(const int (&s)[5], bool half, bool brief) {
  const std::vector<int64_t> image{s[0], s[1], s[3], s[4]}, result{s[0], s[2], s[3], s[4]}, w{s[2], s[1]}, b{s[2]};
  GoldenPointwise g;
  g.n = s[0], g.c = s[1], g.out = s[2], g.length = s[3] * s[4];
  std::vector<Buffer> own;  // x, w, b, dy, y, dx, dw, db
  g.x = AddRandom(own, image, 2, half), g.w = AddRandom(own, w, 3 / std::sqrt(s[1]), half);
  g.b = AddRandom(own, b, 1, half), g.dy = AddRandom(own, result, 2, half);
  for (const auto& shape : {result, image, w, b}) own.emplace_back(shape, half);
  GoldenPointwise rounded = g;
  g.Run();
  if (brief) rounded.Run(true);
  char name[80];
  std::snprintf(name, sizeof(name), "pointwise N %d C %d to %d %d x %d half %d bfloat16 %d", s[0], s[1], s[2], s[3],
                s[4], half, brief);
  const auto forward = brief ? pointwise_forward_bfloat16 : pointwise_forward;
  const auto backward = brief ? pointwise_backward_bfloat16 : pointwise_backward;
  CheckThreadCounts(name, own, {4, 5, 6, 7}, [&] {
    ExpectCode(name, CallOperator(forward, Pick(own, {0, 1, 2, 4})), 0);
    ExpectCode(name, CallOperator(backward, Pick(own, {0, 3, 1, 5, 6, 7})), 0);
  });
  CheckPacked(name, forward, brief, own, {0, 1, 2, 4}, {1}, {4});
  const double limit = LimitOf(half, std::max(g.out, g.n * g.length));
  const auto compare = [&](const char* part, int number, std::vector<double> GoldenPointwise::* values) {
    Compare(std::string(name) + part, own[number], g.*values, limit, brief ? &(rounded.*values) : nullptr);
  };
  compare(" y", 4, &GoldenPointwise::y);
  compare(" dx", 5, &GoldenPointwise::dx);
  compare(" dw", 6, &GoldenPointwise::dw);
  compare(" db", 7, &GoldenPointwise::db);
  own[1].shape = {s[2], s[1] + 1};
  ExpectCode("pointwise: channels of w", CallOperator(forward, Pick(own, {0, 1, 2, 4})), NEONEXT_BAD_SHAPE);
  own[1].dtype = "bfloat16";
  ExpectCode("pointwise: type of w", CallOperator(backward, Pick(own, {0, 3, 1, 5, 6, 7})), NEONEXT_BAD_TYPE);
}

void CheckPointwise() {
  LeaveNaN();
  const int shapes[][5] = {{1, 1, 1, 1, 1},   {0, 8, 16, 2, 2},    {3, 7, 28, 1, 1},   {2, 48, 24, 5, 7},
                           {5, 33, 66, 7, 7}, {1, 40, 15, 24, 24}, {1, 5, 2500, 8, 73}};
  int cases = 0;
  g_worst = g_worst_ratio = 0;
  for (const auto& s : shapes) {
    for (bool half : {false, true}) {
      for (bool brief : {false, true}) {
        CheckPointwise(s, half, brief);
        ++cases;
      }
    }
  }
  ExpectCode("pointwise: number of tensors", CallOperator(pointwise_forward, {}), NEONEXT_BAD_COUNT);
  ExpectCode("pointwise: number of tensors", CallOperator(pointwise_backward_bfloat16, {}), NEONEXT_BAD_COUNT);
  std::printf(
      "%d pointwise layers, largest error %.3g units in the last place, in bfloat16 %.2f times that of the products\n",
      cases, g_worst, g_worst_ratio);
}

void CheckRefusals() {
  const Mlp good(2, 8, 16, 4, 4, false, false);
  const auto refuse = [&](const char* what, int code, void (*spoil)(Mlp&)) {
    Mlp mlp = good;
    spoil(mlp);
    ExpectCode(what, mlp.Forward(true, true), code);
    ExpectCode(what, mlp.Backward(true), code);
  };
  refuse("mlp: type of x", NEONEXT_BAD_TYPE, [](Mlp& m) { m.own[0].dtype = "bfloat16"; });
  refuse("mlp: type of w1", NEONEXT_BAD_TYPE, [](Mlp& m) { m.own[1].dtype = "float16"; });
  refuse("mlp: type of the hidden values", NEONEXT_BAD_TYPE, [](Mlp& m) { m.own[6].dtype = "float16"; });
  refuse("mlp: channels of w1", NEONEXT_BAD_SHAPE, [](Mlp& m) { m.own[1].shape[1] = 7; });
  refuse("mlp: shape of w2", NEONEXT_BAD_SHAPE, [](Mlp& m) { std::swap(m.own[3].shape[0], m.own[3].shape[1]); });
  refuse("mlp: tiles", NEONEXT_BAD_SHAPE, [](Mlp& m) { m.own[6].shape[0] = 3; });
  refuse("mlp: images of keep", NEONEXT_BAD_SHAPE, [](Mlp& m) { m.own[14].shape[0] = 3; });
  refuse("mlp: channels of centre", NEONEXT_BAD_SHAPE, [](Mlp& m) { m.own[15].shape[0] = 7; });
  refuse("mlp: type of shift", NEONEXT_BAD_TYPE, [](Mlp& m) { m.own[17].dtype = "float16"; });
  Mlp mlp = good;
  mlp.own[13].shape[0] = 1;
  ExpectCode("mlp: shape of trunk", mlp.Forward(false, true), NEONEXT_BAD_SHAPE);
  mlp.own[13].dtype = "float16";
  ExpectCode("mlp: type of trunk", mlp.Forward(false, true), NEONEXT_BAD_TYPE);
  ExpectCode("mlp: number of tensors", CallOperator(mlp_forward, mlp.List({0, 1, 2, 3, 4})), NEONEXT_BAD_COUNT);
  ExpectCode("mlp: number of tensors", CallOperator(mlp_forward_training, mlp.List({0, 1, 2, 3, 4, 5})),
             NEONEXT_BAD_COUNT);
  ExpectCode("mlp: number of tensors", CallOperator(mlp_backward, mlp.List({0, 6, 7, 1, 3})), NEONEXT_BAD_COUNT);
}

void CheckPack() {
  std::vector<Buffer> own;  // w; packed
  AddRandom(own, {5, 7}, 1, false);
  own.push_back(Packed(own[0], false));
  const auto expect = [&](const char* what, int code) {
    ExpectCode(what, CallOperator(neonext_pack, Pick(own, {0, 1})), code);
  };
  expect("pack", NEONEXT_OK);
  own[0].shape = {35};
  expect("pack: axes of w", NEONEXT_BAD_SHAPE);
  own[0].shape = {5, 7};
  --own[1].shape[0];
  expect("pack: size", NEONEXT_BAD_SHAPE);
  own[1].dtype = "float32";
  expect("pack: type", NEONEXT_BAD_TYPE);
  ExpectCode("pack: number of tensors", CallOperator(neonext_pack_bfloat16, Pick(own, {0})), NEONEXT_BAD_COUNT);
  Mlp mlp(2, 8, 16, 4, 4, false, false);  // packed weights are for inference alone
  mlp.own[1] = Packed(mlp.own[1], false);
  ExpectCode("mlp: backward with packed weights", mlp.Backward(false), NEONEXT_BAD_TYPE);
  ExpectCode("mlp: training with packed weights", mlp.Forward(true, false), NEONEXT_BAD_TYPE);
}

}  // namespace

void CheckMlp() {
  g_seed = 2;  // the same values whatever was checked before
  CheckValues();
  CheckRefusals();
  CheckPointwise();
  CheckPack();
}

}  // namespace neonext
