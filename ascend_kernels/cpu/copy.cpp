// Copying a tensor, the least that any operator has to do: what the benchmark measures the others by.
#include <algorithm>
#include <cstring>

#include "neonext_cpu.h"
#include "parallel.h"
#include "tensor.h"

extern "C" int neonext_copy(int nparam, void** params, int* ndims, int64_t** shapes, const char** dtypes, void*, void*) {
  using namespace neonext;
  const Arguments arguments{params, ndims, shapes, dtypes};
  if (nparam != 2) return NEONEXT_BAD_COUNT;
  const Tensor from = arguments[0], to = arguments[1];
  if (from.type != Type::f32 || to.type != Type::f32) return NEONEXT_BAD_TYPE;
  if (!from.same_shape(to)) return NEONEXT_BAD_SHAPE;
  constexpr int64_t kPart = 1 << 14;
  const int64_t size = from.size();
  parallel_for(static_cast<int>((size + kPart - 1) / kPart), [&](int i) {
    const int64_t first = i * kPart;
    std::memcpy(static_cast<float*>(to.data) + first, static_cast<const float*>(from.data) + first,
                std::min(kPart, size - first) * sizeof(float));
  });
  return NEONEXT_OK;
}
