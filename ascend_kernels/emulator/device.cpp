#include "device.h"

#include <ucontext.h>

#include <cstdlib>

namespace emulator {

namespace {

constexpr size_t KEPT_VIOLATIONS = 8;
constexpr size_t STACK_BYTES = 1 << 20;  // of a coroutine

}  // namespace

struct Device::Fibers {
  ucontext_t home, core[UNITS];
  std::vector<char> stack[UNITS];
};

Device& TheDevice() {
  static Device device;
  return device;
}

Machine& TheMachine() { return TheDevice().Current(); }

Device::Device() : fibers_(std::make_shared<Fibers>()) {
  for (int unit = 0; unit < UNITS; ++unit) {
    cores_[unit] = std::make_unique<Machine>(static_cast<Unit>(unit));
    fibers_->stack[unit].resize(STACK_BYTES);
  }
}

void Device::Prepare(bool dry, uint32_t blocks, bool mixed) {
  dry_ = dry;
  blocks_ = blocks;
  mixed_ = mixed;
  moved_ = 0;
  current_ = CUBE_CORE;
  violations.clear();
  violationCount = races = 0;
  tensors_.clear();
}

void Device::AddTensor(const std::string& name, const void* base, uint64_t bytes, Use use, uint32_t sharers) {
  Tensor tensor;
  tensor.name = name;
  tensor.base = static_cast<const uint8_t*>(base);
  tensor.bytes = bytes;
  tensor.use = use;
  tensor.sharers = sharers;
  if (use == Use::OUTPUT && !dry_) {
    tensor.written.resize(bytes / 2);
  } else if (use == Use::INPUT) {
    tensor.touched.reset(static_cast<uint32_t*>(std::calloc(bytes / SECTOR + 2, sizeof(uint32_t))));
  } else if (use == Use::WORKSPACE) {
    tensor.cells.assign(bytes / GRANULE + 1, Tensor::Cell{Clock{}, 0, -1, -1});
  }
  tensors_.push_back(std::move(tensor));
}

void Device::Fail(const std::string& message) {
  ++violationCount;
  if (violations.size() < KEPT_VIOLATIONS) {
    violations.push_back(message);
  }
}

// --------------------------------------------------------------------------------------------------- taking turns
void Device::RunBlock(int block, const std::function<void()>& body) {
  block_ = block;
  body_ = &body;
  moved_ += 64;  // past the last core's
  firstUnit_ = static_cast<uint64_t>(moved_) / 64 + 1;
  int units = mixed_ ? int(UNITS) : 1;
  for (int unit = 0; unit < UNITS; ++unit) {
    cores_[unit]->Reset();
    done_[unit] = unit >= units;
    waitsFor_[unit] = -1;
    ucontext_t& context = fibers_->core[unit];
    getcontext(&context);
    context.uc_stack.ss_sp = fibers_->stack[unit].data();
    context.uc_stack.ss_size = STACK_BYTES;
    context.uc_link = nullptr;
    makecontext(&context, [] { TheDevice().Enter(); }, 0);
    for (int id = 0; id < CROSS_IDS; ++id) {
      arrived_[unit][id].clear();
      half_[unit % 2][id].clear();
    }
  }
  for (Tensor& tensor : tensors_) {
    for (Tensor::Cell& cell : tensor.cells) {
      cell = {Clock{}, 0, -1, cell.owner};
    }
  }
  Turn(CUBE_CORE);
  swapcontext(&fibers_->home, &fibers_->core[current_]);
  current_ = CUBE_CORE;
  for (int unit = 0; unit < UNITS; ++unit) {
    for (int id = 0; id < CROSS_IDS; ++id) {
      if (!arrived_[unit][id].empty() || (unit != CUBE_CORE && !half_[unit - 1][id].empty())) {
        Fail("end of kernel: cross-core flag " + std::to_string(id) + " is left set, by or for " + UNIT_NAME[unit] +
             ", and the next kernel would not wait for it");
      }
    }
  }
}

void Device::Turn(int unit) {
  current_ = unit;
  if (onTurn != nullptr) {
    onTurn(block_, unit);
  }
}

void Device::Enter() {
  try {
    (*body_)();
    Current().Finish();
  } catch (const Abort&) {
    // the device has kept the message
  }
  done_[current_] = true;
  waitsFor_[current_] = -1;
  if (!Yield()) {
    setcontext(&fibers_->home);
  }
}

// Gives the turn to the next core that can go on, or else to one that waits in vain and will say so.
bool Device::Yield() {
  for (bool stuck : {false, true}) {
    for (int step = 1; step <= UNITS; ++step) {
      int unit = (current_ + step) % UNITS, id = waitsFor_[unit];
      if (!done_[unit] && (stuck || id < 0 || !arrived_[unit][id].empty())) {
        int from = current_;
        stuck_ = stuck;
        Turn(unit);
        if (unit != from) {
          swapcontext(&fibers_->core[from], &fibers_->core[unit]);
        }
        return true;
      }
    }
  }
  return false;
}

// ----------------------------------------------------------------------------------------------- cross-core flags
void Device::CrossSet(Machine& core, int id, const Clock& clock) {
  auto arrive = [&](int unit, const Clock& published) {
    arrived_[unit][id].push_back(published);
    if (arrived_[unit][id].size() > CROSS_MOST) {
      core.Die("CrossCoreSetFlag " + std::to_string(id) + ": set more than " + std::to_string(CROSS_MOST) +
               " times ahead of its waits");
    }
  };
  if (core.Which() == CUBE_CORE) {
    arrive(VECTOR_CORE_0, clock);
    arrive(VECTOR_CORE_1, clock);
    return;
  }
  int own = core.Which() - VECTOR_CORE_0;
  half_[own][id].push_back(clock);
  if (!half_[1 - own][id].empty()) {  // the cube core waits for both
    Clock both = half_[0][id].front();
    Join(&both, half_[1][id].front());
    half_[0][id].pop_front();
    half_[1][id].pop_front();
    arrive(CUBE_CORE, both);
  }
}

Clock Device::CrossWait(Machine& core, int id) {
  std::deque<Clock>& arrived = arrived_[core.Which()][id];
  while (arrived.empty()) {
    waitsFor_[core.Which()] = id;
    Yield();
    if (arrived.empty() && stuck_) {
      core.Die("CrossCoreWaitFlag " + std::to_string(id) + " on " + UNIT_NAME[core.Which()] +
               ": nobody sets it, the core would hang");
    }
  }
  waitsFor_[core.Which()] = -1;
  Clock clock = arrived.front();
  arrived.pop_front();
  return clock;
}

}  // namespace emulator
