// The vectorised passes for blocks of any size that fits into a vector; those of the usual sizes have their own.
#pragma once

#include "plan.h"
#include "simd.h"
#include "workspace.h"

namespace neonext {

// Y of one channel of `present` images, for blocks of any size. rows: scratch of h_in vectors.
template <int planes, class T>
void ForwardAny(const Plan& plan, const Run& run, const ChannelState& channel, const T* const* x, T* const* y,
                int present, float* rows) {
  const Group& group = plan.groups[run.group];
  const int h_in = group.h_in, w_in = group.w_in;
  const Vec::F bias = Vec::Set1(channel.bias);
  for (const Block& block : run.rows) {
    if (block.out.count == 0) continue;
    for (const Columns& cols : run.columns) {
      if (cols.out_count == 0) continue;
      const Vec::Mask in_mask = Vec::MakeMask<planes>(cols.in_count, present);
      const Vec::Mask out_mask = Vec::MakeMask<planes>(cols.out_count, present);
      const int32_t* index = run.patterns[cols.pattern].forward.source.data();
      const float* b = channel.b + cols.pattern * w_in * Vec::kLanes;
      for (int p = 0; p < block.in.count; ++p) {
        const ptrdiff_t from = ptrdiff_t(block.in.at + p) * plan.w + cols.in_at;
        Vec::Store(rows + p * Vec::kLanes, Vec::Load<planes>(x, from, in_mask));
      }
      for (int i = 0; i < block.out.count; ++i) {
        const float* a = channel.a + (block.out.first + i) * h_in + block.in.first;
        Vec::F t = Vec::Zero();
        for (int p = 0; p < block.in.count; ++p) t = Vec::Fma(Vec::Set1(a[p]), Vec::Load(rows + p * Vec::kLanes), t);
        Vec::F out = bias;
        for (int p = 0; p < w_in; ++p) {
          out = Vec::Fma(Vec::Permute(t, Vec::LoadIndex(index + p * Vec::kLanes)), Vec::Load(b + p * Vec::kLanes), out);
        }
        Vec::Store<planes>(y, ptrdiff_t(block.out.at + i) * plan.w_out + cols.out_at, out_mask, out);
      }
    }
  }
}

// dX of one channel of `present` images; dA, dB and dBias are added to the channel's sums, see neo_cell_backward.h.
// rows: scratch of h_in + h_out vectors.
template <int planes, class T>
void BackwardAny(const Plan& plan, const Run& run, const ChannelState& channel, const T* const* x, const T* const* dy,
                 T* const* dx, int present, float* rows) {
  const Group& group = plan.groups[run.group];
  const int h_in = group.h_in, w_out = group.w_out;
  float* const dt_rows = rows + h_in * Vec::kLanes;
  Vec::F sum_y = Vec::Load(channel.sum_y);
  for (const Block& block : run.rows) {
    for (const Columns& cols : run.columns) {
      const Vec::Mask in_mask = Vec::MakeMask<planes>(cols.in_count, present);
      const Vec::Mask out_mask = Vec::MakeMask<planes>(cols.out_count, present);
      const int32_t* index = run.patterns[cols.pattern].backward.source.data();
      const float* b_t = channel.b_t + cols.pattern * w_out * Vec::kLanes;
      float* const sum_b = channel.sum_b + cols.pattern * w_out * Vec::kLanes;
      for (int p = 0; p < block.in.count; ++p) {
        const ptrdiff_t from = ptrdiff_t(block.in.at + p) * plan.w + cols.in_at;
        Vec::Store(rows + p * Vec::kLanes, Vec::Load<planes>(x, from, in_mask));
      }
      for (int i = 0; i < block.out.count; ++i) {
        const float* a = channel.a + (block.out.first + i) * h_in + block.in.first;
        const ptrdiff_t from = ptrdiff_t(block.out.at + i) * plan.w_out + cols.out_at;
        const Vec::F dy_row = Vec::Load<planes>(dy, from, out_mask);
        sum_y = Vec::Add(sum_y, dy_row);
        Vec::F t = Vec::Zero(), dt = Vec::Zero();
        for (int p = 0; p < block.in.count; ++p) t = Vec::Fma(Vec::Set1(a[p]), Vec::Load(rows + p * Vec::kLanes), t);
        for (int q = 0; q < w_out; ++q) {
          const Vec::F term = Vec::Permute(dy_row, Vec::LoadIndex(index + q * Vec::kLanes));
          dt = Vec::Fma(term, Vec::Load(b_t + q * Vec::kLanes), dt);
          Vec::Store(sum_b + q * Vec::kLanes, Vec::Fma(term, t, Vec::Load(sum_b + q * Vec::kLanes)));
        }
        Vec::Store(dt_rows + i * Vec::kLanes, dt);
      }
      for (int p = 0; p < block.in.count; ++p) {
        Vec::F out = Vec::Zero();
        for (int i = 0; i < block.out.count; ++i) {
          const int at = (block.out.first + i) * h_in + block.in.first + p;
          const Vec::F dt = Vec::Load(dt_rows + i * Vec::kLanes);
          out = Vec::Fma(Vec::Set1(channel.a[at]), dt, out);
          float* const sum = channel.sum_a + at * Vec::kLanes;
          Vec::Store(sum, Vec::Fma(dt, Vec::Load(rows + p * Vec::kLanes), Vec::Load(sum)));
        }
        Vec::Store<planes>(dx, ptrdiff_t(block.in.at + p) * plan.w + cols.in_at, in_mask, out);
      }
    }
  }
  Vec::Store(channel.sum_y, sum_y);
}

}  // namespace neonext
