// One core of an Ascend 910B as the kernels see it: on-chip memories, pipes, event flags, and the instructions.
// Used by both tiers: under the project's own kernel_operator.h and under the headers of CANN.
//
// An AI core is a cube core and two vector cores, each with its own scalar unit, pipes and flags; a kernel without
// vector work runs on the cube core alone.  The cores meet only in global memory and by cross-core flags (device.h).
//
// Every instruction checks its operands against the hardware's rules and takes part in a race detector: each pipe of
// each core has a vector clock, set_flag publishes it, wait_flag joins it, and every 32 bytes of on-chip memory (and of
// the workspace, through which the cores hand data over) remember who read and wrote them.  Two accesses, one of them a
// write, that no chain of flags orders are a race, even when the numbers come out right.
#ifndef EMULATOR_MACHINE_H
#define EMULATOR_MACHINE_H
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

namespace emulator {

enum Unit { CUBE_CORE, VECTOR_CORE_0, VECTOR_CORE_1, UNITS };
enum Pipe { PIPE_SCALAR, PIPE_VECTOR, PIPE_CUBE, PIPE_L1_L0, PIPE_GM_L1, PIPE_UB_GM, PIPE_FIXPIPE, PIPES };
enum Memory { MEM_UB, MEM_L1, MEM_L0A, MEM_L0B, MEM_L0C, MEMORIES };
enum class Format { F16, BF16, F32 };

constexpr uint32_t CAPACITY[MEMORIES] = {196608, 524288, 65536, 65536, 131072};
constexpr uint32_t ALIGNMENT[MEMORIES] = {32, 32, 512, 512, 64};
constexpr int EVENT_IDS = 8;
constexpr int CROSS_IDS = 11;     // flags between cores; CANN keeps 11 and above for itself
constexpr int CROSS_MOST = 15;    // how often such a flag may be set ahead of its waits
constexpr uint32_t GRANULE = 32;  // bytes that share a shadow cell
const char* const PIPE_NAME[PIPES] = {"S", "V", "M", "MTE1", "MTE2", "MTE3", "FIX"};
const char* const MEMORY_NAME[MEMORIES] = {"UB", "L1", "L0A", "L0B", "L0C"};
const char* const UNIT_NAME[UNITS] = {"cube core", "vector core 0", "vector core 1"};

using Clock = std::array<uint32_t, UNITS * PIPES>;  // of pipe p of unit u at u * PIPES + p

inline void Join(Clock* clock, const Clock& other) {
  for (size_t p = 0; p < clock->size(); ++p) {
    (*clock)[p] = (*clock)[p] > other[p] ? (*clock)[p] : other[p];
  }
}

// Thrown when the kernel cannot be continued (an address outside every buffer, no free buffer, ...).
struct Abort : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Counters {
  uint64_t instructions[PIPES] = {};  // without flags and barriers
  uint64_t flags = 0, barriers = 0;
  double gmRead = 0, gmWritten = 0;    // bytes of device memory
  uint64_t l2Read = 0, l2Written = 0;  // bytes that L2 serves: the workspace, and what was read shortly before
  uint64_t cubeCycles = 0, l0Cycles = 0, fixCycles = 0, vectorCycles = 0;
  void Add(const Counters& other);
};

// A step of the recorded program, for the time model (timeline.h).
struct Step {
  enum Kind : uint8_t { WORK, SET, WAIT, CROSS_SET, CROSS_WAIT } kind;
  uint8_t pipe;
  uint16_t flag;    // SET, WAIT: (source * PIPES + destination) * EVENT_IDS + id; CROSS_...: id
  uint32_t cycles;  // WORK: occupation of the pipe
  uint32_t bytes;   // WORK: bytes of global memory that it moves, from L2 or device memory
  float gmBytes;    // WORK: those of them that cross the bus of device memory
};

struct Nd2Nz {
  uint32_t ndNum, nValue, dValue, srcNdMatrixStride, srcDValue, dstNzC0Stride, dstNzNStride, dstNzMatrixStride;
};
struct LoadFractals {
  uint32_t startIndex, repeatTimes, srcStride, dstGap;
  bool transpose;
};
struct FixPipe {
  uint32_t nSize, mSize, srcStride, dstStride, ndNum, srcNdStride, dstNdStride;
  Format format;
};
struct CopyRows {  // between GM and UB; strides are gaps in bytes, from the end of a row to the start of the next
  uint32_t count, bytes, gmGap, ubGap;
};
struct Bytes {  // a run of UB that a vector instruction reads
  const void* address;
  uint32_t bytes;
};

class Machine {
 public:
  explicit Machine(Unit unit);

  // ---- set-up
  void BindMemory(Memory memory, uint8_t* base);  // uses a buffer of the caller, and poisons it
  uint8_t* Base(Memory memory) { return base_[memory]; }
  bool Has(Memory memory) const { return (memory == MEM_UB) == IsVector(); }
  bool IsVector() const { return unit_ != CUBE_CORE; }
  Unit Which() const { return unit_; }
  void Reset();   // before every core: poison, clocks, flags, counters
  void Finish();  // after every core: no flag may be left set

  void HoldTensor(int change) { held_ += change; }  // a queue handed out (+1) or took back (-1) a buffer

  // ---- reports
  void Fail(const std::string& message);              // remembers a violation; the kernel goes on
  [[noreturn]] void Die(const std::string& message);  // remembers it and gives up
  Counters counters;
  std::vector<Step> steps;

  // ---- synchronisation
  void SetFlag(Pipe source, Pipe destination, int id);
  void WaitFlag(Pipe source, Pipe destination, int id);
  void Barrier(Pipe pipe);
  void BarrierAll();
  void CrossCoreSet(int mode, Pipe pipe, int id);
  void CrossCoreWait(int id);  // holds back every later instruction of the core

  // ---- MTE2: GM to L1, and filling L1 with a constant
  void CopyNd2Nz(uint16_t* l1, const uint16_t* gm, const Nd2Nz& p);
  void FillL1(uint16_t* l1, uint32_t repeat, uint32_t blocks, uint32_t gap, uint16_t value);
  // ---- MTE1: L1 to L0A or L0B
  void CopyFractals(uint16_t* l0, const uint16_t* l1, const LoadFractals& p);
  // ---- M: C = A B, or C += A B; L0A zZ, L0B nZ, L0C NZ
  void Multiply(float* c, const uint16_t* a, const uint16_t* b, uint32_t m, uint32_t k, uint32_t n, bool fresh,
                Format format);
  // ---- FIX: L0C to L1 (NZ) or to GM (rows)
  void FixToL1(uint16_t* l1, const float* l0c, const FixPipe& p);
  void FixToGm(void* gm, const float* l0c, const FixPipe& p);
  // ---- MTE2, MTE3 and V, on a vector core
  void CopyToUb(void* ub, const void* gm, const CopyRows& p);
  void CopyFromUb(void* gm, const void* ub, const CopyRows& p);
  void VectorAccess(const char* call, uint32_t cycles, const Bytes& destination, std::initializer_list<Bytes> sources);
  // ---- S: one value of global memory
  void ReadScalar(const void* gm, uint32_t bytes);

 private:
  struct Cell {
    std::array<uint32_t, PIPES> read;
    uint32_t written;
    int8_t writer;       // -1: nobody wrote it
    uint32_t cubeEpoch;  // of the last Mmad that wrote it
  };

  uint32_t& Now(int pipe) { return clock_[pipe][unit_ * PIPES + pipe]; }
  uint32_t Seen(int by, int pipe) const { return clock_[by][unit_ * PIPES + pipe]; }  // what `by` knows of `pipe`
  void Work(Pipe pipe, uint64_t cycles, uint64_t bytes = 0, double gmBytes = 0);
  Memory Locate(const char* call, const void* address, uint64_t bytes, uint64_t* offset);
  void Expect(bool condition, const char* call, const char* rule, uint64_t value);
  Memory ExpectMemory(const char* call, const char* operand, const void* address,
                      std::initializer_list<Memory> allowed);
  void Align(const char* call, const void* address, uint32_t alignment);
  void Read(Pipe pipe, const char* call, const void* address, uint64_t bytes, bool written = true);
  void Write(Pipe pipe, const char* call, const void* address, uint64_t bytes);
  void Race(const char* kind, int first, Pipe second, const char* call, Memory memory, uint64_t offset);
  double ReadGm(Pipe pipe, const char* call, const void* address, uint64_t bytes);
  double WriteGm(Pipe pipe, const char* call, const void* address, uint64_t bytes);

  Unit unit_;
  std::vector<uint8_t> own_[MEMORIES];
  uint8_t* base_[MEMORIES];
  std::vector<Cell> cells_[MEMORIES];
  Clock clock_[PIPES];
  struct Flag {
    int count;
    Clock clock;
  } flags_[PIPES][PIPES][EVENT_IDS];
  uint32_t cubeEpoch_ = 0;
  int held_ = 0;
};

Machine& TheMachine();  // the core whose turn it is

float Widen(uint16_t bits, Format format);
uint16_t Narrow(float value, Format format);  // rounds to nearest, ties to even

// A vector core takes 256 B a cycle.  What an operation costs beyond that, and that Exp is within a unit in the last
// place (CANN documents it for later chips only), are estimates.
constexpr uint32_t SLOW = 4;  // estimate: cycles where a simple operation takes one (Exp, Div)
constexpr uint32_t VectorCycles(uint32_t count, uint32_t bytes) { return (count * bytes + 255) / 256; }
float RoughExp(float x);  // e^x off by -1, 0 or 1 units in the last place, as the bits of x decide

}  // namespace emulator
#endif
