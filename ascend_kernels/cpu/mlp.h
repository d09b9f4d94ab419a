// What the forward and the backward pass of an MLP share.
#pragma once

#include "pixels.h"

namespace neonext {

struct Sizes {
  Pixels pixels;
  int channels, hidden;
};

}  // namespace neonext
