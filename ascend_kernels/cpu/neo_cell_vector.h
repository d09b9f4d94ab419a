// NeoCell on vectors that hold whole blocks side by side.
//
// One tile is a row of blocks by one vector of columns: up to h_in input rows, in registers where the block size is known
// when this is compiled. Left product: rows of X times broadcast coefficients of A. Right product: with P_p the
// permutation that gives every lane of a block the value at position p of that block,
//     Y = sum over p of P_p(T) * B_p,    B_p[lane] = B[p, position of the lane].
#pragma once

#include <algorithm>

#include "plan.h"
#include "simd.h"

namespace neonext {

// Coefficients of one channel as the tiles want them, and its sums so far.
struct ChannelState {
  float* a;        // (h_out, h_in)
  float* b;        // (patterns, w_in, lanes): B_p
  float* b_t;      // (patterns, w_out, lanes): the same for the transposed product
  float* sum_a;    // (h_out, h_in, lanes): dA, not yet summed over lanes
  float* sum_b;    // (patterns, w_out, lanes): dB, likewise
  float* sum_y;    // (lanes): dBias, likewise
  float bias;
};

// Block sizes known when this is compiled; 0 is any size.
template <int HO, int HI, int WI, int WO>
struct Shape {
  static constexpr int h_out = HO, h_in = HI, w_in = WI, w_out = WO;
};

// A constant where there is one, else the value.
template <int constant>
inline int known(int value) {
  return constant ? constant : value;
}

// Y of one channel of `present` images. rows: scratch of h_in vectors.
template <class S, int planes, class T>
void forward_planes(const Plan& plan, const Run& run, const ChannelState& channel, const T* const* x, T* const* y,
                    int present, float* rows) {
  const Group& group = plan.groups[run.group];
  const int h_in = known<S::h_in>(group.h_in), w_in = known<S::w_in>(group.w_in);
  const Vec::F bias = Vec::set1(channel.bias);
  for (const Block& block : run.rows) {
    if (block.out.count == 0) continue;
    for (const Columns& cols : run.columns) {
      if (cols.out_count == 0) continue;
      const Vec::Mask in_mask = Vec::mask<planes>(cols.in_count, present);
      const Vec::Mask out_mask = Vec::mask<planes>(cols.out_count, present);
      const int32_t* index = run.patterns[cols.pattern].forward_index.data();
      const float* b = channel.b + cols.pattern * w_in * Vec::lanes;

      Vec::F x_row[S::h_in ? S::h_in : 1];
      Vec::F b_row[S::w_in ? S::w_in : 1];
      Vec::I lane_of[S::w_in ? S::w_in : 1];
      for (int p = 0; p < h_in; ++p) {
        const int row = block.in.at + p - block.in.first;
        const bool inside = p >= block.in.first && p < block.in.first + block.in.count;
        const Vec::F v = inside ? Vec::load<planes>(x, ptrdiff_t(row) * plan.w + cols.in_at, in_mask) : Vec::zero();
        if constexpr (S::h_in) {
          x_row[p] = v;
        } else {
          Vec::store(rows + p * Vec::lanes, v);
        }
      }
      if constexpr (S::w_in) {
        for (int p = 0; p < w_in; ++p) {
          b_row[p] = Vec::load(b + p * Vec::lanes);
          lane_of[p] = Vec::load_index(index + p * Vec::lanes);
        }
      }
      for (int i = 0; i < block.out.count; ++i) {
        const float* a = channel.a + (block.out.first + i) * h_in;
        Vec::F t = Vec::zero();
        for (int p = 0; p < h_in; ++p) {
          if constexpr (S::h_in) {
            t = Vec::fma(Vec::set1(a[p]), x_row[p], t);
          } else {
            t = Vec::fma(Vec::set1(a[p]), Vec::load(rows + p * Vec::lanes), t);
          }
        }
        Vec::F out = bias;
        for (int p = 0; p < w_in; ++p) {
          if constexpr (S::w_in) {
            out = Vec::fma(Vec::permute(t, lane_of[p]), b_row[p], out);
          } else {
            out = Vec::fma(Vec::permute(t, Vec::load_index(index + p * Vec::lanes)), Vec::load(b + p * Vec::lanes), out);
          }
        }
        Vec::store<planes>(y, ptrdiff_t(block.out.at + i) * plan.w_out + cols.out_at, out_mask, out);
      }
    }
  }
}

// dX of one channel of `present` images; dA, dB and dBias are added to the channel's sums. With T = A X:
//     dT = dY B^T,  dX = A^T dT,  dA = dT X^T,  dB = T^T dY  (transposed: the permuted dY serves dT and dB).
// rows: scratch of h_in + h_out vectors.
template <class S, int planes, class T>
void backward_planes(const Plan& plan, const Run& run, const ChannelState& channel, const T* const* x,
                     const T* const* dy, T* const* dx, int present, float* rows) {
  const Group& group = plan.groups[run.group];
  const int h_in = known<S::h_in>(group.h_in);
  const int w_out = known<S::w_out>(group.w_out);
  float* const dt_rows = rows + h_in * Vec::lanes;
  Vec::F sum_y = Vec::load(channel.sum_y);
  for (const Block& block : run.rows) {
    for (const Columns& cols : run.columns) {
      const Vec::Mask in_mask = Vec::mask<planes>(cols.in_count, present);
      const Vec::Mask out_mask = Vec::mask<planes>(cols.out_count, present);
      const int32_t* index = run.patterns[cols.pattern].backward_index.data();
      const float* b_t = channel.b_t + cols.pattern * w_out * Vec::lanes;
      float* const sum_b = channel.sum_b + cols.pattern * w_out * Vec::lanes;

      Vec::F x_row[S::h_in ? S::h_in : 1];
      Vec::F sum[S::w_out ? S::w_out : 1];
      for (int p = 0; p < h_in; ++p) {
        const int row = block.in.at + p - block.in.first;
        const bool inside = p >= block.in.first && p < block.in.first + block.in.count;
        const Vec::F v = inside ? Vec::load<planes>(x, ptrdiff_t(row) * plan.w + cols.in_at, in_mask) : Vec::zero();
        if constexpr (S::h_in) {
          x_row[p] = v;
        } else {
          Vec::store(rows + p * Vec::lanes, v);
        }
      }
      if constexpr (S::w_out) {
        for (int q = 0; q < w_out; ++q) sum[q] = Vec::load(sum_b + q * Vec::lanes);
      }
      for (int i = 0; i < block.out.count; ++i) {
        const float* a = channel.a + (block.out.first + i) * h_in;
        const Vec::F dy_row =
            Vec::load<planes>(dy, ptrdiff_t(block.out.at + i) * plan.w_out + cols.out_at, out_mask);
        sum_y = Vec::add(sum_y, dy_row);
        Vec::F t = Vec::zero(), dt = Vec::zero();
        for (int p = 0; p < h_in; ++p) {
          if constexpr (S::h_in) {
            t = Vec::fma(Vec::set1(a[p]), x_row[p], t);
          } else {
            t = Vec::fma(Vec::set1(a[p]), Vec::load(rows + p * Vec::lanes), t);
          }
        }
        for (int q = 0; q < w_out; ++q) {
          const Vec::F spread = Vec::permute(dy_row, Vec::load_index(index + q * Vec::lanes));
          dt = Vec::fma(spread, Vec::load(b_t + q * Vec::lanes), dt);
          if constexpr (S::w_out) {
            sum[q] = Vec::fma(spread, t, sum[q]);
          } else {
            Vec::store(sum_b + q * Vec::lanes, Vec::fma(spread, t, Vec::load(sum_b + q * Vec::lanes)));
          }
        }
        Vec::store(dt_rows + i * Vec::lanes, dt);
      }
      if constexpr (S::w_out) {
        for (int q = 0; q < w_out; ++q) Vec::store(sum_b + q * Vec::lanes, sum[q]);
      }
      const float* a = channel.a + block.out.first * h_in;
      float* const sum_a = channel.sum_a + block.out.first * h_in * Vec::lanes;
      const auto finish = [&](int p, Vec::F x_value, auto out_count) {
        Vec::F out = Vec::zero();
        for (int i = 0; i < out_count; ++i) {
          const Vec::F dt = Vec::load(dt_rows + i * Vec::lanes);
          float* const sum_at = sum_a + (i * h_in + p) * Vec::lanes;
          out = Vec::fma(Vec::set1(a[i * h_in + p]), dt, out);
          Vec::store(sum_at, Vec::fma(dt, x_value, Vec::load(sum_at)));
        }
        const int row = block.in.at + p - block.in.first;
        Vec::store<planes>(dx, ptrdiff_t(row) * plan.w + cols.in_at, in_mask, out);
      };
      if constexpr (S::h_in) {
        if (block.in.count == S::h_in && block.out.count == S::h_out) {
          for (int p = 0; p < S::h_in; ++p) finish(p, x_row[p], std::integral_constant<int, S::h_out>{});
          continue;
        }
        for (int p = 0; p < S::h_in; ++p) Vec::store(rows + p * Vec::lanes, x_row[p]);
      }
      for (int p = block.in.first; p < block.in.first + block.in.count; ++p) {
        finish(p, Vec::load(rows + p * Vec::lanes), block.out.count);
      }
    }
  }
  Vec::store(channel.sum_y, sum_y);
}

}  // namespace neonext
