// The forward pass on vectors that hold whole blocks side by side.
//
// One tile is a row of blocks by one vector of columns: up to h_in input rows. Left product: rows of X times broadcast
// coefficients of A. Right product: with P_p the permutation that gives every lane of a block the value at position p of
// that block,
//     Y = sum over p of P_p(T) * B_p,    B_p[lane] = B[p, position of the lane].
#pragma once

#include <algorithm>
#include <type_traits>

#include "plan.h"
#include "simd.h"
#include "workspace.h"

namespace neonext {

// The rows of Y that one tile gives. x: its rows of X, zero outside the plane; a: the first of these rows of A.
template <class S, int planes, class T, class Count>
inline void forward_tile(const Vec::F* x, const float* a, const Vec::F* b, const Vec::I* lane_of, Vec::F bias,
                         T* const* y, ptrdiff_t at, int stride, Vec::Mask mask, Count count) {
  for (int i = 0; i < count; ++i, a += S::h_in, at += stride) {
    Vec::F t = Vec::mul(Vec::set1(a[0]), x[0]);
    for (int p = 1; p < S::h_in; ++p) t = Vec::fma(Vec::set1(a[p]), x[p], t);
    Vec::F out = bias;
    for (int p = 0; p < S::w_in; ++p) out = Vec::fma(Vec::permute(t, lane_of[p]), b[p], out);
    Vec::store<planes>(y, at, mask, out);
  }
}

// Y of one channel of `images` images, x and y being its planes in the first. A column of tiles at a time: its B stays in
// registers. next_x and next_y are the planes whose turn it is after these, or null: they are brought into the cache a few
// lines a tile, because a plane is too short for the processor to see the pattern.
template <class S, int planes, class T>
void forward_planes(const Plan& plan, const Run& run, const ChannelState& channel, const T* x, T* y, int images,
                    const T* next_x, T* next_y) {
  constexpr int line = 64 / sizeof(T);
  const Vec::F bias = Vec::set1(channel.bias);
  const int tiles = static_cast<int>(run.columns.size() * run.rows.size());
  const int lines = next_x ? (plan.h * plan.w / line + tiles) / tiles : 0;
  for (const Columns& cols : run.columns) {
    if (cols.out_count == 0) continue;
    const int32_t* index = run.patterns[cols.pattern].forward.source.data();
    const float* b_at = channel.b + cols.pattern * S::w_in * Vec::lanes;
    Vec::F b[S::w_in];
    Vec::I lane_of[S::w_in];
    for (int p = 0; p < S::w_in; ++p) {
      b[p] = Vec::load(b_at + p * Vec::lanes);
      lane_of[p] = Vec::load_index(index + p * Vec::lanes);
    }
    for (int image = 0; image < images; image += planes) {
      const int present = std::min(planes, images - image);
      const Vec::Mask in_mask = Vec::mask<planes>(cols.in_count, present);
      const Vec::Mask out_mask = Vec::mask<planes>(cols.out_count, present);
      const ptrdiff_t in = ptrdiff_t(plan.c) * plan.h * plan.w, out = ptrdiff_t(plan.c) * plan.h_out * plan.w_out;
      const T* const xs[] = {x + image * in, x + (image + present - 1) * in};
      T* const ys[] = {y + image * out, y + (image + present - 1) * out};
      for (const Block& block : run.rows) {
        for (int i = 0; i < lines; ++i, next_x += line, next_y += line) {
          __builtin_prefetch(next_x);
          __builtin_prefetch(next_y, 1);
        }
        ptrdiff_t from = ptrdiff_t(block.in.at) * plan.w + cols.in_at;
        const ptrdiff_t to = ptrdiff_t(block.out.at) * plan.w_out + cols.out_at;
        Vec::F x_row[S::h_in];
        if (block.in.count == S::h_in && block.out.count == S::h_out) {
          for (int p = 0; p < S::h_in; ++p, from += plan.w) x_row[p] = Vec::load<planes>(xs, from, in_mask);
          forward_tile<S, planes>(x_row, channel.a, b, lane_of, bias, ys, to, plan.w_out, out_mask,
                                  std::integral_constant<int, S::h_out>{});
          continue;
        }
        for (int p = 0; p < S::h_in; ++p) {
          const bool inside = p >= block.in.first && p < block.in.first + block.in.count;
          x_row[p] = inside ? Vec::load<planes>(xs, from, in_mask) : Vec::zero();
          from += inside ? plan.w : 0;
        }
        forward_tile<S, planes>(x_row, channel.a + block.out.first * S::h_in, b, lane_of, bias, ys, to, plan.w_out,
                                out_mask, block.out.count);
      }
    }
  }
}

// Y of one channel of `present` images, for blocks of any size. rows: scratch of h_in vectors.
template <int planes, class T>
void forward_any(const Plan& plan, const Run& run, const ChannelState& channel, const T* const* x, T* const* y,
                 int present, float* rows) {
  const Group& group = plan.groups[run.group];
  const int h_in = group.h_in, w_in = group.w_in;
  const Vec::F bias = Vec::set1(channel.bias);
  for (const Block& block : run.rows) {
    if (block.out.count == 0) continue;
    for (const Columns& cols : run.columns) {
      if (cols.out_count == 0) continue;
      const Vec::Mask in_mask = Vec::mask<planes>(cols.in_count, present);
      const Vec::Mask out_mask = Vec::mask<planes>(cols.out_count, present);
      const int32_t* index = run.patterns[cols.pattern].forward.source.data();
      const float* b = channel.b + cols.pattern * w_in * Vec::lanes;
      for (int p = 0; p < block.in.count; ++p) {
        const ptrdiff_t from = ptrdiff_t(block.in.at + p) * plan.w + cols.in_at;
        Vec::store(rows + p * Vec::lanes, Vec::load<planes>(x, from, in_mask));
      }
      for (int i = 0; i < block.out.count; ++i) {
        const float* a = channel.a + (block.out.first + i) * h_in + block.in.first;
        Vec::F t = Vec::zero();
        for (int p = 0; p < block.in.count; ++p) t = Vec::fma(Vec::set1(a[p]), Vec::load(rows + p * Vec::lanes), t);
        Vec::F out = bias;
        for (int p = 0; p < w_in; ++p) {
          out = Vec::fma(Vec::permute(t, Vec::load_index(index + p * Vec::lanes)), Vec::load(b + p * Vec::lanes), out);
        }
        Vec::store<planes>(y, ptrdiff_t(block.out.at + i) * plan.w_out + cols.out_at, out_mask, out);
      }
    }
  }
}

}  // namespace neonext
