// Small kernels on the emulator: some keep its rules, the others break one, and the message that must follow stands
// beside them.  Every kernel has two tensors in global memory: gm (4096 floats) and half_gm (4096 halves).
#include <kernel_operator.h>

#include <map>

#include "host.h"

using namespace AscendC;

namespace {

using L1 = TBuf<TPosition::A1>;
using L0A = TBuf<TPosition::A2>;
using L0B = TBuf<TPosition::B2>;
using L0C = TBuf<TPosition::CO1>;
using UB = TBuf<TPosition::VECCALC>;

struct Kernel {
  const char* message;  // that the emulator must give; empty for a clean run
  void (*body)(GM_ADDR gm, GM_ADDR half_gm);
};

std::map<std::string, Kernel>& Kernels() {
  static std::map<std::string, Kernel> kernels;
  return kernels;
}

#define KERNEL(name, message)                                                             \
  void Run_##name(GM_ADDR gm, GM_ADDR half_gm);                                           \
  const bool registered_##name = Kernels().insert({#name, {message, Run_##name}}).second; \
  void Run_##name([[maybe_unused]] GM_ADDR gm, [[maybe_unused]] GM_ADDR half_gm)

template <HardEvent event>
void Order() {
  SetFlag<event>(7);
  WaitFlag<event>(7);
}

GlobalTensor<float> Floats(GM_ADDR gm) {
  GlobalTensor<float> tensor;
  tensor.SetGlobalBuffer(reinterpret_cast<float*>(gm));
  return tensor;
}

Nd2NzParams Nd(uint32_t rows, uint32_t columns) {
  Nd2NzParams p;
  p.ndNum = 1;
  p.nValue = rows;
  p.dValue = columns;
  p.srcDValue = columns;
  p.dstNzC0Stride = 16;
  p.dstNzNStride = 1;
  return p;
}

LoadData2DParams Run(uint32_t count) {
  LoadData2DParams p;
  p.repeatTimes = count;
  p.srcStride = 1;
  return p;
}

MmadParams Product(uint32_t m, uint32_t k, uint32_t n) {
  MmadParams p;
  p.m = m;
  p.k = k;
  p.n = n;
  return p;
}

FixpipeParamsV220 Store(uint32_t rows, uint32_t columns) {
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

// ------------------------------------------------------------------------------------------------ rules kept
// y = x * sigmoid(1.702 x), the sigmoid approximation of GELU: an epilogue of bias and activation looks like this
KERNEL(vector, "") {
  TPipe pipe;
  TQue<TPosition::VECIN, 2> in;
  TQue<TPosition::VECOUT, 2> out;
  UB temporary;
  pipe.InitBuffer(in, 2, 1024);
  pipe.InitBuffer(out, 2, 1024);
  pipe.InitBuffer(temporary, 1024);
  GlobalTensor<float> x = Floats(gm), y = x[2048];
  for (int i = 0; i < 8; ++i) {
    LocalTensor<float> a = in.AllocTensor<float>();
    DataCopy(a, x[i * 256], 256);
    in.EnQue(a);
    a = in.DeQue<float>();
    LocalTensor<float> b = out.AllocTensor<float>(), t = temporary.Get<float>();
    Muls(t, a, -1.702f, 256);
    Exp(t, t, 256);
    Adds(t, t, 1.0f, 256);
    Div(b, a, t, 256);
    in.FreeTensor(a);
    out.EnQue(b);
    b = out.DeQue<float>();
    DataCopy(y[i * 256], b, 256);
    out.FreeTensor(b);
  }
}

KERNEL(vector_cast, "") {
  TPipe pipe;
  UB a, b;
  pipe.InitBuffer(a, 128);
  pipe.InitBuffer(b, 128);
  GlobalTensor<float> y = Floats(gm);
  Duplicate(a.Get<float>(), 2.5f, 32);
  Cast(b.Get<half>(), a.Get<float>(), RoundMode::CAST_RINT, 32);
  Cast(a.Get<float>(), b.Get<half>(), RoundMode::CAST_NONE, 32);
  Order<HardEvent::V_MTE3>();
  DataCopyExtParams p;
  p.blockLen = 20;
  DataCopyPad(y, a.Get<float>(), p);
}

KERNEL(round_trip, "") {
  TPipe pipe;
  UB a, b;
  pipe.InitBuffer(a, 8192);
  pipe.InitBuffer(b, 4096);
  GlobalTensor<float> x = Floats(gm), y = x[2048];
  DataCopy(a.Get<float>(), x, 2048);
  Order<HardEvent::MTE2_V>();
  Cast(b.Get<half>(), a.Get<float>(), RoundMode::CAST_RINT, 2048);
  Cast(a.Get<float>(), b.Get<half>(), RoundMode::CAST_NONE, 2048);
  Order<HardEvent::V_MTE3>();
  DataCopy(y, a.Get<float>(), 2048);
}

KERNEL(product, "") {
  Cube c(half_gm);
  c.Fill();
  c.Multiply();
  Order<HardEvent::M_FIX>();
  GlobalTensor<float> y = Floats(gm);
  Fixpipe<float, float, CFG_ROW_MAJOR>(y, c.l0c.Get<float>(), Store(16, 16));
}

// ---------------------------------------------------------------------------------------------- rules broken
KERNEL(l1_capacity, "InitBuffer: L1 holds 524288 B, 0 are taken, given 524320") {
  TPipe pipe;
  L1 a;
  pipe.InitBuffer(a, 524320);
}

KERNEL(l0c_capacity, "InitBuffer: L0C holds 131072 B") {
  TPipe pipe;
  L0C a, b;
  pipe.InitBuffer(a, 131072);
  pipe.InitBuffer(b, 32);
}

KERNEL(buffers, "at most 64 buffers") {
  TPipe pipe;
  UB a;
  for (int i = 0; i < 65; ++i) {
    pipe.InitBuffer(a, 32);
  }
}

KERNEL(tensor_end, "below the tensor's 16 elements, given 16") {
  TPipe pipe;
  UB a;
  pipe.InitBuffer(a, 64);
  a.Get<float>()[16];
}

KERNEL(l0_alignment, "LoadData: an address in L0A must be a multiple of 512 B, given 256") {
  Cube c(half_gm);
  c.Fill();
  LoadData(c.l0a.Get<half>()[128], c.l1.Get<half>(), Run(1));
}

KERNEL(l1_alignment, "L1 must be a multiple of 32 B, given 16") {
  Cube c(half_gm);
  DataCopy(c.l1.Get<half>()[8], c.gm, Nd(16, 16));
}

KERNEL(l0c_alignment, "L0C must be a multiple of 64 B, given 32") {
  Cube c(half_gm);
  c.Fill();
  Mmad(c.l0c.Get<float>()[8], c.l0a.Get<half>(), c.l0b.Get<half>(), Product(16, 16, 16));
}

KERNEL(ub_alignment, "UB must be a multiple of 32 B, given 8") {
  TPipe pipe;
  UB a;
  pipe.InitBuffer(a, 128);
  LocalTensor<float> t = a.Get<float>();
  Duplicate(t[2], 1.0f, 8);
}

KERNEL(load_position, "LoadData: the source must be in L1, given L0B") {
  Cube c(half_gm);
  c.Fill();
  LoadData(c.l0a.Get<half>(), c.l0b.Get<half>(), Run(1));
}

KERNEL(mmad_position, "Mmad: the left operand must be in L0A, given L0B") {
  Cube c(half_gm);
  c.Fill();
  Mmad(c.l0c.Get<float>(), c.l0b.Get<half>(), c.l0a.Get<half>(), Product(16, 16, 16));
}

KERNEL(fix_position, "the source must be in L0C, given L1") {
  Cube c(half_gm);
  FixpipeParamsV220 p = Store(16, 16);
  p.quantPre = F322F16;
  L1 l1;
  c.pipe.InitBuffer(l1, 512);
  LocalTensor<float> l0c{reinterpret_cast<float*>(c.l1.address), 256, -1};
  Fixpipe<half, float, CFG_NZ>(l1.Get<half>(), l0c, p);
}

KERNEL(gemv, "m must be 2..4095") {
  Cube c(half_gm);
  c.Fill();
  Mmad(c.l0c.Get<float>(), c.l0a.Get<half>(), c.l0b.Get<half>(), Product(1, 16, 16));
}

KERNEL(mmad_range, "k must be 1..4095") {
  Cube c(half_gm);
  c.Fill();
  Mmad(c.l0c.Get<float>(), c.l0a.Get<half>(), c.l0b.Get<half>(), Product(16, 4096, 16));
}

KERNEL(nd_number, "ndNum must be 1..4095, given 5000") {
  Cube c(half_gm);
  Nd2NzParams p = Nd(16, 16);
  p.ndNum = 5000;
  DataCopy(c.l1.Get<half>(), c.gm, p);
}

KERNEL(nd_stride, "srcDValue must be at least dValue, given 7") {
  Cube c(half_gm);
  Nd2NzParams p = Nd(2, 16);
  p.srcDValue = uint16_t(65536 + 7);
  DataCopy(c.l1.Get<half>(), c.gm, p);
}

KERNEL(repeat, "repeatTimes must be 1..255") {
  Cube c(half_gm);
  c.Fill();
  LoadData(c.l0a.Get<half>(), c.l1.Get<half>(), Run(0));
}

KERNEL(quant, "quantPre does not convert") {
  Cube c(half_gm);
  c.Fill();
  c.Multiply();
  Order<HardEvent::M_FIX>();
  Fixpipe<half, float, CFG_ROW_MAJOR>(c.gm, c.l0c.Get<float>(), Store(16, 16));
}

KERNEL(nz_width, "nSize must be a multiple of 16") {
  Cube c(half_gm);
  c.Fill();
  c.Multiply();
  Order<HardEvent::M_FIX>();
  FixpipeParamsV220 p = Store(16, 9);
  p.quantPre = F322F16;
  p.dstStride = 16;
  Fixpipe<half, float, CFG_NZ>(c.l1.Get<half>(), c.l0c.Get<float>(), p);
}

KERNEL(nd_fix_stride, "srcNdStride must be 1..512") {
  Cube c(half_gm);
  c.Fill();
  c.Multiply();
  Order<HardEvent::M_FIX>();
  FixpipeParamsV220 p = Store(16, 16);
  p.ndNum = 2;
  p.srcNdStride = 600;
  p.dstNdStride = 256;
  GlobalTensor<float> y = Floats(gm);
  Fixpipe<float, float, CFG_ROW_MAJOR>(y, c.l0c.Get<float>(), p);
}

KERNEL(gm_end, "pass the end of tensor half_gm") {
  Cube c(half_gm);
  DataCopy(c.l1.Get<half>(), c.gm[4000], Nd(16, 16));
}

KERNEL(gm_nowhere, "lies in no tensor") {
  Cube c(half_gm);
  DataCopy(c.l1.Get<half>(), c.gm[1 << 30], Nd(16, 16));
}

KERNEL(gm_twice, "is written twice") {
  Cube c(half_gm);
  c.Fill();
  c.Multiply();
  Order<HardEvent::M_FIX>();
  GlobalTensor<float> y = Floats(gm);
  for (int i = 0; i < 2; ++i) {
    Fixpipe<float, float, CFG_ROW_MAJOR>(y, c.l0c.Get<float>(), Store(16, 16));
  }
}

KERNEL(poison, "Mmad: reads L0A at offset 0, which nobody wrote") {
  Cube c(half_gm);
  c.Multiply();
}

KERNEL(read_after_write, "race (read after write): Mmad on pipe M") {
  Cube c(half_gm);
  c.Fill(false);
  c.Multiply();
}

KERNEL(write_after_read, "race (write after read): LoadData on pipe MTE1") {
  Cube c(half_gm);
  c.Fill();
  c.Multiply();
  LoadData(c.l0a.Get<half>(), c.l1.Get<half>(), Run(1));
}

KERNEL(write_after_write, "race (write after write)") {
  TPipe pipe;
  UB a;
  pipe.InitBuffer(a, 128);
  GlobalTensor<float> x = Floats(gm);
  Duplicate(a.Get<float>(), 1.0f, 32);
  DataCopy(a.Get<float>(), x, 32);
}

KERNEL(barrier, "without PipeBarrier<PIPE_M>") {
  Cube c(half_gm);
  c.Fill();
  c.Multiply();
  MmadParams p = Product(16, 16, 16);
  p.cmatrixInitVal = false;
  Mmad(c.l0c.Get<float>(), c.l0a.Get<half>(), c.l0b.Get<half>(), p);
}

KERNEL(event_id, "event ids are 0..7, given 8") { SetFlag<HardEvent::M_FIX>(8); }

KERNEL(set_twice, "set twice") {
  SetFlag<HardEvent::M_FIX>(1);
  SetFlag<HardEvent::M_FIX>(1);
}

KERNEL(left_set, "flag M_FIX 1 is left set") { SetFlag<HardEvent::M_FIX>(1); }

KERNEL(never_set, "nobody set it, the core would hang") { WaitFlag<HardEvent::M_FIX>(1); }

KERNEL(events_used_up, "all 8 ids of an event are taken") {
  TPipe pipe;
  for (int i = 0; i < 6; ++i) {
    pipe.AllocEventID<HardEvent::M_MTE1>();
  }
}

KERNEL(never_freed, "1 tensors of queues were never freed") {
  TPipe pipe;
  TQue<TPosition::A1, 1> q;
  pipe.InitBuffer(q, 1, 64);
  q.AllocTensor<half>();
}

KERNEL(no_free_buffer, "none of the 1 buffers of a queue in L1 is free") {
  TPipe pipe;
  TQue<TPosition::A1, 1> q;
  pipe.InitBuffer(q, 1, 64);
  q.AllocTensor<half>();
  q.AllocTensor<half>();
}

KERNEL(freed_twice, "FreeTensor: a tensor in L1 must be dequeued, it is free") {
  TPipe pipe;
  TQue<TPosition::A1, 1> q;
  pipe.InitBuffer(q, 1, 64);
  LocalTensor<half> t = q.AllocTensor<half>();
  q.EnQue(t);
  t = q.DeQue<half>();
  q.FreeTensor(t);
  q.FreeTensor(t);
}

KERNEL(empty_queue, "DeQue: the queue in L1 is empty") {
  TPipe pipe;
  TQue<TPosition::A1, 1> q;
  pipe.InitBuffer(q, 1, 64);
  q.DeQue<half>();
}

KERNEL(queue_depth, "has depth 1") {
  TPipe pipe;
  TQue<TPosition::A1, 1> q;
  pipe.InitBuffer(q, 2, 64);
  LocalTensor<half> s = q.AllocTensor<half>(), t = q.AllocTensor<half>();
  q.EnQue(s);
  q.EnQue(t);
}

KERNEL(foreign_tensor, "belongs to no queue") {
  TPipe pipe;
  UB a;
  TQue<TPosition::A1, 1> q;
  pipe.InitBuffer(a, 64);
  pipe.InitBuffer(q, 1, 64);
  LocalTensor<half> t = a.Get<half>();
  q.EnQue(t);
}

KERNEL(copy_length, "multiple of 32 B") {
  TPipe pipe;
  UB a;
  pipe.InitBuffer(a, 64);
  GlobalTensor<float> x = Floats(gm);
  DataCopy(a.Get<float>(), x, 3);
}

KERNEL(vector_count, "count must be 1..16, given 17") {
  TPipe pipe;
  UB a;
  pipe.InitBuffer(a, 64);
  Duplicate(a.Get<float>(), 1.0f, 17);
}

}  // namespace

extern "C" {

// The names of all kernels, and after each the message that it must give, one a line.
const char* list_kernels() {
  static std::string text;
  text.clear();
  for (const auto& kernel : Kernels()) {
    text += kernel.first + "\n" + kernel.second.message + "\n";
  }
  return text.c_str();
}

// Runs a kernel and returns the first violation, or an empty text.
const char* run_kernel(const char* name, uint8_t* gm, uint8_t* half_gm) {
  static std::string text;
  emulator::Machine& machine = emulator::TheMachine();
  machine.violations.clear();
  machine.races = 0;
  machine.ClearTensors();
  machine.Reset();
  machine.AddTensor("gm", gm, 16384, true);
  machine.AddTensor("half_gm", half_gm, 8192, true);
  try {
    Kernels().at(name).body(gm, half_gm);
    machine.Finish();
  } catch (const emulator::Abort&) {
    // the machine has kept the message
  }
  text = machine.violations.empty() ? "" : machine.violations[0];
  return text.c_str();
}
}
