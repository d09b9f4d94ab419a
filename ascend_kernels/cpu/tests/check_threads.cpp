// Checks of the threads.
#include <chrono>
#include <thread>

#include "driver.h"

namespace neonext {

// Many small calls in a row on three threads, for a sanitizer that watches them.
int CheckThreads() {
  neonext_set_threads(3);
  Cell small({Square(4, 16, 1), Square(7, 16, 1)}, 8, 14, 14, false);
  for (int i = 0; i < 200; ++i) {
    if (i % 20 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));  // until the helpers sleep
    ExpectCode("forward", small.Forward(), 0);
    ExpectCode("backward", small.Backward(), 0);
  }
  // Two callers at once: one of them works alone.
  std::vector<char> alone = small.Outputs();
  Cell twin = small;
  std::thread other([&] { twin.Forward(), twin.Backward(); });
  small.Forward(), small.Backward();
  other.join();
  ExpectCode("two callers", small.Outputs() == alone && twin.Outputs() == alone, 1);
  return g_failures;
}

}  // namespace neonext
