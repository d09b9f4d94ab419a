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

  float* Next() { return rows + count * (S::kHIn + S::kHOut) * Vec::kLanes; }

  // The last tile becomes two: one with the first `cut` rows of a block, one with the others.
  void Split(int cut) {
    float* const first = Next();
    ++count;
    float* const second = Next();
    for (int i = 0; i < 2 * S::kHIn; ++i) {
      float* const at = first + i * Vec::kLanes;
      const bool stays = i % S::kHIn < cut;
      Vec::Store(second + i * Vec::kLanes, stays ? Vec::Zero() : Vec::Load(at));
      if (!stays) Vec::Store(at, Vec::Zero());
    }
  }

  // Adds to rows first.. of dA what the tiles give.
  template <int count_rows>
  void sum_rows(int first, float* sum_a) const {
    Vec::F sum[count_rows][S::kHIn];
    float* const to = sum_a + first * S::kHIn * Vec::kLanes;
    for (int i = 0; i < count_rows; ++i) {
      for (int p = 0; p < S::kHIn; ++p) sum[i][p] = Vec::Load(to + (i * S::kHIn + p) * Vec::kLanes);
    }
    const float* x = rows;
    for (int tile = 0; tile < count; ++tile, x += (S::kHIn + S::kHOut) * Vec::kLanes) {
      const float* const dt = x + (S::kHIn + first) * Vec::kLanes;
      Vec::F dt_row[count_rows];
      for (int i = 0; i < count_rows; ++i) dt_row[i] = Vec::Load(dt + i * Vec::kLanes);
      for (int p = 0; p < S::kHIn; ++p) {
        const Vec::F x_row = Vec::Load(x + p * Vec::kLanes);
        for (int i = 0; i < count_rows; ++i) sum[i][p] = Vec::Fma(dt_row[i], x_row, sum[i][p]);
      }
    }
    for (int i = 0; i < count_rows; ++i) {
      for (int p = 0; p < S::kHIn; ++p) Vec::Store(to + (i * S::kHIn + p) * Vec::kLanes, sum[i][p]);
    }
  }

  void Sum(float* sum_a) {
    constexpr int kRegisters = Vec::kLanes == 16 ? 32 : 16;
    constexpr int kRows = std::min(S::kHOut, (kRegisters - 2) / (S::kHIn + 1));
    int i = 0;
    for (; i + kRows <= S::kHOut; i += kRows) sum_rows<kRows>(i, sum_a);
    for (; i < S::kHOut; ++i) sum_rows<1>(i, sum_a);
    count = 0;
  }
};

// One tile: dX, and all that dA waits for. cut: Run::cut if `block` is the one that is cut in two, else 0.
template <class S, int planes, class T>
[[gnu::always_inline]] inline void BackwardTile(const Plan& plan, const ChannelState& channel, const Column& column,
                                                const Block& block, int cut, const T* const* x, const T* const* dy,
                                                T* const* dx, float* kept, float* t_rows) {
  const ptrdiff_t w = plan.w, w_out = plan.w_out;  // stores might be to anywhere, as far as the compiler knows
  const float* const a = cut ? channel.a_cut : channel.a;
  const bool whole = block.in.count == S::kHIn && block.out.count == S::kHOut;
  // Row p of the block is this row of the plane, if it is inside.
  const int in_from[] = {block.in.at - block.in.first, -cut}, out_from[] = {block.out.at - block.out.first, -cut};
  const int split = cut ? cut : S::kHIn + S::kHOut;
  const auto in_row = [&](int p) { return ptrdiff_t(in_from[p >= split] + p); };
  const auto out_row = [&](int i) { return ptrdiff_t(out_from[i >= split] + i); };
  const auto inside = [&](const Span& span, int i) {
    return whole || cut || (i >= span.first && i < span.first + span.count);
  };

  Vec::F x_row[S::kHIn];
  for (int p = 0; p < S::kHIn; ++p) {
    x_row[p] = inside(block.in, p) ? Vec::Load<planes>(x, in_row(p) * w + column.in_at, column.in_mask) : Vec::Zero();
    Vec::Store(kept + p * Vec::kLanes, x_row[p]);
  }
  for (int i = 0; i < S::kHOut; ++i) {
    const auto left = [&](int p) { return Vec::Set1(a[i * S::kHIn + p]); };
    Vec::Store(t_rows + i * Vec::kLanes, Dot<S::kHIn>(left, [&](int p) { return x_row[p]; }));
  }

  float* const dt_rows = kept + S::kHIn * Vec::kLanes;
  {
    const int at = column.b_at;
    Vec::F b_t[S::kWOut], sum_b[S::kWOut], sum_y = Vec::Load(channel.sum_y);
    Vec::I lane_of[S::kWOut];
    for (int q = 0; q < S::kWOut; ++q) {
      b_t[q] = Vec::Load(channel.b_t + at + q * Vec::kLanes);
      sum_b[q] = Vec::Load(channel.sum_b + at + q * Vec::kLanes);
      lane_of[q] = Vec::LoadIndex(column.lane_of + q * Vec::kLanes);
    }
    for (int i = 0; i < S::kHOut; ++i) {
      if (!inside(block.out, i)) {
        Vec::Store(dt_rows + i * Vec::kLanes, Vec::Zero());
        continue;
      }
      const Vec::F dy_row = Vec::Load<planes>(dy, out_row(i) * w_out + column.out_at, column.out_mask);
      const Vec::F t = Vec::Load(t_rows + i * Vec::kLanes);
      Vec::F term[S::kWOut];
      for (int q = 0; q < S::kWOut; ++q) {
        term[q] = S::kWIn == S::kWOut && q == 0 ? dy_row : Vec::Permute(dy_row, lane_of[q]);
        sum_b[q] = Vec::Fma(term[q], t, sum_b[q]);
      }
      sum_y = Vec::Add(sum_y, dy_row);
      const Vec::F dt = Dot<S::kWOut>([&](int q) { return term[q]; }, [&](int q) { return b_t[q]; });
      Vec::Store(dt_rows + i * Vec::kLanes, dt);
    }
    for (int q = 0; q < S::kWOut; ++q) Vec::Store(channel.sum_b + at + q * Vec::kLanes, sum_b[q]);
    Vec::Store(channel.sum_y, sum_y);
  }

  Vec::F dt_row[S::kHOut];
  for (int i = 0; i < S::kHOut; ++i) dt_row[i] = Vec::Load(dt_rows + i * Vec::kLanes);
  for (int p = 0; p < S::kHIn; ++p) {
    if (!inside(block.in, p)) continue;
    const auto left = [&](int i) { return Vec::Set1(a[i * S::kHIn + p]); };
    const Vec::F value = Dot<S::kHOut>(left, [&](int i) { return dt_row[i]; });
    Vec::Store<planes>(dx, in_row(p) * w + column.in_at, column.in_mask, value);
  }
}

// dX of `channels` channels of `images` images, x, dy and dx being the first plane; dA, dB and dBias are added to the
// sums of the channels.
template <class S, int planes, class T>
void BackwardPlanes(const Plan& plan, const Run& run, Workspace& work, int channels, int images, const T* x,
                    const T* dy, T* dx) {
  const bool fetch = planes == 1 && WorthFetching<T>(plan, channels);
  const ptrdiff_t in = ptrdiff_t(plan.h) * plan.w, out = ptrdiff_t(plan.h_out) * plan.w_out;
  const Block *const rows = run.rows.data(), *const last_row = rows + run.rows.size();
  const int run_cut = run.cut, steps = (images + planes - 1) / planes;
  float* const t_rows = work.rows();
  KeptTiles<S> kept{t_rows + S::kHOut * Vec::kLanes};
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
          count = FillColumns<planes, S::kWOut>(run, &Pattern::backward, first, present, columns);
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
              FetchAhead<S::kHIn, false>(xs[0] + ptrdiff_t(block.in.at) * plan.w, first + c);
              FetchAhead<S::kHOut, false>(dys[0] + ptrdiff_t(block.out.at) * plan.w_out, first + c);
              FetchAhead<S::kHIn, true>(dxs[0] + ptrdiff_t(block.in.at) * plan.w, first + c);
            }
            if (kept.count + 1 + (cut > 0) > Workspace::kTiles) kept.Sum(state.sum_a);
            BackwardTile<S, planes>(plan, state, columns[c], block, cut, xs, dys, dxs, kept.Next(), t_rows);
            if (cut) kept.Split(cut);
            ++kept.count;
          }
        }
        if (planes == 1 || n == inner - 1) kept.Sum(state.sum_a);
      }
    }
  }
}

}  // namespace neonext
