// The host side of an emulated launch: what op_host and the runtime do on a machine with NPUs.
#ifndef EMULATOR_HOST_H
#define EMULATOR_HOST_H
#include <string>
#include <vector>

#include "machine.h"
#include "neo_cell_tiling.h"
#include "timeline.h"

namespace emulator {

enum class Operator { FORWARD, KRON, GRAD };

struct Argument {
  const char* name;
  uint64_t bytes;
  bool output;
};

struct Report {
  std::string refusal;                  // the tiling's reason, and then nothing ran
  std::vector<std::string> violations;  // of the hardware's rules; empty if the run was clean
  uint64_t violationCount = 0, races = 0;
  neocell::Tiling tiling{};
  Counters total, first;  // of all cores, and of core 0, which has the largest share
  Times times{};          // of core 0
};

const char* Plan(Operator op, const neocell::Shape& shape, uint32_t cores, neocell::Tiling* tiling);
std::vector<Argument> Arguments(Operator op, const neocell::Shape& shape, const neocell::Tiling& tiling);

// Runs an operator on `cores` emulated cores.  Without tensors it is a dry run of core 0: checked and counted, no data.
Report Launch(Operator op, bool bf16, const neocell::Shape& shape, uint32_t cores, uint8_t* const* tensors);

// One core of one kernel; in kernels.cpp.
void CallKernel(Operator op, bool bf16, uint8_t* const* tensors, neocell::Tiling tiling, int core);

}  // namespace emulator
#endif
