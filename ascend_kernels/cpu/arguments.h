// The tensors of a NeoCell call, checked and sorted.
#pragma once

#include <memory>
#include <vector>

#include "plan.h"
#include "tensor.h"

namespace neonext {

struct Call {
  std::shared_ptr<const Plan> plan;
  Tensor x{}, y{};  // y is dY in the backward pass
  Tensor dx{};
  std::vector<Tensor> left, right;  // of every group
  std::vector<Tensor> dleft, dright;
  Tensor bias{}, dbias{};
  bool has_bias = false;
  float* partial = nullptr;  // (segments, gradients) when the gradients of a channel come in several parts
};

// Sort the `count` tensors of a call, as neonext_cpu.h lists them, and find its plan. Returns NEONEXT_OK or a code.
int ReadForward(int count, const Arguments& arguments, Call& call);
int ReadBackward(int count, const Arguments& arguments, Call& call);

}  // namespace neonext
