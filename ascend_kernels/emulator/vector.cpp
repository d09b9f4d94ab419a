// The instructions of a vector core that move data, and what all its arithmetic has in common.
#include <cmath>
#include <cstring>
#include <limits>

#include "device.h"

namespace emulator {

namespace {

uint32_t Up32(uint32_t bytes) { return (bytes + 31) / 32 * 32; }

}  // namespace

float RoughExp(float x) {
  float y = std::exp(x);
  if (y < std::numeric_limits<float>::min()) {
    return y;
  }
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  uint32_t hash = bits * 2654435761u >> 30;
  return hash == 0 ? std::nextafter(y, 0.0f) : hash == 1 ? std::nextafter(y, std::numeric_limits<float>::max()) : y;
}

void Machine::CopyToUb(void* ub, const void* gm, const CopyRows& p) {
  const char* call = "DataCopy(GM to UB)";
  ExpectMemory(call, "destination", ub, {MEM_UB});
  Align(call, ub, 32);
  Expect(p.count >= 1 && p.count <= 4095, call, "the number of rows must be 1..4095", p.count);
  Expect(p.bytes >= 1 && p.bytes <= 2097151, call, "a row must have 1..2097151 B", p.bytes);
  double gmBytes = 0;
  for (uint32_t row = 0; row < p.count; ++row) {
    const uint8_t* in = static_cast<const uint8_t*>(gm) + row * (static_cast<uint64_t>(p.bytes) + p.gmGap);
    uint8_t* out = static_cast<uint8_t*>(ub) + row * (static_cast<uint64_t>(Up32(p.bytes)) + p.ubGap);
    gmBytes += ReadGm(PIPE_GM_L1, call, in, p.bytes);
    Write(PIPE_GM_L1, call, out, Up32(p.bytes));
    if (!TheDevice().Dry()) {
      std::memcpy(out, in, p.bytes);
      std::memset(out + p.bytes, 0xFF, Up32(p.bytes) - p.bytes);  // nothing may depend on what pads a row: NaN
    }
  }
  Work(PIPE_GM_L1, 0, static_cast<uint64_t>(p.count) * p.bytes, gmBytes);
}

void Machine::CopyFromUb(void* gm, const void* ub, const CopyRows& p) {
  const char* call = "DataCopy(UB to GM)";
  ExpectMemory(call, "source", ub, {MEM_UB});
  Align(call, ub, 32);
  Expect(p.count >= 1 && p.count <= 4095, call, "the number of rows must be 1..4095", p.count);
  Expect(p.bytes >= 1 && p.bytes <= 2097151, call, "a row must have 1..2097151 B", p.bytes);
  double gmBytes = 0;
  for (uint32_t row = 0; row < p.count; ++row) {
    uint8_t* out = static_cast<uint8_t*>(gm) + row * (static_cast<uint64_t>(p.bytes) + p.gmGap);
    const uint8_t* in = static_cast<const uint8_t*>(ub) + row * (static_cast<uint64_t>(Up32(p.bytes)) + p.ubGap);
    Read(PIPE_UB_GM, call, in, p.bytes);
    gmBytes += WriteGm(PIPE_UB_GM, call, out, p.bytes);
    if (!TheDevice().Dry()) {
      std::memcpy(out, in, p.bytes);
    }
  }
  Work(PIPE_UB_GM, 0, static_cast<uint64_t>(p.count) * p.bytes, gmBytes);
}

void Machine::VectorAccess(const char* call, uint32_t cycles, const Bytes& destination,
                           std::initializer_list<Bytes> sources) {
  counters.vectorCycles += cycles;
  Work(PIPE_VECTOR, cycles);
  for (const Bytes& source : sources) {
    ExpectMemory(call, "source", source.address, {MEM_UB});
    Align(call, source.address, 32);
    Read(PIPE_VECTOR, call, source.address, source.bytes);
  }
  ExpectMemory(call, "destination", destination.address, {MEM_UB});
  Align(call, destination.address, 32);
  Write(PIPE_VECTOR, call, destination.address, destination.bytes);
}

void Machine::ReadScalar(const void* gm, uint32_t bytes) {
  double gmBytes = ReadGm(PIPE_SCALAR, "GetValue", gm, bytes);
  Work(PIPE_SCALAR, 0, bytes, gmBytes);
}

}  // namespace emulator
