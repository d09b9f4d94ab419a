// Checks of what an update does to long vectors.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "driver.h"

namespace neonext {
namespace {

// Tensors of these sizes, random and positive where a second moment wants it.
struct Vectors {
  std::vector<Buffer> own;
  std::vector<std::vector<double>> values;

  // Gives the number of the new tensor.
  int Add(int64_t size, bool positive = false) {
    std::vector<double> random(size);
    for (double& value : random) value = positive ? std::fabs(RandomValue()) : RandomValue();
    return Add(random);
  }
  int Add(const std::vector<double>& given) {
    own.emplace_back(std::vector<int64_t>{static_cast<int64_t>(given.size())}, false, given);
    values.push_back(given);
    return static_cast<int>(own.size()) - 1;
  }
  std::vector<Buffer*> All() {
    std::vector<Buffer*> list;
    for (Buffer& buffer : own) list.push_back(&buffer);
    return list;
  }
};

// Parameters of odd sizes, of which one is cut into several tasks.
constexpr int kSizes[] = {1, 40000, 17, 16, 3};
constexpr int kTotal = 1 + 40000 + 17 + 16 + 3;
constexpr double kLimit = 8;  // units in the last place of the largest value: each is a handful of operations

// Adds the parameters and the result; gives the number of the first parameter.
int AddParameters(Vectors& v) {
  const int first = static_cast<int>(v.own.size());
  for (int size : kSizes) v.Add(size);
  v.Add(1);
  return first;
}

// The call by 1, 2 and 3 threads from the same start: the same bits. What is left are the results of the last.
void RunByThreads(const char* what, Function function, Vectors& v) {
  const std::vector<Buffer> start = v.own;
  std::vector<Buffer> first;
  for (int threads = 1; threads <= 3; ++threads) {
    v.own = start;
    neonext_set_threads(threads);
    ExpectCode(what, CallOperator(function, v.All()), 0);
    if (threads == 1) first = v.own;
    for (size_t i = 0; i < first.size(); ++i) {
      ExpectCode("update: bits that are the same for all threads", first[i].bytes == v.own[i].bytes, 1);
    }
  }
}

// Compares all tensors from `first` on with v.values, which hold what is wanted; without the last, the result.
void CompareAll(const char* what, const Vectors& v, int first) {
  for (size_t i = first; i + 1 < v.own.size(); ++i) {
    Compare(std::string(what) + " " + std::to_string(i), v.own[i], v.values[i], kLimit);
  }
}

// work(parameter, value in it, value in the vectors) for all of them.
template <class Work>
void EachValue(Vectors& v, int first, Work work) {
  int at = 0;
  for (int size : kSizes) {
    for (int i = 0; i < size; ++i, ++at) work(v.values[first][i], at);
    ++first;
  }
}

void CheckAdamW() {
  for (double wanted : {1.0, 0.0}) {
    Vectors v;  // numbers, gradients, two moments, parameters, result
    const std::vector<double> numbers{wanted, 0.25, 0.9375, 0.125, 0.75, 0.5, 0.0625};
    v.Add(numbers), v.Add(kTotal), v.Add(kTotal), v.Add(kTotal, true);
    const int first = AddParameters(v);
    EachValue(v, first, [&](double& w, int at) {
      if (wanted == 0) return;
      const double g = 0.25 * v.values[1][at];
      double &moment = v.values[2][at], &square = v.values[3][at];
      moment = 0.75 * moment + 0.25 * g;
      square = 0.5 * square + 0.5 * g * g;
      w = 0.9375 * w - 0.125 * moment / (std::sqrt(square) + 0.0625);
    });
    RunByThreads("adamw", neonext_adamw, v);
    CompareAll("adamw", v, 0);
  }
}

void CheckSgd() {
  for (double wanted : {1.0, 0.0}) {
    Vectors v;  // numbers, gradients, velocities, parameters, result
    v.Add({wanted, 0.25, 0.0625, 0.125, 0.75}), v.Add(kTotal), v.Add(kTotal);
    const int first = AddParameters(v);
    EachValue(v, first, [&](double& w, int at) {
      if (wanted == 0) return;
      double& velocity = v.values[2][at];
      velocity = 0.75 * velocity + 0.25 * v.values[1][at] + 0.0625 * w;
      w -= 0.125 * velocity;
    });
    RunByThreads("sgd", neonext_sgd, v);
    CompareAll("sgd", v, 0);
  }
}

void CheckAverage() {
  for (double rate : {0.25, 0.0}) {
    Vectors v;  // rate, averages, parameters, result
    v.Add(std::vector<double>{rate}), v.Add(kTotal);
    const int first = AddParameters(v);
    EachValue(v, first, [&](double& w, int at) { v.values[1][at] += rate * (w - v.values[1][at]); });
    RunByThreads("average", neonext_average, v);
    CompareAll("average", v, 0);
  }
}

// What is not wanted is not even read: numbers that are none stay away from the parameters.
void CheckNaN() {
  Vectors v;
  v.Add({0.0, NAN, NAN, NAN, NAN}), v.Add(std::vector<double>(kTotal, NAN)), v.Add(kTotal);
  AddParameters(v);
  RunByThreads("sgd of NaN", neonext_sgd, v);
  CompareAll("sgd of NaN", v, 2);
}

void CheckSums() {
  Vectors v;
  std::vector<double> end_to_end;
  double squares = 0;
  for (int size : kSizes) {
    v.Add(size);
    end_to_end.insert(end_to_end.end(), v.values.back().begin(), v.values.back().end());
  }
  for (double value : end_to_end) squares += value * value;
  v.Add(kTotal);
  RunByThreads("join", neonext_join, v);
  Compare("join", v.own.back(), end_to_end, 0);
  Vectors sum;
  sum.Add(end_to_end), sum.Add(1);
  RunByThreads("sum of squares", neonext_sum_of_squares, sum);
  Compare("sum of squares", sum.own.back(), {squares}, 64);  // float32 sums of some thousand values each
}

void CheckRefusals() {
  const auto refuse = [](const char* what, int code, void (*spoil)(Vectors&)) {
    Vectors v;
    v.Add(5), v.Add(kTotal), v.Add(kTotal);
    AddParameters(v);
    spoil(v);
    ExpectCode(what, CallOperator(neonext_sgd, v.All()), code);
  };
  refuse("update: type", NEONEXT_BAD_TYPE, [](Vectors& v) { v.own[3].dtype = "float16"; });
  refuse("update: numbers", NEONEXT_BAD_SHAPE, [](Vectors& v) { v.own[0].shape = {4}; });
  refuse("update: size of a vector", NEONEXT_BAD_SHAPE, [](Vectors& v) { v.own[2].shape = {kTotal - 1}; });
  refuse("update: a parameter too few", NEONEXT_BAD_SHAPE, [](Vectors& v) { v.own.erase(v.own.begin() + 3); });
  refuse("update: no parameters", NEONEXT_BAD_COUNT, [](Vectors& v) { v.own.resize(4, v.own[0]); });
}

}  // namespace

void CheckUpdate() {
  g_worst = 0;
  CheckAdamW();
  CheckSgd();
  CheckAverage();
  CheckNaN();
  CheckSums();
  CheckRefusals();
  std::printf("updates, largest error %.3g units in the last place\n", g_worst);
}

}  // namespace neonext
