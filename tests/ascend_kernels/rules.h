// Small kernels on the emulator: some keep its rules, the others break one, and the message that must follow stands
// beside them.  Every kernel has three tensors in global memory: gm (4096 floats), half_gm (4096 halves) and workspace
// (4096 floats).
#ifndef RULES_H
#define RULES_H
#include <kernel_operator.h>

#include <map>

#include "device.h"

namespace rules {

using namespace AscendC;

using L1 = TBuf<TPosition::A1>;
using L0A = TBuf<TPosition::A2>;
using L0B = TBuf<TPosition::B2>;
using L0C = TBuf<TPosition::CO1>;
using UB = TBuf<TPosition::VECCALC>;

struct Kernel {
  const char* message;  // that the emulator must give; empty for a clean run
  bool mixed;           // runs on a cube core and two vector cores
  int blocks;           // AI cores
  void (*body)(GM_ADDR gm, GM_ADDR half_gm, GM_ADDR workspace);
};

std::map<std::string, Kernel>& Kernels();

#define RULE(name, message, mixed, blocks)                                                               \
  void Run_##name(GM_ADDR gm, GM_ADDR half_gm, GM_ADDR workspace);                                       \
  const bool registered_##name = Kernels().insert({#name, {message, mixed, blocks, Run_##name}}).second; \
  void Run_##name([[maybe_unused]] GM_ADDR gm, [[maybe_unused]] GM_ADDR half_gm, [[maybe_unused]] GM_ADDR workspace)

// on a cube core; on the first vector core; on all cores of an AI core; on those of two AI cores
#define KERNEL(name, message) RULE(name, message, false, 1)
#define MIXED(name, message) RULE(name, message, true, 1)
#define TWO_CORES(name, message) RULE(name, message, true, 2)
#define VECTOR(name, message)                      \
  void Vector_##name(GM_ADDR gm, GM_ADDR half_gm); \
  MIXED(name, message) {                           \
    if (ASCEND_IS_AIV && GetSubBlockIdx() == 0) {  \
      Vector_##name(gm, half_gm);                  \
    }                                              \
  }                                                \
  void Vector_##name([[maybe_unused]] GM_ADDR gm, [[maybe_unused]] GM_ADDR half_gm)

template <HardEvent event>
void Order() {
  SetFlag<event>(7);
  WaitFlag<event>(7);
}

inline GlobalTensor<float> Floats(GM_ADDR gm) {
  GlobalTensor<float> tensor;
  tensor.SetGlobalBuffer(reinterpret_cast<float*>(gm));
  return tensor;
}

inline Nd2NzParams Nd(uint32_t rows, uint32_t columns) {
  Nd2NzParams p;
  p.ndNum = 1;
  p.nValue = rows;
  p.dValue = columns;
  p.srcDValue = columns;
  p.dstNzC0Stride = 16;
  p.dstNzNStride = 1;
  return p;
}

inline LoadData2DParams Run(uint32_t count) {
  LoadData2DParams p;
  p.repeatTimes = count;
  p.srcStride = 1;
  return p;
}

inline MmadParams Product(uint32_t m, uint32_t k, uint32_t n) {
  MmadParams p;
  p.m = m;
  p.k = k;
  p.n = n;
  return p;
}

inline FixpipeParamsV220 Store(uint32_t rows, uint32_t columns) {
  FixpipeParamsV220 p;
  p.mSize = rows;
  p.nSize = columns;
  p.srcStride = 16;
  p.dstStride = columns;
  return p;
}

// Buffers for a product of 16 x 16 matrices
struct Cube {
  TPipe pipe;
  L1 l1;
  L0A l0a;
  L0B l0b;
  L0C l0c;
  GlobalTensor<half> gm;

  explicit Cube(GM_ADDR half_gm) {
    pipe.InitBuffer(l1, 4096);
    pipe.InitBuffer(l0a, 4096);
    pipe.InitBuffer(l0b, 4096);
    pipe.InitBuffer(l0c, 8192);
    gm.SetGlobalBuffer(reinterpret_cast<half*>(half_gm));
  }

  void Fill(bool order = true) {
    DataCopy(l1.Get<half>(), gm, Nd(16, 16));
    Order<HardEvent::MTE2_MTE1>();
    LoadData(l0a.Get<half>(), l1.Get<half>(), Run(1));
    LoadData(l0b.Get<half>(), l1.Get<half>(), Run(1));
    if (order) {
      Order<HardEvent::MTE1_M>();
    }
  }

  void Multiply() { Mmad(l0c.Get<float>(), l0a.Get<half>(), l0b.Get<half>(), Product(16, 16, 16)); }
};

}  // namespace rules
#endif
