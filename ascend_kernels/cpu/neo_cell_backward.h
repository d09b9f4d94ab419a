// The backward pass on vectors that hold whole blocks side by side. With T = A X:
//     dT = dY B^T,  dX = A^T dT,  dA = dT X^T,  dB = T^T dY  (transposed: the permuted dY serves dT and dB).
//
// dA has a vector of sums for each of its elements, too many for the registers. So the rows of X and dT are kept until
// there are some tiles of a channel, over which a part of dA is then summed at a time.
#pragma once

#include <algorithm>

#include "plan.h"
#include "simd.h"
#include "tiles.h"
#include "workspace.h"

namespace neonext {

// Where tiles keep their rows: h_in of X, h_out of dT.
template <class S>
struct KeptTiles {
  float* const rows;
  int count = 0;

  float* next() { return rows + count * (S::h_in + S::h_out) * Vec::lanes; }

  // The last tile becomes two: one with the first `cut` rows of a block, one with the others.
  void split(int cut) {
    float* const first = next();
    ++count;
    float* const second = next();
    for (int i = 0; i < 2 * S::h_in; ++i) {
      float* const at = first + i * Vec::lanes;
      const bool stays = i % S::h_in < cut;
      Vec::store(second + i * Vec::lanes, stays ? Vec::zero() : Vec::load(at));
      if (!stays) Vec::store(at, Vec::zero());
    }
  }

  // Adds to rows first.. of dA what the tiles give.
  template <int count_rows>
  void sum_rows(int first, float* sum_a) const {
    Vec::F sum[count_rows][S::h_in];
    float* const to = sum_a + first * S::h_in * Vec::lanes;
    for (int i = 0; i < count_rows; ++i) {
      for (int p = 0; p < S::h_in; ++p) sum[i][p] = Vec::load(to + (i * S::h_in + p) * Vec::lanes);
    }
    const float* x = rows;
    for (int tile = 0; tile < count; ++tile, x += (S::h_in + S::h_out) * Vec::lanes) {
      const float* const dt = x + (S::h_in + first) * Vec::lanes;
      Vec::F dt_row[count_rows];
      for (int i = 0; i < count_rows; ++i) dt_row[i] = Vec::load(dt + i * Vec::lanes);
      for (int p = 0; p < S::h_in; ++p) {
        const Vec::F x_row = Vec::load(x + p * Vec::lanes);
        for (int i = 0; i < count_rows; ++i) sum[i][p] = Vec::fma(dt_row[i], x_row, sum[i][p]);
      }
    }
    for (int i = 0; i < count_rows; ++i) {
      for (int p = 0; p < S::h_in; ++p) Vec::store(to + (i * S::h_in + p) * Vec::lanes, sum[i][p]);
    }
  }

  void sum(float* sum_a) {
    constexpr int kRegisters = Vec::lanes == 16 ? 32 : 16;
    constexpr int kRows = std::min(S::h_out, (kRegisters - 2) / (S::h_in + 1));
    int i = 0;
    for (; i + kRows <= S::h_out; i += kRows) sum_rows<kRows>(i, sum_a);
    for (; i < S::h_out; ++i) sum_rows<1>(i, sum_a);
    count = 0;
  }
};

// One tile: dX, and all that dA waits for. cut: Run::cut if `block` is the one that is cut in two, else 0.
template <class S, int planes, class T>
[[gnu::always_inline]] inline void backward_tile(const Plan& plan, const ChannelState& channel, const Column& column,
                                                 const Block& block, int cut, const T* const* x, const T* const* dy,
                                                 T* const* dx, float* kept, float* t_rows) {
  const ptrdiff_t w = plan.w, w_out = plan.w_out;  // stores might be to anywhere, as far as the compiler knows
  const float* const a = cut ? channel.a_cut : channel.a;
  const bool whole = block.in.count == S::h_in && block.out.count == S::h_out;
  // Row p of the block is this row of the plane, if it is inside.
  const int in_from[] = {block.in.at - block.in.first, -cut}, out_from[] = {block.out.at - block.out.first, -cut};
  const int split = cut ? cut : S::h_in + S::h_out;
  const auto in_row = [&](int p) { return ptrdiff_t(in_from[p >= split] + p); };
  const auto out_row = [&](int i) { return ptrdiff_t(out_from[i >= split] + i); };
  const auto inside = [&](const Span& span, int i) {
    return whole || cut || (i >= span.first && i < span.first + span.count);
  };

  Vec::F x_row[S::h_in];
  for (int p = 0; p < S::h_in; ++p) {
    x_row[p] = inside(block.in, p) ? Vec::load<planes>(x, in_row(p) * w + column.in_at, column.in_mask) : Vec::zero();
    Vec::store(kept + p * Vec::lanes, x_row[p]);
  }
  for (int i = 0; i < S::h_out; ++i) {
    const auto left = [&](int p) { return Vec::set1(a[i * S::h_in + p]); };
    Vec::store(t_rows + i * Vec::lanes, dot<S::h_in>(left, [&](int p) { return x_row[p]; }));
  }

  float* const dt_rows = kept + S::h_in * Vec::lanes;
  {
    const int at = column.b_at;
    Vec::F b_t[S::w_out], sum_b[S::w_out], sum_y = Vec::load(channel.sum_y);
    Vec::I lane_of[S::w_out];
    for (int q = 0; q < S::w_out; ++q) {
      b_t[q] = Vec::load(channel.b_t + at + q * Vec::lanes);
      sum_b[q] = Vec::load(channel.sum_b + at + q * Vec::lanes);
      lane_of[q] = Vec::load_index(column.lane_of + q * Vec::lanes);
    }
    for (int i = 0; i < S::h_out; ++i) {
      if (!inside(block.out, i)) {
        Vec::store(dt_rows + i * Vec::lanes, Vec::zero());
        continue;
      }
      const Vec::F dy_row = Vec::load<planes>(dy, out_row(i) * w_out + column.out_at, column.out_mask);
      const Vec::F t = Vec::load(t_rows + i * Vec::lanes);
      Vec::F term[S::w_out];
      for (int q = 0; q < S::w_out; ++q) {
        term[q] = S::w_in == S::w_out && q == 0 ? dy_row : Vec::permute(dy_row, lane_of[q]);
        sum_b[q] = Vec::fma(term[q], t, sum_b[q]);
      }
      sum_y = Vec::add(sum_y, dy_row);
      const Vec::F dt = dot<S::w_out>([&](int q) { return term[q]; }, [&](int q) { return b_t[q]; });
      Vec::store(dt_rows + i * Vec::lanes, dt);
    }
    for (int q = 0; q < S::w_out; ++q) Vec::store(channel.sum_b + at + q * Vec::lanes, sum_b[q]);
    Vec::store(channel.sum_y, sum_y);
  }

  Vec::F dt_row[S::h_out];
  for (int i = 0; i < S::h_out; ++i) dt_row[i] = Vec::load(dt_rows + i * Vec::lanes);
  for (int p = 0; p < S::h_in; ++p) {
    if (!inside(block.in, p)) continue;
    const auto left = [&](int i) { return Vec::set1(a[i * S::h_in + p]); };
    const Vec::F value = dot<S::h_out>(left, [&](int i) { return dt_row[i]; });
    Vec::store<planes>(dx, in_row(p) * w + column.in_at, column.in_mask, value);
  }
}

// dX of `channels` channels of `images` images, x, dy and dx being the first plane; dA, dB and dBias are added to the
// sums of the channels.
template <class S, int planes, class T>
void backward_planes(const Plan& plan, const Run& run, Workspace& work, int channels, int images, const T* x,
                     const T* dy, T* dx) {
  const bool fetch = planes == 1 && worth_fetching<T>(plan, channels);
  const ptrdiff_t in = ptrdiff_t(plan.h) * plan.w, out = ptrdiff_t(plan.h_out) * plan.w_out;
  const Block *const rows = run.rows.data(), *const last_row = rows + run.rows.size();
  const int run_cut = run.cut, steps = (images + planes - 1) / planes;
  float* const t_rows = work.rows();
  KeptTiles<S> kept{t_rows + S::h_out * Vec::lanes};
  for (size_t first = 0; first < run.columns.size(); first += kColumns) {
    Column columns[kColumns];
    int count = 0, present = 0;
    // Planes that share vectors have few tiles each: those of all images come together.
    const int outer = planes == 1 ? steps : channels, inner = planes == 1 ? channels : steps;
    for (int o = 0; o < outer; ++o) {
      for (int n = 0; n < inner; ++n) {
        const int channel = planes == 1 ? n : o, image = planes * (planes == 1 ? o : n);
        const ChannelState& state = work[channel];
        if (present != std::min(planes, images - image)) {
          present = std::min(planes, images - image);
          count = fill_columns<planes, S::w_out>(run, &Pattern::backward, first, present, columns);
        }
        const ptrdiff_t plane = ptrdiff_t(image) * plan.c + channel, next = (present - 1) * plan.c;
        const T* const xs[] = {x + plane * in, x + (plane + next) * in};
        const T* const dys[] = {dy + plane * out, dy + (plane + next) * out};
        T* const dxs[] = {dx + plane * in, dx + (plane + next) * in};
        for (const Block* row = rows + (run_cut > 0); row < last_row; ++row) {
          const Block& block = *row;
          const int cut = row == last_row - 1 ? run_cut : 0;
          for (int c = 0; c < count; ++c) {
            if (fetch) {
              fetch_ahead<S::h_in, false>(xs[0] + ptrdiff_t(block.in.at) * plan.w, first + c);
              fetch_ahead<S::h_out, false>(dys[0] + ptrdiff_t(block.out.at) * plan.w_out, first + c);
              fetch_ahead<S::h_in, true>(dxs[0] + ptrdiff_t(block.in.at) * plan.w, first + c);
            }
            if (kept.count + 1 + (cut > 0) > Workspace::kTiles) kept.sum(state.sum_a);
            backward_tile<S, planes>(plan, state, columns[c], block, cut, xs, dys, dxs, kept.next(), t_rows);
            if (cut) kept.split(cut);
            ++kept.count;
          }
        }
        if (planes == 1 || n == inner - 1) kept.sum(state.sum_a);
      }
    }
  }
}

}  // namespace neonext
