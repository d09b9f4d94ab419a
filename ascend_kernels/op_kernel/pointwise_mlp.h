// The whole MLP in one kernel:  Y = R + s (W2 GELU(W1 X + b1) + b2)
// The hidden values never leave L2.  A core calculates those of a pair of strips, turn by turn: while its vector cores
// make GELU of turn i, the cube works on the hidden values of turn i and on the result of turn i - 1.  Two turns of
// hidden values are in the workspace, behind the slots: (turn, strip, image, hidden channel, pixel).
//
// Before a vector core writes a turn it has waited for a strip that the cube stored after its last read of the turn two
// before, so that only the way from the vector cores to the cube needs a flag.
#ifndef POINTWISE_MLP_H
#define POINTWISE_MLP_H
#include "pointwise_epilogue.h"

namespace neocell {

constexpr uint32_t HIDDEN = 2;  // flag: the hidden values of a turn are complete
constexpr uint32_t TILES_BEHIND =
    WORKSPACE_SLOTS / STRIPS_IN_TILE + 1;  // of the vector cores at most: in slots, and in work

// Pairs of strips of a core.
__aicore__ inline uint32_t Turns(const MlpTiling& t, uint32_t core) {
  uint32_t pairs = (t.first.strips + STRIPS_IN_TILE - 1) / STRIPS_IN_TILE;
  return (pairs - core + t.first.cores - 1) / t.first.cores;
}

// The tiles of a core, by turns: of the hidden values, and evenly among them those of the result of the turn before.
class MlpOrder {
 public:
  __aicore__ inline void Init(const MlpTiling& t, uint32_t core) {
    t_[0] = t.first;
    t_[1] = t.second;
    core_ = core;
    turns_ = Turns(t, core);
  }
  __aicore__ inline bool Next(Tile* tile) {
    uint32_t hiddenTiles = RowTiles(t_[0], t_[0].out), resultTiles = RowTiles(t_[1], t_[1].out);
    for (; step_ <= turns_; ++step_) {
      bool hidden = step_ < turns_ && done_[0] < hiddenTiles, result = step_ > 0 && done_[1] < resultTiles;
      if (hidden || result) {
        bool due = (done_[1] + 1) * hiddenTiles <= done_[0] * resultTiles;
        uint32_t product = result && (due || !hidden) ? 1 : 0, turn = step_ - product;
        const PointwiseTiling& t = t_[product];
        *tile = TileAt(t, t.out, core_ + turn * t.cores, done_[product]++ * t.rowTile);
        tile->product = product;
        tile->turn = turn;
        return true;
      }
      done_[0] = done_[1] = 0;
    }
    return false;
  }

 private:
  PointwiseTiling t_[2];
  uint32_t core_ = 0, turns_ = 0;
  uint32_t step_ = 0, done_[2] = {0, 0};  // done: tiles of this step, of the hidden values and of the result before
};

// The hidden values of a strip as the images of a tensor with as many pixels as whole fractals have columns.
template <typename T>
class HiddenValues {
 public:
  __aicore__ inline void Init(GM_ADDR workspace, const MlpTiling& t, uint32_t core) {
    channels_ = t.first.out;
    uint64_t slots = static_cast<uint64_t>(t.first.cores) * WORKSPACE_SLOTS * SLOT_BYTES;
    gm_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(AscendC::GetUserWorkspace(workspace) + slots) +
                        static_cast<uint64_t>(core) * HIDDEN_TURNS * STRIPS_IN_TILE * StripElements());
  }
  __aicore__ inline GlobalTensor<T> Of(const Tile& tile, uint32_t s) {
    return gm_[(tile.turn % HIDDEN_TURNS * STRIPS_IN_TILE + s) * StripElements()];
  }

 private:
  __aicore__ inline uint32_t StripElements() { return channels_ * TILE_FRACTALS * FRACTAL; }

  uint32_t channels_ = 0;
  GlobalTensor<T> gm_;
};

// The right operands: X, and the hidden values once the vector cores have finished them.
template <typename T>
class MlpSource {
 public:
  __aicore__ inline void Init(GM_ADDR x, GM_ADDR workspace, const MlpTiling& t) {
    x_.Init(x);
    hidden_.Init(workspace, t, AscendC::GetBlockIdx());
    tiles_ = RowTiles(t.first, t.first.out);
    turns_ = Turns(t, AscendC::GetBlockIdx());
  }
  // Waiting for hidden values before they can be ready would keep the cube core from work that the vector cores need:
  // they are some tiles behind it.
  __aicore__ inline bool Ready(const Tile& tile) {
    return tile.product == 0 || stored_ >= Min(turns_ * tiles_, (tile.turn + 1) * tiles_ + Min(tiles_, TILES_BEHIND));
  }
  __aicore__ inline void Stored(const Tile& tile) { stored_ += tile.product == 0 ? 1 : 0; }
  __aicore__ inline void Await(const Tile& tile) {
    if (tile.product == 1 && tile.row == 0) {
      AscendC::CrossCoreWaitFlag<0x2, PIPE_MTE2>(HIDDEN);
    }
  }
  __aicore__ inline void Load(const LocalTensor<T>& l1, const Product<T>& p, const Tile& tile, uint32_t s,
                              uint32_t depth, uint32_t deep) {
    if (tile.product == 0) {
      x_.Load(l1, p, tile, s, depth, deep);
      return;
    }
    Strip strip = StripAt(p.t, tile.strip + s);
    strip.image = strip.pixel = 0;
    strip.pixels = ImageBlocks(strip) * FRACTAL;
    LoadStrip(l1, hidden_.Of(tile, s), strip, depth, deep, p.depth, strip.pixels);
  }

 private:
  uint32_t tiles_ = 0, turns_ = 0, stored_ = 0;  // of hidden values: tiles of a turn, turns, tiles that are stored
  TensorSource<T> x_;
  HiddenValues<T> hidden_;
};

// What the vector cores make of either product.
template <typename T>
class MlpEpilogue {
 public:
  __aicore__ inline void Init(GM_ADDR r, GM_ADDR s, GM_ADDR y, GM_ADDR workspace, const MlpTiling& t, TPipe* pipe) {
    t_ = t.second;
    hidden_.Init(workspace, t, AscendC::GetBlockIdx() / 2);
    r_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(r));
    s_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(s));
    y_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(y));
    pipe->InitBuffer(in_, 2, t_.vectorElements * sizeof(T));
    pipe->InitBuffer(out_, 1, t_.vectorElements * sizeof(T));
    gelu_.Init(pipe, t_.vectorElements);
  }

  __aicore__ inline void Choose(const Tile& tile, uint32_t s) {
    result_ = tile.product == 1;
    if (!result_) {
      target_ = hidden_.Of(tile, s);
      firstImage_ = StripAt(t_, tile.strip + s).image;
    }
  }

  __aicore__ inline void Load(const Chunk& c) {
    if (result_) {
      LocalTensor<T> r = in_.template AllocTensor<T>();
      LoadChunk(r, r_, c, t_.out, t_.pixels);
      in_.EnQue(r);
    }
  }

  __aicore__ inline void Finish(const LocalTensor<float>& sums, const Chunk& c) {
    uint32_t count = c.rows * c.pitch;
    LocalTensor<float> value = sums;
    if (result_) {
      LocalTensor<T> r = in_.template DeQue<T>();
      value = gelu_.Scratch();
      AddScaled(value, r, sums, s_.GetValue(c.image), count);
      in_.FreeTensor(r);
    } else {
      gelu_.Apply(value, count);
    }
    LocalTensor<T> out = out_.template AllocTensor<T>();
    AscendC::Cast(out, value, RoundMode::CAST_RINT, count);
    out_.EnQue(out);
  }

  __aicore__ inline void Store(const Chunk& c) {
    LocalTensor<T> out = out_.template DeQue<T>();
    if (result_) {
      StoreChunk(y_, out, c, t_.out, t_.pixels);
    } else {  // the columns that pad a strip too: what is multiplied must be finite
      AscendC::DataCopyExtParams p{1, static_cast<uint32_t>(c.rows * c.pitch * sizeof(T)), 0, 0, 0};
      AscendC::DataCopyPad(target_[((c.image - firstImage_) * t_.in + c.row) * c.pitch], out, p);
    }
    out_.FreeTensor(out);
  }

 private:
  PointwiseTiling t_;
  bool result_ = false;
  uint32_t firstImage_ = 0;
  HiddenValues<T> hidden_;
  GlobalTensor<T> r_, y_, target_;
  GlobalTensor<float> s_;
  TQue<TPosition::VECIN, 2> in_;
  TQue<TPosition::VECOUT, 1> out_;
  Gelu<T> gelu_;
};

template <typename T>
__aicore__ inline Product<T> MlpProduct(const PointwiseTiling& t, GM_ADDR w, GM_ADDR b) {
  Product<T> product;
  product.t = t;
  product.rows = t.out;
  product.depth = t.in;
  product.w.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(w));
  product.b.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(b));
  return product;
}

template <typename T>
__aicore__ inline void RunMlpVector(MlpEpilogue<T>& epilogue, GM_ADDR workspace, const MlpTiling& t, TPipe* pipe) {
  SlotReader<3> slots;  // the short work on a result would wait for a load that the last hidden values keep back
  slots.Init(workspace, t.first, pipe);
  MlpOrder order;
  order.Init(t, AscendC::GetBlockIdx() / 2);
  Tile tile;
  while (order.Next(&tile)) {
    for (uint32_t s = 0; s < tile.strips; ++s) {
      epilogue.Choose(tile, s);
      slots.Finish(epilogue, tile, StripAt(t.first, tile.strip + s));
    }
    if (tile.product == 0 && tile.row + tile.rows == t.first.out) {
      AscendC::CrossCoreSetFlag<0x2, PIPE_MTE3>(HIDDEN);
    }
  }
}

}  // namespace neocell
#endif
