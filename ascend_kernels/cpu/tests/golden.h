// NeoCell and GELU in double precision, straight from their definitions.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "plan.h"

namespace neonext {

inline int FloorDiv(int a, int b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

// An element of a matrix that lies in a diagonal block, and its place in the block.
struct Element {
  int row, col, at;
};

// Those of a matrix of so many rows and columns with r x q blocks on its diagonal and one block's corner at (s, s).
inline std::vector<Element> Elements(int rows, int cols, int r, int q, int s) {
  std::vector<Element> found;
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < cols; ++j) {
      const int block = FloorDiv(i - s, r);
      if (block == FloorDiv(j - s, q)) found.push_back({i, j, (i - s - block * r) * q + (j - s - block * q)});
    }
  return found;
}

struct GoldenCell {
  std::vector<Group> groups;
  int n, c, h, w, h_out, w_out;  // c planes an image
  int copies;                    // planes in a row that are one channel's
  std::vector<std::vector<double>> left, right, dleft, dright;
  std::vector<double> x, bias, y, dy, dx, dbias;

  // Channel `channel` of the cell: its group, its number in the group, its shifts.
  void locate(int channel, int& g, int& in_group, int& s, int& t) const {
    g = 0;
    while (channel >= groups[g].channels) channel -= groups[g++].channels;
    in_group = channel;
    const auto shift = [&](int k, int step) {
      if (!step) return 0;
      const int count = (k - 1) / step + 1, size = groups[g].channels / count;
      const int i = size ? in_group / size : count - 1;
      return (i < count ? i : count - 1) * step;
    };
    s = shift(groups[g].h_in, groups[g].shift_left);
    t = shift(groups[g].w_in, groups[g].shift_right);
  }

  void Run() {
    y.assign(size_t(n) * c * h_out * w_out, 0.0);
    dx.assign(size_t(n) * c * h * w, 0.0);
    dbias.assign(c / copies, 0.0);
    dleft.clear(), dright.clear();
    for (size_t g = 0; g < groups.size(); ++g) {
      dleft.emplace_back(left[g].size(), 0.0);
      dright.emplace_back(right[g].size(), 0.0);
    }
    std::vector<double> t_rows(size_t(h_out) * w), dt(size_t(h_out) * w);
    for (int number = 0; number < c; ++number) {
      const int channel = number / copies;
      int g, in_group, s, t;
      locate(channel, g, in_group, s, t);
      const Group& o = groups[g];
      const double* a = left[g].data() + size_t(in_group) * o.h_out * o.h_in;
      const double* b = right[g].data() + size_t(in_group) * o.w_in * o.w_out;
      double* da = dleft[g].data() + size_t(in_group) * o.h_out * o.h_in;
      double* db = dright[g].data() + size_t(in_group) * o.w_in * o.w_out;
      const std::vector<Element> lefts = Elements(h_out, h, o.h_out, o.h_in, s);
      const std::vector<Element> rights = Elements(w, w_out, o.w_in, o.w_out, t);
      for (int image = 0; image < n; ++image) {
        const size_t plane = size_t(image) * c + number;
        const double* xp = x.data() + plane * h * w;
        const double* dyp = dy.data() + plane * h_out * w_out;
        double* yp = y.data() + plane * h_out * w_out;
        double* dxp = dx.data() + plane * h * w;
        t_rows.assign(t_rows.size(), 0.0);
        dt.assign(dt.size(), 0.0);
        for (const Element& e : lefts)
          for (int j = 0; j < w; ++j) t_rows[e.row * w + j] += a[e.at] * xp[e.col * w + j];
        for (int i = 0; i < h_out * w_out; ++i) yp[i] = bias[channel], dbias[channel] += dyp[i];
        for (int i = 0; i < h_out; ++i)
          for (const Element& e : rights) {
            const double dy_value = dyp[i * w_out + e.col];
            yp[i * w_out + e.col] += t_rows[i * w + e.row] * b[e.at];
            dt[i * w + e.row] += dy_value * b[e.at];
            db[e.at] += t_rows[i * w + e.row] * dy_value;
          }
        for (const Element& e : lefts)
          for (int j = 0; j < w; ++j) {
            dxp[e.col * w + j] += a[e.at] * dt[e.row * w + j];
            da[e.at] += dt[e.row * w + j] * xp[e.col * w + j];
          }
      }
    }
  }
};

inline double GoldenGelu(double x) { return 0.5 * x * std::erfc(-x * std::sqrt(0.5)); }

inline double GoldenGeluSlope(double x) {
  return 0.5 * std::erfc(-x * std::sqrt(0.5)) + x * std::exp(-0.5 * x * x) * 0.3989422804014326779;
}

// To the nearest number in bfloat16, ties to even.
inline double ToBfloat16(double v) {
  if (v == 0.0) return v;
  int exponent;
  std::frexp(v, &exponent);
  return std::ldexp(std::nearbyint(std::ldexp(v, 8 - exponent)), exponent - 8);
}

inline std::vector<double> ToBfloat16(std::vector<double> values) {
  for (double& v : values) v = ToBfloat16(v);
  return values;
}

// y = W2 gelu(W1 x + b1) + b2 at every pixel, and its gradients, by their definitions. rounded: what enters a product
// is rounded to bfloat16.
struct GoldenMlp {
  int n, c, hidden, length;
  std::vector<double> x, w1, b1, w2, b2, dy;
  std::vector<double> y, dx, dw1, db1, dw2, db2;

  void Run(bool rounded = false) {
    y.assign(x.size(), 0.0), dx.assign(x.size(), 0.0);
    dw1.assign(w1.size(), 0.0), db1.assign(hidden, 0.0), dw2.assign(w2.size(), 0.0), db2.assign(c, 0.0);
    const std::vector<double> x = rounded ? ToBfloat16(this->x) : this->x,
                              w1 = rounded ? ToBfloat16(this->w1) : this->w1;
    const std::vector<double> w2 = rounded ? ToBfloat16(this->w2) : this->w2,
                              dy = rounded ? ToBfloat16(this->dy) : this->dy;
    const auto enter = [&](double v) { return rounded ? ToBfloat16(v) : v; };
    const auto at = [&](int image, int channel, int pixel) { return (size_t(image) * c + channel) * length + pixel; };
    for (int i = 0; i < n; ++i)
      for (int p = 0; p < length; ++p) {
        for (int o = 0; o < c; ++o) y[at(i, o, p)] = b2[o], db2[o] += this->dy[at(i, o, p)];
        for (int m = 0; m < hidden; ++m) {
          double h = b1[m], dg = 0;
          for (int o = 0; o < c; ++o) h += w1[size_t(m) * c + o] * x[at(i, o, p)];
          for (int o = 0; o < c; ++o) y[at(i, o, p)] += w2[size_t(o) * hidden + m] * enter(GoldenGelu(h));
          h = enter(h);  // as it is kept
          const double gelu = enter(GoldenGelu(h));
          for (int o = 0; o < c; ++o) {
            const size_t w = size_t(o) * hidden + m;
            dg += w2[w] * dy[at(i, o, p)];
            dw2[w] += gelu * dy[at(i, o, p)];
          }
          const double dh = enter(dg * GoldenGeluSlope(h));
          db1[m] += dh;
          for (int o = 0; o < c; ++o) {
            dx[at(i, o, p)] += w1[size_t(m) * c + o] * dh;
            dw1[size_t(m) * c + o] += dh * x[at(i, o, p)];
          }
        }
      }
  }
};

// y = W x + b at every pixel, and its gradients, likewise.
struct GoldenPointwise {
  int n, c, out, length;
  std::vector<double> x, w, b, dy;
  std::vector<double> y, dx, dw, db;

  void Run(bool rounded = false) {
    y.assign(dy.size(), 0.0), dx.assign(x.size(), 0.0), dw.assign(w.size(), 0.0), db.assign(out, 0.0);
    const std::vector<double> x = rounded ? ToBfloat16(this->x) : this->x, w = rounded ? ToBfloat16(this->w) : this->w;
    const std::vector<double> dy = rounded ? ToBfloat16(this->dy) : this->dy;
    for (int i = 0; i < n; ++i)
      for (int o = 0; o < out; ++o)
        for (int p = 0; p < length; ++p) {
          const size_t at = (size_t(i) * out + o) * length + p;
          y[at] = b[o];
          db[o] += this->dy[at];
          for (int m = 0; m < c; ++m) {
            const size_t from = (size_t(i) * c + m) * length + p, weight = size_t(o) * c + m;
            y[at] += w[weight] * x[from];
            dx[from] += w[weight] * dy[at];
            dw[weight] += dy[at] * x[from];
          }
        }
  }
};

}  // namespace neonext
