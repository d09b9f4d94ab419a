// The tier with CANN's own headers, cube core and common parts: the intrinsics and globals that they declare and a CPU
// build must define.  Whatever moves data or orders pipes goes to the instruction model; registers that the model does
// not have are ignored.
#include <kernel_operator.h>

#include <array>
#include <cstring>

#include "device.h"

using emulator::Format;
using emulator::TheMachine;

// --------------------------------------------------------------------------------- globals that the headers declare
int64_t block_idx = 0, block_num = 1, g_ubBase = 0;
uint64_t g_tilingKey = 0, g_fullSizeOfWorkspace = 0, g_fixpipeNdNzParam = 0;
uint64_t* g_workspaceSharedPtr = nullptr;
int32_t g_coreType = 1, g_taskRation = 2, sub_block_idx = 0;  // 1: cube core, 2: vector core
std::string g_strCoreType;

namespace AscendC {
const int MIX_TYPE = 0, AIC_TYPE = 1, AIV_TYPE = 2;
bool g_isAtomic = false;
ProcessLock* ProcessLock::processLock = nullptr;
ProcessLock::ProcessLock() {}
ProcessLock::~ProcessLock() {}
ProcessLock* ProcessLock::CreateLock() { return new ProcessLock(); }
int ProcessLock::Unlock() { return 0; }
int ProcessLock::Write() { return 0; }
namespace check {  // the instruction model checks more
bool CheckFuncMmadImpl(MmadApiParams&, const char*) { return true; }
bool CheckFuncLoadData2dImpl(LoadData2dApiParams&, const char*) { return true; }
bool CheckFuncDataCopyImpl(DataCopyApiParams&, const char*) { return true; }
bool CheckFuncDataCopyPadImpl(DataCopyPadApiParams&, const char*) { return true; }
bool CheckFuncVecBinaryImpl(VecBinaryApiParams&, const char*) { return true; }
bool CheckFuncVecBinaryImpl(VecBinaryApiParams&, uint64_t, const char*) { return true; }
bool CheckFunVecBinaryScalarImpl(VecBinaryScalarApiParams&, const char*) { return true; }
bool CheckFunDupImpl(VecDupApiParams&, const char*) { return true; }
bool CheckFuncInitConstValueImpl(CubeInitConstValueApiParams&, const char*) { return true; }
}  // namespace check
}  // namespace AscendC

// ------------------------------------------------------------------------------------ the core that the headers ask
// for
namespace {

AscendC::TPipe* g_pipes[emulator::UNITS];

// The headers have one set of memories for the process, and a new TPipe fills all of it with noise: a vector core that
// begins while its cube core waits would overwrite what that holds in L1 and L0C.  So every core gets a set of its own.
void BindMemories(int unit) {
  using AscendC::Hardware;
  static std::array<uint8_t*, emulator::MEMORIES> sets[emulator::UNITS];
  auto& headers = AscendC::ConstDefiner::Instance();
  uint8_t** const current[] = {&headers.cpuUB, &headers.cpuL1, &headers.cpuL0A, &headers.cpuL0B, &headers.cpuL0C};
  const Hardware names[] = {Hardware::UB, Hardware::L1, Hardware::L0A, Hardware::L0B, Hardware::L0C};
  for (int m = 0; m < emulator::MEMORIES; ++m) {
    uint8_t*& memory = sets[unit][m];
    if (memory == nullptr) {
      memory = new uint8_t[emulator::CAPACITY[m]];
    }
    *current[m] = headers.hardwareCpuBufferMap[names[m]] = memory;
  }
}

void Turn(int block, int unit) {
  static int last = 0;
  g_pipes[last] = g_tPipePtr;
  g_tPipePtr = g_pipes[unit];
  last = unit;
  BindMemories(unit);
  block_idx = block;
  g_coreType = unit == emulator::CUBE_CORE ? 1 : 2;
  sub_block_idx = unit == emulator::VECTOR_CORE_1 ? 1 : 0;
}

const bool g_registered = [] {
  emulator::TheDevice().onTurn = Turn;
  return true;
}();

}  // namespace

// --------------------------------------------------------- buffer hooks; the queues check their own states by asserts
void AscendCBufAbsAddr(uint8_t hardware, uint64_t address, uint64_t) {
  using AscendC::Hardware;
  const std::pair<Hardware, emulator::Memory> memories[] = {{Hardware::UB, emulator::MEM_UB},
                                                            {Hardware::L1, emulator::MEM_L1},
                                                            {Hardware::L0A, emulator::MEM_L0A},
                                                            {Hardware::L0B, emulator::MEM_L0B},
                                                            {Hardware::L0C, emulator::MEM_L0C}};
  for (const auto& memory : memories) {
    if (hardware == static_cast<uint8_t>(memory.first)) {
      TheMachine().BindMemory(memory.second, reinterpret_cast<uint8_t*>(address));
    }
  }
}
void AscendCBufAlloc(uint8_t, uint8_t, uint64_t, uint64_t) { TheMachine().HoldTensor(1); }
void AscendCBufFree(uint8_t, uint8_t, uint64_t, uint64_t) { TheMachine().HoldTensor(-1); }
void AscendCBufDeque(uint8_t, uint8_t, uint8_t, uint64_t) {}
void AscendCBufEnque(uint8_t, uint8_t, uint8_t, uint64_t) {}
void AscendCBufGet(uint8_t, uint8_t, uint64_t, uint64_t) {}
void AscendCBufInit(uint8_t, uint8_t, uint8_t, uint64_t, uint64_t) {}
void AscendCQueCreate(uint8_t, uint8_t, uint8_t) {}
void AscendCTBufPoolResetCheck(uint8_t, uint64_t, uint64_t, uint64_t) {}
void AscendCUpdateTbufPoolStatus(uint64_t, bool) {}

// ---------------------------------------------------------------------------------------------------- number formats
uint16_t half::FloatToFp16(const float& value) const { return emulator::Narrow(value, Format::F16); }
uint16_t half::Int32ToFp16(const int32_t& value) const {
  return emulator::Narrow(static_cast<float>(value), Format::F16);
}
half& half::operator=(const half& other) {
  val = other.val;
  return *this;
}
uint16_t bfloat16_t::FloatToBf16(const float& value) const { return emulator::Narrow(value, Format::BF16); }
bfloat16_t& bfloat16_t::operator=(const bfloat16_t& other) {
  val = other.val;
  return *this;
}

namespace {

template <typename T>
constexpr Format FORMAT = Format::F32;
template <>
constexpr Format FORMAT<half> = Format::F16;
template <>
constexpr Format FORMAT<bfloat16_t> = Format::BF16;
template <typename T>
uint16_t* Bits(T* address) {
  return reinterpret_cast<uint16_t*>(address);
}

emulator::Pipe PipeOf(pipe_t pipe) {
  switch (pipe) {
    case PIPE_S:
      return emulator::PIPE_SCALAR;
    case PIPE_V:
      return emulator::PIPE_VECTOR;
    case PIPE_M:
      return emulator::PIPE_CUBE;
    case PIPE_MTE1:
      return emulator::PIPE_L1_L0;
    case PIPE_MTE2:
      return emulator::PIPE_GM_L1;
    case PIPE_MTE3:
      return emulator::PIPE_UB_GM;
    default:
      return emulator::PIPE_FIXPIPE;
  }
}

uint64_t g_ndParameters = 1;  // ndNum, srcNdStride and dstNdStride of the next store to GM

template <typename T>
void FillL1(T* l1, int64_t config, T value) {
  TheMachine().FillL1(Bits(l1), config & 0x7FFF, config >> 16 & 0x7FFF, config >> 32 & 0x7FFF, value.val);
}

template <typename T>
emulator::FixPipe FixOf(uint32_t n, uint32_t m, uint32_t dstStride, uint32_t srcStride, QuantMode_t quant) {
  Format converted = quant == NoQuant ? Format::F32 : quant == F322F16 ? Format::F16 : Format::BF16;
  if (converted != FORMAT<T>) {
    TheMachine().Die("Fixpipe: quantPre does not convert float32 to the destination's type");
  }
  return {n,
          m,
          srcStride,
          dstStride,
          static_cast<uint32_t>(g_ndParameters & 0xFFFF),
          static_cast<uint32_t>(g_ndParameters >> 16 & 0xFFFF),
          static_cast<uint32_t>(g_ndParameters >> 32 & 0xFFFF),
          converted};
}

}  // namespace

// --------------------------------------------------------------------------------------------------- synchronisation
void set_flag(pipe_t source, pipe_t destination, event_t id) {
  TheMachine().SetFlag(PipeOf(source), PipeOf(destination), id);
}
void wait_flag(pipe_t source, pipe_t destination, event_t id) {
  TheMachine().WaitFlag(PipeOf(source), PipeOf(destination), id);
}
void ffts_cross_core_sync(pipe_t pipe, uint64_t message) {  // as GetffstMsg packs it
  TheMachine().CrossCoreSet(message >> 4 & 3, PipeOf(pipe), message >> 8 & 15);
}
void wait_flag_dev(int64_t id) { TheMachine().CrossCoreWait(static_cast<int>(id)); }
void pipe_barrier(pipe_t pipe) {
  if (pipe == PIPE_ALL) {
    TheMachine().BarrierAll();
  } else {
    TheMachine().Barrier(PipeOf(pipe));
  }
}

// ------------------------------------------------------------------------------------------------------ instructions
void set_nd_para(uint64_t parameters) { g_ndParameters = parameters; }

#define INTRINSICS_OF(T)                                                                                             \
  void copy_gm_to_cbuf_multi_nd2nz_b16(T* l1, T* gm, uint8_t, uint16_t ndNum, uint16_t n, uint16_t d,                \
                                       uint16_t sourceMatrix, uint16_t sourceD, uint16_t c0Stride, uint16_t nStride, \
                                       uint16_t matrix) {                                                            \
    TheMachine().CopyNd2Nz(Bits(l1), Bits(gm), {ndNum, n, d, sourceMatrix, sourceD, c0Stride, nStride, matrix});     \
  }                                                                                                                  \
  void load_cbuf_to_ca(T* l0, T* l1, uint16_t start, uint8_t repeat, uint16_t stride, uint16_t gap, uint8_t,         \
                       bool transpose, addr_cal_mode_t) {                                                            \
    TheMachine().CopyFractals(Bits(l0), Bits(l1), {start, repeat, stride, gap, transpose});                          \
  }                                                                                                                  \
  void load_cbuf_to_cb(T* l0, T* l1, uint16_t start, uint8_t repeat, uint16_t stride, uint16_t gap, uint8_t,         \
                       bool transpose, addr_cal_mode_t) {                                                            \
    TheMachine().CopyFractals(Bits(l0), Bits(l1), {start, repeat, stride, gap, transpose});                          \
  }                                                                                                                  \
  void mad(float* c, T* a, T* b, uint16_t m, uint16_t k, uint16_t n, uint8_t, bool, bool, bool fresh) {              \
    TheMachine().Multiply(c, Bits(a), Bits(b), m, k, n, fresh, FORMAT<T>);                                           \
  }                                                                                                                  \
  void copy_matrix_cc_to_cbuf(T* l1, float* l0c, uint8_t, uint16_t n, uint16_t m, uint32_t dstStride,                \
                              uint16_t srcStride, uint8_t, QuantMode_t quant, uint8_t, bool, bool) {                 \
    TheMachine().FixToL1(Bits(l1), l0c, FixOf<T>(n, m, dstStride, srcStride, quant));                                \
  }

#define STORE_OF(T)                                                                                     \
  void copy_matrix_cc_to_gm(T* gm, float* l0c, uint8_t, uint16_t n, uint16_t m, uint32_t dstStride,     \
                            uint16_t srcStride, uint8_t, QuantMode_t quant, uint8_t, bool, bool rows) { \
    if (!rows) {                                                                                        \
      TheMachine().Die("Fixpipe: only row-major results are modelled");                                 \
    }                                                                                                   \
    TheMachine().FixToGm(gm, l0c, FixOf<T>(n, m, dstStride, srcStride, quant));                         \
  }

INTRINSICS_OF(half)
INTRINSICS_OF(bfloat16_t)
STORE_OF(half)
STORE_OF(bfloat16_t)
STORE_OF(float)

void create_cbuf_matrix(half* l1, int64_t config, half value) { FillL1(l1, config, value); }
void create_cbuf_matrix_bf16(bfloat16_t* l1, int64_t config, bfloat16_t value) { FillL1(l1, config, value); }

// ----------------------------------------------------------------------- instantiated by the headers, never executed
void create_ca_matrix(half*, int64_t, half) { TheMachine().Die("InitConstValue on L0A is not modelled"); }
void create_cb_matrix(half*, int64_t, half) { TheMachine().Die("InitConstValue on L0B is not modelled"); }
void create_ca_matrix_bf16(bfloat16_t*, int64_t, bfloat16_t) {
  TheMachine().Die("InitConstValue on L0A is not modelled");
}
void create_cb_matrix_bf16(bfloat16_t*, int64_t, bfloat16_t) {
  TheMachine().Die("InitConstValue on L0B is not modelled");
}

// --------------------------------------------------------------------------------------------- scalar unit, registers
int64_t sff0(uint64_t value) {
  for (int i = 0; i < 64; ++i) {
    if (!(value >> i & 1)) {
      return i;
    }
  }
  return -1;
}
uint64_t sbitset0(uint64_t value, int64_t bit) { return value & ~(1ull << bit); }
uint64_t sbitset1(uint64_t value, int64_t bit) { return value | 1ull << bit; }
void dcci(void*, uint64_t, uint64_t) {}
void set_atomic_none() {}
void set_l1_3d_size(uint64_t) {}
void set_mov_pad_val(uint64_t) {}
void set_padding(uint64_t) {}
void set_quant_pre(uint64_t) {}
