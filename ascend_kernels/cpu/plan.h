// What a NeoCell does to planes of one size: which rows and columns meet which block, and how they lie in vectors.
//
// Letters: N images, C channels, H x W plane, H' x W' output plane, k block size, s shift.
#pragma once

#include <sys/mman.h>

#include <cstdint>
#include <memory>
#include <new>
#include <vector>

namespace neonext {

// Memory that vectors can be loaded from whole. Where it is large it asks for large pages: a processor that walks
// through more small ones than it remembers waits for each.
template <class T>
struct CacheLineAllocator {
  using value_type = T;
  static constexpr size_t kLine = 64, kLargePage = 2 << 20;
  CacheLineAllocator() = default;
  template <class U>
  CacheLineAllocator(const CacheLineAllocator<U>&) {}
  static std::align_val_t AlignmentOf(size_t n) {
    return std::align_val_t{n * sizeof(T) < kLargePage ? kLine : kLargePage};
  }
  T* allocate(size_t n) {
    void* const memory = ::operator new(n * sizeof(T), AlignmentOf(n));
#if defined(MADV_HUGEPAGE)
    if (n * sizeof(T) >= kLargePage) madvise(memory, n * sizeof(T) / kLargePage * kLargePage, MADV_HUGEPAGE);
#endif
    return static_cast<T*>(memory);
  }
  void deallocate(T* p, size_t n) { ::operator delete(p, AlignmentOf(n)); }
  bool operator==(const CacheLineAllocator&) const { return true; }
  bool operator!=(const CacheLineAllocator&) const { return false; }
};
template <class T>
using Aligned = std::vector<T, CacheLineAllocator<T>>;

struct Group {
  int channels, h_out, h_in, w_in, w_out, shift_left, shift_right;
};

// The part of a block that lies inside the plane: it starts at row (or column) `at` of the plane and at row `first` of
// the block, and has `count` rows.
struct Span {
  int at, first, count;
};

// One copy of a block on the diagonal: its input and its output rows (or columns).
struct Block {
  Span in, out;
};

// One side of a product of a vector and the blocks side by side in it, as (terms, lanes):
//   result[l] = sum over i of values[source[i][l]] * M[row[i][l]][position[i][l]]
// A square M is taken along its diagonals, row = (position + i) mod k: so the first term has every value where it is,
// and needs no permutation. Any other M is taken by rows, row = i. An empty place has a coefficient of zero.
struct Lanes {
  Aligned<int32_t> source, position, row;
  std::vector<int32_t> filled, empty;  // places, as numbers within those above
};

// How blocks lie in a vector: y = forward(t, B), dt = backward(dy, B transposed).
struct Pattern {
  Lanes forward, backward;
};

// A stretch of columns that is read and written as one vector.
struct Columns {
  int in_at, in_count, out_at, out_count, pattern;
};

// Channels that share block sizes and shifts, so all of the above.
struct Run {
  int group;
  int first, count;    // planes of an image
  int first_in_group;  // the same planes, counted within the group
  std::vector<Block> rows, cols;
  int cut;          // rows of the last block, where a shift cuts one block into the last and the first; else 0
  bool vectorised;  // a block fits into a vector; else rows and cols are all there is
  int planes;       // images that share a vector
  std::vector<Columns> columns;
  std::vector<Pattern> patterns;
};

// Run `run`, channels first..first+count-1, images image..last_image-1. The split depends on sizes alone, never on the
// number of threads.
struct Task {
  int run, first, count, image, last_image, segment;
};

struct Plan {
  static constexpr int kStretch = 8;

  int n, c, h, w, h_out, w_out;  // c planes an image: `copies` in a row for every channel
  int copies;
  int stretch;  // planes, kStretch at most, that a task works on image by image
  std::vector<Group> groups;
  std::vector<Run> runs;
  std::vector<Task> tasks;
  int segments;                        // parts into which the images are cut
  std::vector<int> left_at, right_at;  // per group, where its gradients start in a buffer of all gradients
  int gradients;                       // size of that buffer: left blocks, right blocks, bias, of every plane
  int bias_at;
};

// Plans are kept, since a network asks for the same few again and again. An image has c planes, `copies` of them in a
// row for every channel of the groups.
std::shared_ptr<const Plan> PlanFor(const std::vector<Group>& groups, int copies, int n, int c, int h, int w, int lanes,
                                    int max_planes);

}  // namespace neonext
