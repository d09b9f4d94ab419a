// NeoCell for blocks that are wider than a vector: loops, one channel of one image at a time.
#pragma once

#include <algorithm>

#include "half.h"
#include "plan.h"

namespace neonext {

// Y of one plane. a: (h_out, h_in), b: (w_in, w_out), t: scratch of W floats.
template <class T>
void ForwardPlain(const Plan& plan, const Run& run, const float* a, const float* b, float bias, const T* x, T* y,
                  float* t) {
  const Group& group = plan.groups[run.group];
  for (const Block& rows : run.rows) {
    for (int i = 0; i < rows.out.count; ++i) {
      std::fill_n(t, plan.w, 0.0f);
      for (int p = 0; p < rows.in.count; ++p) {
        const float left = a[(rows.out.first + i) * group.h_in + rows.in.first + p];
        const T* row = x + ptrdiff_t(rows.in.at + p) * plan.w;
        for (int w = 0; w < plan.w; ++w) t[w] += left * ToFloat(row[w]);
      }
      T* out = y + ptrdiff_t(rows.out.at + i) * plan.w_out;
      for (const Block& cols : run.cols) {
        for (int o = 0; o < cols.out.count; ++o) {
          float value = bias;
          for (int q = 0; q < cols.in.count; ++q) {
            value += t[cols.in.at + q] * b[(cols.in.first + q) * group.w_out + cols.out.first + o];
          }
          FromFloat(value, out + cols.out.at + o);
        }
      }
    }
  }
}

// dX of one plane; dA, dB and dBias are added to, a plane's sums at a time to keep their rounding errors small. t:
// scratch of (2 + h_in) * W + h_out * h_in + w_in * w_out floats.
template <class T>
void BackwardPlain(const Plan& plan, const Run& run, const float* a, const float* b, const T* x, const T* dy, T* dx,
                   float* sum_a, float* sum_b, float* sum_y, float* t) {
  const Group& group = plan.groups[run.group];
  const int left_size = group.h_out * group.h_in, right_size = group.w_in * group.w_out;
  float* const dt = t + plan.w;
  float* const out = dt + plan.w;
  float* const da = out + group.h_in * plan.w;
  float* const db = da + left_size;
  float dbias = 0.0f;
  std::fill_n(da, left_size + right_size, 0.0f);
  for (const Block& rows : run.rows) {
    std::fill_n(out, size_t(rows.in.count) * plan.w, 0.0f);
    for (int i = 0; i < rows.out.count; ++i) {
      const float* left = a + (rows.out.first + i) * group.h_in + rows.in.first;
      float* const dleft = da + (rows.out.first + i) * group.h_in + rows.in.first;
      const T* dy_row = dy + ptrdiff_t(rows.out.at + i) * plan.w_out;
      std::fill_n(t, plan.w, 0.0f);
      std::fill_n(dt, plan.w, 0.0f);
      for (int p = 0; p < rows.in.count; ++p) {
        const T* row = x + ptrdiff_t(rows.in.at + p) * plan.w;
        for (int w = 0; w < plan.w; ++w) t[w] += left[p] * ToFloat(row[w]);
      }
      for (const Block& cols : run.cols) {
        for (int o = 0; o < cols.out.count; ++o) {
          const float dy_value = ToFloat(dy_row[cols.out.at + o]);
          dbias += dy_value;
          for (int q = 0; q < cols.in.count; ++q) {
            const int at = (cols.in.first + q) * group.w_out + cols.out.first + o;
            dt[cols.in.at + q] += dy_value * b[at];
            db[at] += dy_value * t[cols.in.at + q];
          }
        }
      }
      for (int p = 0; p < rows.in.count; ++p) {
        const T* row = x + ptrdiff_t(rows.in.at + p) * plan.w;
        float sum = 0.0f;
        for (int w = 0; w < plan.w; ++w) {
          out[p * plan.w + w] += left[p] * dt[w];
          sum += dt[w] * ToFloat(row[w]);
        }
        dleft[p] += sum;
      }
    }
    T* const dx_rows = dx + ptrdiff_t(rows.in.at) * plan.w;
    for (int i = 0; i < rows.in.count * plan.w; ++i) FromFloat(out[i], dx_rows + i);
  }
  for (int i = 0; i < left_size; ++i) sum_a[i] += da[i];
  for (int i = 0; i < right_size; ++i) sum_b[i] += db[i];
  *sum_y += dbias;
}

}  // namespace neonext
