#include "timeline.h"

#include <algorithm>
#include <deque>

namespace emulator {

namespace {

struct Issued {
  const Step* step;
  double time;  // when the scalar unit has issued it
};

}  // namespace

// Always advances the pipe whose next step can start first, so that the pipes reach the shared GM bus in order of time.
Times Replay(const std::vector<Step>& steps) {
  Times times{};
  std::deque<Issued> queue[PIPES];
  for (const Step& step : steps) {
    times.issue += ISSUE_CYCLES;
    queue[step.pipe].push_back({&step, times.issue});
  }
  std::vector<std::deque<double>> flags(PIPES * PIPES * EVENT_IDS);
  double ready[PIPES] = {};     // when a pipe can take its next step
  double complete[PIPES] = {};  // when all its steps so far have had their effect
  double bus = 0;
  for (;;) {
    int best = -1;
    double start = 0;
    for (int p = 0; p < PIPES; ++p) {
      if (queue[p].empty()) {
        continue;
      }
      const Issued& next = queue[p].front();
      double time = std::max(ready[p], next.time);
      if (next.step->kind == Step::WAIT) {
        if (flags[next.step->flag].empty()) {
          continue;
        }
        time = std::max(time, flags[next.step->flag].front());
      }
      if (best < 0 || time < start) {
        best = p;
        start = time;
      }
    }
    if (best < 0) {
      break;
    }
    const Step& step = *queue[best].front().step;
    queue[best].pop_front();
    ready[best] = start;
    if (step.kind == Step::SET) {
      flags[step.flag].push_back(std::max(start, complete[best]));
    } else if (step.kind == Step::WAIT) {
      flags[step.flag].pop_front();
    } else {
      double work = step.cycles + STARTUP_CYCLES, latency = 0;
      ready[best] = start + work;
      if (step.gmBytes > 0) {
        double transfer = step.gmBytes / GM_BYTES_PER_CYCLE;
        bus = std::max(bus, start) + transfer;
        times.gm += transfer;
        ready[best] = std::max(ready[best], bus);
        // loads in flight overlap, their users wait; a store frees L0C as soon as it has been read
        latency = best == PIPE_GM_L1 ? GM_LATENCY : 0;
      }
      times.busy[best] += work;
      complete[best] = std::max(complete[best], ready[best] + latency);
    }
  }
  for (double end : complete) {
    times.total = std::max(times.total, end);
  }
  return times;
}

}  // namespace emulator
