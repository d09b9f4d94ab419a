// Tiling of the NeoCell operators: which shapes the kernels serve, and how a shape is cut over cores and buffers.
// Plain C++11 without CANN: op_host, the kernels, the emulator and the unit tests include this one file.
//
// Letters: N images, C channels, H x W plane, H' x W' output plane.  Sizes with "Blocks" count 16 x 16 fractals.
#ifndef NEO_CELL_TILING_H
#define NEO_CELL_TILING_H
#include <stdint.h>

// The compiler for the chip calls only functions that are marked as its own.
#ifdef __aicore__
#define NEO_CELL_SHARED __aicore__ inline
#else
#define NEO_CELL_SHARED inline
#endif

namespace neocell {

struct Shape {
  uint32_t images, channels, height, width, outHeight, outWidth;
};

// What a kernel needs to know; copied to the device as it is, so only uint32_t members.
struct Tiling {
  uint32_t images, channels, height, width, outHeight, outWidth;
  uint32_t channelCores;  // core = imageCore * channelCores + channelCore
  uint32_t imageCores;
  uint32_t tileChannels;   // channels whose planes are multiplied between two synchronisations
  uint32_t tileImages;     // images of such a tile, side by side
  uint32_t splits;         // gradient: parts of N with their own dA and dB, summed by the graph
  uint32_t resultBuffers;  // gradient: L0C buffers for products that are not accumulated (2 = ping-pong)
  uint32_t rank;           // terms for every input channel of an output channel
  uint32_t groupWidth;     // input channels of every output channel
};

constexpr uint32_t FRACTAL = 16;        // rows and columns of the cube's unit, 512 B in fp16 and bf16
constexpr uint32_t L0_FRACTALS = 64;    // half of L0A, of L0B (32 KB) and of L0C (64 KB): two buffers each
constexpr uint32_t L0C_FRACTALS = 128;  // all of L0C
constexpr uint32_t L1_FRACTALS = 1024;  // 512 KB
constexpr uint32_t MAX_U16 = 65535;     // Nd2Nz and Fixpipe strides are uint16 and would be cut silently
constexpr uint32_t MAX_ROWS = 16384;    // nValue of Nd2Nz
constexpr uint32_t MOST_CORES = 24;     // cube cores of the largest chip served
constexpr uint32_t KRON_DEPTH = 64;     // largest plane (elements) for which a Kronecker matrix pays
constexpr uint32_t KRON_IMAGES = 72;    // fewest images for which reading that matrix pays

NEO_CELL_SHARED uint32_t Blocks(uint32_t size) { return (size + FRACTAL - 1) / FRACTAL; }
inline uint32_t CeilDiv(uint32_t a, uint32_t b) { return (a + b - 1) / b; }
NEO_CELL_SHARED uint32_t Min(uint32_t a, uint32_t b) { return a < b ? a : b; }
NEO_CELL_SHARED uint32_t Max(uint32_t a, uint32_t b) { return a > b ? a : b; }

// Where part `index` of `total` begins, cut into `parts` runs whose lengths differ by at most one; none exceeds the
// first.
NEO_CELL_SHARED uint32_t PartBegin(uint32_t total, uint32_t parts, uint32_t index) {
  return static_cast<uint32_t>((static_cast<uint64_t>(total) * index + parts - 1) / parts);
}

// Instructions that copy `count` matrices of rows x cols fractals from NZ to the order of L0 (see LoadReordered).
inline uint32_t LoadInstructions(uint32_t count, uint32_t rows, uint32_t cols) {
  if (rows == 1 || cols == 1) {
    return 1;
  }
  return Min(rows * cols, count * Min(rows, cols));
}

// Instructions of one forward tile: loads, reorders, products, stores.
inline uint32_t ForwardInstructions(const Shape& s, uint32_t channels, uint32_t images) {
  uint32_t h = Blocks(s.height), w = Blocks(s.width), ho = Blocks(s.outHeight), wo = Blocks(s.outWidth);
  uint32_t loads = LoadInstructions(channels, ho, h) + LoadInstructions(channels, h, images * w) +
                   LoadInstructions(channels * images, ho, w) + LoadInstructions(channels, w, wo);
  return 2 * images + loads + 2 * channels + 1;
}

// Largest number of fractals that one L0 buffer holds during a forward tile.
inline uint32_t ForwardFractals(const Shape& s, uint32_t channels, uint32_t images) {
  uint32_t h = Blocks(s.height), w = Blocks(s.width), ho = Blocks(s.outHeight), wo = Blocks(s.outWidth);
  uint32_t planes = images * Max(Max(h * w, ho * w), ho * wo);
  return channels * Max(planes, Max(ho * h, w * wo));
}

// x (N, C, H, W), a (C, H', H), b (C, W, W'): the reason why the sizes do not belong together, or nullptr.
inline const char* RefuseSizes(const int64_t* x, const int64_t* a, const int64_t* b) {
  if (a[0] != x[1] || b[0] != x[1]) {
    return "a and b need as many matrices as x has channels";
  }
  if (a[2] != x[2]) {
    return "a needs as many columns as the planes of x have rows";
  }
  if (b[1] != x[3]) {
    return "b needs as many rows as the planes of x have columns";
  }
  return nullptr;
}

// The reason why a shape is not served, or nullptr.
inline const char* RefuseShape(const Shape& s, uint32_t cores) {
  if (cores == 0) {
    return "the chip reports no cube core";
  }
  if (s.images == 0 || s.channels == 0) {
    return "the tensor is empty";
  }
  if (s.height < 2 || s.width < 2 || s.outHeight < 2 || s.outWidth < 2) {
    return "a plane is one pixel wide, and Mmad with m = 1 changes to a matrix-vector layout";
  }
  return nullptr;
}

inline void CopyShape(const Shape& s, Tiling* t) {
  t->images = s.images;
  t->channels = s.channels;
  t->height = s.height;
  t->width = s.width;
  t->outHeight = s.outHeight;
  t->outWidth = s.outWidth;
  t->splits = 1;
  t->resultBuffers = 2;
  t->rank = t->groupWidth = 1;
}

// Channels first, in whole groups, because a core then reads its weights once; images only when there are more cores
// than groups.
inline void SplitOverCores(uint32_t cores, Tiling* t) {
  t->channelCores = Min(t->channels / t->groupWidth, cores);
  t->imageCores = Min(t->images, cores / t->channelCores);
}

// As many channels as `most`, evenly over the passes that a core needs for its share.
inline uint32_t EvenTile(uint32_t share, uint32_t most) { return CeilDiv(share, CeilDiv(share, most)); }

// The tile of whole groups that takes the fewest instructions a plane; fits(images) groups of that many images are the
// most that there is room for.
template <typename Fits>
inline void ChooseTile(const Shape& s, Fits fits, Tiling* t) {
  uint32_t share = CeilDiv(s.channels / t->groupWidth, t->channelCores), imageShare = CeilDiv(s.images, t->imageCores);
  uint64_t best = 0;
  for (uint32_t images = 1; images <= Min(imageShare, L0_FRACTALS); ++images) {
    uint32_t most = fits(images);
    if (most == 0) {
      break;
    }
    uint32_t channels = t->groupWidth * EvenTile(share, Min(share, most));
    // instructions per plane, as a fraction of 2^20, so that no floating point is needed
    uint64_t cost = (static_cast<uint64_t>(ForwardInstructions(s, channels, images)) << 20) / (channels * images);
    if (images == 1 || cost < best) {
      best = cost;
      t->tileChannels = channels;
      t->tileImages = images;
    }
  }
}

// K1 and K1n: Y = A X B in two stages.  Returns the reason of a refusal, or nullptr.
inline const char* PlanForward(const Shape& s, uint32_t cores, Tiling* t) {
  if (const char* reason = RefuseShape(s, cores)) {
    return reason;
  }
  if (ForwardFractals(s, 1, 1) > L0_FRACTALS) {
    return "one plane does not fit half of L0A, L0B or L0C (at most 128 x 128 elements)";
  }
  CopyShape(s, t);
  SplitOverCores(cores, t);
  ChooseTile(s, [&s](uint32_t images) { return L0_FRACTALS / ForwardFractals(s, 1, images); }, t);
  return nullptr;
}

// L1 fractals of a tile of terms: all their matrices, the streamed X, and two products.
inline uint32_t TermsL1Fractals(const Shape& s, uint32_t terms, uint32_t channels, uint32_t images) {
  uint32_t h = Blocks(s.height), w = Blocks(s.width), ho = Blocks(s.outHeight), wo = Blocks(s.outWidth);
  return channels * (terms * (ho * h + w * wo) + images * (3 * h * w + 2 * ho * w));
}

// The most groups of `width` channels that a tile of `images` images has room for.
inline uint32_t MostGroups(const Shape& s, uint32_t terms, uint32_t width, uint32_t images) {
  return Min(L0_FRACTALS / ForwardFractals(s, width, images), L1_FRACTALS / TermsL1Fractals(s, terms, width, images));
}

// The sum of rank * width terms, whose input channels lie in groups of `width`: tiles as K1's, of whole groups.
inline const char* PlanTerms(const Shape& s, uint32_t rank, uint32_t width, uint32_t cores, Tiling* t) {
  if (const char* reason = RefuseShape(s, cores)) {
    return reason;
  }
  if (rank == 0 || width == 0 || s.channels % width != 0) {
    return "the channels do not consist of whole groups";
  }
  if (rank > L1_FRACTALS || width > L1_FRACTALS || MostGroups(s, rank * width, width, 1) == 0) {
    return "the matrices of a group of channels, all terms, do not fit L1, or its planes half of L0A, L0B or L0C";
  }
  CopyShape(s, t);
  t->rank = rank;
  t->groupWidth = width;
  SplitOverCores(cores, t);
  ChooseTile(s, [&](uint32_t images) { return MostGroups(s, rank * width, width, images); }, t);
  return nullptr;
}

// K2: Y = X kron(A, B^T)^T with a plane as one row.  Shape has height = outHeight = 1 and the plane sizes as widths.
inline const char* PlanKron(const Shape& s, uint32_t cores, Tiling* t) {
  if (cores == 0) {
    return "the chip reports no cube core";
  }
  if (s.images == 0 || s.channels == 0 || s.width == 0 || s.outWidth == 0) {
    return "the tensor is empty";
  }
  if (s.width < 2 || s.outWidth < 2) {
    return "a plane has one element";
  }
  if (static_cast<uint64_t>(s.channels) * s.width > MAX_U16) {
    return "C * H * W exceeds 65535, the row stride that Nd2Nz can express";
  }
  uint32_t depth = Blocks(s.width), outDepth = Blocks(s.outWidth);
  if (depth * outDepth > L0_FRACTALS) {
    return "the Kronecker matrix of a channel does not fit half of L0B";
  }
  CopyShape(s, t);
  SplitOverCores(cores, t);
  uint32_t rowBlocks = L0_FRACTALS / Max(depth, outDepth), imageShare = CeilDiv(s.images, t->imageCores);
  t->tileChannels = 1;
  t->tileImages = EvenTile(imageShare, Min(rowBlocks * FRACTAL, MAX_ROWS));
  return nullptr;
}

// L0C fractals of one gradient tile: accumulators of dA and dB, and `buffers` temporaries.
inline uint32_t GradResultFractals(const Shape& s, uint32_t channels, uint32_t images, uint32_t buffers) {
  uint32_t h = Blocks(s.height), w = Blocks(s.width), ho = Blocks(s.outHeight), wo = Blocks(s.outWidth);
  return channels * (ho * h + w * wo + buffers * images * w * Max(ho, h));
}

inline uint32_t GradOperandFractals(const Shape& s, uint32_t channels, uint32_t images) {
  uint32_t h = Blocks(s.height), w = Blocks(s.width), ho = Blocks(s.outHeight), wo = Blocks(s.outWidth);
  uint32_t planes = images * Max(Max(h * w, ho * w), ho * wo);
  return channels * Max(planes, Max(ho * h, w * wo));
}

// Several images in one gradient tile need planes of one fractal: only then is a transposed product contiguous.
inline bool OneFractal(const Shape& s) {
  return s.height <= FRACTAL && s.width <= FRACTAL && s.outHeight <= FRACTAL && s.outWidth <= FRACTAL;
}

inline bool GradFits(const Shape& s, uint32_t channels, uint32_t images, uint32_t buffers) {
  return GradOperandFractals(s, channels, images) <= L0_FRACTALS &&
         GradResultFractals(s, channels, images, buffers) <= L0C_FRACTALS;
}

// Parts of N with their own dA and dB.  A function of the shape alone, so that the sums, and with them every bit of
// the result, are the same on 1, 20 and 24 cores.
inline uint32_t GradSplits(uint32_t images, uint32_t channels) {
  return channels >= MOST_CORES ? 1 : Min(images, MOST_CORES / channels);
}

// K3: dX, dA and dB.  The number of images of a tile, too, depends on the shape alone (order of summation).
inline const char* PlanGrad(const Shape& s, uint32_t cores, Tiling* t) {
  if (const char* reason = RefuseShape(s, cores)) {
    return reason;
  }
  uint32_t buffers = GradFits(s, 1, 1, 2) ? 2 : 1;
  if (!GradFits(s, 1, 1, buffers)) {
    return "the accumulators of dA and dB and one product do not fit L0C (at most 96 x 96 elements)";
  }
  CopyShape(s, t);
  t->resultBuffers = buffers;
  t->splits = GradSplits(s.images, s.channels);
  t->channelCores = Min(s.channels, cores);
  t->imageCores = Min(t->splits, cores / t->channelCores);
  uint32_t imageShare = CeilDiv(s.images, t->splits), channelShare = CeilDiv(s.channels, MOST_CORES);
  uint64_t best = 0;
  for (uint32_t images = 1; images <= (OneFractal(s) ? Min(imageShare, L0_FRACTALS) : 1); ++images) {
    uint32_t most = 0;
    while (GradFits(s, most + 1, images, buffers)) {
      ++most;
    }
    if (most == 0) {
      break;
    }
    uint32_t channels = EvenTile(channelShare, Min(channelShare, most));
    // 3 transfers an image, 5 products a channel, about 60 instructions and flags a tile
    uint64_t cost = (static_cast<uint64_t>(3 * images + 5 * channels + 60) << 20) / (channels * images);
    if (images == 1 || cost < best) {
      best = cost;
      t->tileImages = images;
    }
  }
  uint32_t most = 1, share = CeilDiv(s.channels, t->channelCores);
  while (most < share && GradFits(s, most + 1, t->tileImages, buffers)) {
    ++most;
  }
  t->tileChannels = EvenTile(share, most);
  return nullptr;
}

// True where the Kronecker kernel is the faster forward (performance.py --switch shows why).
inline bool PrefersKron(const Shape& s) {
  uint32_t depth = s.height * s.width, outDepth = s.outHeight * s.outWidth;
  return depth <= KRON_DEPTH && outDepth <= KRON_DEPTH && s.images >= KRON_IMAGES &&
         static_cast<uint64_t>(s.channels) * depth <= MAX_U16;
}

inline uint32_t UsedCores(const Tiling& t) { return t.channelCores * t.imageCores; }

}  // namespace neocell
#endif
