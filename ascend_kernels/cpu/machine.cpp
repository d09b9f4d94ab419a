// What the machine itself can do, for the benchmark to measure operators by: copy a tensor, and multiply and add.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>

#include "neonext_cpu.h"
#include "operand.h"
#include "parallel.h"
#include "simd.h"
#include "tensor.h"

namespace {

using namespace neonext;

// Sums that wait for nothing but themselves: enough to keep the multipliers busy, few enough to stay in registers.
constexpr int kSums = Vec::kLanes == 16 ? 24 : 12;

// `rounds` times kSums multiply-adds; gives something that depends on them.
float MultiplyAdd(int64_t rounds) {
  const Vec::F factor = Vec::Set1(0.999f), step = Vec::Set1(0.001f);
  Vec::F sum[kSums];
  for (int i = 0; i < kSums; ++i) sum[i] = Vec::Set1(static_cast<float>(i));
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 32
    for (int i = 0; i < kSums; ++i) sum[i] = Vec::Fma(sum[i], factor, step);
  }
  float result = 0;
  for (int i = 0; i < kSums; ++i) result += Vec::Sum(sum[i]);
  return result;
}

}  // namespace

extern "C" {

int neonext_copy(NEONEXT_PARAMETERS) {
  const Arguments arguments = NEONEXT_TENSORS;
  if (nparam != 2) return NEONEXT_BAD_COUNT;
  const Tensor from = arguments[0], to = arguments[1];
  if (from.type != Type::f32 || to.type != Type::f32) return NEONEXT_BAD_TYPE;
  if (!from.SameShape(to)) return NEONEXT_BAD_SHAPE;
  constexpr int64_t kPart = 1 << 14;
  const int64_t size = from.size();
  ParallelFor(static_cast<int>((size + kPart - 1) / kPart), [&](int i) {
    const int64_t first = i * kPart;
    std::memcpy(to.As<float>() + first, from.As<float>() + first, std::min(kPart, size - first) * sizeof(float));
  });
  return NEONEXT_OK;
}

int neonext_peak(NEONEXT_PARAMETERS) {
  const Arguments arguments = NEONEXT_TENSORS;
  if (nparam != 2) return NEONEXT_BAD_COUNT;
  const Tensor rounds = arguments[0], rate = arguments[1];
  if (rounds.type != Type::f32 || rate.type != Type::f32) return NEONEXT_BAD_TYPE;
  if (rounds.size() != 1 || rate.size() != 1) return NEONEXT_BAD_SHAPE;
  const int64_t count = std::max<int64_t>(1, static_cast<int64_t>(*rounds.As<float>()));
  const int threads = ThreadCount();
  std::atomic<float> result{0};
  const auto start = std::chrono::steady_clock::now();
  ParallelFor(threads, [&](int) { result = MultiplyAdd(count); });
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const double operations = 2.0 * kSums * Vec::kLanes * count * threads;
  *rate.As<float>() = result > 0 ? static_cast<float>(operations / seconds * 1e-9) : 0;
  return NEONEXT_OK;
}

const char* neonext_bfloat16() {
  if (Bfloat16::kDepth == 1) return "rounded";
  return AmxAllowed() ? "amx" : "avx512_bf16";
}

}  // extern "C"
