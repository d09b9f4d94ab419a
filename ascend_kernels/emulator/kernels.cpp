// The kernels for both element types, and the table of operators that the host side knows them by.  Compiled once under
// the project's kernel_operator.h and, in the tier with CANN's headers, once under the real one.
#include <kernel_operator.h>  // not "...": of this folder only where the include path says so

#define DTYPE_X half
#define neo_cell neo_cell_f16
#define neo_cell_kron neo_cell_kron_f16
#define neo_cell_grad neo_cell_grad_f16
#include "../op_kernel/neo_cell.cpp"
#include "../op_kernel/neo_cell_grad.cpp"
#include "../op_kernel/neo_cell_kron.cpp"
#undef DTYPE_X
#undef neo_cell
#undef neo_cell_kron
#undef neo_cell_grad

#define DTYPE_X bfloat16_t
#define neo_cell neo_cell_bf16
#define neo_cell_kron neo_cell_kron_bf16
#define neo_cell_grad neo_cell_grad_bf16
#include "../op_kernel/neo_cell.cpp"
#include "../op_kernel/neo_cell_grad.cpp"
#include "../op_kernel/neo_cell_kron.cpp"
#undef DTYPE_X
#undef neo_cell
#undef neo_cell_kron
#undef neo_cell_grad

#include "host.h"

namespace emulator {

void CallKernel(Operator op, bool bf16, uint8_t* const* t, neocell::Tiling tiling, int core) {
  block_idx = core;
  GM_ADDR plan = reinterpret_cast<GM_ADDR>(&tiling);
  switch (op) {
    case Operator::FORWARD:
      (bf16 ? neo_cell_bf16 : neo_cell_f16)(t[0], t[1], t[2], t[3], nullptr, plan);
      break;
    case Operator::KRON:
      (bf16 ? neo_cell_kron_bf16 : neo_cell_kron_f16)(t[0], t[1], t[2], nullptr, plan);
      break;
    case Operator::GRAD:
      (bf16 ? neo_cell_grad_bf16 : neo_cell_grad_f16)(t[0], t[1], t[2], t[3], t[4], t[5], t[6], nullptr, plan);
      break;
  }
}

}  // namespace emulator
