// The kernels in float16 alone, as emulator/kernels.cpp has them in both types: half the work for each mutant.
#include <kernel_operator.h>

#include "host.h"

#define EMULATED_TYPE half
#define EMULATED(name) name##_f16
#include "kernels_of_type.h"

namespace emulator {

void CallKernel(Operator op, bool, uint8_t* const* tensors, uint8_t* workspace, uint8_t* plan) {
  Call_f16(op, tensors, workspace, plan);
}

}  // namespace emulator
