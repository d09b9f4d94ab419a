// Rules of a cube core, of buffers and queues, and of flags within a core.
#include "rules.h"

namespace rules {
namespace {

KERNEL(product, "") {
  Cube c(half_gm);
  c.Fill();
  c.Multiply();
  Order<HardEvent::M_FIX>();
  GlobalTensor<float> y = Floats(gm);
  Fixpipe<float, float, CFG_ROW_MAJOR>(y, c.l0c.Get<float>(), Store(16, 16));
}

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
  L1 a;
  TQue<TPosition::A1, 1> q;
  pipe.InitBuffer(a, 64);
  pipe.InitBuffer(q, 1, 64);
  LocalTensor<half> t = a.Get<half>();
  q.EnQue(t);
}

KERNEL(cube_ub, "InitBuffer: cube core has no UB") {
  TPipe pipe;
  UB a;
  pipe.InitBuffer(a, 64);
}

}  // namespace
}  // namespace rules
