// K1: Y[n,c] = A[c] X[n,c] B[c] for planes of any size up to 128 x 128, in two stages:
//     T = A X   L0C -> L1, rounded to fp16 or bf16        Y = T B   L0C -> GM
// A tile is `tileChannels` channels of `tileImages` images.  The images of a channel stand side by side in stage 1 (one
// wide right operand) and below each other in stage 2 (one tall left operand), so that a channel costs two Mmads
// whatever the number of images: at 16 x 16 and below (K1n) instruction issue would otherwise be the limit.
#ifndef NEO_CELL_H
#define NEO_CELL_H
#include "neo_cell_cube.h"

namespace neocell {

template <typename T>
class Forward {
 public:
  __aicore__ inline void Init(GM_ADDR x, GM_ADDR a, GM_ADDR b, GM_ADDR y, const Tiling& tiling, TPipe* pipe) {
    t_ = tiling;
    h_ = Blocks(t_.height);
    w_ = Blocks(t_.width);
    ho_ = Blocks(t_.outHeight);
    wo_ = Blocks(t_.outWidth);
    x_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(x));
    a_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(a));
    b_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(b));
    y_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(y));
    uint32_t planes = t_.tileChannels * t_.tileImages;
    pipe->InitBuffer(aL1_, 1, t_.tileChannels * ho_ * h_ * FRACTAL_ELEMENTS * sizeof(T));
    pipe->InitBuffer(bL1_, 1, t_.tileChannels * w_ * wo_ * FRACTAL_ELEMENTS * sizeof(T));
    pipe->InitBuffer(xL1_, TILES_IN_FLIGHT, planes * h_ * w_ * FRACTAL_ELEMENTS * sizeof(T));
    pipe->InitBuffer(l0a_, 2, L0_BYTES);
    pipe->InitBuffer(l0b_, 2, L0_BYTES);
    pipe->InitBuffer(l0c_, 2, L0C_BYTES);
    product_.Init(pipe, planes * ho_ * w_ * FRACTAL_ELEMENTS);
  }

  __aicore__ inline void Process() {
    uint32_t core = AscendC::GetBlockIdx(), channelCore = core % t_.channelCores, imageCore = core / t_.channelCores;
    uint32_t lastChannel = PartBegin(t_.channels, t_.channelCores, channelCore + 1);
    uint32_t firstImage = PartBegin(t_.images, t_.imageCores, imageCore);
    uint32_t lastImage = PartBegin(t_.images, t_.imageCores, imageCore + 1);
    for (uint32_t c = PartBegin(t_.channels, t_.channelCores, channelCore); c < lastChannel; c += t_.tileChannels) {
      channel_ = c;
      channels_ = Min(t_.tileChannels, lastChannel - c);
      ProcessChannels(firstImage, lastImage);
    }
  }

 private:
  __aicore__ inline void ProcessChannels(uint32_t first, uint32_t last) {
    LocalTensor<T> a = LoadWeights(aL1_, a_, channel_, channels_, t_.outHeight, t_.height);
    LocalTensor<T> b = LoadWeights(bL1_, b_, channel_, channels_, t_.width, t_.outWidth);
    for (uint32_t tile = 0; tile < TILES_IN_FLIGHT; ++tile) {
      LoadX(first + tile * t_.tileImages, last);
    }
    MultiplyByA(a, first, last);
    for (uint32_t n = first; n < last; n += t_.tileImages) {
      // Stage 1 runs a tile ahead: FIX then never waits for the product between its two stores.
      LoadX(n + TILES_IN_FLIGHT * t_.tileImages, last);
      MultiplyByA(a, n + t_.tileImages, last);
      MultiplyByB(b, n, last);
    }
    aL1_.FreeTensor(a);
    bL1_.FreeTensor(b);
  }

  // One copy an image: the channels of an image are contiguous, the images of a channel too far apart for uint16.
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

  // T = A X, a product of H' x W*images for each channel
  __aicore__ inline void MultiplyByA(const LocalTensor<T>& a, uint32_t n, uint32_t last) {
    if (n >= last) {
      return;
    }
    uint32_t wide = Min(t_.tileImages, last - n) * w_;
    LocalTensor<T> x = xL1_.template DeQue<T>();
    LocalTensor<T> left = l0a_.template AllocTensor<T>(), right = l0b_.template AllocTensor<T>();
    LoadLeft(left, a, channels_, ho_, h_);
    LoadRight(right, x, channels_, h_, wide);
    xL1_.FreeTensor(x);
    MultiplyChannels(left, ho_ * h_, right, h_ * wide, ho_ * wide, t_.outHeight, t_.height, wide * FRACTAL);

    LocalTensor<float> result = l0c_.template DeQue<float>();
    StoreL1(product_.Empty(), result, t_.outHeight, ho_ * FRACTAL, channels_ * wide);
    product_.Publish();
    l0c_.FreeTensor(result);
  }

  // Y = T B, a product of H'*images x W' for each channel
  __aicore__ inline void MultiplyByB(const LocalTensor<T>& b, uint32_t n, uint32_t last) {
    uint32_t images = Min(t_.tileImages, last - n);
    LocalTensor<T> left = l0a_.template AllocTensor<T>(), right = l0b_.template AllocTensor<T>();
    LoadLeft(left, product_.Next(), channels_ * images, ho_, w_);
    LoadRight(right, b, channels_, w_, wo_);
    uint32_t rows = (images - 1) * ho_ * FRACTAL + t_.outHeight;
    MultiplyChannels(left, images * ho_ * w_, right, w_ * wo_, images * ho_ * wo_, rows, t_.width, t_.outWidth);
    StoreY(n, images);
  }

  // One Mmad a channel; operands and results of neighbouring channels lie the given number of fractals apart.
  __aicore__ inline void MultiplyChannels(LocalTensor<T> left, uint32_t leftFractals, LocalTensor<T> right,
                                          uint32_t rightFractals, uint32_t resultFractals, uint32_t m, uint32_t k,
                                          uint32_t n) {
    l0a_.EnQue(left);
    l0b_.EnQue(right);
    left = l0a_.template DeQue<T>();
    right = l0b_.template DeQue<T>();
    LocalTensor<float> result = l0c_.template AllocTensor<float>();
    for (uint32_t c = 0; c < channels_; ++c) {
      Multiply(result[c * resultFractals * FRACTAL_ELEMENTS], left[c * leftFractals * FRACTAL_ELEMENTS],
               right[c * rightFractals * FRACTAL_ELEMENTS], m, k, n);
    }
    l0c_.EnQue(result);
    l0a_.FreeTensor(left);
    l0b_.FreeTensor(right);
  }

  // One copy an image, all channels of the tile
  __aicore__ inline void StoreY(uint32_t n, uint32_t images) {
    LocalTensor<float> result = l0c_.template DeQue<float>();
    uint32_t plane = t_.outHeight * t_.outWidth, tall = images * ho_;
    for (uint32_t i = 0; i < images; ++i) {
      uint64_t target = (static_cast<uint64_t>(n + i) * t_.channels + channel_) * plane;
      StorePlanes(y_[target], result[i * ho_ * FRACTAL_ELEMENTS], channels_, t_.outHeight, t_.outWidth, tall * FRACTAL,
                  tall * wo_, plane);
    }
    l0c_.FreeTensor(result);
  }

  Tiling t_;
  uint32_t h_ = 0, w_ = 0, ho_ = 0, wo_ = 0;  // sizes in fractals
  uint32_t channel_ = 0, channels_ = 0;       // of the tile
  GlobalTensor<T> x_, a_, b_, y_;
  TQue<TPosition::A1, 1> aL1_;
  TQue<TPosition::B1, 1> bL1_;
  TQue<TPosition::B1, TILES_IN_FLIGHT> xL1_;
  TQue<TPosition::A2, 2> l0a_;
  TQue<TPosition::B2, 2> l0b_;
  TQue<TPosition::CO1, 2> l0c_;
  Handover<T> product_;
};

}  // namespace neocell
#endif
