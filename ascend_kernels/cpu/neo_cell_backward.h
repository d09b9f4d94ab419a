// The backward pass on vectors that hold whole blocks side by side, in the tiles of the forward pass.
#pragma once

#include <type_traits>

#include "plan.h"
#include "simd.h"
#include "workspace.h"

namespace neonext {

// A constant where there is one, else the value.
template <int constant>
inline int known(int value) {
  return constant ? constant : value;
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
      const int32_t* index = run.patterns[cols.pattern].backward.source.data();
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
