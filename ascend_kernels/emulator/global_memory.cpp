// Global memory: what of it L2 serves, who may write what, and races in the workspace.
#include "device.h"

namespace emulator {

// ------------------------------------------------------------------------------------------------------- a core's view
double Machine::ReadGm(Pipe pipe, const char* call, const void* address, uint64_t bytes) {
  Device& device = TheDevice();
  Tensor& tensor = device.Find(*this, call, address, bytes);
  const uint8_t* a = static_cast<const uint8_t*>(address);
  double gm = static_cast<double>(bytes);
  if (tensor.use == Use::WORKSPACE) {
    gm = 0;
    device.ReadWorkspace(*this, tensor, pipe, clock_[pipe], call, a - tensor.base, bytes);
  } else if (tensor.use == Use::INPUT) {
    gm = device.Touch(tensor, a, bytes);
  }
  counters.gmRead += gm;
  counters.l2Read += gm < bytes ? static_cast<uint64_t>(bytes - gm) : 0;
  return gm;
}

double Machine::WriteGm(Pipe pipe, const char* call, const void* address, uint64_t bytes) {
  Device& device = TheDevice();
  Tensor& tensor = device.Find(*this, call, address, bytes);
  uint64_t offset = static_cast<const uint8_t*>(address) - tensor.base;
  if (tensor.use == Use::INPUT) {
    Die(std::string(call) + ": writes the input tensor " + tensor.name);
  }
  if (tensor.use == Use::WORKSPACE) {
    device.WriteWorkspace(*this, tensor, pipe, clock_[pipe], call, offset, bytes);
    counters.l2Written += bytes;
    return 0;
  }
  counters.gmWritten += static_cast<double>(bytes);
  if (!device.Dry()) {
    for (uint64_t i = offset / 2; i < (offset + bytes) / 2; ++i) {
      if (tensor.written[i]++) {
        Die(std::string(call) + ": byte " + std::to_string(2 * i) + " of tensor " + tensor.name +
            " is written twice; no two cores and no two tiles may share an output");
      }
    }
  }
  return static_cast<double>(bytes);
}

// ------------------------------------------------------------------------------------------------- tensors
Tensor& Device::Find(Machine& core, const char* call, const void* address, uint64_t bytes) {
  const uint8_t* a = static_cast<const uint8_t*>(address);
  for (Tensor& tensor : tensors_) {
    if (a >= tensor.base && a < tensor.base + tensor.bytes) {
      if (a + bytes > tensor.base + tensor.bytes) {
        core.Die(std::string(call) + ": " + std::to_string(bytes) + " B at offset " + std::to_string(a - tensor.base) +
                 " pass the end of tensor " + tensor.name + " (" + std::to_string(tensor.bytes) + " B)");
      }
      return tensor;
    }
  }
  core.Die(std::string(call) + ": the global address lies in no tensor of the kernel");
}

double Device::Touch(Tensor& tensor, const uint8_t* address, uint64_t bytes) {
  uint64_t offset = static_cast<uint64_t>(address - tensor.base), missed = 0;
  uint64_t now = static_cast<uint64_t>(moved_) / 64 + 1, kept = L2_BYTES / 64 / blocks_;
  for (uint64_t sector = offset / SECTOR; sector <= (offset + bytes - 1) / SECTOR; ++sector) {
    uint32_t& last = tensor.touched.get()[sector];
    missed += last < firstUnit_ || now - last > kept;
    last = static_cast<uint32_t>(now);
  }
  moved_ += static_cast<double>(bytes) / tensor.sharers;
  return static_cast<double>(missed * SECTOR) / tensor.sharers;
}

Tensor::Cell& Device::Own(Machine& core, Tensor& tensor, const char* call, uint64_t granule) {
  Tensor::Cell& cell = tensor.cells[granule];
  if (cell.owner >= 0 && cell.owner != block_) {
    core.Die(std::string(call) + ": offset " + std::to_string(granule * GRANULE) + " of " + tensor.name +
             " is used by two AI cores, which nothing orders");
  }
  cell.owner = static_cast<int16_t>(block_);
  return cell;
}

void Device::RaceInWorkspace(Machine& core, Tensor& tensor, const char* kind, int first, Pipe second, const char* call,
                             uint64_t granule) {
  ++races;
  Fail(std::string("race (") + kind + "): " + call + " on pipe " + PIPE_NAME[second] + " of " +
       UNIT_NAME[core.Which()] + " at " + tensor.name + " offset " + std::to_string(granule * GRANULE) +
       " is not ordered after pipe " + PIPE_NAME[first % PIPES] + " of " + UNIT_NAME[first / PIPES]);
}

void Device::ReadWorkspace(Machine& core, Tensor& tensor, Pipe pipe, const Clock& clock, const char* call,
                           uint64_t offset, uint64_t bytes) {
  int self = core.Which() * PIPES + pipe;
  for (uint64_t g = offset / GRANULE; g <= (offset + bytes - 1) / GRANULE; ++g) {
    Tensor::Cell& cell = Own(core, tensor, call, g);
    if (cell.writer < 0) {
      core.Die(std::string(call) + ": reads " + tensor.name + " at offset " + std::to_string(g * GRANULE) +
               ", which nobody wrote");
    }
    if (cell.writer != self && clock[cell.writer] < cell.written) {
      RaceInWorkspace(core, tensor, "read after write", cell.writer, pipe, call, g);
    }
    cell.read[self] = clock[self];
  }
}

void Device::WriteWorkspace(Machine& core, Tensor& tensor, Pipe pipe, const Clock& clock, const char* call,
                            uint64_t offset, uint64_t bytes) {
  int self = core.Which() * PIPES + pipe;
  for (uint64_t g = offset / GRANULE; g <= (offset + bytes - 1) / GRANULE; ++g) {
    Tensor::Cell& cell = Own(core, tensor, call, g);
    if (cell.writer >= 0 && cell.writer != self && clock[cell.writer] < cell.written) {
      RaceInWorkspace(core, tensor, "write after write", cell.writer, pipe, call, g);
    }
    for (int p = 0; p < UNITS * PIPES; ++p) {
      if (p != self && cell.read[p] > clock[p]) {
        RaceInWorkspace(core, tensor, "write after read", p, pipe, call, g);
        break;
      }
    }
    cell.writer = static_cast<int8_t>(self);
    cell.written = clock[self];
  }
}

}  // namespace emulator
