// What an update of the weights does to long vectors: one pass over memory each.
//
// Weights, moments and averages are changed where they are: a result of its own would have to be moved once more, back
// to where the next update looks for it. MindSpore does not know of it; see neonext_ms/ops/cpu/update.py.
#include <algorithm>
#include <cstring>
#include <vector>

#include "neonext_cpu.h"
#include "parallel.h"
#include "simd.h"
#include "tensor.h"

namespace neonext {
namespace {

constexpr int64_t kPart = 1 << 14;  // values of a task; sums do not depend on the number of threads

// Calls work(part, first value, number of values) for all parts of `size` values.
template <class Work>
void EachPart(int64_t size, Work work) {
  ParallelFor(static_cast<int>((size + kPart - 1) / kPart),
              [&](int i) { work(i, i * kPart, std::min(kPart, size - i * kPart)); });
}

// Calls work(at, mask) for the vectors that cover `count` values from `first` on.
template <class Work>
void EachVector(int64_t first, int64_t count, Work work) {
  for (int64_t i = 0; i < count; i += Vec::kLanes) {
    work(first + i, Vec::MakeMask<1>(static_cast<int>(std::min<int64_t>(Vec::kLanes, count - i)), 1));
  }
}

// Tensors that lie end to end beside vectors, cut into parts.
class Pieces {
 public:
  Pieces(const Arguments& in, int first, int last) {
    for (int i = first; i < last; ++i) {
      const int64_t size = in[i].size();
      for (int64_t at = 0; at < size; at += kPart) {
        pieces_.push_back({in[i].As<float>() + at, total_ + at, std::min(kPart, size - at)});
      }
      total_ += size;
    }
  }

  int64_t total() const { return total_; }

  // Calls work(values of a tensor, place of the first in the vectors, how many) for all of them.
  template <class Work>
  void Each(Work work) const {
    ParallelFor(static_cast<int>(pieces_.size()),
                [&](int i) { work(pieces_[i].values, pieces_[i].place, pieces_[i].count); });
  }

 private:
  struct Piece {
    float* values;
    int64_t place, count;
  };
  std::vector<Piece> pieces_;
  int64_t total_ = 0;
};

int CheckFloats(const Arguments& in, int count) {
  for (int i = 0; i < count; ++i) {
    if (in[i].type != Type::f32) return NEONEXT_BAD_TYPE;
  }
  return NEONEXT_OK;
}

Vec::F Load(const float* p, int64_t at, Vec::Mask m) { return Vec::Load<1>(&p, at, m); }
void Store(float* p, int64_t at, Vec::Mask m, Vec::F value) { Vec::Store<1>(&p, at, m, value); }

// What becomes of the values of some vectors and of a parameter; the first kRead vectors stay as they are.
struct AdamW {
  static constexpr int kNumbers = 7, kVectors = 3, kRead = 1;
  static constexpr bool kChangesParameters = true;
  static void Apply(const Vec::F (&number)[kNumbers], Vec::F (&vector)[kVectors], Vec::F& w) {
    const auto& [wanted, factor, kept, step, beta1, beta2, eps] = number;
    auto& [gradient, m, v] = vector;
    const Vec::F one = Vec::Set1(1), g = Vec::Mul(factor, gradient);
    m = Vec::Fma(Vec::Sub(one, beta1), Vec::Sub(g, m), m);
    v = Vec::Fma(Vec::Sub(one, beta2), Vec::Sub(Vec::Mul(g, g), v), v);
    w = Vec::Sub(Vec::Mul(kept, w), Vec::Div(Vec::Mul(step, m), Vec::Add(Vec::Sqrt(v), eps)));
  }
};

struct Sgd {
  static constexpr int kNumbers = 5, kVectors = 2, kRead = 1;
  static constexpr bool kChangesParameters = true;
  static void Apply(const Vec::F (&number)[kNumbers], Vec::F (&vector)[kVectors], Vec::F& w) {
    const auto& [wanted, factor, decay, step, momentum] = number;
    auto& [gradient, v] = vector;
    v = Vec::Fma(momentum, v, Vec::Fma(decay, w, Vec::Mul(factor, gradient)));
    w = Vec::Sub(w, Vec::Mul(step, v));
  }
};

struct Average {
  static constexpr int kNumbers = 1, kVectors = 1, kRead = 0;
  static constexpr bool kChangesParameters = false;
  static void Apply(const Vec::F (&rate)[kNumbers], Vec::F (&average)[kVectors], Vec::F& w) {
    average[0] = Vec::Fma(rate[0], Vec::Sub(w, average[0]), average[0]);
  }
};

// Applies a rule to vectors and parameters, unless the first of its numbers is 0.
template <class Rule>
int InPlace(const Arguments& in, int count) {
  constexpr int kNumbers = Rule::kNumbers, kVectors = Rule::kVectors, kFirst = 1 + kVectors;
  if (count < kFirst + 2) return NEONEXT_BAD_COUNT;
  if (const int bad = CheckFloats(in, count)) return bad;
  const Pieces pieces(in, kFirst, count - 1);
  if (!in[0].HasShape({kNumbers}) || in[count - 1].size() != 1) return NEONEXT_BAD_SHAPE;
  float* vectors[kVectors];
  for (int i = 0; i < kVectors; ++i) {
    if (!in[1 + i].HasShape({pieces.total()})) return NEONEXT_BAD_SHAPE;
    vectors[i] = in[1 + i].As<float>();
  }
  Vec::F numbers[kNumbers];
  for (int i = 0; i < kNumbers; ++i) numbers[i] = Vec::Set1(in[0].As<float>()[i]);
  const float wanted = in[0].As<float>()[0];
  *in[count - 1].As<float>() = wanted;
  if (wanted == 0) return NEONEXT_OK;
  pieces.Each([&](float* values, int64_t place, int64_t size) {
    EachVector(0, size, [&](int64_t at, Vec::Mask m) {
      Vec::F value[kVectors], parameter = Load(values, at, m);
      for (int i = 0; i < kVectors; ++i) value[i] = Load(vectors[i], place + at, m);
      Rule::Apply(numbers, value, parameter);
      for (int i = Rule::kRead; i < kVectors; ++i) Store(vectors[i], place + at, m, value[i]);
      if (Rule::kChangesParameters) Store(values, at, m, parameter);
    });
  });
  return NEONEXT_OK;
}

}  // namespace
}  // namespace neonext

using namespace neonext;

extern "C" {

int neonext_join(NEONEXT_PARAMETERS) {
  const Arguments in = NEONEXT_TENSORS;
  if (nparam < 2) return NEONEXT_BAD_COUNT;
  if (const int bad = CheckFloats(in, nparam)) return bad;
  const Pieces pieces(in, 0, nparam - 1);
  if (!in[nparam - 1].HasShape({pieces.total()})) return NEONEXT_BAD_SHAPE;
  float* const out = in[nparam - 1].As<float>();
  pieces.Each([&](const float* values, int64_t place, int64_t size) {
    std::memcpy(out + place, values, size * sizeof(float));
  });
  return NEONEXT_OK;
}

int neonext_sum_of_squares(NEONEXT_PARAMETERS) {
  const Arguments in = NEONEXT_TENSORS;
  if (nparam != 2) return NEONEXT_BAD_COUNT;
  if (const int bad = CheckFloats(in, 2)) return bad;
  if (in[1].size() != 1) return NEONEXT_BAD_SHAPE;
  const float* x = in[0].As<float>();
  const int64_t size = in[0].size();
  std::vector<double> sums((size + kPart - 1) / kPart);
  EachPart(size, [&](int part, int64_t first, int64_t count) {
    Vec::F sum = Vec::Zero();
    EachVector(first, count, [&](int64_t at, Vec::Mask m) {
      const Vec::F value = Load(x, at, m);
      sum = Vec::Fma(value, value, sum);
    });
    sums[part] = Vec::Sum(sum);
  });
  double total = 0;
  for (double sum : sums) total += sum;
  *in[1].As<float>() = static_cast<float>(total);
  return NEONEXT_OK;
}

int neonext_adamw(NEONEXT_PARAMETERS) { return InPlace<AdamW>(NEONEXT_TENSORS, nparam); }

int neonext_sgd(NEONEXT_PARAMETERS) { return InPlace<Sgd>(NEONEXT_TENSORS, nparam); }

int neonext_average(NEONEXT_PARAMETERS) { return InPlace<Average>(NEONEXT_TENSORS, nparam); }

}  // extern "C"
