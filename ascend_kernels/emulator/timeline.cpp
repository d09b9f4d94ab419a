#include "timeline.h"

#include <algorithm>
#include <deque>

namespace emulator {

namespace {

struct Issued {
  const Step* step;
  double time;  // when the scalar unit has issued it
};

struct Core {
  const std::vector<Step>* steps;
  size_t next = 0;    // that the scalar unit issues
  double issued = 0;  // when it has issued the one before
  std::deque<Issued> queue[PIPES];
  double ready[PIPES] = {};     // when a pipe can take its next step
  double complete[PIPES] = {};  // when all its steps so far have had their effect
  std::vector<std::deque<double>> flags = std::vector<std::deque<double>>(PIPES * PIPES * EVENT_IDS);
  std::deque<double> arrived[CROSS_IDS];
  std::deque<double> set[CROSS_IDS];  // by this vector core, for the cube core
};

class Replayer {
 public:
  explicit Replayer(const std::vector<Step>* const (&steps)[UNITS]) {
    for (int unit = 0; unit < UNITS; ++unit) {
      core_[unit].steps = steps[unit];
    }
  }

  // Always advances what can start first, so that the pipes reach the shared buses in order of time.
  Times Run() {
    for (;;) {
      int unit = -1, pipe = -1;
      double start = 0;
      for (int u = 0; u < UNITS; ++u) {
        for (int p = -1; p < PIPES; ++p) {  // -1: the scalar unit, which issues
          double time;
          if (Startable(core_[u], p, &time) && (unit < 0 || time < start)) {
            unit = u;
            pipe = p;
            start = time;
          }
        }
      }
      if (unit < 0) {
        return times_;
      }
      if (pipe < 0) {
        Issue(unit, start);
      } else {
        Execute(unit, pipe, start);
      }
    }
  }

 private:
  static bool Startable(const Core& core, int pipe, double* time) {
    if (pipe < 0) {
      if (core.next >= core.steps->size()) {
        return false;
      }
      const Step& step = (*core.steps)[core.next];
      *time = core.issued;
      if (step.kind == Step::CROSS_WAIT) {
        if (core.arrived[step.flag].empty()) {
          return false;
        }
        *time = std::max(*time, core.arrived[step.flag].front());
      }
      return true;
    }
    if (core.queue[pipe].empty()) {
      return false;
    }
    const Issued& next = core.queue[pipe].front();
    *time = std::max(core.ready[pipe], next.time);
    if (next.step->kind == Step::WAIT) {
      if (core.flags[next.step->flag].empty()) {
        return false;
      }
      *time = std::max(*time, core.flags[next.step->flag].front());
    }
    return true;
  }

  void Issue(int unit, double start) {
    Core& core = core_[unit];
    const Step& step = (*core.steps)[core.next++];
    core.issued = start + ISSUE_CYCLES;
    times_.issue[unit] += ISSUE_CYCLES;
    if (step.kind == Step::CROSS_WAIT) {
      core.arrived[step.flag].pop_front();
    } else {
      core.queue[step.pipe].push_back({&step, core.issued});
    }
  }

  void Execute(int unit, int pipe, double start) {
    Core& core = core_[unit];
    const Step& step = *core.queue[pipe].front().step;
    core.queue[pipe].pop_front();
    core.ready[pipe] = start;
    double done = std::max(start, core.complete[pipe]);
    if (step.kind == Step::SET) {
      core.flags[step.flag].push_back(done);
    } else if (step.kind == Step::WAIT) {
      core.flags[step.flag].pop_front();
    } else if (step.kind == Step::CROSS_SET) {
      CrossSet(unit, step.flag, done + CROSS_CYCLES);
    } else {
      Work(unit, pipe, step, start);
    }
  }

  void CrossSet(int unit, int flag, double time) {
    if (unit == CUBE_CORE) {
      core_[VECTOR_CORE_0].arrived[flag].push_back(time);
      core_[VECTOR_CORE_1].arrived[flag].push_back(time);
      return;
    }
    core_[unit].set[flag].push_back(time);
    std::deque<double>&first = core_[VECTOR_CORE_0].set[flag], &second = core_[VECTOR_CORE_1].set[flag];
    if (!first.empty() && !second.empty()) {
      core_[CUBE_CORE].arrived[flag].push_back(std::max(first.front(), second.front()));
      first.pop_front();
      second.pop_front();
    }
  }

  void Work(int unit, int pipe, const Step& step, double start) {
    Core& core = core_[unit];
    double work = step.cycles + STARTUP_CYCLES, latency = 0;
    core.ready[pipe] = start + work;
    if (step.bytes > 0) {
      bool load = pipe == PIPE_GM_L1 || pipe == PIPE_SCALAR;
      double& port = load ? read_ : written_;
      port = std::max(port, start) + step.bytes / (load ? L2_READ_PER_CYCLE : L2_WRITE_PER_CYCLE);
      core.ready[pipe] = std::max(core.ready[pipe], port);
      if (step.gmBytes > 0) {
        bus_ = std::max(bus_, start) + step.gmBytes / GM_BYTES_PER_CYCLE;
        times_.gm += step.gmBytes / GM_BYTES_PER_CYCLE;
        core.ready[pipe] = std::max(core.ready[pipe], bus_);
      }
      // loads in flight overlap, their users wait; a store frees L0C as soon as it has been read
      latency = load ? GM_LATENCY : 0;
    }
    times_.busy[unit][pipe] += work;
    core.complete[pipe] = std::max(core.complete[pipe], core.ready[pipe] + latency);
    times_.total = std::max(times_.total, core.complete[pipe]);
  }

  Core core_[UNITS];
  double bus_ = 0, read_ = 0, written_ = 0;  // until when device memory and the two ports of L2 are taken
  Times times_{};
};

}  // namespace

Times Replay(const std::vector<Step>* const (&steps)[UNITS]) { return Replayer(steps).Run(); }

}  // namespace emulator
