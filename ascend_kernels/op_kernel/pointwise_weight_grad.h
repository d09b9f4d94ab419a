// The gradients of W X + b in W and b:  dW = sum_n dY[n] X[n]^T    db = sum_n dY[n] 1
// An item is a part of the strips for a tile of dW: `rowTile` channels out of up to two column strips of channels in.
// Its sums stay in L0C over all its strips, in float32: neither atomics nor a workspace, and the same bits in every run
// and on any number of cores.  The graph adds the parts.
//
// The depth of these products is the pixels.  Nd2Nz pads the columns of both operands with zeros, so that the images of
// a strip, side by side, are one depth of whole fractals.  db is one more column of the first tile: dY times ones.
#ifndef POINTWISE_WEIGHT_GRAD_H
#define POINTWISE_WEIGHT_GRAD_H
#include "pointwise_tiles.h"

namespace neocell {

template <typename T>
class PointwiseWeightGrad {
 public:
  __aicore__ inline void Init(GM_ADDR dy, GM_ADDR x, GM_ADDR dw, GM_ADDR db, const PointwiseTiling& tiling,
                              TPipe* pipe) {
    t_ = tiling;
    dy_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(dy));
    x_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(x));
    dw_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(dw));
    db_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(db));
    uint32_t ones = TILE_FRACTALS * FRACTAL_ELEMENTS;
    pipe->InitBuffer(dyL1_, TILES_IN_FLIGHT, STRIP_ELEMENTS * sizeof(T));
    pipe->InitBuffer(xL1_, TILES_IN_FLIGHT, STRIPS_IN_TILE * STRIP_ELEMENTS * sizeof(T));
    pipe->InitBuffer(ones_, ones * sizeof(T));
    pipe->InitBuffer(l0a_, 2, L0_BYTES);
    pipe->InitBuffer(l0b_, 2, L0_BYTES);
    pipe->InitBuffer(l0c_, STRIPS_IN_TILE, L0C_BYTES);
    FillOnes(ones_.template Get<T>(), ones);
  }

  // As in PointwiseCube, neighbouring items run at the same time.
  __aicore__ inline void Process() {
    uint32_t items = t_.splits * WeightTiles(t_);
    for (uint32_t item = AscendC::GetBlockIdx(); item < items; item += t_.cores) {
      SetItem(item);
      ProcessItem();
    }
  }

 private:
  __aicore__ inline void SetItem(uint32_t item) {
    uint32_t tile = item % WeightTiles(t_), rows = RowTiles(t_, t_.out);
    bool rowsFirst = rows <= t_.columnTiles;  // the fewer tiles side by side, and what the others share is read once
    split_ = item / WeightTiles(t_);
    row_ = (rowsFirst ? tile % rows : tile / t_.columnTiles) * t_.rowTile;
    rowCount_ = Min(t_.rowTile, t_.out - row_);
    column_ = (rowsFirst ? tile / rows : tile % t_.columnTiles) * STRIPS_IN_TILE * t_.columnStrip;
    columnStrips_ = Min(STRIPS_IN_TILE, (t_.in - column_ + t_.columnStrip - 1) / t_.columnStrip);
  }

  __aicore__ inline uint32_t Columns(uint32_t s) { return Min(t_.columnStrip, t_.in - column_ - s * t_.columnStrip); }

  __aicore__ inline void ProcessItem() {
    uint32_t first = PartBegin(t_.strips, t_.splits, split_), last = PartBegin(t_.strips, t_.splits, split_ + 1);
    for (uint32_t i = 0; i + 1 < TILES_IN_FLIGHT; ++i) {
      Load(first + i, last);
    }
    for (uint32_t s = 0; s < columnStrips_; ++s) {
      sum_[s] = l0c_.template AllocTensor<float>();
    }
    for (uint32_t strip = first; strip < last; ++strip) {
      Load(strip + TILES_IN_FLIGHT - 1, last);
      AddStrip(StripBlocks(StripAt(t_, strip)), strip == first);
    }
    for (uint32_t s = 0; s < columnStrips_; ++s) {
      l0c_.EnQue(sum_[s]);
      LocalTensor<float> sum = l0c_.template DeQue<float>();
      StoreSum(s, sum);
      l0c_.FreeTensor(sum);
    }
  }

  __aicore__ inline void Load(uint32_t index, uint32_t last) {
    if (index >= last) {
      return;
    }
    Strip strip = StripAt(t_, index);
    LocalTensor<T> dy = dyL1_.template AllocTensor<T>(), x = xL1_.template AllocTensor<T>();
    LoadStrip(dy, dy_, strip, row_, rowCount_, t_.out, t_.pixels);
    for (uint32_t s = 0; s < columnStrips_; ++s) {
      LoadStrip(x[s * STRIP_ELEMENTS], x_, strip, column_ + s * t_.columnStrip, Columns(s), t_.in, t_.pixels);
    }
    dyL1_.EnQue(dy);
    xL1_.EnQue(x);
  }

  __aicore__ inline bool TakesBias(uint32_t s) { return column_ == 0 && s == 0; }

  __aicore__ inline void AddStrip(uint32_t deep, bool fresh) {
    LocalTensor<T> dy = dyL1_.template DeQue<T>(), x = xL1_.template DeQue<T>();
    LocalTensor<T> left = l0a_.template AllocTensor<T>();
    LoadLeft(left, dy, 1, Blocks(rowCount_), deep);
    l0a_.EnQue(left);
    left = l0a_.template DeQue<T>();
    for (uint32_t s = 0; s < columnStrips_; ++s) {
      LocalTensor<T> right = l0b_.template AllocTensor<T>();
      uint32_t blocks = Blocks(Columns(s)), wide = blocks + (TakesBias(s) ? 1 : 0);
      if (TakesBias(s)) {
        for (uint32_t row = 0; row < deep; ++row) {
          LoadRightTransposed(right[row * wide * FRACTAL_ELEMENTS], x[row * blocks * FRACTAL_ELEMENTS], blocks);
        }
        LoadRun(right[blocks * FRACTAL_ELEMENTS], ones_.template Get<T>(), deep, 1, wide, false);
      } else {
        LoadRightTransposed(right, x[s * STRIP_ELEMENTS], deep * blocks);
      }
      l0b_.EnQue(right);
      right = l0b_.template DeQue<T>();
      Accumulate(sum_[s], left, right, Blocks(rowCount_) * FRACTAL, deep * FRACTAL, wide * FRACTAL, fresh);
      l0b_.FreeTensor(right);
    }
    l0a_.FreeTensor(left);
    dyL1_.FreeTensor(dy);
    xL1_.FreeTensor(x);
  }

  __aicore__ inline void StoreSum(uint32_t s, const LocalTensor<float>& sum) {
    uint32_t blockRows = Blocks(rowCount_) * FRACTAL;
    uint64_t part = static_cast<uint64_t>(split_) * t_.out + row_;
    StoreRows(dw_[part * t_.in + column_ + s * t_.columnStrip], sum, rowCount_, Columns(s), blockRows, t_.in);
    if (TakesBias(s)) {
      StoreRows(db_[part], sum[Blocks(Columns(s)) * FRACTAL * blockRows], rowCount_, 1, blockRows, 1);
    }
  }

  PointwiseTiling t_;
  uint32_t split_ = 0, row_ = 0, rowCount_ = 0, column_ = 0, columnStrips_ = 0;  // of the item
  LocalTensor<float> sum_[STRIPS_IN_TILE];
  GlobalTensor<T> dy_, x_;
  GlobalTensor<float> dw_, db_;
  TQue<TPosition::A1, TILES_IN_FLIGHT> dyL1_;
  TQue<TPosition::B1, TILES_IN_FLIGHT> xL1_;
  TQue<TPosition::A2, 2> l0a_;
  TQue<TPosition::B2, 2> l0b_;
  TQue<TPosition::CO1, STRIPS_IN_TILE> l0c_;
  TBuf<TPosition::B1> ones_;
};

}  // namespace neocell
#endif
