// What the parts of the pointwise operators share: copies of strips and sums, tiles and their order on a core, where
// right operands come from and where results go.
#ifndef POINTWISE_TILES_H
#define POINTWISE_TILES_H
#include "neo_cell_cube.h"
#include "pointwise_tiling.h"

namespace neocell {

constexpr uint32_t FULL = 0, EMPTY = 1;  // flags between cube and vector cores: a slot was stored, a slot was read
constexpr uint32_t STEPS_IN_L1 = 4;      // of either operand; 8 event ids allow no more
constexpr uint32_t STRIP_ELEMENTS = TILE_FRACTALS * TILE_FRACTALS * FRACTAL_ELEMENTS;

// A part of a row-major matrix in GM -> L1 (NZ, rows padded to whole fractals).
template <typename T>
__aicore__ inline void LoadPart(const LocalTensor<T>& l1, const GlobalTensor<T>& gm, uint32_t rows, uint32_t columns,
                                uint32_t stride) {
  AscendC::Nd2NzParams p;
  p.ndNum = 1;
  p.nValue = U16(rows);
  p.dValue = U16(columns);
  p.srcNdMatrixStride = 0;
  p.srcDValue = U16(stride);
  p.dstNzC0Stride = U16(Blocks(rows) * FRACTAL);
  p.dstNzNStride = 1;
  p.dstNzMatrixStride = 0;
  AscendC::DataCopy(l1, gm, p);
}

// `rows` channels of a strip -> L1 (NZ, the images side by side).
template <typename T>
__aicore__ inline void LoadStrip(const LocalTensor<T>& l1, const GlobalTensor<T>& gm, const Strip& strip,
                                 uint32_t channel, uint32_t rows, uint32_t channels, uint32_t pixels) {
  for (uint32_t i = 0; i < strip.images; ++i) {
    uint64_t source = (static_cast<uint64_t>(strip.image + i) * channels + channel) * pixels + strip.pixel;
    LoadPart(l1[i * ImageBlocks(strip) * Blocks(rows) * FRACTAL_ELEMENTS], gm[source], rows, strip.pixels, pixels);
  }
}

// No event of its own: whatever MTE1 waits for was loaded by MTE2 after it.
template <typename T>
__aicore__ inline void FillOnes(const LocalTensor<T>& l1, uint32_t elements) {
  const uint16_t bits = sizeof(T) == 2 && QuantOf<T>::value == QuantMode_t::F322F16 ? 0x3C00 : 0x3F80;
  AscendC::InitConstValueParams<T> p;
  p.repeatTimes = 1;
  p.blockNum = U16(elements / FRACTAL);
  p.dstGap = 0;
  p.initValue = *reinterpret_cast<const T*>(&bits);
  AscendC::InitConstValue(l1, p);
}

// L0C (NZ) -> GM, `rows` x `columns` at a row stride, rounded to Out.
template <typename Out>
__aicore__ inline void StoreRows(const GlobalTensor<Out>& gm, const LocalTensor<float>& l0c, uint32_t rows,
                                 uint32_t columns, uint32_t blockRows, uint32_t stride) {
  AscendC::FixpipeParamsV220 p;
  p.nSize = U16(columns);
  p.mSize = U16(rows);
  p.srcStride = U16(blockRows);
  p.dstStride = stride;
  p.quantPre = QuantOf<Out>::value;
  AscendC::Fixpipe<Out, float, AscendC::CFG_ROW_MAJOR>(gm, l0c, p);
}

// Accumulating Mmads on few fractals must not follow each other without a barrier.
template <typename T>
__aicore__ inline void Accumulate(const LocalTensor<float>& l0c, const LocalTensor<T>& l0a, const LocalTensor<T>& l0b,
                                  uint32_t m, uint32_t k, uint32_t n, bool fresh) {
  if (!fresh && Blocks(m) * Blocks(n) < 10) {
    AscendC::PipeBarrier<PIPE_M>();
  }
  Multiply(l0c, l0a, l0b, m, k, n, fresh);
}

// A matrix product of a kernel: W and b with its share of the tiling.
template <typename T>
struct Product {
  PointwiseTiling t;
  uint32_t rows, depth;
  GlobalTensor<T> w, b;
};

// Rows of a result and the strips that they are calculated for.
struct Tile {
  uint32_t product, turn;  // of a kernel with several products (pointwise_mlp.h)
  uint32_t row, rows, strip, strips;
  bool stays, first, last;  // its rows of W stay in L1 from a first to a last tile
};

__aicore__ inline Tile TileAt(const PointwiseTiling& t, uint32_t allRows, uint32_t pair, uint32_t row) {
  Tile tile;
  tile.product = tile.turn = 0;
  tile.row = row;
  tile.rows = Min(t.rowTile, allRows - row);
  tile.strip = pair * STRIPS_IN_TILE;
  tile.strips = Min(STRIPS_IN_TILE, t.strips - tile.strip);
  tile.stays = false;
  tile.first = tile.last = true;
  return tile;
}

// The tiles of one product on one core.  Neighbours run at the same time, so that L2 serves what they share; where the
// number of cores allows it, a core has the same rows of W again and again, and keeps them.
class TileOrder {
 public:
  __aicore__ inline void Init(const PointwiseTiling& t, uint32_t rows, uint32_t depth, uint32_t core) {
    t_ = t;
    rows_ = rows;
    item_ = core;
    stays_ = t.cores % RowTiles(t, rows) == 0 && depth <= STEPS_IN_L1 * t.depthTile;
    fresh_ = true;
  }
  __aicore__ inline bool Next(Tile* tile) {
    uint32_t items = ProductItems(t_, rows_), tiles = RowTiles(t_, rows_);
    if (item_ >= items) {
      return false;
    }
    *tile = TileAt(t_, rows_, item_ / tiles, item_ % tiles * t_.rowTile);
    item_ += t_.cores;
    tile->stays = stays_;
    tile->first = fresh_ || !stays_;
    tile->last = item_ >= items || !stays_;
    fresh_ = false;
    return true;
  }

 private:
  PointwiseTiling t_;
  uint32_t rows_ = 0, item_ = 0;
  bool stays_ = false, fresh_ = true;
};

// The right operand of a product: a tensor in GM.
template <typename T>
class TensorSource {
 public:
  __aicore__ inline void Init(GM_ADDR x) { x_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(x)); }
  __aicore__ inline bool Ready(const Tile&) { return true; }
  __aicore__ inline void Await(const Tile&) {}
  __aicore__ inline void Stored(const Tile&) {}
  __aicore__ inline void Load(const LocalTensor<T>& l1, const Product<T>& p, const Tile& tile, uint32_t s,
                              uint32_t depth, uint32_t deep) {
    LoadStrip(l1, x_, StripAt(p.t, tile.strip + s), depth, deep, p.depth, p.t.pixels);
  }

 private:
  GlobalTensor<T> x_;
};

// Stores a result where the operator's output is.
template <typename T>
class OutputSink {
 public:
  __aicore__ inline void Init(GM_ADDR y) { y_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(y)); }
  __aicore__ inline void Store(const Product<T>& p, const Tile& tile, const Strip& strip,
                               const LocalTensor<float>& result) {
    uint32_t pixels = p.t.pixels;
    uint32_t blockRows = Blocks(tile.rows) * FRACTAL;
    for (uint32_t i = 0; i < strip.images; ++i) {
      uint64_t target = (static_cast<uint64_t>(strip.image + i) * p.rows + tile.row) * pixels + strip.pixel;
      StoreRows(y_[target], result[i * ImageBlocks(strip) * FRACTAL * blockRows], tile.rows, strip.pixels, blockRows,
                pixels);
    }
  }
  __aicore__ inline void Finish() {}

 private:
  GlobalTensor<T> y_;
};

// Stores a result in the next slot of this core's workspace, once its vector cores have read what was there: each image
// of the strip as `rows` rows of whole fractals, float32.
template <typename T>
class WorkspaceSink {
 public:
  __aicore__ inline void Init(GM_ADDR workspace) {
    workspace_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(AscendC::GetUserWorkspace(workspace)) +
                               static_cast<uint64_t>(AscendC::GetBlockIdx()) * WORKSPACE_SLOTS * STRIP_ELEMENTS);
  }
  __aicore__ inline void Store(const Product<T>&, const Tile& tile, const Strip& strip,
                               const LocalTensor<float>& result) {
    if (stored_ >= WORKSPACE_SLOTS) {
      AscendC::CrossCoreWaitFlag<0x2, PIPE_FIX>(EMPTY);
    }
    uint32_t blockRows = Blocks(tile.rows) * FRACTAL, pitch = ImageBlocks(strip) * FRACTAL;
    uint32_t slot = stored_ % WORKSPACE_SLOTS * STRIP_ELEMENTS;
    for (uint32_t i = 0; i < strip.images; ++i) {
      StoreRows(workspace_[slot + i * pitch * tile.rows], result[i * pitch * blockRows], tile.rows, pitch, blockRows,
                pitch);
    }
    AscendC::CrossCoreSetFlag<0x2, PIPE_FIX>(FULL);
    ++stored_;
  }
  // The vector cores' last flags must not be left for the next kernel.
  __aicore__ inline void Finish() {
    for (uint32_t i = 0; i < Min(stored_, WORKSPACE_SLOTS); ++i) {
      AscendC::CrossCoreWaitFlag<0x2, PIPE_FIX>(EMPTY);
    }
  }

 private:
  GlobalTensor<float> workspace_;
  uint32_t stored_ = 0;
};

}  // namespace neocell
#endif
