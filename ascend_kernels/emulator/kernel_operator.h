// The AscendC programming interface on a host CPU: the classes and calls that the kernels use, with the signatures of
// CANN 8, over the instruction model of machine.h.  Found instead of CANN's header of this name by the include path.
#ifndef EMULATOR_KERNEL_OPERATOR_H
#define EMULATOR_KERNEL_OPERATOR_H
#include <cmath>
#include <cstring>
#include <deque>
#include <limits>
#include <utility>

#include "device.h"

#define __aicore__
#define __global__
#define __gm__
#define ASCENDC_ASSERT(condition, action)                                         \
  do {                                                                            \
    if (!(condition)) {                                                           \
      emulator::TheMachine().Die("ASCENDC_ASSERT: " #condition " does not hold"); \
    }                                                                             \
  } while (0)
// which cores a kernel runs on; the host must have started the same ones
#define KERNEL_TASK_TYPE_DEFAULT(type) AscendC::ExpectCores(AscendC::KernelType::type)
#define REGISTER_TILING_DEFAULT(type)
#define GET_TILING_DATA_WITH_STRUCT(type, name, address) \
  type name;                                             \
  std::memcpy(&name, address, sizeof(type))
using GM_ADDR = uint8_t*;
using event_t = int;

template <emulator::Format FORMAT>
struct Float16 {
  uint16_t bits = 0;
  Float16() = default;
  Float16(float value) : bits(emulator::Narrow(value, FORMAT)) {}
  operator float() const { return emulator::Widen(bits, FORMAT); }
};
using half = Float16<emulator::Format::F16>;
using bfloat16_t = Float16<emulator::Format::BF16>;

enum pipe_t { PIPE_S, PIPE_V, PIPE_M, PIPE_MTE1, PIPE_MTE2, PIPE_MTE3, PIPE_ALL, PIPE_FIX = 10 };
enum QuantMode_t { NoQuant = 0, F322F16 = 1, F322BF16 = 16 };

#define ASCEND_IS_AIC (!emulator::TheMachine().IsVector())
#define ASCEND_IS_AIV (emulator::TheMachine().IsVector())

namespace AscendC {

using emulator::TheMachine;
using TEventID = int8_t;

enum class KernelType { KERNEL_TYPE_AIC_ONLY, KERNEL_TYPE_MIX_AIC_1_2 };

inline void ExpectCores(KernelType type) {
  if ((type == KernelType::KERNEL_TYPE_MIX_AIC_1_2) != emulator::TheDevice().Mixed()) {
    TheMachine().Die("KERNEL_TASK_TYPE_DEFAULT: the operator was launched on other kinds of cores");
  }
}

enum class TPosition : uint8_t { GM, A1, A2, B1, B2, C1, C2, CO1, CO2, VECIN, VECOUT, VECCALC };

// name, source pipe, destination pipe
// clang-format off: a line each
#define EMULATOR_HARD_EVENTS(EVENT) \
  EVENT(MTE2_MTE1, GM_L1, L1_L0) \
  EVENT(MTE1_MTE2, L1_L0, GM_L1) \
  EVENT(MTE1_M, L1_L0, CUBE) \
  EVENT(M_MTE1, CUBE, L1_L0) \
  EVENT(MTE2_V, GM_L1, VECTOR) EVENT(V_MTE2, VECTOR, GM_L1) EVENT(MTE3_V, UB_GM, VECTOR) \
  EVENT(V_MTE3, VECTOR, UB_GM) EVENT(M_FIX, CUBE, FIXPIPE) EVENT(FIX_M, FIXPIPE, CUBE) \
  EVENT(MTE3_MTE2, UB_GM, GM_L1) EVENT(MTE2_MTE3, GM_L1, UB_GM) EVENT(MTE2_FIX, GM_L1, FIXPIPE) \
  EVENT(FIX_MTE2, FIXPIPE, GM_L1) EVENT(MTE1_FIX, L1_L0, FIXPIPE) EVENT(FIX_MTE1, FIXPIPE, L1_L0)
// clang-format on
#define EMULATOR_NAME(name, source, destination) name,
enum class HardEvent : uint8_t { EMULATOR_HARD_EVENTS(EMULATOR_NAME) MAX };
#undef EMULATOR_NAME
#define EMULATOR_PIPES(name, source, destination) {emulator::PIPE_##source, emulator::PIPE_##destination},
constexpr emulator::Pipe EVENT_PIPES[][2] = {EMULATOR_HARD_EVENTS(EMULATOR_PIPES)};
#undef EMULATOR_PIPES

inline void SetFlagOf(HardEvent event, int id) {
  TheMachine().SetFlag(EVENT_PIPES[int(event)][0], EVENT_PIPES[int(event)][1], id);
}
inline void WaitFlagOf(HardEvent event, int id) {
  TheMachine().WaitFlag(EVENT_PIPES[int(event)][0], EVENT_PIPES[int(event)][1], id);
}
template <HardEvent event>
void SetFlag(int id) {
  SetFlagOf(event, id);
}
template <HardEvent event>
void WaitFlag(int id) {
  WaitFlagOf(event, id);
}

constexpr emulator::Pipe PipeOf(pipe_t pipe) {
  return pipe == PIPE_FIX ? emulator::PIPE_FIXPIPE : static_cast<emulator::Pipe>(pipe);
}

template <pipe_t pipe>
void PipeBarrier() {
  if (pipe == PIPE_ALL) {
    TheMachine().BarrierAll();
  } else {
    TheMachine().Barrier(PipeOf(pipe));
  }
}

inline int64_t GetSubBlockIdx() { return ASCEND_IS_AIV ? TheMachine().Which() - emulator::VECTOR_CORE_0 : 0; }
inline int64_t GetBlockIdx() {
  int64_t block = emulator::TheDevice().Block();
  return ASCEND_IS_AIV ? 2 * block + GetSubBlockIdx() : block;
}
inline GM_ADDR GetUserWorkspace(GM_ADDR workspace) { return workspace; }

template <uint8_t modeId, pipe_t pipe>
void CrossCoreSetFlag(uint16_t id) {
  static_assert(pipe != PIPE_S && pipe != PIPE_ALL, "CrossCoreSetFlag takes one pipe that is not S");
  TheMachine().CrossCoreSet(modeId, PipeOf(pipe), id);
}
template <uint8_t modeId = 0, pipe_t pipe = PIPE_S>
void CrossCoreWaitFlag(uint16_t id) {
  TheMachine().CrossCoreWait(id);
}

// ------------------------------------------------------------------------------------------------------- tensors
constexpr emulator::Memory MemoryOf(TPosition position) {
  switch (position) {
    case TPosition::A1:
    case TPosition::B1:
    case TPosition::C1:
      return emulator::MEM_L1;
    case TPosition::A2:
      return emulator::MEM_L0A;
    case TPosition::B2:
      return emulator::MEM_L0B;
    case TPosition::CO1:
      return emulator::MEM_L0C;
    default:
      return emulator::MEM_UB;
  }
}

template <typename T>
struct GlobalTensor {
  T* address = nullptr;
  void SetGlobalBuffer(T* buffer, uint64_t = 0) { address = buffer; }
  GlobalTensor operator[](uint64_t offset) const {
    GlobalTensor part;
    part.address = address + offset;
    return part;
  }
  T* GetPhyAddr() const { return address; }
  T GetValue(uint64_t offset) const {
    TheMachine().ReadScalar(address + offset, sizeof(T));
    return emulator::TheDevice().Dry() ? T() : address[offset];
  }
};

template <typename T>
struct LocalTensor {
  T* address = nullptr;
  uint32_t size = 0;
  int slot = -1;  // of the queue that owns the buffer
  LocalTensor operator[](uint32_t offset) const {
    if (offset >= size) {
      TheMachine().Die("LocalTensor[]: the offset must be below the tensor's " + std::to_string(size) +
                       " elements, given " + std::to_string(offset));
    }
    LocalTensor part = *this;
    part.address += offset;
    part.size -= offset;
    return part;
  }
  T* GetPhyAddr() const { return address; }
  uint32_t GetSize() const { return size; }
};

}  // namespace AscendC

#include "kernel_operator_queue.h"

namespace AscendC {

// -------------------------------------------------------------------------------------------------- cube instructions
struct Nd2NzParams {
  uint16_t ndNum = 0, nValue = 0, dValue = 0, srcNdMatrixStride = 0, srcDValue = 0, dstNzC0Stride = 0, dstNzNStride = 0,
           dstNzMatrixStride = 0;
};
struct LoadData2DParams {
  uint16_t startIndex = 0, dstGap = 0, srcStride = 0;
  bool ifTranspose = false;
  uint8_t repeatTimes = 0, sid = 0, addrMode = 0;
};
struct MmadParams {
  uint16_t m = 0, n = 0, k = 0;
  bool isBias = false;
  uint8_t unitFlag = 0;
  bool cmatrixSource = false, cmatrixInitVal = true;
};
enum class CO2Layout : uint8_t { NZ, ROW_MAJOR };
struct FixpipeConfig {
  CO2Layout format;
};
constexpr FixpipeConfig CFG_NZ{CO2Layout::NZ}, CFG_ROW_MAJOR{CO2Layout::ROW_MAJOR};
struct FixpipeParamsV220 {
  uint16_t nSize = 0, mSize = 0, srcStride = 0;
  uint32_t dstStride = 0;
  QuantMode_t quantPre = NoQuant;
  uint64_t deqScalar = 0;
  uint16_t ndNum = 1, srcNdStride = 0, dstNdStride = 0;
  bool reluEn = false;
  uint8_t unitFlag = 0;
};
template <typename T>
struct InitConstValueParams {
  uint16_t repeatTimes = 0, blockNum = 0, dstGap = 0;
  T initValue = T(0.0f);
};

template <typename T>
constexpr emulator::Format FormatOf() {
  return emulator::Format::F32;
}
template <>
constexpr emulator::Format FormatOf<half>() {
  return emulator::Format::F16;
}
template <>
constexpr emulator::Format FormatOf<bfloat16_t>() {
  return emulator::Format::BF16;
}
template <typename T>
uint16_t* Bits(T* address) {
  return reinterpret_cast<uint16_t*>(address);
}

template <typename T>
void DataCopy(const LocalTensor<T>& l1, const GlobalTensor<T>& gm, const Nd2NzParams& p) {
  TheMachine().CopyNd2Nz(Bits(l1.address), Bits(gm.address),
                         {p.ndNum, p.nValue, p.dValue, p.srcNdMatrixStride, p.srcDValue, p.dstNzC0Stride,
                          p.dstNzNStride, p.dstNzMatrixStride});
}

template <typename T>
void InitConstValue(const LocalTensor<T>& l1, const InitConstValueParams<T>& p) {
  TheMachine().FillL1(Bits(l1.address), p.repeatTimes, p.blockNum, p.dstGap, p.initValue.bits);
}

template <typename T>
void LoadData(const LocalTensor<T>& l0, const LocalTensor<T>& l1, const LoadData2DParams& p) {
  TheMachine().CopyFractals(Bits(l0.address), Bits(l1.address),
                            {p.startIndex, p.repeatTimes, p.srcStride, p.dstGap, p.ifTranspose});
}

template <typename T>
void Mmad(const LocalTensor<float>& c, const LocalTensor<T>& a, const LocalTensor<T>& b, const MmadParams& p) {
  TheMachine().Multiply(c.address, Bits(a.address), Bits(b.address), p.m, p.k, p.n, p.cmatrixInitVal, FormatOf<T>());
}

inline emulator::FixPipe FixPipeOf(const FixpipeParamsV220& p, emulator::Format stored) {
  emulator::Format quant = p.quantPre == NoQuant   ? emulator::Format::F32
                           : p.quantPre == F322F16 ? emulator::Format::F16
                                                   : emulator::Format::BF16;
  if (quant != stored) {
    TheMachine().Die("Fixpipe: quantPre does not convert float32 to the destination's type, given " +
                     std::to_string(p.quantPre));
  }
  return {p.nSize, p.mSize, p.srcStride, p.dstStride, p.ndNum, p.srcNdStride, p.dstNdStride, quant};
}

template <typename T, typename S, const FixpipeConfig& config = CFG_ROW_MAJOR>
void Fixpipe(const LocalTensor<T>& l1, const LocalTensor<S>& l0c, const FixpipeParamsV220& p) {
  static_assert(config.format == CO2Layout::NZ, "L0C to L1 keeps the NZ layout");
  TheMachine().FixToL1(Bits(l1.address), l0c.address, FixPipeOf(p, FormatOf<T>()));
}

template <typename T, typename S, const FixpipeConfig& config = CFG_ROW_MAJOR>
void Fixpipe(const GlobalTensor<T>& gm, const LocalTensor<S>& l0c, const FixpipeParamsV220& p) {
  static_assert(config.format == CO2Layout::ROW_MAJOR, "only row-major results are modelled");
  TheMachine().FixToGm(gm.address, l0c.address, FixPipeOf(p, FormatOf<T>()));
}

}  // namespace AscendC

#include "kernel_operator_vector.h"
#endif
