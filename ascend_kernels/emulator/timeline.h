// The time model: replays the recorded steps of one AI core; every pipe in order, every wait after its flag, the scalar
// unit of each core held back by flags of the others.  It is a model, not a measurement.
// Known (platform_config of CANN): clock, bytes per cycle, cube and L0 rates, 256 B a cycle on a vector core.
// Estimated: what issuing an instruction costs the scalar unit, how long a GM access and a flag between cores take.
#ifndef EMULATOR_TIMELINE_H
#define EMULATOR_TIMELINE_H
#include <vector>

#include "machine.h"

namespace emulator {

constexpr double GM_BYTES_PER_CYCLE = 32;  // of HBM, for one AI core, reads and writes together
constexpr double L2_READ_PER_CYCLE = 110;  // bytes, for one AI core
constexpr double L2_WRITE_PER_CYCLE = 86;
constexpr double ISSUE_CYCLES = 4;     // estimate: scalar work for one instruction or flag
constexpr double GM_LATENCY = 600;     // estimate: cycles that a load takes besides its bytes
constexpr double STARTUP_CYCLES = 16;  // estimate: cycles an on-chip instruction needs besides its work
constexpr double CROSS_CYCLES = 100;   // estimate: cycles until another core sees a flag

struct Times {
  double total;               // cycles from the first to the last instruction
  double busy[UNITS][PIPES];  // cycles of work on each pipe
  double issue[UNITS];        // cycles of the scalar units
  double gm;                  // cycles of the GM bus
};

Times Replay(const std::vector<Step>* const (&steps)[UNITS]);

}  // namespace emulator
#endif
