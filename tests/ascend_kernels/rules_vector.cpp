// Rules of a vector core.
#include "rules.h"

namespace rules {
namespace {

// y = x * sigmoid(1.702 x), the sigmoid approximation of GELU
VECTOR(vector, "") {
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

VECTOR(vector_cast, "") {
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

VECTOR(round_trip, "") {
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

VECTOR(buffers, "at most 64 buffers") {
  TPipe pipe;
  UB a;
  for (int i = 0; i < 65; ++i) {
    pipe.InitBuffer(a, 32);
  }
}

VECTOR(tensor_end, "below the tensor's 16 elements, given 16") {
  TPipe pipe;
  UB a;
  pipe.InitBuffer(a, 64);
  a.Get<float>()[16];
}

VECTOR(ub_alignment, "UB must be a multiple of 32 B, given 8") {
  TPipe pipe;
  UB a;
  pipe.InitBuffer(a, 128);
  LocalTensor<float> t = a.Get<float>();
  Duplicate(t[2], 1.0f, 8);
}

VECTOR(write_after_write, "race (write after write)") {
  TPipe pipe;
  UB a;
  pipe.InitBuffer(a, 128);
  GlobalTensor<float> x = Floats(gm);
  Duplicate(a.Get<float>(), 1.0f, 32);
  DataCopy(a.Get<float>(), x, 32);
}

VECTOR(copy_length, "multiple of 32 B") {
  TPipe pipe;
  UB a;
  pipe.InitBuffer(a, 64);
  GlobalTensor<float> x = Floats(gm);
  DataCopy(a.Get<float>(), x, 3);
}

VECTOR(vector_count, "count must be 1..16, given 17") {
  TPipe pipe;
  UB a;
  pipe.InitBuffer(a, 64);
  Duplicate(a.Get<float>(), 1.0f, 17);
}

VECTOR(vector_l1, "InitBuffer: vector core 0 has no L1") {
  TPipe pipe;
  L1 a;
  pipe.InitBuffer(a, 64);
}

VECTOR(vector_poison, "Abs: reads UB at offset 64, which nobody wrote") {
  TPipe pipe;
  UB a, b;
  pipe.InitBuffer(a, 64);
  pipe.InitBuffer(b, 64);
  Abs(a.Get<float>(), b.Get<float>(), 16);
}

VECTOR(vector_race, "race (read after write): Relu on pipe V") {
  TPipe pipe;
  UB a;
  pipe.InitBuffer(a, 64);
  DataCopy(a.Get<float>(), Floats(gm), 16);
  Relu(a.Get<float>(), a.Get<float>(), 16);
}

VECTOR(vector_store, "race (read after write): DataCopy(UB to GM) on pipe MTE3") {
  TPipe pipe;
  UB a;
  pipe.InitBuffer(a, 64);
  Duplicate(a.Get<float>(), 1.0f, 16);
  DataCopy(Floats(gm), a.Get<float>(), 16);
}

VECTOR(cast_mode, "Cast: to fewer bits with CAST_RINT") {
  TPipe pipe;
  UB a, b;
  pipe.InitBuffer(a, 64);
  pipe.InitBuffer(b, 32);
  Duplicate(a.Get<float>(), 1.0f, 16);
  Cast(b.Get<half>(), a.Get<float>(), RoundMode::CAST_NONE, 16);
}

VECTOR(multiply_add_without_a_count, "only a number of elements (SetMaskCount)") {
  TPipe pipe;
  UB a;
  pipe.InitBuffer(a, 1024);
  Duplicate(a.Get<float>(), 1.0f, 256);
  SetVectorMask<float, MaskMode::COUNTER>(0, 256);
  FusedMulAdd<float, false>(a.Get<float>(), a.Get<float>(), a.Get<float>(), MASK_PLACEHOLDER, 1, {1, 1, 1, 8, 8, 0});
}

VECTOR(copy_rows, "the number of rows must be 1..4095, given 0") {
  TPipe pipe;
  UB a;
  pipe.InitBuffer(a, 64);
  DataCopyExtParams p;
  p.blockCount = 0;
  p.blockLen = 20;
  DataCopyPad(a.Get<float>(), Floats(gm), p, DataCopyPadExtParams<float>());
}

// The padding of a row is NaN: it must not be used.
VECTOR(copy_padding, "") {
  TPipe pipe;
  UB a;
  pipe.InitBuffer(a, 64);
  DataCopyExtParams p;
  p.blockCount = 2;
  p.blockLen = 12;
  DataCopyPad(a.Get<float>(), Floats(gm), p, DataCopyPadExtParams<float>());
  Order<HardEvent::MTE2_V>();
  Adds(a.Get<float>(), a.Get<float>(), 1.0f, 16);
  Order<HardEvent::V_MTE3>();
  DataCopy(Floats(gm)[2048], a.Get<float>(), 16);
}

}  // namespace
}  // namespace rules
