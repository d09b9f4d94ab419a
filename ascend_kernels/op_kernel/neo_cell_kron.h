// K2: y[n,c] = K[c] x[n,c] with a whole plane as one vector, K = kron(A, B^T), for planes of a few dozen elements.
// One product a channel, X[:,c] (images x D) times K^T (D x D'), with one strided load and one strided store: the rows
// of a channel lie C*D elements apart, which must fit the uint16 stride of Nd2Nz.
#ifndef NEO_CELL_KRON_H
#define NEO_CELL_KRON_H
#include "neo_cell_cube.h"

namespace neocell {

template <typename T>
class Kron {
 public:
  // Planes are rows here: width = D = H*W, outWidth = D' = H'*W'.
  __aicore__ inline void Init(GM_ADDR x, GM_ADDR k, GM_ADDR y, const Tiling& tiling, TPipe* pipe) {
    t_ = tiling;
    depth_ = Blocks(t_.width);
    outDepth_ = Blocks(t_.outWidth);
    x_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(x));
    k_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(k));
    y_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(y));
    pipe->InitBuffer(xL1_, 2, Blocks(t_.tileImages) * depth_ * FRACTAL_ELEMENTS * sizeof(T));
    pipe->InitBuffer(kL1_, 2, outDepth_ * depth_ * FRACTAL_ELEMENTS * sizeof(T));
    pipe->InitBuffer(l0a_, 2, L0_BYTES);
    pipe->InitBuffer(l0b_, 2, L0_BYTES);
    pipe->InitBuffer(l0c_, 2, L0C_BYTES);
  }

  __aicore__ inline void Process() {
    uint32_t core = AscendC::GetBlockIdx(), channelCore = core % t_.channelCores, imageCore = core / t_.channelCores;
    firstImage_ = PartBegin(t_.images, t_.imageCores, imageCore);
    lastImage_ = PartBegin(t_.images, t_.imageCores, imageCore + 1);
    lastChannel_ = PartBegin(t_.channels, t_.channelCores, channelCore + 1);
    uint32_t channel = PartBegin(t_.channels, t_.channelCores, channelCore), image = firstImage_;
    Load(channel, image);
    while (channel < lastChannel_) {
      uint32_t nextChannel = channel, nextImage = image + t_.tileImages;
      if (nextImage >= lastImage_) {
        nextImage = firstImage_;
        ++nextChannel;
      }
      Load(nextChannel, nextImage);  // travels while this tile is multiplied
      uint32_t images = Min(t_.tileImages, lastImage_ - image);
      if (image == firstImage_) {
        matrix_ = kL1_.template DeQue<T>();
      }
      MultiplyByK(images);
      StoreY(channel, image, images);
      if (nextChannel != channel) {
        kL1_.FreeTensor(matrix_);
      }
      channel = nextChannel;
      image = nextImage;
    }
  }

 private:
  __aicore__ inline void Load(uint32_t channel, uint32_t image) {
    if (channel >= lastChannel_) {
      return;
    }
    if (image == firstImage_) {
      LoadK(channel);
    }
    LocalTensor<T> x = xL1_.template AllocTensor<T>();
    uint32_t images = Min(t_.tileImages, lastImage_ - image);
    AscendC::Nd2NzParams p;
    p.ndNum = 1;
    p.nValue = U16(images);
    p.dValue = U16(t_.width);
    p.srcNdMatrixStride = 0;
    p.srcDValue = U16(t_.channels * t_.width);
    p.dstNzC0Stride = U16(Blocks(images) * FRACTAL);
    p.dstNzNStride = 1;
    p.dstNzMatrixStride = 0;
    AscendC::DataCopy(x, x_[(static_cast<uint64_t>(image) * t_.channels + channel) * t_.width], p);
    xL1_.EnQue(x);
  }

  __aicore__ inline void LoadK(uint32_t channel) {
    LocalTensor<T> k = kL1_.template AllocTensor<T>();
    LoadPlanes(k, k_[static_cast<uint64_t>(channel) * t_.outWidth * t_.width], 1, t_.outWidth, t_.width, 0);
    kL1_.EnQue(k);
  }

  __aicore__ inline void MultiplyByK(uint32_t images) {
    LocalTensor<T> x = xL1_.template DeQue<T>();
    LocalTensor<T> left = l0a_.template AllocTensor<T>(), right = l0b_.template AllocTensor<T>();
    LoadLeft(left, x, 1, Blocks(images), depth_);
    LoadRightTransposed(right, matrix_, outDepth_ * depth_);
    xL1_.FreeTensor(x);
    l0a_.EnQue(left);
    l0b_.EnQue(right);
    left = l0a_.template DeQue<T>();
    right = l0b_.template DeQue<T>();
    LocalTensor<float> result = l0c_.template AllocTensor<float>();
    // whole fractals of rows, because m = 1 would change the layout; the rows beyond `images` are not stored
    Multiply(result, left, right, Blocks(images) * FRACTAL, t_.width, t_.outWidth);
    l0c_.EnQue(result);
    l0a_.FreeTensor(left);
    l0b_.FreeTensor(right);
  }

  __aicore__ inline void StoreY(uint32_t channel, uint32_t image, uint32_t images) {
    LocalTensor<float> result = l0c_.template DeQue<float>();
    AscendC::FixpipeParamsV220 p;
    p.nSize = U16(t_.outWidth);
    p.mSize = U16(images);
    p.srcStride = U16(Blocks(images) * FRACTAL);
    p.dstStride = t_.channels * t_.outWidth;
    p.quantPre = QuantOf<T>::value;
    uint64_t target = (static_cast<uint64_t>(image) * t_.channels + channel) * t_.outWidth;
    AscendC::Fixpipe<T, float, AscendC::CFG_ROW_MAJOR>(y_[target], result, p);
    l0c_.FreeTensor(result);
  }

  Tiling t_;
  uint32_t depth_ = 0, outDepth_ = 0;  // sizes in fractals
  uint32_t firstImage_ = 0, lastImage_ = 0, lastChannel_ = 0;
  GlobalTensor<T> x_, k_, y_;
  LocalTensor<T> matrix_;  // of the channel at hand
  TQue<TPosition::A1, 2> xL1_;
  TQue<TPosition::B1, 2> kL1_;
  TQue<TPosition::A2, 2> l0a_;
  TQue<TPosition::B2, 2> l0b_;
  TQue<TPosition::CO1, 2> l0c_;
};

}  // namespace neocell
#endif
