// BatchNorm over images and pixels: y = (x - mean) / sqrt(variance + eps) gamma + beta, a channel at a time.
//
// A task has some neighbouring channels, few enough that they are still in the second cache when, after the sums, they
// are read again for the result. Sums are of differences to one of the channel's own values, some thousand of them in
// float32 and those in double: a mean far from zero costs no digits.
#include <algorithm>
#include <cmath>
#include <vector>

#include "neonext_cpu.h"
#include "pixels.h"
#include "tensor.h"

namespace neonext {
namespace {

constexpr int kMost = 64;             // channels of a task
constexpr int64_t kFits = 384 << 10;  // bytes of a task, of each tensor
constexpr int64_t kInFloat = 4096;    // values that are summed in float32

// Channels first .. first + count - 1 of tensors (N, of, L).
struct Channels {
  const Pixels& pixels;
  int of, first, count;

  // Calls work(channel of them, place in the tensor) for the planes of some images.
  template <class Work>
  void EachPlane(int64_t image, int64_t last, Work work) const {
    for (; image < last; ++image) {
      for (int c = 0; c < count; ++c) work(c, (image * of + first + c) * pixels.length);
    }
  }
};

// Calls work(channels) for all of them, a few at a time.
template <class T, class Work>
void EachChannels(const Pixels& pixels, int channels, Work work) {
  const int64_t bytes = std::max<int64_t>(1, pixels.count() * sizeof(T));
  const int fit = static_cast<int>(std::clamp<int64_t>(kFits / bytes, 1, kMost));
  const int tasks = std::max(Parts(channels, fit), std::min(channels, ThreadCount()));
  const auto begin = [&](int i) { return static_cast<int>(int64_t(channels) * i / tasks); };
  ParallelFor(tasks, [&](int i) { work(Channels{pixels, channels, begin(i), begin(i + 1) - begin(i)}); });
}

struct Sums {
  double first = 0, second = 0;
};

// Of every channel: the sums of what term(channel, place in the tensor, mask) gives for all vectors of its pixels.
struct Terms {
  Vec::F first, second;
};
template <class Term>
void SumTerms(const Channels& own, Term term, Sums* sums) {
  const int64_t images = own.pixels.images, length = own.pixels.length;
  const int64_t step = std::max<int64_t>(1, kInFloat / std::max<int64_t>(1, length));
  alignas(64) float lanes[kMost][2][Vec::kLanes];
  for (int64_t image = 0; image < images; image += step) {
    std::fill_n(&lanes[0][0][0], own.count * 2 * Vec::kLanes, 0.0f);
    own.EachPlane(image, std::min(images, image + step), [&](int c, int64_t start) {
      Vec::F even = Vec::Load(lanes[c][0]), odd = Vec::Zero();  // two chains: each addition waits for the one before it
      Vec::F even2 = Vec::Load(lanes[c][1]), odd2 = Vec::Zero();
      for (int64_t i = 0; i < length;) {
        const int64_t end = std::min(length, i + kInFloat);
        for (; i + 2 * Vec::kLanes <= end; i += 2 * Vec::kLanes) {
          const auto all = Vec::MakeMask<1>(Vec::kLanes, 1);
          const Terms a = term(c, start + i, all), b = term(c, start + i + Vec::kLanes, all);
          even = Vec::Add(even, a.first), even2 = Vec::Add(even2, a.second);
          odd = Vec::Add(odd, b.first), odd2 = Vec::Add(odd2, b.second);
        }
        if (end < length) {  // of a long plane
          sums[c].first += Vec::Sum(Vec::Add(even, odd)), sums[c].second += Vec::Sum(Vec::Add(even2, odd2));
          even = odd = even2 = odd2 = Vec::Zero();
          continue;
        }
        for (; i < length; i += Vec::kLanes) {
          const int left = static_cast<int>(std::min<int64_t>(Vec::kLanes, length - i));
          const Terms a = term(c, start + i, Vec::MakeMask<1>(left, 1));
          even = Vec::Add(even, a.first), even2 = Vec::Add(even2, a.second);
        }
      }
      Vec::Store(lanes[c][0], Vec::Add(even, odd));
      Vec::Store(lanes[c][1], Vec::Add(even2, odd2));
    });
    for (int c = 0; c < own.count; ++c) {
      sums[c].first += Vec::Sum(Vec::Load(lanes[c][0]));
      sums[c].second += Vec::Sum(Vec::Load(lanes[c][1]));
    }
  }
}

template <class T>
struct ForwardTensors {
  const T* x;
  const float *gamma, *beta;
  float *moving_mean, *moving_variance;
  float *mean, *scale, *factor;
  float eps, kept;
};

template <class T>
void Statistics(const Channels& own, const ForwardTensors<T>& a) {
  const double count = static_cast<double>(own.pixels.count());
  alignas(64) float near[kMost][Vec::kLanes];
  Sums sums[kMost];
  for (int c = 0; c < own.count; ++c) {
    std::fill_n(near[c], Vec::kLanes, ToFloat(a.x[(own.first + c) * own.pixels.length]));
  }
  SumTerms(
      own,
      [&](int c, int64_t at, Vec::Mask m) {
        const float* of_channel = near[c];
        const Vec::F d = Vec::Sub(Vec::Load<1>(&a.x, at, m), Vec::Load<1>(&of_channel, 0, m));  // zero beyond the mask
        return Terms{d, Vec::Mul(d, d)};
      },
      sums);
  for (int c = 0; c < own.count; ++c) {
    const int channel = own.first + c;
    const double shift = sums[c].first / count, variance = std::max(sums[c].second / count - shift * shift, 0.0);
    const float scale = static_cast<float>(1 / std::sqrt(variance + a.eps));
    a.mean[channel] = static_cast<float>(near[c][0] + shift), a.scale[channel] = scale;
    const auto move = [&](float& moving, double now) {
      moving = static_cast<float>(a.kept * moving + (1 - a.kept) * now);
    };
    move(a.moving_mean[channel], near[c][0] + shift);
    move(a.moving_variance[channel], variance * count / std::max(1.0, count - 1));  // as MindSpore's does
    a.factor[channel] = scale * a.gamma[channel];
  }
}

// y = (x - mean) factor + beta.
template <class T>
void Normalise(const Channels& own, const T* in, const float* means, const float* factors, const float* betas, T* out) {
  Vec::F mean[kMost], factor[kMost], beta[kMost];
  for (int c = 0; c < own.count; ++c) {
    const int channel = own.first + c;
    mean[c] = Vec::Set1(means[channel]), factor[c] = Vec::Set1(factors[channel]), beta[c] = Vec::Set1(betas[channel]);
  }
  own.EachPlane(0, own.pixels.images, [&](int c, int64_t start) {
    T* y = out + start;
    const T* x = in + start;
    EachVector(static_cast<int>(own.pixels.length), [&](int i, Vec::Mask m) {
      Vec::Store<1>(&y, i, m, Vec::Fma(Vec::Sub(Vec::Load<1>(&x, i, m), mean[c]), factor[c], beta[c]));
    });
  });
}

template <class T>
struct BackwardTensors {
  const T *x, *dy;
  const float *mean, *scale, *factor;
  T* dx;
  float *dgamma, *dbeta;
};

// With x^ = (x - mean) scale: dbeta = sum(dy), dgamma = sum(dy x^), dx = factor (dy - mean(dy) - x^ mean(dy x^)).
template <class T>
void Backward(const Channels& own, const BackwardTensors<T>& a) {
  const double count = static_cast<double>(own.pixels.count());
  Vec::F mean[kMost], factor[kMost], of_x[kMost], rest[kMost];
  Sums sums[kMost];
  for (int c = 0; c < own.count; ++c) mean[c] = Vec::Set1(a.mean[own.first + c]);
  SumTerms(
      own,
      [&](int c, int64_t at, Vec::Mask m) {
        const Vec::F dy = Vec::Load<1>(&a.dy, at, m);  // zero beyond the mask, where x - mean is not
        return Terms{dy, Vec::Mul(dy, Vec::Sub(Vec::Load<1>(&a.x, at, m), mean[c]))};
      },
      sums);
  for (int c = 0; c < own.count; ++c) {
    const int channel = own.first + c;
    const double scale = a.scale[channel], dgamma = sums[c].second * scale;
    a.dbeta[channel] = static_cast<float>(sums[c].first);
    a.dgamma[channel] = static_cast<float>(dgamma);
    factor[c] = Vec::Set1(a.factor[channel]);
    of_x[c] = Vec::Set1(static_cast<float>(-a.factor[channel] * scale * dgamma / count));
    rest[c] = Vec::Set1(static_cast<float>(-a.factor[channel] * sums[c].first / count));
  }
  own.EachPlane(0, own.pixels.images, [&](int c, int64_t start) {
    const T *x = a.x + start, *dy = a.dy + start;
    T* dx = a.dx + start;
    EachVector(static_cast<int>(own.pixels.length), [&](int i, Vec::Mask m) {
      const Vec::F along = Vec::Fma(Vec::Sub(Vec::Load<1>(&x, i, m), mean[c]), of_x[c], rest[c]);
      Vec::Store<1>(&dx, i, m, Vec::Fma(Vec::Load<1>(&dy, i, m), factor[c], along));
    });
  });
}

// Whether tensors first .. last - 1 are float32 of a value a channel.
bool AreOfChannels(const Arguments& in, int first, int last, int64_t channels) {
  for (int i = first; i < last; ++i) {
    if (in[i].type != Type::f32 || !in[i].HasShape({channels})) return false;
  }
  return true;
}

// Tensors: numbers, x, gamma, beta, both moving ones; y where it is asked for; mean, scale, factor.
int Forward(const Arguments& in, bool normalise) {
  const Tensor numbers = in[0], x = in[1];
  const int mean = normalise ? 7 : 6;
  if (!x.IsFloat() || numbers.type != Type::f32 || (normalise && in[6].type != x.type)) return NEONEXT_BAD_TYPE;
  if (x.ndim < 2 || x.size() == 0 || !numbers.HasShape({2})) return NEONEXT_BAD_SHAPE;
  if (normalise && !in[6].SameShape(x)) return NEONEXT_BAD_SHAPE;
  const int channels = static_cast<int>(x.shape[1]);
  if (!AreOfChannels(in, 2, 6, channels) || !AreOfChannels(in, mean, mean + 3, channels)) return NEONEXT_BAD_SHAPE;
  return WithType(x.type, [&](auto type) {
    using T = decltype(type);
    const float* number = numbers.As<float>();
    const ForwardTensors<T> tensors{x.As<T>(),
                                    in[2].As<float>(),
                                    in[3].As<float>(),
                                    in[4].As<float>(),
                                    in[5].As<float>(),
                                    in[mean].As<float>(),
                                    in[mean + 1].As<float>(),
                                    in[mean + 2].As<float>(),
                                    number[0],
                                    number[1]};
    const Pixels pixels = PixelsOf(x);
    EachChannels<T>(pixels, channels, [&](const Channels& own) {
      Statistics(own, tensors);
      if (normalise) Normalise(own, tensors.x, tensors.mean, tensors.factor, tensors.beta, in[6].As<T>());
    });
  });
}

}  // namespace
}  // namespace neonext

using namespace neonext;

extern "C" {

int batch_norm_forward(NEONEXT_PARAMETERS) { return nparam == 10 ? Forward(NEONEXT_TENSORS, true) : NEONEXT_BAD_COUNT; }

int batch_norm_statistics(NEONEXT_PARAMETERS) {
  return nparam == 9 ? Forward(NEONEXT_TENSORS, false) : NEONEXT_BAD_COUNT;
}

int batch_norm_apply(NEONEXT_PARAMETERS) {
  if (nparam != 5) return NEONEXT_BAD_COUNT;
  const Arguments in = NEONEXT_TENSORS;
  const Tensor x = in[0], y = in[4];
  if (!x.IsFloat() || y.type != x.type) return NEONEXT_BAD_TYPE;
  if (x.ndim < 2 || !y.SameShape(x) || !AreOfChannels(in, 1, 4, x.shape[1])) return NEONEXT_BAD_SHAPE;
  return WithType(x.type, [&](auto type) {
    using T = decltype(type);
    const Pixels pixels = PixelsOf(x);
    EachChannels<T>(pixels, static_cast<int>(x.shape[1]), [&](const Channels& own) {
      Normalise(own, x.As<T>(), in[1].As<float>(), in[2].As<float>(), in[3].As<float>(), y.As<T>());
    });
  });
}

int batch_norm_backward(NEONEXT_PARAMETERS) {
  if (nparam != 8) return NEONEXT_BAD_COUNT;
  const Arguments in = NEONEXT_TENSORS;
  const Tensor x = in[0], dy = in[1], dx = in[5];
  if (!x.IsFloat() || dy.type != x.type || dx.type != x.type) return NEONEXT_BAD_TYPE;
  if (x.ndim < 2 || x.size() == 0 || !dy.SameShape(x) || !dx.SameShape(x)) return NEONEXT_BAD_SHAPE;
  const int channels = static_cast<int>(x.shape[1]);
  if (!AreOfChannels(in, 2, 5, channels) || !AreOfChannels(in, 6, 8, channels)) return NEONEXT_BAD_SHAPE;
  return WithType(x.type, [&](auto type) {
    using T = decltype(type);
    const BackwardTensors<T> tensors{x.As<T>(),         dy.As<T>(), in[2].As<float>(), in[3].As<float>(),
                                     in[4].As<float>(), dx.As<T>(), in[6].As<float>(), in[7].As<float>()};
    const Pixels pixels = PixelsOf(x);
    EachChannels<T>(pixels, channels, [&](const Channels& own) { Backward(own, tensors); });
  });
}

}  // extern "C"
