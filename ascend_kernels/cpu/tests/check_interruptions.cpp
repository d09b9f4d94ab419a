// Products go on as if nothing had happened: across signals whose handler uses the tile registers itself, and in both
// processes after a fork.
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>

#include "driver.h"
#include "operand.h"

namespace neonext {
namespace {

volatile sig_atomic_t g_interruptions = 0;

void Interrupt(int) {
  ++g_interruptions;
#if defined(NEONEXT_AMX) && !defined(NEONEXT_EMULATED_AMX)  // an emulator's registers are not saved by the system
  alignas(64) uint32_t words[2 * kTile * kTile] = {};
  alignas(64) float sums[4 * kTile * kTile];
  const AmxSession session;
  MultiplyTiles(words, 2 * kTile * kTile, words, words, kTile, sums, sums + 2 * kTile * kTile);
#endif
}

// A pointwise layer with products in bfloat16, large enough that signals meet it.
struct Layer {
  std::vector<Buffer> own;  // x, w, b, y

  Layer() {
    const std::vector<int64_t> image{2, 96, 28, 28}, result{2, 384, 28, 28}, w{384, 96}, b{384};
    for (const auto& shape : {image, w, b}) {
      std::vector<double> values(Buffer(shape, false).size());
      for (double& value : values) value = RandomValue();
      own.emplace_back(shape, false, values);
    }
    own.emplace_back(result, false);
  }
  std::vector<char> Run() {
    std::fill(own[3].bytes.begin(), own[3].bytes.end(), '\xff');
    ExpectCode("pointwise", CallOperator(pointwise_forward_bfloat16, {&own[0], &own[1], &own[2], &own[3]}), 0);
    return own[3].bytes;
  }
};

}  // namespace

int CheckInterruptions() {
  Layer layer;
  const std::vector<char> undisturbed = layer.Run();
  struct sigaction action{};
  action.sa_handler = Interrupt;
  sigaction(SIGPROF, &action, nullptr);
  const itimerval often{{0, 1000}, {0, 1000}}, never{};  // of processor time, so of the threads that compute
  setitimer(ITIMER_PROF, &often, nullptr);
  for (int round = 0; round < 2000 && g_interruptions < 100; ++round) {
    ExpectCode("bits beside signals", layer.Run() == undisturbed, 1);
  }
  setitimer(ITIMER_PROF, &never, nullptr);
  ExpectCode("signals met", g_interruptions > 0, 1);
  for (int round = 0; round < 4; ++round) {
    const pid_t child = fork();
    const bool same = layer.Run() == undisturbed;
    if (child == 0) _exit(same && !g_failures ? 0 : 1);
    int status = -1;
    waitpid(child, &status, 0);
    ExpectCode("bits of a child", status, 0);
    ExpectCode("bits after a fork", same, 1);
  }
  std::printf("%s, bfloat16: %s, %d signals\n", neonext_simd(), neonext_bfloat16(), static_cast<int>(g_interruptions));
  return g_failures;
}

}  // namespace neonext
