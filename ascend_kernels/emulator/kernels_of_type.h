// Included by kernels.cpp for each element type: its kernels under names of their own, and the function that calls one.
#define DTYPE_X EMULATED_TYPE
#define DTYPE_DY EMULATED_TYPE
#define neo_cell EMULATED(neo_cell)
#define neo_cell_kron EMULATED(neo_cell_kron)
#define neo_cell_grad EMULATED(neo_cell_grad)
#define neo_cell_terms EMULATED(neo_cell_terms)
#define pointwise EMULATED(pointwise)
#define pointwise_gelu EMULATED(pointwise_gelu)
#define pointwise_gelu_kept EMULATED(pointwise_gelu_kept)
#define pointwise_residual EMULATED(pointwise_residual)
#define pointwise_input_grad EMULATED(pointwise_input_grad)
#define pointwise_gelu_grad EMULATED(pointwise_gelu_grad)
#define pointwise_weight_grad EMULATED(pointwise_weight_grad)
#define pointwise_mlp EMULATED(pointwise_mlp)

#include "../op_kernel/neo_cell.cpp"
#include "../op_kernel/neo_cell_grad.cpp"
#include "../op_kernel/neo_cell_kron.cpp"
#include "../op_kernel/neo_cell_terms.cpp"
#include "../op_kernel/pointwise.cpp"
#include "../op_kernel/pointwise_gelu.cpp"
#include "../op_kernel/pointwise_gelu_grad.cpp"
#include "../op_kernel/pointwise_gelu_kept.cpp"
#include "../op_kernel/pointwise_input_grad.cpp"
#include "../op_kernel/pointwise_mlp.cpp"
#include "../op_kernel/pointwise_residual.cpp"
#include "../op_kernel/pointwise_weight_grad.cpp"

namespace emulator {

void EMULATED(Call)(Operator op, uint8_t* const* t, uint8_t* workspace, uint8_t* plan) {
  switch (op) {
    case Operator::NEO_CELL:
      return neo_cell(t[0], t[1], t[2], t[3], workspace, plan);
    case Operator::NEO_CELL_KRON:
      return neo_cell_kron(t[0], t[1], t[2], workspace, plan);
    case Operator::NEO_CELL_GRAD:
      return neo_cell_grad(t[0], t[1], t[2], t[3], t[4], t[5], t[6], workspace, plan);
    case Operator::NEO_CELL_TERMS:
      return neo_cell_terms(t[0], t[1], t[2], t[3], workspace, plan);
    case Operator::POINTWISE:
      return pointwise(t[0], t[1], t[2], t[3], workspace, plan);
    case Operator::POINTWISE_GELU:
      return pointwise_gelu(t[0], t[1], t[2], t[3], workspace, plan);
    case Operator::POINTWISE_GELU_KEPT:
      return pointwise_gelu_kept(t[0], t[1], t[2], t[3], t[4], workspace, plan);
    case Operator::POINTWISE_RESIDUAL:
      return pointwise_residual(t[0], t[1], t[2], t[3], t[4], t[5], workspace, plan);
    case Operator::POINTWISE_INPUT_GRAD:
      return pointwise_input_grad(t[0], t[1], t[2], workspace, plan);
    case Operator::POINTWISE_GELU_GRAD:
      return pointwise_gelu_grad(t[0], t[1], t[2], t[3], workspace, plan);
    case Operator::POINTWISE_WEIGHT_GRAD:
      return pointwise_weight_grad(t[0], t[1], t[2], t[3], workspace, plan);
    case Operator::POINTWISE_MLP:
      return pointwise_mlp(t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], workspace, plan);
  }
}

}  // namespace emulator

#undef DTYPE_X
#undef DTYPE_DY
#undef neo_cell
#undef neo_cell_kron
#undef neo_cell_grad
#undef neo_cell_terms
#undef pointwise
#undef pointwise_gelu
#undef pointwise_gelu_kept
#undef pointwise_residual
#undef pointwise_input_grad
#undef pointwise_gelu_grad
#undef pointwise_weight_grad
#undef pointwise_mlp
