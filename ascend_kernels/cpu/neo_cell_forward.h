// The forward pass on vectors that hold whole blocks side by side.
//
// One tile is a row of blocks by one vector of columns: up to h_in input rows. Left product: rows of X times broadcast
// coefficients of A. Right product: each term a permutation of the row times a vector of coefficients, see Lanes.
#pragma once

#include "plan.h"
#include "simd.h"
#include "tiles.h"
#include "workspace.h"

namespace neonext {

// One tile. cut: Run::cut if `block` is the one that is cut in two, else 0.
template <class S, int planes, class T>
[[gnu::always_inline]] inline void ForwardTile(const Plan& plan, const ChannelState& channel, Vec::F bias,
                                               const Column& column, const Block& block, int cut, const T* const* x,
                                               T* const* y) {
  Vec::F x_row[S::kHIn], b[S::kWIn];
  Vec::I lane_of[S::kWIn];
  for (int i = 0; i < S::kWIn; ++i) {
    b[i] = Vec::Load(channel.b + column.b_at + i * Vec::kLanes);
    lane_of[i] = Vec::LoadIndex(column.lane_of + i * Vec::kLanes);
  }
  const ptrdiff_t w = plan.w, w_out = plan.w_out;  // stores might be to anywhere, as far as the compiler knows
  const float* const left = cut ? channel.a_cut : channel.a;
  const auto load = [&](ptrdiff_t row) { return Vec::Load<planes>(x, row * w + column.in_at, column.in_mask); };
  Vec::F t[S::kHOut];
  const auto multiply = [&] {  // all rows before the first of them is needed: they do not wait for each other
    for (int i = 0; i < S::kHOut; ++i) {
      const float* const a = left + i * S::kHIn;
      t[i] = Dot<S::kHIn>([&](int p) { return Vec::Set1(a[p]); }, [&](int p) { return x_row[p]; });
    }
  };
  const auto store = [&](ptrdiff_t row, int i) {  // i: the row of the block
    const auto term = [&](int q) { return S::kWIn == S::kWOut && q == 0 ? t[i] : Vec::Permute(t[i], lane_of[q]); };
    const Vec::F out = Dot<S::kWIn>(term, [&](int q) { return b[q]; }, &bias);
    Vec::Store<planes>(y, row * w_out + column.out_at, column.out_mask, out);
  };
  if (cut) {  // its first rows are at the bottom of the plane, the others at the top
    const int from[] = {block.in.at, -cut};
    const auto row = [&](int i) { return from[i >= cut] + i; };
    for (int p = 0; p < S::kHIn; ++p) x_row[p] = load(row(p));
    multiply();
    for (int i = 0; i < S::kHOut; ++i) store(row(i), i);
  } else if (block.in.count == S::kHIn && block.out.count == S::kHOut) {
    for (int p = 0; p < S::kHIn; ++p) x_row[p] = load(block.in.at + p);
    multiply();
    for (int i = 0; i < S::kHOut; ++i) store(block.out.at + i, i);
  } else {
    for (int p = 0; p < S::kHIn; ++p) {
      const bool inside = p >= block.in.first && p < block.in.first + block.in.count;
      x_row[p] = inside ? load(block.in.at + p - block.in.first) : Vec::Zero();
    }
    multiply();
    for (int i = 0; i < block.out.count; ++i) store(block.out.at + i, block.out.first + i);
  }
}

// Y of `channels` channels of `images` images, x and y being the first plane.
template <class S, int planes, class T>
void ForwardPlanes(const Plan& plan, const Run& run, const Workspace& work, int channels, int images, const T* x,
                   T* y) {
  const bool fetch = planes == 1 && WorthFetching<T>(plan, channels);
  const ptrdiff_t in = ptrdiff_t(plan.h) * plan.w, out = ptrdiff_t(plan.h_out) * plan.w_out;
  const Block *const rows = run.rows.data(), *const last_row = rows + run.rows.size();
  const int run_cut = run.cut;
  for (size_t first = 0; first < run.columns.size(); first += kColumns) {
    Column columns[kColumns];
    int count = 0, present = 0;
    for (int image = 0; image < images; image += planes) {
      if (present != std::min(planes, images - image)) {
        present = std::min(planes, images - image);
        count = FillColumns<planes, S::kWIn>(run, &Pattern::forward, first, present, columns);
      }
      for (int channel = 0; channel < channels; ++channel) {
        const T* const x_at = x + (ptrdiff_t(image) * plan.c + channel) * in;
        T* const y_at = y + (ptrdiff_t(image) * plan.c + channel) * out;
        const T* const xs[] = {x_at, x_at + (present - 1) * plan.c * in};
        T* const ys[] = {y_at, y_at + (present - 1) * plan.c * out};
        const Vec::F bias = Vec::Set1(work[channel].bias);
        for (const Block* row = rows + (run_cut > 0); row < last_row; ++row) {
          const Block& block = *row;
          const int cut = row == last_row - 1 ? run_cut : 0;
          for (int c = 0; c < count; ++c) {
            if (fetch) {
              FetchAhead<S::kHIn, false>(x_at + ptrdiff_t(block.in.at) * plan.w, first + c);
              FetchAhead<S::kHOut, true>(y_at + ptrdiff_t(block.out.at) * plan.w_out, first + c);
            }
            ForwardTile<S, planes>(plan, work[channel], bias, columns[c], block, cut, xs, ys);
          }
        }
      }
    }
  }
}

}  // namespace neonext
