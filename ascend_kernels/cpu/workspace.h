// What a thread keeps of the channels it works on: coefficients in the order that the arithmetic wants, sums of gradients.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>

#include "arguments.h"
#include "half.h"
#include "plan.h"
#include "simd.h"

namespace neonext {

// Block sizes known when this is compiled; 0 is any size.
template <int HO, int HI, int WI, int WO>
struct Shape {
  static constexpr int h_out = HO, h_in = HI, w_in = WI, w_out = WO;
};

// One channel. Where blocks are wider than a vector (Run::vectorised), b is (w_in, w_out), the sums are whole matrices
// and b_t is not there.
struct ChannelState {
  float* a;      // (h_out, h_in)
  float* b;      // (patterns, w_in, lanes): B_p
  float* b_t;    // (patterns, w_out, lanes): the same for the transposed product
  float* sum_a;  // (h_out, h_in, lanes): dA, not yet summed over lanes
  float* sum_b;  // (patterns, w_out, lanes): dB, likewise
  float* sum_y;  // (lanes): dBias, likewise
  float bias;
};

inline void read_floats(const Tensor& from, int64_t at, int64_t count, float* to) {
  if (from.type == Type::f32) {
    std::memcpy(to, static_cast<const float*>(from.data) + at, count * sizeof(float));
  } else {
    for (int64_t i = 0; i < count; ++i) to[i] = to_float(static_cast<const Half*>(from.data)[at + i]);
  }
}

inline void write_floats(const float* from, int64_t count, const Tensor& to, int64_t at) {
  if (to.type == Type::f32) {
    std::memcpy(static_cast<float*>(to.data) + at, from, count * sizeof(float));
  } else {
    for (int64_t i = 0; i < count; ++i) static_cast<Half*>(to.data)[at + i] = to_half(from[i]);
  }
}

// Memory for some channels of a run, kept for the thread's next task.
class Workspace {
 public:
  static constexpr int kChannels = 8;

  Workspace(const Plan& plan, const Run& run, int channels, bool backward)
      : group_(plan.groups[run.group]), run_(run), backward_(backward) {
    const size_t vectors = run.patterns.size() * Vec::lanes;
    const size_t left = group_.h_out * group_.h_in, right = group_.w_in * group_.w_out;
    const size_t width = run.vectorised ? Vec::lanes : plan.w;
    const auto whole = [](size_t count) { return (count + 15) / 16 * 16; };
    size_t state[] = {whole(left), whole(vectors * group_.w_in), 0, 0, 0, 0};
    if (!run.vectorised) state[1] = whole(right);
    if (backward) {
      state[2] = whole(vectors * group_.w_out);
      state[3] = run.vectorised ? left * Vec::lanes : whole(left);
      state[4] = run.vectorised ? whole(vectors * group_.w_out) : whole(right);
      state[5] = 16;
    }
    size_t each = 0;
    for (size_t part : state) each += part;
    const size_t rows = (group_.h_in + group_.h_out + 2) * whole(width) + whole(left) + whole(right);
    const size_t size = channels * each + rows + 2 * whole(right);
    thread_local Aligned<float> memory;
    if (memory.size() < size) memory.resize(size);
    float* at = memory.data();
    for (int c = 0; c < channels; ++c) {
      float* part[6];
      for (int i = 0; i < 6; ++i) part[i] = at, at += state[i];
      if (backward) std::fill(part[3], at, 0.0f);
      states_[c] = {part[0], part[1], part[2], part[3], part[4], part[5], 0.0f};
    }
    rows_ = at;
    small_ = at + rows;
    turned_ = small_ + whole(right);
  }

  ChannelState& operator[](int channel) { return states_[channel]; }
  float* rows() { return rows_; }

  // Fill in the coefficients of channel c of the group.
  void load(const Call& call, ChannelState& state, int c) {
    const int w_in = group_.w_in, w_out = group_.w_out;
    const int64_t left = group_.h_out * group_.h_in, right = w_in * w_out;
    read_floats(call.left[run_.group], c * left, left, state.a);
    float* b = run_.vectorised ? small_ : state.b;
    read_floats(call.right[run_.group], c * right, right, b);
    if (!run_.vectorised) return;
    for (int p = 0; backward_ && p < w_in; ++p) {
      for (int q = 0; q < w_out; ++q) turned_[q * w_in + p] = b[p * w_out + q];
    }
    for (size_t i = 0; i < run_.patterns.size(); ++i) {
      spread(b, w_in, w_out, run_.patterns[i].forward, state.b + i * w_in * Vec::lanes);
      if (backward_) spread(turned_, w_out, w_in, run_.patterns[i].backward, state.b_t + i * w_out * Vec::lanes);
    }
  }

  // Sum a channel's gradients over lanes, in place: dA at sum_a, dB at b (no longer needed), dBias at sum_y.
  void reduce(ChannelState& state) {
    if (!run_.vectorised) {
      state.b = state.sum_b;
      return;
    }
    for (int i = 0; i < group_.h_out * group_.h_in; ++i) state.a[i] = Vec::sum(Vec::load(state.sum_a + i * Vec::lanes));
    state.sum_a = state.a;
    std::fill_n(small_, group_.w_in * group_.w_out, 0.0f);
    for (size_t i = 0; i < run_.patterns.size(); ++i) {
      const float* sum = state.sum_b + i * group_.w_out * Vec::lanes;
      const Lanes& lanes = run_.patterns[i].backward;
      for (int at : lanes.filled) small_[lanes.position[at] * group_.w_out + at / Vec::lanes] += sum[at];
    }
    state.b = small_;
    state.sum_y[0] = Vec::sum(Vec::load(state.sum_y));
  }

 private:
  // rows of m (rows, width), each lane with the value at its position, zero where it has none.
  static void spread(const float* m, int rows, int width, const Lanes& lanes, float* to) {
    const auto mask = Vec::mask<1>(width, 1);
    for (int r = 0; r < rows; ++r, m += width) {
      const Vec::I position = Vec::load_index(lanes.position.data() + r * Vec::lanes);
      Vec::store(to + r * Vec::lanes, Vec::permute(Vec::load<1>(&m, 0, mask), position));
    }
    for (int at : lanes.empty) to[at] = 0.0f;
  }

  const Group& group_;
  const Run& run_;
  const bool backward_;
  std::array<ChannelState, kChannels> states_;
  float* rows_;
  float* small_;
  float* turned_;
};

}  // namespace neonext
