#include "host.h"

#include <cstdlib>
#include <cstring>
#include <memory>

namespace emulator {

namespace {

// A dry run needs addresses that no tensor of the process has and that cannot overlap.
uint8_t* FakeAddress(size_t index) { return reinterpret_cast<uint8_t*>((index + 1) << 44); }

// Inputs of up to so many bytes are zeros in memory even then: a kernel may read them by single numbers, which CANN's
// own headers do as if there were always data.
constexpr uint64_t READ_BY_NUMBERS = 1 << 16;
using SmallInput = std::unique_ptr<uint8_t, decltype(&std::free)>;
SmallInput Zeros() {
  SmallInput memory(static_cast<uint8_t*>(std::aligned_alloc(512, READ_BY_NUMBERS)), &std::free);
  std::memset(memory.get(), 0, READ_BY_NUMBERS);
  return memory;
}

void AddVectors(Counters* sum) {
  sum->Add(TheDevice().Core(VECTOR_CORE_0).counters);
  sum->Add(TheDevice().Core(VECTOR_CORE_1).counters);
}

}  // namespace

Report Launch(Operator op, bool bf16, const uint32_t* shape, uint32_t cores, uint8_t* const* tensors) {
  Report report;
  report.plan = MakePlan(op, shape, cores);
  if (!report.plan.refusal.empty()) {
    return report;
  }
  Plan& plan = report.plan;
  bool dry = tensors == nullptr;
  Device& device = TheDevice();
  device.Prepare(dry, plan.cores, plan.mixed);
  std::vector<uint8_t*> addresses;
  std::vector<SmallInput> small;
  for (const Argument& argument : plan.arguments) {
    addresses.push_back(dry ? FakeAddress(addresses.size()) : tensors[addresses.size()]);
    if (dry && argument.use == Use::INPUT && argument.bytes <= READ_BY_NUMBERS) {
      small.push_back(Zeros());
      addresses.back() = small.back().get();
    }
    device.AddTensor(argument.name, addresses.back(), argument.bytes, argument.use, argument.sharers);
    if (!dry && argument.use == Use::OUTPUT) {
      std::memset(addresses.back(), 0xFF, argument.bytes);  // NaN until it is written
    }
  }
  std::vector<uint8_t> memory(dry ? 0 : plan.workspaceBytes, 0xFF);
  uint8_t* workspace = dry ? FakeAddress(addresses.size()) : memory.data();
  if (plan.workspaceBytes > 0) {
    device.AddTensor("workspace", workspace, plan.workspaceBytes, Use::WORKSPACE);
  }
  int used = dry ? 1 : static_cast<int>(plan.cores);
  for (int core = 0; core < used && device.violationCount == 0; ++core) {
    device.RunBlock(core, [&] { CallKernel(op, bf16, addresses.data(), workspace, plan.tiling.data()); });
    report.total.Add(device.Core(CUBE_CORE).counters);
    AddVectors(&report.totalVector);
    if (core == 0) {
      report.core = report.total;
      report.coreVector = report.totalVector;
      report.times =
          Replay({&device.Core(0).steps, &device.Core(VECTOR_CORE_0).steps, &device.Core(VECTOR_CORE_1).steps});
    }
  }
  report.violations = device.violations;
  report.violationCount = device.violationCount;
  report.races = device.races;
  return report;
}

}  // namespace emulator
