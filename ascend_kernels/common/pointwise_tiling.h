// Tiling of the pointwise operators, W X + b at every pixel of NCHW planes and its gradients: which shapes are served,
// and how one is cut over cores and buffers.  Plain C++11 without CANN, like neo_cell_tiling.h.
//
// Letters: N images, K channels in, M channels out, L = H * W pixels of an image.  The product is W (M x K) times
// X[n] (K x L), as both lie in memory; its right operand is cut into strips, runs of at most 128 pixel columns: parts
// of one image, or, where an image has few pixels, several images side by side, each padded to whole fractals.
#ifndef POINTWISE_TILING_H
#define POINTWISE_TILING_H
#include "neo_cell_tiling.h"

namespace neocell {

struct PointwiseShape {
  uint32_t images, in, out, pixels;
};

// Copied to the device as it is, so only uint32_t members.
struct PointwiseTiling {
  uint32_t images, in, out, pixels;
  uint32_t cores;
  uint32_t stripPixels;     // of one image in a strip
  uint32_t stripImages;     // in a strip; 1 if an image takes several strips
  uint32_t imageStrips;     // strips of an image; 1 if a strip takes several images
  uint32_t strips;          // of the whole tensor
  uint32_t depthTile;       // k of one step: channels in (forward), channels out (gradient of X)
  uint32_t rowTile;         // rows of a tile: channels out (forward), channels in (gradient of X)
  uint32_t vectorElements;  // that a vector core works on at a time
  // gradient of W only: a tile has rowTile channels out, and up to two strips of columnStrip channels in
  uint32_t columnStrip, columnTiles;
  uint32_t splits;  // parts of N with their own dW and db, summed by the graph
};

// Of a whole MLP: its two products, from channels to hidden channels and back, on the same strips.
struct MlpTiling {
  PointwiseTiling first, second;
};

constexpr uint32_t TILE_FRACTALS = 8;    // rows and columns of a product in fractals: 8 x 8 fill half of L0A, L0B, L0C
constexpr uint32_t STRIPS_IN_TILE = 2;   // right operands that share a left one; their sums fill both halves of L0C
constexpr uint32_t WORKSPACE_SLOTS = 4;  // strips between the cube core and its vector cores
constexpr uint32_t SLOT_BYTES = TILE_FRACTALS * TILE_FRACTALS * FRACTAL * FRACTAL * 4;
// Columns of the strips that vector cores finish: 64 rows of them, with all that an epilogue needs, fit UB.
constexpr uint32_t GRAD_FRACTALS = 6;  // for the derivative of GELU
constexpr uint32_t MLP_FRACTALS = 7;   // for a whole MLP, whose sums travel through three buffers
constexpr uint32_t MOST_SPLITS = 24;
constexpr uint32_t HIDDEN_TURNS = 2;  // of hidden values in the workspace: one is calculated, one multiplied
constexpr uint64_t MLP_WORKSPACE_BYTES = 48ull << 20;  // at most, half of the smallest chip's L2

// A run of pixel columns: pixels [pixel, pixel + pixels) of images [image, image + images).
struct Strip {
  uint32_t image, images, pixel, pixels;
};

NEO_CELL_SHARED Strip StripAt(const PointwiseTiling& t, uint32_t index) {
  Strip s;
  s.image = index / t.imageStrips * t.stripImages;
  s.images = Min(t.stripImages, t.images - s.image);
  s.pixel = index % t.imageStrips * t.stripPixels;
  s.pixels = Min(t.stripPixels, t.pixels - s.pixel);
  return s;
}

// Fractals of columns that one image of a strip takes, and all its images.
NEO_CELL_SHARED uint32_t ImageBlocks(const Strip& s) { return Blocks(s.pixels); }
NEO_CELL_SHARED uint32_t StripBlocks(const Strip& s) { return s.images * Blocks(s.pixels); }

// Parts of `total` of at most `most` fractals, as even as whole fractals allow; in elements.
inline uint32_t EvenFractals(uint32_t total, uint32_t most) { return EvenTile(Blocks(total), most) * FRACTAL; }

inline const char* RefusePointwise(const PointwiseShape& s, uint32_t cores) {
  if (cores == 0) {
    return "the chip reports no cube core";
  }
  if (s.images == 0 || s.in == 0 || s.out == 0 || s.pixels == 0) {
    return "the tensor is empty";
  }
  if (s.pixels > MAX_U16) {
    return "H * W exceeds 65535, the row stride that Nd2Nz can express";
  }
  if (s.in > MAX_U16 || s.out > MAX_U16) {
    return "the channels exceed 65535, the row stride of W that Nd2Nz can express";
  }
  return nullptr;
}

inline void CutStrips(const PointwiseShape& s, uint32_t mostBlocks, PointwiseTiling* t) {
  uint32_t blocks = Blocks(s.pixels);
  t->images = s.images;
  t->in = s.in;
  t->out = s.out;
  t->pixels = s.pixels;
  if (blocks > mostBlocks) {
    t->stripPixels = EvenFractals(s.pixels, mostBlocks);
    t->stripImages = 1;
    t->imageStrips = CeilDiv(s.pixels, t->stripPixels);
    t->strips = s.images * t->imageStrips;
  } else {
    t->stripPixels = s.pixels;
    t->stripImages = Min(s.images, mostBlocks / blocks);
    t->imageStrips = 1;
    t->strips = CeilDiv(s.images, t->stripImages);
  }
  t->columnStrip = t->columnTiles = 0;
  t->splits = 1;
}

NEO_CELL_SHARED uint32_t RowTiles(const PointwiseTiling& t, uint32_t rows) {
  return (rows + t.rowTile - 1) / t.rowTile;
}

// Pairs of strips times tiles of rows: what cores share out.  Each is calculated alone, so that every bit of the result
// is the same on any number of cores.
NEO_CELL_SHARED uint32_t ProductItems(const PointwiseTiling& t, uint32_t rows) {
  return (t.strips + STRIPS_IN_TILE - 1) / STRIPS_IN_TILE * RowTiles(t, rows);
}

inline uint64_t WorkspaceBytes(const PointwiseTiling& t) {
  return static_cast<uint64_t>(t.cores) * WORKSPACE_SLOTS * SLOT_BYTES;
}

// A product with `rows` rows and depth `depth`: K and M forward, M and K for the gradient of X.  Half of the rows of a
// tile on `mostBlocks` fractals of columns are what a vector core works on at a time.
inline const char* PlanProduct(const PointwiseShape& s, uint32_t rows, uint32_t depth, uint32_t cores,
                               uint32_t mostBlocks, PointwiseTiling* t) {
  if (const char* reason = RefusePointwise(s, cores)) {
    return reason;
  }
  CutStrips(s, mostBlocks, t);
  t->depthTile = EvenFractals(depth, TILE_FRACTALS);
  t->rowTile = EvenFractals(rows, TILE_FRACTALS);
  t->vectorElements = mostBlocks * FRACTAL * TILE_FRACTALS * FRACTAL / 2;
  t->cores = Min(cores, ProductItems(*t, rows));
  return nullptr;
}

// Y = W X + b, and what is made of it
inline const char* PlanPointwise(const PointwiseShape& s, uint32_t cores, PointwiseTiling* t) {
  return PlanProduct(s, s.out, s.in, cores, TILE_FRACTALS, t);
}

// dX = W^T dY
inline const char* PlanPointwiseInputGrad(const PointwiseShape& s, uint32_t cores, PointwiseTiling* t) {
  return PlanProduct(s, s.in, s.out, cores, TILE_FRACTALS, t);
}

// dZ = (W^T dY) * GELU'(Z)
inline const char* PlanPointwiseGeluGrad(const PointwiseShape& s, uint32_t cores, PointwiseTiling* t) {
  return PlanProduct(s, s.in, s.out, cores, GRAD_FRACTALS, t);
}

inline uint64_t WorkspaceBytes(const MlpTiling& t) {
  uint64_t hidden = static_cast<uint64_t>(t.first.out) * TILE_FRACTALS * FRACTAL * 2;
  return WorkspaceBytes(t.first) + t.first.cores * HIDDEN_TURNS * STRIPS_IN_TILE * hidden;
}

// Y = R + s (W2 GELU(W1 X + b1) + b2) with s.in channels and s.out hidden ones
inline const char* PlanPointwiseMlp(const PointwiseShape& s, uint32_t cores, MlpTiling* t) {
  PointwiseShape back = {s.images, s.out, s.in, s.pixels};
  const char* reason = PlanProduct(s, s.out, s.in, cores, MLP_FRACTALS, &t->first);
  if (reason != nullptr ||
      (reason = PlanProduct(back, back.out, back.in, cores, MLP_FRACTALS, &t->second)) != nullptr) {
    return reason;
  }
  t->first.cores = t->second.cores = Min(cores, CeilDiv(t->first.strips, STRIPS_IN_TILE));
  if (WorkspaceBytes(*t) > MLP_WORKSPACE_BYTES) {
    return "the hidden values of all cores would not stay in L2";
  }
  return nullptr;
}

constexpr uint32_t MLP_HIDDEN = 1024;  // most hidden channels, and fewest pairs of strips for every core of the
constexpr uint32_t MLP_TURNS = 4;      // largest chip, for which one kernel is faster than two: by the time model

// A function of the shape alone.
inline bool PrefersMlp(const PointwiseShape& s) {
  MlpTiling t;
  return s.out <= MLP_HIDDEN && PlanPointwiseMlp(s, MOST_CORES, &t) == nullptr &&
         CeilDiv(t.first.strips, STRIPS_IN_TILE) >= MLP_TURNS * MOST_CORES;
}

NEO_CELL_SHARED uint32_t WeightTiles(const PointwiseTiling& t) { return RowTiles(t, t.out) * t.columnTiles; }

// Parts of the strips for the gradient of W.  More parts keep more of the largest chip's cores busy, but every part is
// a dW that is written and added up: the time is taken as that of the data times the share of idle cores, and of the
// bytes of the parts.
inline uint32_t PointwiseSplits(const PointwiseShape& s, uint32_t strips, uint32_t tiles) {
  uint64_t data = static_cast<uint64_t>(s.images) * s.pixels * (s.in + s.out) * 2;
  uint64_t part = static_cast<uint64_t>(s.in) * s.out * 8, least = 0;
  uint32_t best = 1;
  for (uint32_t splits = 1; splits <= Min(strips, MOST_SPLITS); ++splits) {
    uint64_t rounds = CeilDiv(splits * tiles, MOST_CORES);
    uint64_t cost = data * rounds * MOST_CORES / (splits * tiles) + part * splits;
    if (splits == 1 || cost < least) {
      least = cost;
      best = splits;
    }
  }
  return best;
}

// dW = sum_n dY[n] X[n]^T and db = sum_n dY[n] 1.  What decides in which order they are summed, the strips and the
// parts of N, depends on the shape alone.
inline const char* PlanPointwiseWeightGrad(const PointwiseShape& s, uint32_t cores, PointwiseTiling* t) {
  if (const char* reason = RefusePointwise(s, cores)) {
    return reason;
  }
  CutStrips(s, TILE_FRACTALS, t);
  t->depthTile = 0;
  t->vectorElements = 0;
  t->rowTile = EvenFractals(s.out, TILE_FRACTALS);
  // one fractal of columns stays free for db
  uint32_t tile = EvenFractals(s.in, STRIPS_IN_TILE * (TILE_FRACTALS - 1));
  t->columnStrip = EvenFractals(tile, TILE_FRACTALS - 1);
  t->columnTiles = CeilDiv(s.in, STRIPS_IN_TILE * t->columnStrip);
  t->splits = PointwiseSplits(s, t->strips, WeightTiles(*t));
  t->cores = Min(cores, t->splits * WeightTiles(*t));
  return nullptr;
}

}  // namespace neocell
#endif
