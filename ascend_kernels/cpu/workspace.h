// What a thread keeps of the channels it works on: coefficients in the order that the arithmetic wants, and sums of
// gradients.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>

#include "arguments.h"
#include "half.h"
#include "plan.h"
#include "simd.h"

namespace neonext {

// Block sizes known when this is compiled.
template <int HO, int HI, int WI, int WO>
struct Shape {
  static constexpr int kHOut = HO, kHIn = HI, kWIn = WI, kWOut = WO;
};

// One channel. Where blocks are wider than a vector (Run::vectorised), b is (w_in, w_out), the sums are whole matrices
// and b_t is not there.
struct ChannelState {
  float* a;      // (h_out, h_in)
  float* a_cut;  // where Run::cut > 0, the same with zeros between its first `cut` rows and columns and the others.
                 // They carry what is not finite from one part to the other, as the zeros of the dense form do.
  float* b;      // (patterns, w_in, lanes): the coefficients of Pattern::forward
  float* b_t;    // (patterns, w_out, lanes): those of Pattern::backward
  float* sum_a;  // (h_out, h_in, lanes): dA, not yet summed over lanes
  float* sum_b;  // (patterns, w_out, lanes): dB, likewise
  float* sum_y;  // (lanes): dBias, likewise
  float bias;
};

inline void ReadFloats(const Tensor& from, int64_t at, int64_t count, float* to) {
  if (from.type == Type::f32) {
    std::memcpy(to, static_cast<const float*>(from.data) + at, count * sizeof(float));
  } else {
    for (int64_t i = 0; i < count; ++i) to[i] = ToFloat(static_cast<const Half*>(from.data)[at + i]);
  }
}

inline void WriteFloats(const float* from, int64_t count, const Tensor& to, int64_t at) {
  if (to.type == Type::f32) {
    std::memcpy(static_cast<float*>(to.data) + at, from, count * sizeof(float));
  } else {
    for (int64_t i = 0; i < count; ++i) static_cast<Half*>(to.data)[at + i] = ToHalf(from[i]);
  }
}

// Memory for some channels of a run, Plan::kStretch at most, kept for the thread's next task.
class Workspace {
 public:
  static constexpr int kTiles = 8;  // whose rows the backward pass keeps

  Workspace(const Plan& plan, const Run& run, int channels, bool backward)
      : group_(plan.groups[run.group]), run_(run), backward_(backward) {
    const size_t vectors = run.patterns.size() * Vec::kLanes;
    const size_t left = group_.h_out * group_.h_in, right = group_.w_in * group_.w_out;
    const size_t width = run.vectorised ? Vec::kLanes : plan.w;
    const auto whole = [](size_t count) { return (count + 15) / 16 * 16; };
    size_t state[] = {2 * whole(left), whole(vectors * group_.w_in), 0, 0, 0, 0};
    if (!run.vectorised) state[1] = whole(right);
    if (backward) {
      state[2] = whole(vectors * group_.w_out);
      state[3] = run.vectorised ? left * Vec::kLanes : whole(left);
      state[4] = run.vectorised ? whole(vectors * group_.w_out) : whole(right);
      state[5] = 16;
    }
    size_t each = 0;
    for (size_t part : state) each += part;
    const size_t all_rows = group_.h_in + group_.h_out;
    const size_t rows = all_rows * (backward && run.vectorised ? kTiles + 1 : 1) * whole(width) + 2 * whole(width) +
                        whole(left) + whole(right);
    const size_t size = channels * each + rows + 3 * whole(right);
    thread_local Aligned<float> memory;
    if (memory.size() < size) memory.resize(size);
    float* at = memory.data();
    for (int c = 0; c < channels; ++c) {
      float* part[6];
      for (int i = 0; i < 6; ++i) part[i] = at, at += state[i];
      if (backward) std::fill(part[3], at, 0.0f);
      states_[c] = {part[0], part[0] + whole(left), part[1], part[2], part[3], part[4], part[5], 0.0f};
    }
    rows_ = at;
    small_ = at + rows;
    turned_ = small_ + whole(right);
    diagonals_ = turned_ + whole(right);
  }

  ChannelState& operator[](int channel) { return states_[channel]; }
  const ChannelState& operator[](int channel) const { return states_[channel]; }
  float* rows() { return rows_; }

  // Fill in the coefficients of channel c of the group.
  void Load(const Call& call, ChannelState& state, int c) {
    const int w_in = group_.w_in, w_out = group_.w_out;
    const int64_t left = group_.h_out * group_.h_in, right = w_in * w_out;
    ReadFloats(call.left[run_.group], c * left, left, state.a);
    float* b = run_.vectorised ? small_ : state.b;
    ReadFloats(call.right[run_.group], c * right, right, b);
    if (!run_.vectorised) return;
    for (int i = 0; run_.cut && i < group_.h_out; ++i) {
      for (int p = 0; p < group_.h_in; ++p) {
        const int at = i * group_.h_in + p;
        state.a_cut[at] = (i < run_.cut) == (p < run_.cut) ? state.a[at] : 0.0f;
      }
    }
    for (int p = 0; backward_ && p < w_in; ++p) {
      for (int q = 0; q < w_out; ++q) turned_[q * w_in + p] = b[p * w_out + q];
    }
    Spread(b, w_in, w_out, &Pattern::forward, state.b);
    if (backward_) Spread(turned_, w_out, w_in, &Pattern::backward, state.b_t);
  }

  // Sum a channel's gradients over lanes, in place: dA at sum_a, dB at b (no longer needed), dBias at sum_y.
  void Reduce(ChannelState& state) {
    if (!run_.vectorised) {
      state.b = state.sum_b;
      return;
    }
    for (int i = 0; i < group_.h_out * group_.h_in; ++i)
      state.a[i] = Vec::Sum(Vec::Load(state.sum_a + i * Vec::kLanes));
    state.sum_a = state.a;
    std::fill_n(small_, group_.w_in * group_.w_out, 0.0f);
    for (size_t i = 0; i < run_.patterns.size(); ++i) {
      const float* sum = state.sum_b + i * group_.w_out * Vec::kLanes;
      const Lanes& lanes = run_.patterns[i].backward;
      for (int at : lanes.filled) small_[lanes.position[at] * group_.w_out + lanes.row[at]] += sum[at];
    }
    state.b = small_;
    state.sum_y[0] = Vec::Sum(Vec::Load(state.sum_y));
  }

 private:
  // Coefficients of one side of all patterns, of m (rows, width): each place with its own, zero where it has none.
  void Spread(const float* m, int rows, int width, Lanes Pattern::* side, float* to) {
    for (int i = 0; rows == width && i < rows; ++i) {  // row i becomes the diagonal that starts in row i of column 0
      float* const diagonal = diagonals_ + i * width;
      for (int q = 0; q < width - i; ++q) diagonal[q] = m[(q + i) * width + q];
      for (int q = width - i; q < width; ++q) diagonal[q] = m[(q + i - width) * width + q];
    }
    if (rows == width) m = diagonals_;
    const auto mask = Vec::MakeMask<1>(width, 1);
    for (const Pattern& pattern : run_.patterns) {
      const Lanes& lanes = pattern.*side;
      for (int r = 0; r < rows; ++r) {
        const float* const row = m + r * width;
        const Vec::I position = Vec::LoadIndex(lanes.position.data() + r * Vec::kLanes);
        Vec::Store(to + r * Vec::kLanes, Vec::Permute(Vec::Load<1>(&row, 0, mask), position));
      }
      for (int at : lanes.empty) to[at] = 0.0f;
      to += rows * Vec::kLanes;
    }
  }

  const Group& group_;
  const Run& run_;
  const bool backward_;
  std::array<ChannelState, Plan::kStretch> states_;
  float* rows_;
  float* small_;
  float* turned_;     // B transposed
  float* diagonals_;  // of B
};

}  // namespace neonext
