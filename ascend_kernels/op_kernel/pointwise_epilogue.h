// What the vector cores make of W X + b or W^T dY, `sums` in float32: bias is in it, rounding to T comes last.
#ifndef POINTWISE_EPILOGUE_H
#define POINTWISE_EPILOGUE_H
#include "gelu.h"
#include "pointwise_cube.h"
#include "pointwise_vector.h"

namespace neocell {

using AscendC::RoundMode;

// Y = GELU(sums), and Z = sums if KEEP: the gradient needs it.
template <typename T, bool KEEP>
class GeluEpilogue {
 public:
  __aicore__ inline void Init(GM_ADDR y, GM_ADDR z, const PointwiseTiling& tiling, TPipe* pipe) {
    t_ = tiling;
    y_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(y));
    pipe->InitBuffer(out_, 1, t_.vectorElements * sizeof(T));
    gelu_.Init(pipe, t_.vectorElements);
    if (KEEP) {
      z_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(z));
      pipe->InitBuffer(kept_, 1, t_.vectorElements * sizeof(T));
    }
  }

  __aicore__ inline void Load(const Chunk&) {}

  __aicore__ inline void Finish(const LocalTensor<float>& sums, const Chunk& c) {
    uint32_t count = c.rows * c.pitch;
    if (KEEP) {
      LocalTensor<T> kept = kept_.template AllocTensor<T>();
      AscendC::Cast(kept, sums, RoundMode::CAST_RINT, count);
      kept_.EnQue(kept);
    }
    gelu_.Apply(sums, count);
    LocalTensor<T> out = out_.template AllocTensor<T>();
    AscendC::Cast(out, sums, RoundMode::CAST_RINT, count);
    out_.EnQue(out);
  }

  __aicore__ inline void Store(const Chunk& c) {
    if (KEEP) {
      LocalTensor<T> kept = kept_.template DeQue<T>();
      StoreChunk(z_, kept, c, t_.out, t_.pixels);
      kept_.FreeTensor(kept);
    }
    LocalTensor<T> out = out_.template DeQue<T>();
    StoreChunk(y_, out, c, t_.out, t_.pixels);
    out_.FreeTensor(out);
  }

 private:
  PointwiseTiling t_;
  GlobalTensor<T> y_, z_;
  TQue<TPosition::VECOUT, 1> out_, kept_;
  Gelu<T> gelu_;
};

// sum = r + s x
template <typename T>
__aicore__ inline void AddScaled(const LocalTensor<float>& sum, const LocalTensor<T>& r, const LocalTensor<float>& x,
                                 float s, uint32_t count) {
  AscendC::Cast(sum, r, RoundMode::CAST_NONE, count);
  AscendC::Axpy(sum, x, s, count);
}

// Y = R + s sums, with a factor s for each image (layer scale belongs into W and b).
template <typename T>
class ResidualEpilogue {
 public:
  __aicore__ inline void Init(GM_ADDR r, GM_ADDR s, GM_ADDR y, const PointwiseTiling& tiling, TPipe* pipe) {
    t_ = tiling;
    r_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(r));
    s_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(s));
    y_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(y));
    pipe->InitBuffer(in_, 2, t_.vectorElements * sizeof(T));
    pipe->InitBuffer(out_, 2, t_.vectorElements * sizeof(T));
    pipe->InitBuffer(wide_, t_.vectorElements * sizeof(float));
  }

  __aicore__ inline void Load(const Chunk& c) {
    LocalTensor<T> r = in_.template AllocTensor<T>();
    LoadChunk(r, r_, c, t_.out, t_.pixels);
    in_.EnQue(r);
  }

  __aicore__ inline void Finish(const LocalTensor<float>& sums, const Chunk& c) {
    uint32_t count = c.rows * c.pitch;
    LocalTensor<float> wide = wide_.template Get<float>();
    LocalTensor<T> r = in_.template DeQue<T>();
    AddScaled(wide, r, sums, s_.GetValue(c.image), count);
    in_.FreeTensor(r);
    LocalTensor<T> out = out_.template AllocTensor<T>();
    AscendC::Cast(out, wide, RoundMode::CAST_RINT, count);
    out_.EnQue(out);
  }

  __aicore__ inline void Store(const Chunk& c) {
    LocalTensor<T> out = out_.template DeQue<T>();
    StoreChunk(y_, out, c, t_.out, t_.pixels);
    out_.FreeTensor(out);
  }

 private:
  PointwiseTiling t_;
  GlobalTensor<T> r_, y_;
  GlobalTensor<float> s_;
  TQue<TPosition::VECIN, 2> in_;
  TQue<TPosition::VECOUT, 2> out_;
  TBuf<TPosition::VECCALC> wide_;
};

// dZ = sums * GELU'(Z)
template <typename T>
class GeluGradEpilogue {
 public:
  __aicore__ inline void Init(GM_ADDR z, GM_ADDR dz, const PointwiseTiling& tiling, TPipe* pipe) {
    t_ = tiling;
    z_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(z));
    dz_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(dz));
    pipe->InitBuffer(in_, 2, t_.vectorElements * sizeof(T));
    pipe->InitBuffer(out_, 2, t_.vectorElements * sizeof(T));
    pipe->InitBuffer(wide_, t_.vectorElements * sizeof(float));
    slope_.Init(pipe, t_.vectorElements);
  }

  __aicore__ inline void Load(const Chunk& c) {
    LocalTensor<T> z = in_.template AllocTensor<T>();
    LoadChunk(z, z_, c, t_.in, t_.pixels);
    in_.EnQue(z);
  }

  __aicore__ inline void Finish(const LocalTensor<float>& sums, const Chunk& c) {
    uint32_t count = c.rows * c.pitch;
    LocalTensor<float> wide = wide_.template Get<float>();
    LocalTensor<T> z = in_.template DeQue<T>();
    AscendC::Cast(wide, z, RoundMode::CAST_NONE, count);
    in_.FreeTensor(z);
    slope_.Apply(wide, count);
    AscendC::Mul(sums, sums, wide, count);
    LocalTensor<T> out = out_.template AllocTensor<T>();
    AscendC::Cast(out, sums, RoundMode::CAST_RINT, count);
    out_.EnQue(out);
  }

  __aicore__ inline void Store(const Chunk& c) {
    LocalTensor<T> out = out_.template DeQue<T>();
    StoreChunk(dz_, out, c, t_.in, t_.pixels);
    out_.FreeTensor(out);
  }

 private:
  PointwiseTiling t_;
  GlobalTensor<T> z_, dz_;
  TQue<TPosition::VECIN, 2> in_;
  TQue<TPosition::VECOUT, 2> out_;
  TBuf<TPosition::VECCALC> wide_;
  GeluSlope<T> slope_;
};

}  // namespace neocell
#endif
