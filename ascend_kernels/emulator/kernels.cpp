// The kernels for both element types.  Compiled once under the project's kernel_operator.h and, in the tier with CANN's
// headers, once under the real one.
#include <kernel_operator.h>  // not "...": of this folder only where the include path says so

#include "host.h"

#define EMULATED_TYPE half
#define EMULATED(name) name##_f16
#include "kernels_of_type.h"
#undef EMULATED_TYPE
#undef EMULATED

#define EMULATED_TYPE bfloat16_t
#define EMULATED(name) name##_bf16
#include "kernels_of_type.h"

namespace emulator {

void CallKernel(Operator op, bool bf16, uint8_t* const* tensors, uint8_t* workspace, uint8_t* plan) {
  (bf16 ? Call_bf16 : Call_f16)(op, tensors, workspace, plan);
}

}  // namespace emulator
