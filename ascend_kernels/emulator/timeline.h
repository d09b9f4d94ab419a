// The time model: replays the recorded steps of one core, every pipe in order, every wait after its flag.
// It is a model, not a measurement.  Known (platform_config of CANN): clock, bytes per cycle, cube and L0 rates.
// Estimated: what issuing an instruction costs the scalar unit, and how long a GM access takes.
#ifndef EMULATOR_TIMELINE_H
#define EMULATOR_TIMELINE_H
#include <vector>

#include "machine.h"

namespace emulator {

constexpr double GM_BYTES_PER_CYCLE = 32;  // of HBM, for one core, reads and writes together
constexpr double ISSUE_CYCLES = 4;         // estimate: scalar work for one instruction or flag
constexpr double GM_LATENCY = 600;         // estimate: cycles that a load takes besides its bytes
constexpr double STARTUP_CYCLES = 16;      // estimate: cycles an on-chip instruction needs besides its work

struct Times {
  double total;        // cycles from the first to the last instruction
  double busy[PIPES];  // cycles of work on each pipe
  double issue;        // cycles of the scalar unit
  double gm;           // cycles of the GM bus
};

Times Replay(const std::vector<Step>& steps);

}  // namespace emulator
#endif
