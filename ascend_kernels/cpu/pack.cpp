// Weights written down as products read them, once for many calls.
#include <cstring>

#include "infer.h"
#include "neonext_cpu.h"
#include "tensor.h"

namespace {

using namespace neonext;

template <class F>
int Pack(const Arguments& arguments) {
  const Tensor w = arguments[0], packed = arguments[1];
  if (!w.IsFloat() || packed.type != Type::i32) return NEONEXT_BAD_TYPE;
  if (w.ndim != 2 || w.size() == 0 || !HoldsWeights<F>(packed, w.shape[0], w.shape[1])) return NEONEXT_BAD_SHAPE;
  return WithType(w.type, [&](auto type) {
    const WeightTiles<F> tiles(Scratch::panels1, w.As<decltype(type)>(), w.shape[0], w.shape[1]);
    std::memcpy(packed.data, tiles.data(), tiles.bytes());
  });
}

}  // namespace

extern "C" {

int neonext_pack(NEONEXT_PARAMETERS) { return nparam == 2 ? Pack<Exact>(NEONEXT_TENSORS) : NEONEXT_BAD_COUNT; }
int neonext_pack_bfloat16(NEONEXT_PARAMETERS) {
  return nparam == 2 ? Pack<Bfloat16>(NEONEXT_TENSORS) : NEONEXT_BAD_COUNT;
}

int64_t neonext_packed_size(int rows, int depth) { return WeightTiles<Exact>::SizeOf(rows, depth); }
int64_t neonext_packed_size_bfloat16(int rows, int depth) { return WeightTiles<Bfloat16>::SizeOf(rows, depth); }

}  // extern "C"
