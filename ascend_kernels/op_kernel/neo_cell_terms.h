// Y[n,o] = sum over terms t of A[t,o] X[n,in(o,t)] B[t,o]: NeoCell of higher rank, and over groups of input channels.
// There are rank * width terms.  in(o,t) goes around the group of `width` channels that o is in, from o on.
//     T = A[t] X   L0C -> L1, rounded to fp16 or bf16        Y += T B[t]   stays in L0C over all terms, then -> GM
// X is read once and Y written once whatever the number of terms.  Tiles, and images side by side, are those of K1; a
// tile has whole groups.  A Y is summed term by term on one core: every bit is the same on any number of cores.
#ifndef NEO_CELL_TERMS_H
#define NEO_CELL_TERMS_H
#include "neo_cell_cube.h"

namespace neocell {

template <typename T>
class Terms {
 public:
  __aicore__ inline void Init(GM_ADDR x, GM_ADDR a, GM_ADDR b, GM_ADDR y, const Tiling& tiling, TPipe* pipe) {
    t_ = tiling;
    h_ = Blocks(t_.height);
    w_ = Blocks(t_.width);
    ho_ = Blocks(t_.outHeight);
    wo_ = Blocks(t_.outWidth);
    terms_ = t_.rank * t_.groupWidth;
    x_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(x));
    a_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(a));
    b_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(b));
    y_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(y));
    uint32_t channels = t_.tileChannels, planes = channels * t_.tileImages;
    pipe->InitBuffer(aL1_, 1, terms_ * channels * ho_ * h_ * FRACTAL_ELEMENTS * sizeof(T));
    pipe->InitBuffer(bL1_, 1, terms_ * channels * w_ * wo_ * FRACTAL_ELEMENTS * sizeof(T));
    pipe->InitBuffer(xL1_, TILES_IN_FLIGHT, planes * h_ * w_ * FRACTAL_ELEMENTS * sizeof(T));
    pipe->InitBuffer(l0a_, 2, L0_BYTES);
    pipe->InitBuffer(l0b_, 2, L0_BYTES);
    pipe->InitBuffer(l0c_, 1, L0C_BYTES);
    pipe->InitBuffer(sum_, 1, L0C_BYTES);
    product_.Init(pipe, planes * ho_ * w_ * FRACTAL_ELEMENTS);
  }

  __aicore__ inline void Process() {
    uint32_t core = AscendC::GetBlockIdx(), channelCore = core % t_.channelCores, imageCore = core / t_.channelCores;
    uint32_t groups = t_.channels / t_.groupWidth;
    uint32_t lastChannel = PartBegin(groups, t_.channelCores, channelCore + 1) * t_.groupWidth;
    uint32_t firstImage = PartBegin(t_.images, t_.imageCores, imageCore);
    uint32_t lastImage = PartBegin(t_.images, t_.imageCores, imageCore + 1);
    for (uint32_t c = PartBegin(groups, t_.channelCores, channelCore) * t_.groupWidth; c < lastChannel;
         c += t_.tileChannels) {
      channel_ = c;
      channels_ = Min(t_.tileChannels, lastChannel - c);
      ProcessChannels(firstImage, lastImage);
    }
  }

 private:
  __aicore__ inline void ProcessChannels(uint32_t first, uint32_t last) {
    LocalTensor<T> a = LoadTerms(aL1_, a_, t_.outHeight, t_.height);
    LocalTensor<T> b = LoadTerms(bL1_, b_, t_.width, t_.outWidth);
    for (uint32_t tile = 0; tile + 1 < TILES_IN_FLIGHT; ++tile) {
      LoadX(first + tile * t_.tileImages, last);
    }
    for (uint32_t n = first; n < last; n += t_.tileImages) {
      LoadX(n + (TILES_IN_FLIGHT - 1) * t_.tileImages, last);
      images_ = Min(t_.tileImages, last - n);
      LocalTensor<T> x = xL1_.template DeQue<T>();
      LocalTensor<float> y;
      for (uint32_t term = 0; term <= terms_; ++term) {  // T runs a term ahead: FIX rounds it beside the product before
        if (term < terms_) {
          MultiplyByA(a[term * channels_ * ho_ * h_ * FRACTAL_ELEMENTS], x, term % t_.groupWidth);
        }
        if (term == 0) {
          y = sum_.template AllocTensor<float>();
        } else {
          MultiplyByB(y, b[(term - 1) * channels_ * w_ * wo_ * FRACTAL_ELEMENTS], term == 1);
        }
      }
      xL1_.FreeTensor(x);
      sum_.EnQue(y);
      StoreY(n);
    }
    aL1_.FreeTensor(a);
    bL1_.FreeTensor(b);
  }

  // The matrices of the tile's channels, one copy a term: those of a term lie side by side in memory.
  template <typename Queue>
  __aicore__ inline LocalTensor<T> LoadTerms(Queue& queue, const GlobalTensor<T>& gm, uint32_t rows, uint32_t columns) {
    uint32_t matrix = Blocks(rows) * Blocks(columns) * FRACTAL_ELEMENTS;
    LocalTensor<T> l1 = queue.template AllocTensor<T>();
    for (uint32_t term = 0; term < terms_; ++term) {
      uint64_t source = (static_cast<uint64_t>(term) * t_.channels + channel_) * rows * columns;
      LoadPlanes(l1[term * channels_ * matrix], gm[source], channels_, rows, columns, matrix);
    }
    queue.EnQue(l1);
    return queue.template DeQue<T>();
  }

  __aicore__ inline void LoadX(uint32_t n, uint32_t last) {
    if (n >= last) {
      return;
    }
    uint32_t images = Min(t_.tileImages, last - n), plane = h_ * w_ * FRACTAL_ELEMENTS;
    LocalTensor<T> x = xL1_.template AllocTensor<T>();
    for (uint32_t i = 0; i < images; ++i) {
      uint64_t source = (static_cast<uint64_t>(n + i) * t_.channels + channel_) * t_.height * t_.width;
      LoadPlanes(x[i * plane], x_[source], channels_, t_.height, t_.width, images * plane);
    }
    xL1_.EnQue(x);
  }

  // T = A X of a term, whose input channels are `turn` further around their groups; handed over through L1
  __aicore__ inline void MultiplyByA(const LocalTensor<T>& a, const LocalTensor<T>& x, uint32_t turn) {
    uint32_t wide = images_ * w_;
    LocalTensor<T> left = l0a_.template AllocTensor<T>(), right = l0b_.template AllocTensor<T>();
    LoadLeft(left, a, channels_, ho_, h_);
    LoadRight(right, x, channels_, h_, wide);
    Operands(left, right);
    LocalTensor<float> result = l0c_.template AllocTensor<float>();
    for (uint32_t c = 0; c < channels_; ++c) {
      uint32_t place = c % t_.groupWidth, in = c - place + (place + turn) % t_.groupWidth;
      Multiply(result[c * ho_ * wide * FRACTAL_ELEMENTS], left[c * ho_ * h_ * FRACTAL_ELEMENTS],
               right[in * h_ * wide * FRACTAL_ELEMENTS], t_.outHeight, t_.height, wide * FRACTAL);
    }
    l0c_.EnQue(result);
    FreeOperands(left, right);
    result = l0c_.template DeQue<float>();
    StoreL1(product_.Empty(), result, t_.outHeight, ho_ * FRACTAL, channels_ * wide);
    product_.Publish();
    l0c_.FreeTensor(result);
  }

  // Y = T B of the first term, Y += T B of the others
  __aicore__ inline void MultiplyByB(const LocalTensor<float>& y, const LocalTensor<T>& b, bool fresh) {
    LocalTensor<T> left = l0a_.template AllocTensor<T>(), right = l0b_.template AllocTensor<T>();
    LoadLeft(left, product_.Next(), channels_ * images_, ho_, w_);
    LoadRight(right, b, channels_, w_, wo_);
    Operands(left, right);
    uint32_t rows = (images_ - 1) * ho_ * FRACTAL + t_.outHeight;
    // an accumulating Mmad on few fractals must not follow its predecessor without a barrier
    AscendC::PipeBarrier<PIPE_M>();
    for (uint32_t c = 0; c < channels_; ++c) {
      Multiply(y[c * images_ * ho_ * wo_ * FRACTAL_ELEMENTS], left[c * images_ * ho_ * w_ * FRACTAL_ELEMENTS],
               right[c * w_ * wo_ * FRACTAL_ELEMENTS], rows, t_.width, t_.outWidth, fresh);
    }
    FreeOperands(left, right);
  }

  __aicore__ inline void Operands(LocalTensor<T>& left, LocalTensor<T>& right) {
    l0a_.EnQue(left);
    l0b_.EnQue(right);
    left = l0a_.template DeQue<T>();
    right = l0b_.template DeQue<T>();
  }

  __aicore__ inline void FreeOperands(LocalTensor<T>& left, LocalTensor<T>& right) {
    l0a_.FreeTensor(left);
    l0b_.FreeTensor(right);
  }

  __aicore__ inline void StoreY(uint32_t n) {
    LocalTensor<float> y = sum_.template DeQue<float>();
    uint32_t plane = t_.outHeight * t_.outWidth, tall = images_ * ho_;
    for (uint32_t i = 0; i < images_; ++i) {
      uint64_t target = (static_cast<uint64_t>(n + i) * t_.channels + channel_) * plane;
      StorePlanes(y_[target], y[i * ho_ * FRACTAL_ELEMENTS], channels_, t_.outHeight, t_.outWidth, tall * FRACTAL,
                  tall * wo_, plane);
    }
    sum_.FreeTensor(y);
  }

  Tiling t_;
  uint32_t h_ = 0, w_ = 0, ho_ = 0, wo_ = 0;  // sizes in fractals
  uint32_t terms_ = 0;
  uint32_t channel_ = 0, channels_ = 0, images_ = 0;  // of the tile
  GlobalTensor<T> x_, a_, b_, y_;
  TQue<TPosition::A1, 1> aL1_;
  TQue<TPosition::B1, 1> bL1_;
  TQue<TPosition::B1, TILES_IN_FLIGHT> xL1_;
  TQue<TPosition::A2, 2> l0a_;
  TQue<TPosition::B2, 2> l0b_;
  TQue<TPosition::CO1, 1> l0c_, sum_;
  Handover<T> product_;
};

}  // namespace neocell
#endif
