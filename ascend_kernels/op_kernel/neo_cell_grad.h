// K3: the gradients of Y[n,c] = A[c] X[n,c] B[c].  X and dY are read once, dX is written once:
//     T2 = dY B^T    T1 = A X    dX = A^T T2    dA = sum_n T2 X^T    dB = sum_n T1^T dY
// dA and dB of the tile's channels stay in L0C over all images, in float32: one core owns a channel, so the sums need
// neither atomics nor a workspace and are the same in every run.  If C < 24, the images are split in parts that depend
// on the shape alone, each with its own dA and dB; the graph adds them.
//
// Several images share a tile only if a plane is one fractal.  Their planes then form one matrix with k = 16 * images
// in the sums over n, so what pads a plane must be zero: Nd2Nz zeroes the columns, and the rows of B, dY and T1 that no
// copy ever writes are zeroed once at the start.
#ifndef NEO_CELL_GRAD_H
#define NEO_CELL_GRAD_H
#include "neo_cell_cube.h"

namespace neocell {

template <typename T>
class Grad {
 public:
  __aicore__ inline void Init(GM_ADDR x, GM_ADDR a, GM_ADDR b, GM_ADDR dy, GM_ADDR dx, GM_ADDR da, GM_ADDR db,
                              const Tiling& tiling, TPipe* pipe) {
    t_ = tiling;
    h_ = Blocks(t_.height);
    w_ = Blocks(t_.width);
    ho_ = Blocks(t_.outHeight);
    wo_ = Blocks(t_.outWidth);
    x_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(x));
    a_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(a));
    b_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(b));
    dy_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(dy));
    dx_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(dx));
    da_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(da));
    db_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(db));
    uint32_t channels = t_.tileChannels, planes = channels * t_.tileImages;
    pipe->InitBuffer(aL1_, 1, channels * ho_ * h_ * FRACTAL_ELEMENTS * sizeof(T));
    pipe->InitBuffer(bL1_, 1, channels * w_ * wo_ * FRACTAL_ELEMENTS * sizeof(T));
    pipe->InitBuffer(xL1_, TILES_IN_FLIGHT, planes * h_ * w_ * FRACTAL_ELEMENTS * sizeof(T));
    pipe->InitBuffer(dyL1_, TILES_IN_FLIGHT, planes * ho_ * wo_ * FRACTAL_ELEMENTS * sizeof(T));
    pipe->InitBuffer(l0a_, 2, L0_BYTES);
    pipe->InitBuffer(l0b_, 2, L0_BYTES);
    pipe->InitBuffer(l0c_, t_.resultBuffers, planes * w_ * Max(ho_, h_) * FRACTAL_ELEMENTS * sizeof(float));
    pipe->InitBuffer(sumA_, channels * ho_ * h_ * FRACTAL_ELEMENTS * sizeof(float));
    pipe->InitBuffer(sumB_, channels * w_ * wo_ * FRACTAL_ELEMENTS * sizeof(float));
    t1_.Init(pipe, planes * ho_ * w_ * FRACTAL_ELEMENTS);
    t2_.Init(pipe, planes * ho_ * w_ * FRACTAL_ELEMENTS);
    ZeroPaddingRows();
  }

  __aicore__ inline void Process() {
    uint32_t core = AscendC::GetBlockIdx(), channelCore = core % t_.channelCores, imageCore = core / t_.channelCores;
    uint32_t firstChannel = PartBegin(t_.channels, t_.channelCores, channelCore);
    uint32_t lastChannel = PartBegin(t_.channels, t_.channelCores, channelCore + 1);
    uint32_t lastSplit = PartBegin(t_.splits, t_.imageCores, imageCore + 1);
    for (uint32_t split = PartBegin(t_.splits, t_.imageCores, imageCore); split < lastSplit; ++split) {
      for (uint32_t c = firstChannel; c < lastChannel; c += t_.tileChannels) {
        channel_ = c;
        channels_ = Min(t_.tileChannels, lastChannel - c);
        ProcessChannels(split);
      }
    }
  }

 private:
  __aicore__ inline void ZeroPaddingRows() {
    t1_.Clear();
    ZeroQueue(bL1_, 1, t_.tileChannels * w_ * wo_);
    ZeroQueue(dyL1_, TILES_IN_FLIGHT, t_.tileChannels * t_.tileImages * ho_ * wo_);
  }

  template <typename Queue>
  __aicore__ inline void ZeroQueue(Queue& queue, uint32_t buffers, uint32_t fractals) {
    for (uint32_t i = 0; i < buffers; ++i) {
      LocalTensor<T> l1 = queue.template AllocTensor<T>();
      FillZero(l1, fractals * FRACTAL_ELEMENTS);
      queue.EnQue(l1);
      l1 = queue.template DeQue<T>();
      queue.FreeTensor(l1);
    }
  }

  __aicore__ inline void ProcessChannels(uint32_t split) {
    uint32_t first = PartBegin(t_.images, t_.splits, split), last = PartBegin(t_.images, t_.splits, split + 1);
    LocalTensor<T> a = LoadWeights(aL1_, a_, channel_, channels_, t_.outHeight, t_.height);
    LocalTensor<T> b = LoadWeights(bL1_, b_, channel_, channels_, t_.width, t_.outWidth);
    for (uint32_t tile = 0; tile + 1 < TILES_IN_FLIGHT; ++tile) {
      LoadTile(first + tile * t_.tileImages, last);
    }
    for (uint32_t n = first; n < last; n += t_.tileImages) {
      LoadTile(n + (TILES_IN_FLIGHT - 1) * t_.tileImages, last);
      images_ = Min(t_.tileImages, last - n);
      LocalTensor<T> x = xL1_.template DeQue<T>(), dy = dyL1_.template DeQue<T>();
      MultiplyDyByB(dy, b);
      MultiplyAByX(a, x);
      LocalTensor<T> t2 = t2_.Next();
      MultiplyAByT2(a, t2);
      StoreDx(n);
      AddToDa(t2, x, n == first);
      AddToDb(t1_.Next(), dy, n == first);
      xL1_.FreeTensor(x);
      dyL1_.FreeTensor(dy);
      // an accumulating Mmad on few fractals must not follow its predecessor without a barrier
      AscendC::PipeBarrier<PIPE_M>();
    }
    aL1_.FreeTensor(a);
    bL1_.FreeTensor(b);
    // The way back, FIX to M, needs no event: the next sums start from a T2 that FIX stores after these.
    Order<HardEvent::M_FIX>();
    StoreSum(da_, sumA_, split, t_.outHeight, t_.height);
    StoreSum(db_, sumB_, split, t_.width, t_.outWidth);
  }

  __aicore__ inline void LoadTile(uint32_t n, uint32_t last) {
    if (n >= last) {
      return;
    }
    uint32_t images = Min(t_.tileImages, last - n);
    LoadImages(xL1_, x_, n, images, t_.height, t_.width);
    LoadImages(dyL1_, dy_, n, images, t_.outHeight, t_.outWidth);
  }

  template <typename Queue>
  __aicore__ inline void LoadImages(Queue& queue, const GlobalTensor<T>& gm, uint32_t n, uint32_t images, uint32_t rows,
                                    uint32_t columns) {
    uint32_t plane = Blocks(rows) * Blocks(columns) * FRACTAL_ELEMENTS;
    LocalTensor<T> l1 = queue.template AllocTensor<T>();
    for (uint32_t i = 0; i < images; ++i) {
      uint64_t source = (static_cast<uint64_t>(n + i) * t_.channels + channel_) * rows * columns;
      LoadPlanes(l1[i * plane], gm[source], channels_, rows, columns, images * plane);
    }
    queue.EnQue(l1);
  }

  // T2 = dY B^T, the images of a channel below each other
  __aicore__ inline void MultiplyDyByB(const LocalTensor<T>& dy, const LocalTensor<T>& b) {
    AllocOperands();
    LoadLeft(left_, dy, channels_ * images_, ho_, wo_);
    LoadRightTransposed(right_, b, channels_ * w_ * wo_);
    LocalTensor<float> result = l0c_.template AllocTensor<float>();
    uint32_t rows = (images_ - 1) * ho_ * FRACTAL + t_.outHeight;
    MultiplyChannels(result, images_ * ho_ * w_, images_ * ho_ * wo_, wo_ * w_, rows, t_.outWidth, w_ * FRACTAL, true);
    l0c_.EnQue(result);
    StoreProduct(t2_);
  }

  // T1 = A X, the images of a channel side by side
  __aicore__ inline void MultiplyAByX(const LocalTensor<T>& a, const LocalTensor<T>& x) {
    AllocOperands();
    LoadLeft(left_, a, channels_, ho_, h_);
    LoadRight(right_, x, channels_, h_, images_ * w_);
    LocalTensor<float> result = l0c_.template AllocTensor<float>();
    MultiplyChannels(result, ho_ * images_ * w_, ho_ * h_, h_ * images_ * w_, t_.outHeight, t_.height,
                     images_ * w_ * FRACTAL, true);
    l0c_.EnQue(result);
    StoreProduct(t1_);
  }

  // dX = A^T T2
  __aicore__ inline void MultiplyAByT2(const LocalTensor<T>& a, const LocalTensor<T>& t2) {
    AllocOperands();
    LoadLeftTransposed(left_, a, channels_ * ho_ * h_);
    LoadRight(right_, t2, channels_, ho_, images_ * w_);
    LocalTensor<float> result = l0c_.template AllocTensor<float>();
    MultiplyChannels(result, h_ * images_ * w_, h_ * ho_, ho_ * images_ * w_, t_.height, t_.outHeight,
                     images_ * w_ * FRACTAL, true);
    l0c_.EnQue(result);
  }

  // dA += T2 X^T, summed over the columns of all images of the tile
  __aicore__ inline void AddToDa(const LocalTensor<T>& t2, const LocalTensor<T>& x, bool fresh) {
    AllocOperands();
    LoadLeft(left_, t2, channels_, ho_, images_ * w_);
    LoadRightTransposed(right_, x, channels_ * h_ * images_ * w_);
    uint32_t columns = (images_ - 1) * w_ * FRACTAL + t_.width;
    MultiplyChannels(sumA_.template Get<float>(), ho_ * h_, ho_ * images_ * w_, images_ * w_ * h_, t_.outHeight,
                     columns, t_.height, fresh);
  }

  // dB += T1^T dY, summed over the rows of all images of the tile
  __aicore__ inline void AddToDb(const LocalTensor<T>& t1, const LocalTensor<T>& dy, bool fresh) {
    AllocOperands();
    LoadLeftTransposed(left_, t1, channels_ * ho_ * images_ * w_);
    LoadRight(right_, dy, channels_ * images_, ho_, wo_);
    uint32_t rows = (images_ - 1) * ho_ * FRACTAL + t_.outHeight;
    MultiplyChannels(sumB_.template Get<float>(), w_ * wo_, w_ * images_ * ho_, images_ * ho_ * wo_, t_.width, rows,
                     t_.outWidth, fresh);
  }

  __aicore__ inline void AllocOperands() {
    left_ = l0a_.template AllocTensor<T>();
    right_ = l0b_.template AllocTensor<T>();
  }

  // One Mmad a channel; operands and results of neighbouring channels lie the given number of fractals apart.
  __aicore__ inline void MultiplyChannels(const LocalTensor<float>& result, uint32_t resultFractals,
                                          uint32_t leftFractals, uint32_t rightFractals, uint32_t m, uint32_t k,
                                          uint32_t n, bool fresh) {
    l0a_.EnQue(left_);
    l0b_.EnQue(right_);
    left_ = l0a_.template DeQue<T>();
    right_ = l0b_.template DeQue<T>();
    for (uint32_t c = 0; c < channels_; ++c) {
      Multiply(result[c * resultFractals * FRACTAL_ELEMENTS], left_[c * leftFractals * FRACTAL_ELEMENTS],
               right_[c * rightFractals * FRACTAL_ELEMENTS], m, k, n, fresh);
    }
    l0a_.FreeTensor(left_);
    l0b_.FreeTensor(right_);
  }

  // T1 or T2: only the true rows, so that the zeros below them stay
  __aicore__ inline void StoreProduct(Handover<T>& product) {
    LocalTensor<float> result = l0c_.template DeQue<float>();
    StoreL1(product.Empty(), result, t_.outHeight, ho_ * FRACTAL, channels_ * images_ * w_);
    product.Publish();
    l0c_.FreeTensor(result);
  }

  __aicore__ inline void StoreDx(uint32_t n) {
    LocalTensor<float> result = l0c_.template DeQue<float>();
    uint32_t plane = t_.height * t_.width, fractals = h_ * w_;
    for (uint32_t i = 0; i < images_; ++i) {
      uint64_t target = (static_cast<uint64_t>(n + i) * t_.channels + channel_) * plane;
      StorePlanes(dx_[target], result[i * fractals * FRACTAL_ELEMENTS], channels_, t_.height, t_.width, h_ * FRACTAL,
                  images_ * fractals, plane);
    }
    l0c_.FreeTensor(result);
  }

  __aicore__ inline void StoreSum(const GlobalTensor<float>& gm, TBuf<TPosition::CO1>& sum, uint32_t split,
                                  uint32_t rows, uint32_t columns) {
    uint64_t target = (static_cast<uint64_t>(split) * t_.channels + channel_) * rows * columns;
    StorePlanes(gm[target], sum.template Get<float>(), channels_, rows, columns, Blocks(rows) * FRACTAL,
                Blocks(rows) * Blocks(columns), rows * columns);
  }

  Tiling t_;
  uint32_t h_ = 0, w_ = 0, ho_ = 0, wo_ = 0;          // sizes in fractals
  uint32_t channel_ = 0, channels_ = 0, images_ = 0;  // of the tile
  LocalTensor<T> left_, right_;                       // operands of the product at hand
  GlobalTensor<T> x_, a_, b_, dy_, dx_;
  GlobalTensor<float> da_, db_;
  TQue<TPosition::A1, 1> aL1_;
  TQue<TPosition::B1, 1> bL1_;
  TQue<TPosition::B1, TILES_IN_FLIGHT> xL1_;
  TQue<TPosition::A1, TILES_IN_FLIGHT> dyL1_;
  TQue<TPosition::A2, 2> l0a_;
  TQue<TPosition::B2, 2> l0b_;
  TQue<TPosition::CO1, 2> l0c_;
  TBuf<TPosition::CO1> sumA_, sumB_;
  Handover<T> t1_, t2_;
};

}  // namespace neocell
#endif
