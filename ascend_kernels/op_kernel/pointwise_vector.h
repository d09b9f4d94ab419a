// The vector cores' part of the pointwise operators: each finishes half of the rows that its cube core has stored in
// the workspace.  An epilogue (pointwise_epilogue.h) says what is made of them.
#ifndef POINTWISE_VECTOR_H
#define POINTWISE_VECTOR_H
#include "pointwise_tiles.h"

namespace neocell {

// Rows of one image of a strip, in UB `pitch` elements apart.
struct Chunk {
  uint32_t image, row, rows, pixel, pixels, pitch;
};

// Rows of a tensor like Y between GM and UB, in two bytes an element.
template <typename T>
__aicore__ inline void LoadChunk(const LocalTensor<T>& ub, const GlobalTensor<T>& gm, const Chunk& c, uint32_t channels,
                                 uint32_t pixels) {
  AscendC::DataCopyExtParams p{static_cast<uint16_t>(c.rows), static_cast<uint32_t>(c.pixels * sizeof(T)),
                               static_cast<uint32_t>((pixels - c.pixels) * sizeof(T)), 0, 0};
  AscendC::DataCopyPadExtParams<T> pad{false, 0, 0, T()};
  AscendC::DataCopyPad(ub, gm[(static_cast<uint64_t>(c.image) * channels + c.row) * pixels + c.pixel], p, pad);
}

template <typename T>
__aicore__ inline void StoreChunk(const GlobalTensor<T>& gm, const LocalTensor<T>& ub, const Chunk& c,
                                  uint32_t channels, uint32_t pixels) {
  AscendC::DataCopyExtParams p{static_cast<uint16_t>(c.rows), static_cast<uint32_t>(c.pixels * sizeof(T)), 0,
                               static_cast<uint32_t>((pixels - c.pixels) * sizeof(T)), 0};
  AscendC::DataCopyPad(gm[(static_cast<uint64_t>(c.image) * channels + c.row) * pixels + c.pixel], ub, p);
}

// What the cube core has stored, slot by slot, made something of by epilogues; BUFFERS of it are in UB.
template <uint32_t BUFFERS>
class SlotReader {
 public:
  __aicore__ inline void Init(GM_ADDR workspace, const PointwiseTiling& t, TPipe* pipe) {
    elements_ = t.vectorElements;
    workspace_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(AscendC::GetUserWorkspace(workspace)) +
                               static_cast<uint64_t>(AscendC::GetBlockIdx() / 2) * WORKSPACE_SLOTS * STRIP_ELEMENTS);
    pipe->InitBuffer(in_, BUFFERS, elements_ * sizeof(float));
  }

  // The next slot, which holds a strip of a tile.
  template <typename Epilogue>
  __aicore__ inline void Finish(Epilogue& epilogue, const Tile& tile, const Strip& strip) {
    AscendC::CrossCoreWaitFlag<0x2, PIPE_MTE2>(FULL);
    FinishStrip(epilogue, tile, strip, read_++ % WORKSPACE_SLOTS * STRIP_ELEMENTS);
    AscendC::CrossCoreSetFlag<0x2, PIPE_MTE2>(EMPTY);
  }

 private:
  template <typename Epilogue>
  __aicore__ inline void FinishStrip(Epilogue& epilogue, const Tile& tile, const Strip& strip, uint32_t slot) {
    Chunk c;
    c.pixel = strip.pixel;
    c.pixels = strip.pixels;
    c.pitch = ImageBlocks(strip) * FRACTAL;
    uint32_t half = (tile.rows + 1) / 2, first = AscendC::GetSubBlockIdx() * half, end = Min(tile.rows, first + half);
    uint32_t most = elements_ / c.pitch;
    for (uint32_t i = 0; i < strip.images; ++i) {
      c.image = strip.image + i;
      for (uint32_t row = first; row < end; row += most) {
        c.row = tile.row + row;
        c.rows = Min(most, end - row);
        LocalTensor<float> sums = in_.template AllocTensor<float>();
        AscendC::DataCopy(sums, workspace_[slot + (i * tile.rows + row) * c.pitch], c.rows * c.pitch);
        in_.EnQue(sums);
        epilogue.Load(c);
        sums = in_.template DeQue<float>();
        epilogue.Finish(sums, c);
        in_.FreeTensor(sums);
        epilogue.Store(c);
      }
    }
  }

  uint32_t elements_ = 0, read_ = 0;
  GlobalTensor<float> workspace_;
  TQue<TPosition::VECIN, BUFFERS> in_;
};

// The vector cores of a kernel with one product.
template <typename Epilogue>
__aicore__ inline void RunEpilogue(Epilogue& epilogue, GM_ADDR workspace, const PointwiseTiling& t, uint32_t rows,
                                   TPipe* pipe) {
  SlotReader<2> slots;
  slots.Init(workspace, t, pipe);
  TileOrder order;
  order.Init(t, rows, 0, AscendC::GetBlockIdx() / 2);
  Tile tile;
  while (order.Next(&tile)) {
    for (uint32_t s = 0; s < tile.strips; ++s) {
      slots.Finish(epilogue, tile, StripAt(t, tile.strip + s));
    }
  }
}

}  // namespace neocell
#endif
