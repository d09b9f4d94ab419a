// What an update of the weights does to long vectors: one pass over memory each.
#include <algorithm>
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

// A vector of all parameters' values, end to end, and the parameters that hold them.
class Pieces {
 public:
  Pieces(const Arguments& in, int first, int last) {
    for (int i = first; i < last; ++i) {
      const int64_t size = in[i].size();
      for (int64_t at = 0; at < size; at += kPart) {
        pieces_.push_back({in[i].As<const float>() + at, total_ + at, std::min(kPart, size - at)});
      }
      total_ += size;
    }
  }

  int64_t total() const { return total_; }

  // Calls work(values of a parameter, place in the vector, how many) for all of them.
  template <class Work>
  void Each(Work work) const {
    ParallelFor(static_cast<int>(pieces_.size()),
                [&](int i) { work(pieces_[i].values, pieces_[i].place, pieces_[i].count); });
  }

 private:
  struct Piece {
    const float* values;
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

}  // namespace
}  // namespace neonext

using namespace neonext;

extern "C" {

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

int neonext_scaled(NEONEXT_PARAMETERS) {
  const Arguments in = NEONEXT_TENSORS;
  if (nparam != 3) return NEONEXT_BAD_COUNT;
  if (const int bad = CheckFloats(in, 3)) return bad;
  if (!in[0].HasShape({2}) || !in[1].SameShape(in[2])) return NEONEXT_BAD_SHAPE;
  const float *scalars = in[0].As<float>(), *x = in[1].As<float>();
  float* const y = in[2].As<float>();
  const Vec::F factor = Vec::Set1(scalars[1]);
  const bool wanted = scalars[0] != 0;
  EachPart(in[1].size(), [&](int, int64_t first, int64_t count) {
    EachVector(first, count, [&](int64_t at, Vec::Mask m) {
      Store(y, at, m, wanted ? Vec::Mul(factor, Load(x, at, m)) : Vec::Zero());
    });
  });
  return NEONEXT_OK;
}

int neonext_average(NEONEXT_PARAMETERS) {
  const Arguments in = NEONEXT_TENSORS;
  if (nparam < 4) return NEONEXT_BAD_COUNT;
  if (const int bad = CheckFloats(in, nparam)) return bad;
  if (!in[0].HasShape({1}) || !in[1].SameShape(in[nparam - 1])) return NEONEXT_BAD_SHAPE;
  const Pieces pieces(in, 2, nparam - 1);
  if (!in[1].HasShape({pieces.total()})) return NEONEXT_BAD_SHAPE;
  const float* const averages = in[1].As<float>();
  float* const out = in[nparam - 1].As<float>();
  const Vec::F rate = Vec::Set1(*in[0].As<float>());
  pieces.Each([&](const float* values, int64_t place, int64_t count) {
    EachVector(0, count, [&](int64_t i, Vec::Mask m) {
      const Vec::F average = Load(averages, place + i, m);
      Store(out, place + i, m, Vec::Fma(rate, Vec::Sub(Load(values, i, m), average), average));
    });
  });
  return NEONEXT_OK;
}

}  // extern "C"
