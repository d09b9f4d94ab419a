// The forward pass on vectors that hold whole blocks side by side.
//
// One tile is a row of blocks by one vector of columns: up to h_in input rows. Left product: rows of X times broadcast
// coefficients of A. Right product: each term a permutation of the row times a vector of coefficients, see Lanes.
#pragma once

#include <algorithm>

#include "plan.h"
#include "simd.h"
#include "workspace.h"

namespace neonext {

// The sum of x(i) * y(i), and of what is at `start` if that is not null. Two chains of multiply-adds, since each has to
// wait for itself.
template <int count, class X, class Y>
inline Vec::F dot(X x, Y y, const Vec::F* start = nullptr) {
  Vec::F even = Vec::mul(x(0), y(0));
  if constexpr (count == 1) return start ? Vec::add(even, *start) : even;
  Vec::F odd = start ? Vec::fma(x(1), y(1), *start) : Vec::mul(x(1), y(1));
  for (int i = 2; i < count; ++i) {
    Vec::F& sum = i % 2 ? odd : even;
    sum = Vec::fma(x(i), y(i), sum);
  }
  return Vec::add(even, odd);
}

// What the forward pass needs of a vector of columns.
struct Column {
  const int32_t* lane_of;
  int b_at;
  ptrdiff_t in_at, out_at;
  Vec::Mask in_mask, out_mask;
};

// One tile. cut: Run::cut if `block` is the one that is cut in two, else 0.
template <class S, int planes, class T>
[[gnu::always_inline]] inline void forward_tile(const Plan& plan, const ChannelState& channel, Vec::F bias,
                                                const Column& column, const Block& block, int cut, const T* const* x,
                                                T* const* y) {
  Vec::F x_row[S::h_in], b[S::w_in];
  Vec::I lane_of[S::w_in];
  for (int i = 0; i < S::w_in; ++i) {
    b[i] = Vec::load(channel.b + column.b_at + i * Vec::lanes);
    lane_of[i] = Vec::load_index(column.lane_of + i * Vec::lanes);
  }
  const ptrdiff_t w = plan.w, w_out = plan.w_out;  // stores might be to anywhere, as far as the compiler knows
  const float* const left = cut ? channel.a_cut : channel.a;
  const auto load = [&](ptrdiff_t row) { return Vec::load<planes>(x, row * w + column.in_at, column.in_mask); };
  const auto store = [&](ptrdiff_t row, int i) {  // i: the row of A
    const float* const a = left + i * S::h_in;
    const Vec::F t = dot<S::h_in>([&](int p) { return Vec::set1(a[p]); }, [&](int p) { return x_row[p]; });
    const auto term = [&](int i) { return S::w_in == S::w_out && i == 0 ? t : Vec::permute(t, lane_of[i]); };
    const Vec::F out = dot<S::w_in>(term, [&](int i) { return b[i]; }, &bias);
    Vec::store<planes>(y, row * w_out + column.out_at, column.out_mask, out);
  };
  if (cut) {  // its first rows are at the bottom of the plane, the others at the top
    const int from[] = {block.in.at, -cut};
    const auto row = [&](int i) { return from[i >= cut] + i; };
    for (int p = 0; p < S::h_in; ++p) x_row[p] = load(row(p));
    for (int i = 0; i < S::h_in; ++i) store(row(i), i);
  } else if (block.in.count == S::h_in && block.out.count == S::h_out) {
    for (int p = 0; p < S::h_in; ++p) x_row[p] = load(block.in.at + p);
    for (int i = 0; i < S::h_out; ++i) store(block.out.at + i, i);
  } else {
    for (int p = 0; p < S::h_in; ++p) {
      const bool inside = p >= block.in.first && p < block.in.first + block.in.count;
      x_row[p] = inside ? load(block.in.at + p - block.in.first) : Vec::zero();
    }
    for (int i = 0; i < block.out.count; ++i) store(block.out.at + i, block.out.first + i);
  }
}

// Y of `channels` channels of `images` images, x and y being the first plane. The planes of an image are read from front
// to back, but for a block that is cut in two: that comes last, when the top of the plane is in the cache.
template <class S, int planes, class T>
void forward_planes(const Plan& plan, const Run& run, const Workspace& work, int channels, int images, const T* x, T* y) {
  constexpr int kColumns = 8;
  // The processor does not fetch far enough ahead by itself. As many lines as a tile is long, if so much memory is to come.
  constexpr int kAhead = 3072 / sizeof(T), kLine = 64 / sizeof(T), kLines = (S::h_in * Vec::lanes + kLine - 1) / kLine;
  const bool fetch = planes == 1 && ptrdiff_t(channels) * plan.h * plan.w > 4 * kAhead;
  const ptrdiff_t in = ptrdiff_t(plan.h) * plan.w, out = ptrdiff_t(plan.h_out) * plan.w_out;
  const Block *const rows = run.rows.data(), *const last_row = rows + run.rows.size();
  const int run_cut = run.cut;
  for (size_t first = 0; first < run.columns.size(); first += kColumns) {
    const size_t last = std::min(run.columns.size(), first + kColumns);
    Column columns[kColumns];
    int count = 0, present = 0;
    for (int image = 0; image < images; image += planes) {
      if (present != std::min(planes, images - image)) {
        present = std::min(planes, images - image);
        count = 0;
        for (size_t i = first; i < last; ++i) {
          const Columns& c = run.columns[i];
          if (c.out_count == 0) continue;
          columns[count++] = {run.patterns[c.pattern].forward.source.data(), c.pattern * S::w_in * Vec::lanes, c.in_at,
                              c.out_at, Vec::mask<planes>(c.in_count, present), Vec::mask<planes>(c.out_count, present)};
        }
      }
      for (int channel = 0; channel < channels; ++channel) {
        const T* const x_at = x + (ptrdiff_t(image) * plan.c + channel) * in;
        T* const y_at = y + (ptrdiff_t(image) * plan.c + channel) * out;
        const T* const xs[] = {x_at, x_at + (present - 1) * plan.c * in};
        T* const ys[] = {y_at, y_at + (present - 1) * plan.c * out};
        const Vec::F bias = Vec::set1(work[channel].bias);
        for (const Block* row = rows + (run_cut > 0); row < last_row; ++row) {
          const Block& block = *row;
          const int cut = row == last_row - 1 ? run_cut : 0;
          const T* x_ahead = x_at + ptrdiff_t(block.in.at) * plan.w + kAhead;
          T* y_ahead = y_at + ptrdiff_t(block.out.at) * plan.w_out + kAhead;
          for (int c = 0; c < count; ++c, x_ahead += kLines * kLine, y_ahead += kLines * kLine) {
            for (int i = 0; fetch && i < kLines; ++i) {
              __builtin_prefetch(x_ahead + i * kLine);
              __builtin_prefetch(y_ahead + i * kLine, 1);
            }
            forward_tile<S, planes>(plan, work[channel], bias, columns[c], block, cut, xs, ys);
          }
        }
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
