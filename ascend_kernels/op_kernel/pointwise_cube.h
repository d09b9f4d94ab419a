// The cube core's part of the pointwise operators: tiles of W X + b, or of W^T dY, handed strip by strip to a sink that
// stores them: to GM, or through a workspace that stays in L2 to the vector cores, which make something of them.
//
// A tile is `rowTile` rows of two strips of pixel columns; a step multiplies `depthTile` of the depth, and W's part of
// it serves both strips.  The bias starts the sums: b times a row of ones, a product of depth 1.
#ifndef POINTWISE_CUBE_H
#define POINTWISE_CUBE_H
#include "neo_cell_cube.h"
#include "pointwise_tiling.h"

namespace neocell {

constexpr uint32_t FULL = 0, EMPTY = 1;  // flags between cube and vector cores: a slot was stored, a slot was read
constexpr uint32_t MOST_PRODUCTS = 2;    // of a kernel
constexpr uint32_t STEPS_IN_L1 = 4;      // of either operand; 8 event ids allow no more
constexpr uint32_t STEPS_IN_GROUP = 2;
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

// GRADIENT: the products are W^T times the strips, without a bias.  ORDER gives their tiles, SOURCE their right operand.
template <typename T, bool GRADIENT, typename Sink, typename Order = TileOrder, typename Source = TensorSource<T>>
class PointwiseCube {
 public:
  // `order`, `source` and `sink` are ready; `count` products.
  __aicore__ inline void Init(const Product<T>* products, uint32_t count, const Order& order, TPipe* pipe) {
    uint32_t left = 0, ones = TILE_FRACTALS * FRACTAL_ELEMENTS;
    for (uint32_t i = 0; i < count; ++i) {
      product_[i] = products[i];
      const PointwiseTiling& t = products[i].t;
      left = Max(left, t.rowTile * (t.depthTile + (GRADIENT ? 0 : FRACTAL)));
    }
    loads_ = tiles_ = order;
    pipe->InitBuffer(wL1_, STEPS_IN_L1, left * sizeof(T));
    pipe->InitBuffer(xL1_, STEPS_IN_L1, STRIPS_IN_TILE * STRIP_ELEMENTS * sizeof(T));
    pipe->InitBuffer(l0a_, 2, L0_BYTES);
    pipe->InitBuffer(l0b_, 2, L0_BYTES);
    pipe->InitBuffer(l0c_, STRIPS_IN_TILE, L0C_BYTES);
    if (!GRADIENT) {
      pipe->InitBuffer(ones_, ones * sizeof(T));
      FillOnes(ones_.template Get<T>(), ones);
    }
  }

  __aicore__ inline void Process(Source& source, Sink& sink) {
    loading_ = loads_.Next(&load_);
    while (tiles_.Next(&tile_)) {
      const Product<T>& p = product_[tile_.product];
      for (uint32_t s = 0; s < tile_.strips; ++s) {
        strip_[s] = StripAt(p.t, tile_.strip + s);
      }
      uint32_t steps = (p.depth + p.t.depthTile - 1) / p.t.depthTile;
      for (uint32_t step = 0; step < steps;) {
        uint32_t left = steps - step, group = left <= STEPS_IN_GROUP ? left : 1;
        Multiply(source, p, step, group);
        step += group;
      }
      for (uint32_t s = 0; s < tile_.strips; ++s) {
        LocalTensor<float> result = l0c_.template DeQue<float>();
        sink.Store(p, tile_, strip_[s], result);
        l0c_.FreeTensor(result);
      }
      source.Stored(tile_);
    }
    sink.Finish();
  }

 private:
  __aicore__ inline void LoadAhead(Source& source, uint32_t needed) {
    while (loading_ && strips_ < STEPS_IN_L1 && (!load_.first || weights_ < STEPS_IN_L1) &&
           (strips_ < needed || source.Ready(load_))) {
      LoadNext(source);
    }
  }

  // The operands of a later step, which travel while others are multiplied.
  __aicore__ inline void LoadNext(Source& source) {
    const Product<T>& p = product_[load_.product];
    uint32_t deep = Min(p.t.depthTile, p.depth - loadDepth_);
    if (load_.first) {
      LoadWeights(p, deep);
    }
    if (loadDepth_ == 0) {
      source.Await(load_);
    }
    LocalTensor<T> x = xL1_.template AllocTensor<T>();
    for (uint32_t s = 0; s < load_.strips; ++s) {
      source.Load(x[s * STRIP_ELEMENTS], p, load_, s, loadDepth_, deep);
    }
    xL1_.EnQue(x);
    ++strips_;
    loadDepth_ += p.t.depthTile;
    if (loadDepth_ >= p.depth) {
      loadDepth_ = 0;
      loading_ = loads_.Next(&load_);
    }
  }

  __aicore__ inline void LoadWeights(const Product<T>& p, uint32_t deep) {
    LocalTensor<T> w = wL1_.template AllocTensor<T>();
    if (GRADIENT) {
      LoadPart(w, p.w[static_cast<uint64_t>(loadDepth_) * p.rows + load_.row], deep, load_.rows, p.rows);
    } else {
      LoadPart(w, p.w[static_cast<uint64_t>(load_.row) * p.depth + loadDepth_], load_.rows, deep, p.depth);
      if (loadDepth_ == 0) {
        LoadPart(w[p.t.rowTile * p.t.depthTile], p.b[load_.row], 1, load_.rows, load_.rows);
      }
    }
    wL1_.EnQue(w);
    ++weights_;
  }

  // Steps for one strip, then for the other.  The last steps of a tile are multiplied together: while the cube works for
  // the second strip the first is stored, and the second while the cube begins the next tile.
  __aicore__ inline void Multiply(Source& source, const Product<T>& p, uint32_t first, uint32_t steps) {
    LocalTensor<T> streamed[STEPS_IN_GROUP], x[STEPS_IN_GROUP], left;
    LocalTensor<T>* w = tile_.stays ? stayed_ + first : streamed;
    LoadAhead(source, steps);
    for (uint32_t i = 0; i < steps; ++i) {
      if (tile_.first) {
        w[i] = wL1_.template DeQue<T>();
      }
      x[i] = xL1_.template DeQue<T>();
    }
    for (uint32_t s = 0; s < tile_.strips; ++s) {
      bool lastStrip = s + 1 == tile_.strips;
      if (first == 0) {
        result_[s] = l0c_.template AllocTensor<float>();  // the cube waits here until this strip's last was stored
      }
      if (!GRADIENT && first == 0) {
        StartWithBias(s, w[0][p.t.rowTile * p.t.depthTile]);
      }
      for (uint32_t i = 0; i < steps; ++i) {
        uint32_t deep = Min(p.t.depthTile, p.depth - (first + i) * p.t.depthTile);
        if (s == 0 || steps > 1) {
          left = LoadLeftOperand(w[i], deep);
        }
        LocalTensor<T> right = l0b_.template AllocTensor<T>();
        LoadRight(right, x[i][s * STRIP_ELEMENTS], 1, Blocks(deep), StripBlocks(strip_[s]));
        MultiplyStrip(s, left, right, deep, GRADIENT && first + i == 0);
        if (lastStrip || steps > 1) {
          l0a_.FreeTensor(left);
        }
        if (lastStrip) {
          if (tile_.last) {
            wL1_.FreeTensor(w[i]);
            --weights_;
          }
          xL1_.FreeTensor(x[i]);
          --strips_;
          LoadAhead(source, 0);
        }
      }
      if ((first + steps) * p.t.depthTile >= p.depth) {
        l0c_.EnQue(result_[s]);
      }
    }
  }

  __aicore__ inline LocalTensor<T> LoadLeftOperand(const LocalTensor<T>& w, uint32_t deep) {
    LocalTensor<T> left = l0a_.template AllocTensor<T>();
    if (GRADIENT) {
      LoadLeftTransposed(left, w, Blocks(tile_.rows) * Blocks(deep));
    } else {
      LoadLeft(left, w, 1, Blocks(tile_.rows), Blocks(deep));
    }
    l0a_.EnQue(left);
    return l0a_.template DeQue<T>();
  }

  // The bias lies as a row; only its column is multiplied.
  __aicore__ inline void StartWithBias(uint32_t s, const LocalTensor<T>& bias) {
    LocalTensor<T> left = l0a_.template AllocTensor<T>(), right = l0b_.template AllocTensor<T>();
    LoadLeftTransposed(left, bias, Blocks(tile_.rows));
    LoadRightTransposed(right, ones_.template Get<T>(), StripBlocks(strip_[s]));
    l0a_.EnQue(left);
    left = l0a_.template DeQue<T>();
    MultiplyStrip(s, left, right, 1, true);
    l0a_.FreeTensor(left);
  }

  // Whole fractals of rows, because m = 1 would change the layout, and of columns, so that what pads them is finite.
  __aicore__ inline void MultiplyStrip(uint32_t s, const LocalTensor<T>& left, LocalTensor<T> right, uint32_t deep,
                                       bool fresh) {
    l0b_.EnQue(right);
    right = l0b_.template DeQue<T>();
    Accumulate(result_[s], left, right, Blocks(tile_.rows) * FRACTAL, deep, StripBlocks(strip_[s]) * FRACTAL, fresh);
    l0b_.FreeTensor(right);
  }

  Product<T> product_[MOST_PRODUCTS];
  Order loads_, tiles_;
  Tile load_, tile_;  // that is loaded, and that is calculated
  bool loading_ = false;
  uint32_t loadDepth_ = 0, weights_ = 0, strips_ = 0;  // buffers of wL1_ and xL1_ in use
  Strip strip_[STRIPS_IN_TILE];
  LocalTensor<float> result_[STRIPS_IN_TILE];
  LocalTensor<T> stayed_[STEPS_IN_L1];
  TQue<TPosition::A1, STEPS_IN_L1> wL1_;
  TQue<TPosition::B1, STEPS_IN_L1> xL1_;
  TQue<TPosition::A2, 2> l0a_;
  TQue<TPosition::B2, 2> l0b_;
  TQue<TPosition::CO1, STRIPS_IN_TILE> l0c_;
  TBuf<TPosition::B1> ones_;
};

// The cube cores of a kernel with one product; its sink stores to `target`, the output or the workspace.
template <typename T, bool GRADIENT, typename Sink>
__aicore__ inline void RunProduct(GM_ADDR x, GM_ADDR w, GM_ADDR b, GM_ADDR target, const PointwiseTiling& tiling,
                                  TPipe* pipe) {
  Product<T> product;
  product.t = tiling;
  product.rows = GRADIENT ? tiling.in : tiling.out;
  product.depth = GRADIENT ? tiling.out : tiling.in;
  product.w.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(w));
  product.b.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(b));
  TileOrder order;
  order.Init(tiling, product.rows, product.depth, AscendC::GetBlockIdx());
  TensorSource<T> source;
  source.Init(x);
  Sink sink;
  sink.Init(target);
  PointwiseCube<T, GRADIENT, Sink> cube;
  cube.Init(&product, 1, order, pipe);
  cube.Process(source, sink);
}

}  // namespace neocell
#endif
