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

// `rounds` times kSums multiply-adds of words; gives something that depends on them.
template <class F>
float MultiplyAdd(int64_t rounds) {
  volatile typename F::Word one = F::kOne;  // or the compiler would multiply by it beforehand
  const auto small = F::Broadcast(one);
  Vec::F sum[kSums];
  for (int i = 0; i < kSums; ++i) sum[i] = Vec::Set1(static_cast<float>(i));
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 32
    for (int i = 0; i < kSums; ++i) sum[i] = F::MultiplyAdd(small, small, sum[i]);
  }
  float result = 0;
  for (int i = 0; i < kSums; ++i) result += Vec::Sum(sum[i]);
  return result;
}

// `rounds` times the products of AMX tiles that stay in the first cache.
float MultiplyTilesAgain(int64_t rounds) {
  constexpr int kWords = 128;
  Aligned<uint32_t> panel(2 * kTile * kWords), tiles(2 * kTile * kWords);
  Aligned<float> out(4 * kTile * kTile);
  [[maybe_unused]] const AmxSession session;
  for (int64_t round = 0; round < rounds; ++round) {
    MultiplyTiles(panel.data(), 2 * kTile * kTile, tiles.data(), tiles.data() + kTile * kWords, kWords, out.data(),
                  out.data() + 2 * kTile * kTile);
  }
  return out[0] + 1;
}
constexpr double kTileOperations = 2.0 * 128 * 2 * (2 * kTile) * (2 * kTile);  // of a round

// 10^9 operations a second of all threads; work(rounds) does `operations` a round.
template <class Work>
int MeasurePeak(int nparam, const Arguments& arguments, double operations, Work work) {
  if (nparam != 2) return NEONEXT_BAD_COUNT;
  const Tensor rounds = arguments[0], rate = arguments[1];
  if (rounds.type != Type::f32 || rate.type != Type::f32) return NEONEXT_BAD_TYPE;
  if (rounds.size() != 1 || rate.size() != 1) return NEONEXT_BAD_SHAPE;
  const int64_t count = std::max<int64_t>(1, static_cast<int64_t>(*rounds.As<float>()));
  const int threads = ThreadCount();
  std::atomic<float> result{0};
  const auto start = std::chrono::steady_clock::now();
  ParallelFor(threads, [&](int) { result = work(count); });
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  *rate.As<float>() = result > 0 ? static_cast<float>(operations * count * threads / seconds * 1e-9) : 0;
  return NEONEXT_OK;
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
  return MeasurePeak(nparam, NEONEXT_TENSORS, 2.0 * kSums * Vec::kLanes, MultiplyAdd<Exact>);
}

int neonext_peak_bfloat16(NEONEXT_PARAMETERS) {
  if (AmxAllowed()) return MeasurePeak(nparam, NEONEXT_TENSORS, kTileOperations, MultiplyTilesAgain);
  return MeasurePeak(nparam, NEONEXT_TENSORS, 2.0 * kSums * Vec::kLanes * Bfloat16::kDepth, MultiplyAdd<Bfloat16>);
}

const char* neonext_bfloat16() {
  if (Bfloat16::kDepth == 1) return "rounded";
  return AmxAllowed() ? "amx" : "avx512_bf16";
}

}  // extern "C"
