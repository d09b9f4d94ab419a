#include "host.h"

#include <cstring>

namespace emulator {

const char* Plan(Operator op, const neocell::Shape& shape, uint32_t cores, neocell::Tiling* tiling) {
  switch (op) {
    case Operator::FORWARD:
      return neocell::PlanForward(shape, cores, tiling);
    case Operator::KRON:
      return neocell::PlanKron(shape, cores, tiling);
    default:
      return neocell::PlanGrad(shape, cores, tiling);
  }
}

std::vector<Argument> Arguments(Operator op, const neocell::Shape& s, const neocell::Tiling& tiling) {
  uint64_t planes = static_cast<uint64_t>(s.images) * s.channels, channels = s.channels;
  uint64_t x = planes * s.height * s.width * 2, y = planes * s.outHeight * s.outWidth * 2;
  uint64_t a = channels * s.outHeight * s.height, b = channels * s.width * s.outWidth;
  switch (op) {
    case Operator::FORWARD:
      return {{"x", x, false}, {"a", 2 * a, false}, {"b", 2 * b, false}, {"y", y, true}};
    case Operator::KRON:
      return {{"x", x, false}, {"k", 2 * b, false}, {"y", y, true}};
    default:
      return {{"x", x, false},
              {"a", 2 * a, false},
              {"b", 2 * b, false},
              {"dy", y, false},
              {"dx", x, true},
              {"da", 4 * a * tiling.splits, true},
              {"db", 4 * b * tiling.splits, true}};
  }
}

namespace {

// A dry run needs addresses that no tensor of the process has and that cannot overlap.
uint8_t* FakeAddress(size_t index) { return reinterpret_cast<uint8_t*>((index + 1) << 44); }

void RunCore(Operator op, bool bf16, uint8_t* const* tensors, const neocell::Tiling& tiling, int core) {
  Machine& machine = TheMachine();
  machine.Reset();
  try {
    CallKernel(op, bf16, tensors, tiling, core);
    machine.Finish();
  } catch (const Abort&) {
    // the machine has kept the message
  }
}

}  // namespace

Report Launch(Operator op, bool bf16, const neocell::Shape& shape, uint32_t cores, uint8_t* const* tensors) {
  Report report;
  if (const char* reason = Plan(op, shape, cores, &report.tiling)) {
    report.refusal = reason;
    return report;
  }
  bool dry = tensors == nullptr;
  Machine& machine = TheMachine();
  machine.violations.clear();
  machine.violationCount = machine.races = 0;
  machine.SetDry(dry);
  machine.ClearTensors();
  std::vector<uint8_t*> addresses;
  for (const Argument& argument : Arguments(op, shape, report.tiling)) {
    addresses.push_back(dry ? FakeAddress(addresses.size()) : tensors[addresses.size()]);
    machine.AddTensor(argument.name, addresses.back(), argument.bytes, argument.output);
    if (!dry && argument.output) {
      std::memset(addresses.back(), 0xFF, argument.bytes);
    }  // NaN until it is written
  }
  int used = dry ? 1 : static_cast<int>(neocell::UsedCores(report.tiling));
  for (int core = 0; core < used && machine.violationCount == 0; ++core) {
    RunCore(op, bf16, addresses.data(), report.tiling, core);
    report.total.Add(machine.counters);
    if (core == 0) {
      report.first = machine.counters;
      report.times = Replay(machine.steps);
    }
  }
  report.violations = machine.violations;
  report.violationCount = machine.violationCount;
  report.races = machine.races;
  return report;
}

}  // namespace emulator
