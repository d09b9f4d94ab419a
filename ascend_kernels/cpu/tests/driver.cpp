// Test driver and benchmark of the compiled CPU path: `driver check`, `products`, `threads`, `interruptions` or
// `bench`.
#include "driver.h"

#include <algorithm>
#include <chrono>
#include <cstdio>

namespace {

using namespace neonext;

double Seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Median seconds of a call, after one to warm up.
template <class Call>
double Measure(Call run, int rounds = 41) {
  std::vector<double> times;
  run();
  for (int i = 0; i < rounds; ++i) {
    const double start = Seconds();
    run();
    times.push_back(Seconds() - start);
  }
  std::nth_element(times.begin(), times.begin() + rounds / 2, times.end());
  return times[rounds / 2];
}

void Bench() {
  std::printf("%s, %d threads, float32, N = 16; milliseconds, medians\n", neonext_simd(), neonext_threads());
  std::printf("%-16s %9s %9s %9s\n", "C x H x W", "copy", "forward", "backward");
  const int stages[][2] = {{96, 56}, {192, 28}, {384, 14}, {768, 7}};
  for (const auto& [c, size] : stages) {
    std::vector<Group> groups{Square(4, c / 2, 1), Square(7, c / 2, 1)};
    if (size == 7) groups = {Square(7, c, 0)};
    Cell cell(groups, 16, size, size, false);
    const double copy = Measure([&] { CallOperator(neonext_copy, {&cell.own[0], &cell.own[4]}); });
    const double forward = Measure([&] { cell.Forward(); });
    const double backward = Measure([&] { cell.Backward(); });
    std::printf("%3d x %2d x %2d     %9.3f %9.3f %9.3f\n", c, size, size, copy * 1e3, forward * 1e3, backward * 1e3);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string command = argc == 2 ? argv[1] : "";
  if (command == "bench") {
    Bench();
    return 0;
  }
  if (command == "check") return neonext::Check() ? 1 : 0;
  if (command == "products") return neonext::CheckProducts() ? 1 : 0;
  if (command == "threads") return neonext::CheckThreads() ? 1 : 0;
  if (command == "interruptions") return neonext::CheckInterruptions() ? 1 : 0;
  std::fprintf(stderr, "usage: driver check | products | threads | interruptions | bench\n");
  return 2;
}
