// The cube core's part of the pointwise operators: tiles of W X + b, or of W^T dY, handed strip by strip to a sink that
// stores them: to GM, or through a workspace that stays in L2 to the vector cores, which make something of them.
//
// A tile is `rowTile` rows of two strips of pixel columns; a step multiplies `depthTile` of the depth, and W's part of
// it serves both strips.  The bias starts the sums: b times a row of ones, a product of depth 1.
#ifndef POINTWISE_CUBE_H
#define POINTWISE_CUBE_H
#include "pointwise_tiles.h"

namespace neocell {

constexpr uint32_t MOST_PRODUCTS = 2;   // of a kernel
constexpr uint32_t STEPS_IN_GROUP = 2;  // that are multiplied for one strip before the other

// GRADIENT: the products are W^T times the strips, without a bias.  ORDER gives their tiles, SOURCE their right
// operand.
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

  // Steps for one strip, then for the other.  The last steps of a tile are multiplied together: while the cube works
  // for the second strip the first is stored, and the second while the cube begins the next tile.
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
