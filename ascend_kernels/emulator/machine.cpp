// The state of a core that instructions share: memories, race detector, flags.
#include "machine.h"

#include <algorithm>
#include <cstring>

#include "device.h"

namespace emulator {

namespace {

constexpr uint16_t POISON = 0x7FC0;  // NaN in fp16 and bf16, and twice in a row in fp32

}  // namespace

// -------------------------------------------------------------------------------------------------------- set-up
void Counters::Add(const Counters& other) {
  for (int p = 0; p < PIPES; ++p) {
    instructions[p] += other.instructions[p];
  }
  flags += other.flags;
  barriers += other.barriers;
  gmRead += other.gmRead;
  gmWritten += other.gmWritten;
  l2Read += other.l2Read;
  l2Written += other.l2Written;
  cubeCycles += other.cubeCycles;
  l0Cycles += other.l0Cycles;
  fixCycles += other.fixCycles;
  vectorCycles += other.vectorCycles;
}

Machine::Machine(Unit unit) : unit_(unit) {
  for (int m = 0; m < MEMORIES; ++m) {
    base_[m] = nullptr;
    if (Has(static_cast<Memory>(m))) {
      own_[m].resize(CAPACITY[m] + 512);
      base_[m] = own_[m].data() + (512 - reinterpret_cast<uintptr_t>(own_[m].data()) % 512) % 512;
      cells_[m].resize(CAPACITY[m] / GRANULE);
    }
  }
  Reset();
}

void Machine::BindMemory(Memory memory, uint8_t* base) {
  if (!Has(memory) || base_[memory] == base) {
    return;
  }
  base_[memory] = base;
  std::fill_n(reinterpret_cast<uint16_t*>(base), CAPACITY[memory] / 2, POISON);
}

void Machine::Reset() {
  for (int m = 0; m < MEMORIES; ++m) {
    if (base_[m] != nullptr) {
      std::fill_n(reinterpret_cast<uint16_t*>(base_[m]), CAPACITY[m] / 2, POISON);
    }
    std::fill(cells_[m].begin(), cells_[m].end(), Cell{{}, 0, -1, 0});
  }
  for (int p = 0; p < PIPES; ++p) {
    clock_[p].fill(0);
    Now(p) = 1;
  }
  std::memset(flags_, 0, sizeof(flags_));
  cubeEpoch_ = 1;
  held_ = 0;
  counters = Counters();
  steps.clear();
}

void Machine::Finish() {
  if (held_ != 0) {
    Fail("end of kernel: " + std::to_string(held_) + " tensors of queues were never freed");
  }
  for (int s = 0; s < PIPES; ++s) {
    for (int d = 0; d < PIPES; ++d) {
      for (int id = 0; id < EVENT_IDS; ++id) {
        if (flags_[s][d][id].count != 0) {
          Fail(std::string("end of kernel: flag ") + PIPE_NAME[s] + "_" + PIPE_NAME[d] + " " + std::to_string(id) +
               " is left set, the next kernel would not wait for it");
        }
      }
    }
  }
}

// ------------------------------------------------------------------------------------------------------- reports
void Machine::Fail(const std::string& message) { TheDevice().Fail(message); }

void Machine::Die(const std::string& message) {
  Fail(message);
  throw Abort(message);
}

void Machine::Expect(bool condition, const char* call, const char* rule, uint64_t value) {
  if (!condition) {
    Die(std::string(call) + ": " + rule + ", given " + std::to_string(value));
  }
}

Memory Machine::Locate(const char* call, const void* address, uint64_t bytes, uint64_t* offset) {
  for (int m = 0; m < MEMORIES; ++m) {
    if (base_[m] == nullptr) {
      continue;
    }
    ptrdiff_t o = static_cast<const uint8_t*>(address) - base_[m];
    if (o >= 0 && o < static_cast<ptrdiff_t>(CAPACITY[m])) {
      if (o + bytes > CAPACITY[m]) {
        Die(std::string(call) + ": " + std::to_string(bytes) + " B at offset " + std::to_string(o) +
            " pass the end of " + MEMORY_NAME[m] + " (" + std::to_string(CAPACITY[m]) + " B)");
      }
      *offset = static_cast<uint64_t>(o);
      return static_cast<Memory>(m);
    }
  }
  Die(std::string(call) + ": an operand lies in no on-chip memory of " + UNIT_NAME[unit_]);
}

Memory Machine::ExpectMemory(const char* call, const char* operand, const void* address,
                             std::initializer_list<Memory> allowed) {
  uint64_t offset;
  Memory memory = Locate(call, address, 1, &offset);
  if (std::find(allowed.begin(), allowed.end(), memory) == allowed.end()) {
    Die(std::string(call) + ": the " + operand + " must be in " + MEMORY_NAME[*allowed.begin()] + ", given " +
        MEMORY_NAME[memory]);
  }
  return memory;
}

void Machine::Align(const char* call, const void* address, uint32_t alignment) {
  uint64_t offset;
  Memory memory = Locate(call, address, 1, &offset);
  if (offset % alignment != 0) {
    Die(std::string(call) + ": an address in " + MEMORY_NAME[memory] + " must be a multiple of " +
        std::to_string(alignment) + " B, given " + std::to_string(offset));
  }
}

// ------------------------------------------------------------------------------------------------- race detector
void Machine::Race(const char* kind, int first, Pipe second, const char* call, Memory memory, uint64_t offset) {
  ++TheDevice().races;
  Fail(std::string("race (") + kind + "): " + call + " on pipe " + PIPE_NAME[second] + " at " + MEMORY_NAME[memory] +
       " offset " + std::to_string(offset) + " is not ordered after pipe " + PIPE_NAME[first]);
}

void Machine::Read(Pipe pipe, const char* call, const void* address, uint64_t bytes, bool written) {
  if (bytes == 0) {
    return;
  }
  uint64_t offset;
  Memory memory = Locate(call, address, bytes, &offset);
  bool unwritten = false;
  for (uint64_t g = offset / GRANULE; g <= (offset + bytes - 1) / GRANULE; ++g) {
    Cell& cell = cells_[memory][g];
    if (cell.writer < 0) {
      unwritten = true;
    } else if (cell.writer != pipe && Seen(pipe, cell.writer) < cell.written) {
      Race("read after write", cell.writer, pipe, call, memory, g * GRANULE);
    }
    cell.read[pipe] = Now(pipe);
  }
  if (written && unwritten) {
    Fail(std::string(call) + ": reads " + MEMORY_NAME[memory] + " at offset " + std::to_string(offset) +
         ", which nobody wrote");
  }
}

void Machine::Write(Pipe pipe, const char* call, const void* address, uint64_t bytes) {
  if (bytes == 0) {
    return;
  }
  uint64_t offset;
  Memory memory = Locate(call, address, bytes, &offset);
  for (uint64_t g = offset / GRANULE; g <= (offset + bytes - 1) / GRANULE; ++g) {
    Cell& cell = cells_[memory][g];
    if (cell.writer >= 0 && cell.writer != pipe && Seen(pipe, cell.writer) < cell.written) {
      Race("write after write", cell.writer, pipe, call, memory, g * GRANULE);
    }
    for (int p = 0; p < PIPES; ++p) {
      if (p != pipe && cell.read[p] > Seen(pipe, p)) {
        Race("write after read", p, pipe, call, memory, g * GRANULE);
        break;
      }
    }
    cell.writer = static_cast<int8_t>(pipe);
    cell.written = Now(pipe);
    cell.cubeEpoch = pipe == PIPE_CUBE ? cubeEpoch_ : 0;
  }
}

void Machine::SetFlag(Pipe source, Pipe destination, int id) {
  std::string name = std::string("set_flag ") + PIPE_NAME[source] + "_" + PIPE_NAME[destination];
  Expect(id >= 0 && id < EVENT_IDS, name.c_str(), "event ids are 0..7", static_cast<uint64_t>(id));
  Flag& flag = flags_[source][destination][id];
  if (flag.count++ != 0) {
    Fail(name + " " + std::to_string(id) + ": set twice without a wait between");
  }
  flag.clock = clock_[source];
  ++Now(source);
  ++counters.flags;
  steps.push_back({Step::SET, static_cast<uint8_t>(source),
                   static_cast<uint16_t>((source * PIPES + destination) * EVENT_IDS + id), 0, 0, 0});
}

void Machine::WaitFlag(Pipe source, Pipe destination, int id) {
  std::string name = std::string("wait_flag ") + PIPE_NAME[source] + "_" + PIPE_NAME[destination];
  Expect(id >= 0 && id < EVENT_IDS, name.c_str(), "event ids are 0..7", static_cast<uint64_t>(id));
  Flag& flag = flags_[source][destination][id];
  if (flag.count == 0) {
    Fail(name + " " + std::to_string(id) + ": nobody set it, the core would hang");
    return;
  }
  --flag.count;
  Join(&clock_[destination], flag.clock);
  ++counters.flags;
  steps.push_back({Step::WAIT, static_cast<uint8_t>(destination),
                   static_cast<uint16_t>((source * PIPES + destination) * EVENT_IDS + id), 0, 0, 0});
}

void Machine::Barrier(Pipe pipe) {
  ++counters.barriers;
  if (pipe == PIPE_CUBE) {
    ++cubeEpoch_;
  }
}

void Machine::BarrierAll() {
  ++counters.barriers;
  ++cubeEpoch_;
  Clock joined{};
  for (const Clock& clock : clock_) {
    Join(&joined, clock);
  }
  for (int p = 0; p < PIPES; ++p) {
    clock_[p] = joined;
    ++Now(p);
  }
}

void Machine::CrossCoreSet(int mode, Pipe pipe, int id) {
  const char* call = "CrossCoreSetFlag";
  Expect(mode == 2, call, "mode 2 joins the cube core and its vector cores; no other is modelled", mode);
  Expect(id >= 0 && id < CROSS_IDS, call, "flag ids are 0..10", static_cast<uint64_t>(id));
  Expect(TheDevice().Mixed(), call, "the kernel's type must have cube and vector cores (KERNEL_TYPE_MIX_AIC_1_2)", id);
  bool own = IsVector() ? pipe == PIPE_VECTOR || pipe == PIPE_GM_L1 || pipe == PIPE_UB_GM
                        : pipe == PIPE_CUBE || pipe == PIPE_L1_L0 || pipe == PIPE_GM_L1 || pipe == PIPE_FIXPIPE;
  if (!own) {
    Die(std::string(call) + ": a " + (IsVector() ? "vector" : "cube") + " core has no pipe " + PIPE_NAME[pipe] +
        " that could set a flag");
  }
  TheDevice().CrossSet(*this, id, clock_[pipe]);
  ++Now(pipe);
  ++counters.flags;
  steps.push_back({Step::CROSS_SET, static_cast<uint8_t>(pipe), static_cast<uint16_t>(id), 0, 0, 0});
}

void Machine::CrossCoreWait(int id) {
  const char* call = "CrossCoreWaitFlag";
  Expect(id >= 0 && id < CROSS_IDS, call, "flag ids are 0..10", static_cast<uint64_t>(id));
  Expect(TheDevice().Mixed(), call, "the kernel's type must have cube and vector cores (KERNEL_TYPE_MIX_AIC_1_2)", id);
  Clock published = TheDevice().CrossWait(*this, id);
  for (Clock& clock : clock_) {
    Join(&clock, published);
  }
  ++counters.flags;
  steps.push_back({Step::CROSS_WAIT, PIPE_SCALAR, static_cast<uint16_t>(id), 0, 0, 0});
}

void Machine::Work(Pipe pipe, uint64_t cycles, uint64_t bytes, double gmBytes) {
  ++counters.instructions[pipe];
  steps.push_back({Step::WORK, static_cast<uint8_t>(pipe), 0, static_cast<uint32_t>(cycles),
                   static_cast<uint32_t>(bytes), static_cast<float>(gmBytes)});
}

}  // namespace emulator
