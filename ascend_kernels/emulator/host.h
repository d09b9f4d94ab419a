// The host side of an emulated launch: what op_host and the runtime do on a machine with NPUs.
#ifndef EMULATOR_HOST_H
#define EMULATOR_HOST_H
#include <string>
#include <utility>
#include <vector>

#include "device.h"
#include "timeline.h"

namespace emulator {

enum class Operator {
  NEO_CELL,
  NEO_CELL_KRON,
  NEO_CELL_GRAD,
  NEO_CELL_TERMS,
  POINTWISE,
  POINTWISE_GELU,
  POINTWISE_GELU_KEPT,
  POINTWISE_RESIDUAL,
  POINTWISE_INPUT_GRAD,
  POINTWISE_GELU_GRAD,
  POINTWISE_WEIGHT_GRAD,
  POINTWISE_MLP
};
const char* const OPERATOR_NAME[] = {"neo_cell",
                                     "neo_cell_kron",
                                     "neo_cell_grad",
                                     "neo_cell_terms",
                                     "pointwise",
                                     "pointwise_gelu",
                                     "pointwise_gelu_kept",
                                     "pointwise_residual",
                                     "pointwise_input_grad",
                                     "pointwise_gelu_grad",
                                     "pointwise_weight_grad",
                                     "pointwise_mlp"};
constexpr int OPERATORS = sizeof(OPERATOR_NAME) / sizeof(OPERATOR_NAME[0]);

struct Argument {
  const char* name;
  uint64_t bytes;
  Use use;
  uint32_t sharers;  // AI cores that read the same bytes at the same time
};

// A launch before it runs.
struct Plan {
  std::string refusal;          // the tiling's reason, and then there is nothing else
  std::vector<uint8_t> tiling;  // as the kernel gets it
  uint32_t cores = 0;           // AI cores used
  bool mixed = false;           // with their vector cores
  uint64_t workspaceBytes = 0;
  std::vector<Argument> arguments;                      // in the operator's order
  std::vector<std::pair<const char*, uint32_t>> facts;  // of the tiling, for tests
  double share = 0;                                     // of a pointwise product's work, on core 0
};

struct Report {
  Plan plan;
  std::vector<std::string> violations;  // of the hardware's rules; empty if the run was clean
  uint64_t violationCount = 0, races = 0;
  Counters total, core;              // of all cube cores, and of core 0's, which has the largest share
  Counters totalVector, coreVector;  // of their vector cores, both together
  Times times{};                     // of core 0
};

// The shape is {N, C, H, W, H', W'} for NeoCell, for its terms with rank and width of the groups, and {N, channels in,
// channels out, pixels} for pointwise operators, where the hidden channels are those out of an MLP.
Plan MakePlan(Operator op, const uint32_t* shape, uint32_t cores);

// Runs an operator on `cores` emulated cores.  Without tensors it is a dry run of core 0: checked and counted, no data.
Report Launch(Operator op, bool bf16, const uint32_t* shape, uint32_t cores, uint8_t* const* tensors);

// One core of one kernel; in kernels.cpp.
void CallKernel(Operator op, bool bf16, uint8_t* const* tensors, uint8_t* workspace, uint8_t* plan);

}  // namespace emulator
#endif
