// What the three NeoCell kernels share: planes from GM to L1, fractals from L1 to L0, products, results out of L0C.
//
// A fractal is 16 x 16 elements, 512 B in fp16 and bf16.  NZ (L1, L0C) stores a matrix as columns of fractals, zZ (L0A)
// as rows of fractals, nZ (L0B) as rows of transposed fractals.  T is half or bfloat16_t; sums are float32.
#ifndef NEO_CELL_CUBE_H
#define NEO_CELL_CUBE_H
#include "kernel_operator.h"
#include "neo_cell_tiling.h"

namespace neocell {

using AscendC::GlobalTensor;
using AscendC::HardEvent;
using AscendC::LocalTensor;
using AscendC::TBuf;
using AscendC::TPipe;
using AscendC::TPosition;
using AscendC::TQue;

constexpr uint32_t FRACTAL_ELEMENTS = FRACTAL * FRACTAL;
constexpr uint32_t TILES_IN_FLIGHT = 3;  // L1 buffers of a streamed tensor: one is multiplied, two travel
constexpr uint32_t L0_BYTES = L0_FRACTALS * FRACTAL_ELEMENTS * 2;   // one of two buffers in L0A and in L0B
constexpr uint32_t L0C_BYTES = L0_FRACTALS * FRACTAL_ELEMENTS * 4;  // one of two buffers in L0C

template <typename T>
struct QuantOf;
template <>
struct QuantOf<half> {
  static constexpr QuantMode_t value = QuantMode_t::F322F16;
};
template <>
struct QuantOf<bfloat16_t> {
  static constexpr QuantMode_t value = QuantMode_t::F322BF16;
};
template <>
struct QuantOf<float> {
  static constexpr QuantMode_t value = QuantMode_t::NoQuant;
};

// The strides of Nd2Nz and Fixpipe are 16 bits wide; the tiling refuses shapes that would need more.
__aicore__ inline uint16_t U16(uint32_t value) {
  ASCENDC_ASSERT((value <= 65535), { KERNEL_LOG(KERNEL_ERROR, "%u does not fit uint16", value); });
  return static_cast<uint16_t>(value);
}

// Orders two pipes once; for the rare places where no queue does it.
template <HardEvent event>
__aicore__ inline void Order() {
  auto id = static_cast<event_t>(GetTPipePtr()->FetchEventID(event));
  AscendC::SetFlag<event>(id);
  AscendC::WaitFlag<event>(id);
}

// GM (`count` row-major matrices, one after another) -> L1 (NZ, one matrix every `stride` elements).
// Nd2Nz pads the columns with zeros up to 16; rows that pad the last fractal keep what they held.
template <typename T>
__aicore__ inline void LoadPlanes(const LocalTensor<T>& l1, const GlobalTensor<T>& gm, uint32_t count, uint32_t rows,
                                  uint32_t columns, uint32_t stride) {
  AscendC::Nd2NzParams p;
  p.ndNum = U16(count);
  p.nValue = U16(rows);
  p.dValue = U16(columns);
  p.srcNdMatrixStride = U16(rows * columns);
  p.srcDValue = U16(columns);
  p.dstNzC0Stride = U16(Blocks(rows) * FRACTAL);
  p.dstNzNStride = 1;
  p.dstNzMatrixStride = U16(stride);
  AscendC::DataCopy(l1, gm, p);
}

// The matrices of `count` channels from `channel` on: one copy, through `queue`.
template <typename T, typename Queue>
__aicore__ inline LocalTensor<T> LoadWeights(Queue& queue, const GlobalTensor<T>& gm, uint32_t channel, uint32_t count,
                                             uint32_t rows, uint32_t columns) {
  LocalTensor<T> l1 = queue.template AllocTensor<T>();
  LoadPlanes(l1, gm[static_cast<uint64_t>(channel) * rows * columns], count, rows, columns,
             Blocks(rows) * Blocks(columns) * FRACTAL_ELEMENTS);
  queue.EnQue(l1);
  return queue.template DeQue<T>();
}

template <typename T>
__aicore__ inline void FillZero(const LocalTensor<T>& l1, uint32_t elements) {
  AscendC::InitConstValueParams<T> p;  // its value is zero by default
  p.repeatTimes = 1;
  p.blockNum = U16(elements / FRACTAL);
  p.dstGap = 0;
  AscendC::InitConstValue(l1, p);
}

// L1 -> L0: `count` fractals that lie `sourceStep` fractals apart, to places `step` fractals apart.
template <typename T>
__aicore__ inline void LoadRun(const LocalTensor<T>& l0, const LocalTensor<T>& l1, uint32_t count, uint32_t sourceStep,
                               uint32_t step, bool transpose) {
  AscendC::LoadData2DParams p;
  p.repeatTimes = static_cast<uint8_t>(count);
  p.srcStride = U16(sourceStep);
  p.dstGap = U16(step - 1);
  p.ifTranspose = transpose;
  AscendC::LoadData(l0, l1, p);
}

// L1 -> L0: `count` NZ matrices of rows x columns fractals, each from columns to rows of fractals.
// One column or one row is the same in both orders; otherwise the loop that issues the fewest instructions.
template <typename T>
__aicore__ inline void LoadReordered(const LocalTensor<T>& l0, const LocalTensor<T>& l1, uint32_t count, uint32_t rows,
                                     uint32_t columns, bool transpose) {
  uint32_t size = rows * columns;
  if (rows == 1 || columns == 1) {
    LoadRun(l0, l1, count * size, 1, 1, transpose);
  } else if (size <= count * Min(rows, columns)) {  // a fractal of every matrix at a time
    for (uint32_t i = 0; i < size; ++i) {
      uint32_t row = i / columns, column = i % columns;
      LoadRun(l0[i * FRACTAL_ELEMENTS], l1[(column * rows + row) * FRACTAL_ELEMENTS], count, size, size, transpose);
    }
  } else {
    for (uint32_t matrix = 0; matrix < count; ++matrix) {
      LocalTensor<T> to = l0[matrix * size * FRACTAL_ELEMENTS], from = l1[matrix * size * FRACTAL_ELEMENTS];
      for (uint32_t row = 0; rows <= columns && row < rows; ++row) {
        LoadRun(to[row * columns * FRACTAL_ELEMENTS], from[row * FRACTAL_ELEMENTS], columns, rows, 1, transpose);
      }
      for (uint32_t column = 0; rows > columns && column < columns; ++column) {
        LoadRun(to[column * FRACTAL_ELEMENTS], from[column * rows * FRACTAL_ELEMENTS], rows, 1, columns, transpose);
      }
    }
  }
}

// A left operand becomes zZ with its fractals as they are; a right operand nZ, each fractal transposed.
template <typename T>
__aicore__ inline void LoadLeft(const LocalTensor<T>& l0a, const LocalTensor<T>& l1, uint32_t count, uint32_t rows,
                                uint32_t columns) {
  LoadReordered(l0a, l1, count, rows, columns, false);
}

template <typename T>
__aicore__ inline void LoadRight(const LocalTensor<T>& l0b, const LocalTensor<T>& l1, uint32_t count, uint32_t rows,
                                 uint32_t columns) {
  LoadReordered(l0b, l1, count, rows, columns, true);
}

// The columns of fractals of a matrix are the rows of its transpose: NZ needs no new order then.
template <typename T>
__aicore__ inline void LoadLeftTransposed(const LocalTensor<T>& l0a, const LocalTensor<T>& l1, uint32_t fractals) {
  LoadRun(l0a, l1, fractals, 1, 1, true);
}

template <typename T>
__aicore__ inline void LoadRightTransposed(const LocalTensor<T>& l0b, const LocalTensor<T>& l1, uint32_t fractals) {
  LoadRun(l0b, l1, fractals, 1, 1, false);
}

// L0C (m x n) = or += L0A (m x k) * L0B (k x n).  True sizes: what pads a fractal beyond k is not summed.
template <typename T>
__aicore__ inline void Multiply(const LocalTensor<float>& l0c, const LocalTensor<T>& l0a, const LocalTensor<T>& l0b,
                                uint32_t m, uint32_t k, uint32_t n, bool fresh = true) {
  AscendC::MmadParams p;
  p.m = U16(m);
  p.k = U16(k);
  p.n = U16(n);
  p.cmatrixInitVal = fresh;
  p.cmatrixSource = false;
  AscendC::Mmad(l0c, l0a, l0b, p);
}

// L0C (NZ) -> L1 (NZ), rounded to T: `rows` rows of `columnBlocks` columns of fractals, both `blockRows` rows high.
template <typename T>
__aicore__ inline void StoreL1(const LocalTensor<T>& l1, const LocalTensor<float>& l0c, uint32_t rows,
                               uint32_t blockRows, uint32_t columnBlocks) {
  AscendC::FixpipeParamsV220 p;
  p.nSize = U16(columnBlocks * FRACTAL);
  p.mSize = U16(rows);
  p.srcStride = U16(blockRows);
  p.dstStride = blockRows;  // units of 32 B, that is one row of a fractal
  p.quantPre = QuantOf<T>::value;
  AscendC::Fixpipe<T, float, AscendC::CFG_NZ>(l1, l0c, p);
}

// L0C (NZ) -> GM (`count` row-major matrices, `gmStride` elements apart), rounded to Out.  In L0C the matrices lie
// `fractals` fractals apart and their columns of fractals are `blockRows` rows high.
template <typename Out>
__aicore__ inline void StorePlanes(const GlobalTensor<Out>& gm, const LocalTensor<float>& l0c, uint32_t count,
                                   uint32_t rows, uint32_t columns, uint32_t blockRows, uint32_t fractals,
                                   uint32_t gmStride) {
  AscendC::FixpipeParamsV220 p;
  p.nSize = U16(columns);
  p.mSize = U16(rows);
  p.srcStride = U16(blockRows);
  p.dstStride = columns;  // units of one element
  p.quantPre = QuantOf<Out>::value;
  p.ndNum = U16(count);
  p.srcNdStride = U16(fractals);
  p.dstNdStride = U16(gmStride);
  AscendC::Fixpipe<Out, float, AscendC::CFG_ROW_MAJOR>(gm, l0c, p);
}

// Two buffers in L1 that FIX fills and MTE1 reads: Empty - StoreL1 - Publish ... Next - LoadLeft or LoadRight.
// No queue joins these pipes and TBuf sets no events, so FIX_MTE1 is set by hand.  The way back needs no event: before
// FIX fills a buffer again it has stored, or waited for, a product of what MTE1 read from it.
template <typename T>
class Handover {
 public:
  __aicore__ inline void Init(TPipe* pipe, uint32_t elements) {
    elements_ = elements;
    pipe->InitBuffer(buffer_, 2 * elements * sizeof(T));
    for (uint32_t i = 0; i < 2; ++i) {
      filled_[i] = pipe->AllocEventID<HardEvent::FIX_MTE1>();
    }
  }
  __aicore__ inline void Clear() { FillZero(buffer_.template Get<T>(), 2 * elements_); }
  __aicore__ inline LocalTensor<T> Empty() { return buffer_.template Get<T>()[writer_ * elements_]; }
  __aicore__ inline void Publish() {
    AscendC::SetFlag<HardEvent::FIX_MTE1>(filled_[writer_]);
    writer_ = 1 - writer_;
  }
  __aicore__ inline LocalTensor<T> Next() {
    AscendC::WaitFlag<HardEvent::FIX_MTE1>(filled_[reader_]);
    LocalTensor<T> l1 = buffer_.template Get<T>()[reader_ * elements_];
    reader_ = 1 - reader_;
    return l1;
  }

 private:
  TBuf<TPosition::A1> buffer_;
  AscendC::TEventID filled_[2];
  uint32_t elements_ = 0, writer_ = 0, reader_ = 0;
};

}  // namespace neocell
#endif
