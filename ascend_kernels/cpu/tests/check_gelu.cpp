// Checks of the GELU in the MLP, vector by vector.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "driver.h"
#include "gelu.h"
#include "plan.h"

namespace neonext {
namespace {

// GELU's error in units of the last place of float32: of the value for y, of 1 for the slope, which crosses zero.
template <int terms>
void CheckGelu(double limit, double slope_limit) {
  Aligned<float> x, y, slope;
  for (int i = -140000; i <= 100000; ++i) x.push_back(static_cast<float>(i / 10007.0));
  for (float special : {0.0f, -0.0f, 1e-30f, -1e-30f, 1e-42f, -12.99f, -13.5f, 50.0f, -50.0f, 3e38f, -3e38f}) {
    x.push_back(special);
  }
  const size_t infinite = x.size();
  for (float special : {INFINITY, -INFINITY, NAN}) x.push_back(special);
  x.resize((x.size() + Vec::kLanes - 1) / Vec::kLanes * Vec::kLanes);
  y.resize(x.size()), slope.resize(x.size());
  alignas(64) float alone[Vec::kLanes];
  for (size_t i = 0; i < x.size(); i += Vec::kLanes) {
    const GeluAndSlope both = GeluWithSlope<terms>(Vec::Load(&x[i]));
    Vec::Store(&y[i], both.gelu);
    Vec::Store(alone, Gelu<terms>(Vec::Load(&x[i])));
    for (int lane = 0; lane < Vec::kLanes; ++lane) {
      const float other = y[i + lane];
      ExpectCode("gelu alone", alone[lane] == other || (std::isnan(alone[lane]) && std::isnan(other)), 1);
      Aligned<float> same(Vec::kLanes, x[i + lane]);  // whatever its neighbours are
      Vec::Store(&same[0], Gelu<terms>(Vec::Load(&same[0])));
      ExpectCode("gelu beside others", same[0] == other || (std::isnan(same[0]) && std::isnan(other)), 1);
    }
    Vec::Store(&slope[i], both.slope);
  }
  double worst_y = 0, worst_slope = 0;
  const double unit = 1.0 / 16777216, smallest = 1.2e-38;
  for (size_t i = 0; i < infinite; ++i) {
    const double want = GoldenGelu(x[i]);
    if (std::fabs(want) < smallest) {  // may be flushed
      ExpectCode("gelu below the smallest normal number", std::fabs(y[i]) < smallest, 1);
      continue;
    }
    worst_y = std::max(worst_y, std::fabs(y[i] - want) / std::fabs(want) / unit);
    worst_slope = std::max(worst_slope, std::fabs(slope[i] - GoldenGeluSlope(x[i])) / unit);
  }
  std::printf("gelu of %d terms: largest error %.3g units in the last place, slope %.3g\n", terms, worst_y,
              worst_slope);
  ExpectCode("gelu's error above its limit", !(worst_y <= limit), 0);
  ExpectCode("the slope's error above its limit", !(worst_slope <= slope_limit), 0);
  const float* special = &y[infinite];
  ExpectCode("gelu of infinity", special[0] == INFINITY && std::fabs(special[1]) < 1.2e-38f && std::isnan(special[2]),
             1);
}

}  // namespace

void CheckGelu() {
  CheckGelu<GeluIntervals::kTerms>(8, 4);
  // What rounding to bfloat16 may change; the slope's is an absolute one.
  CheckGelu<GeluIntervals::kRoughTerms>(1 << 15, 128);
}

}  // namespace neonext
