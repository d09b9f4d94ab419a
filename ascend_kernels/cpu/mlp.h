// What the forward and the backward pass of an MLP share.
#pragma once

#include <algorithm>
#include <cstdint>

#include "parallel.h"
#include "product.h"

namespace neonext {

// Tiles that one task takes through a panel of weights together, as far as their hidden values stay near.
constexpr int64_t kNear = 3 << 20;  // bytes

struct Sizes {
  Pixels pixels;
  int channels, hidden;
};

// Tasks of equal size for all threads, each of at most `most` of `count` tiles.
inline int group_size(int count, int64_t tile_bytes) {
  const int most = static_cast<int>(std::max<int64_t>(1, kNear / tile_bytes));
  return std::max(1, std::min(most, parts(count, thread_count())));
}

}  // namespace neonext
