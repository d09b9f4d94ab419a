#include "parallel.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace neonext {
namespace {

// A thread that waits looks again for this long before it sleeps: waking it takes longer than a small operator runs.
constexpr auto kSpin = std::chrono::microseconds(50);

inline void Relax() {
#if defined(__x86_64__)
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

template <class Condition>
bool SpinUntil(Condition condition) {
  const auto deadline = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 32; ++i) {
      if (condition()) return true;
      Relax();
    }
  } while (std::chrono::steady_clock::now() < deadline);
  return condition();
}

// Thread t of T begins with the t-th part of the tasks: what it left in its own cache in the last call it finds there
// in the next one on the same tensors. Who has finished helps the others.
class Pool {
 public:
  static constexpr int kThreads = 64;

  void Run(int count, const std::function<void(int)>& task, int threads) {
    while (static_cast<int>(workers_.size()) < threads - 1) {
      std::thread worker([this, id = static_cast<int>(workers_.size()) + 1] { Work(id); });
      workers_.push_back(worker.native_handle());
      worker.detach();
    }
    KeepOff(sched_getcpu());
    {
      std::lock_guard<std::mutex> lock(mutex_);
      task_ = &task;
      threads_ = threads;
      for (int t = 0; t < threads; ++t) parts_[t].next.store(PartBegin(t, count), std::memory_order_relaxed);
      for (int t = 0; t < threads; ++t) parts_[t].end = PartBegin(t + 1, count);
      round_.fetch_add(1, std::memory_order_release);
    }
    if (sleeping_.load() > 0) wake_.notify_all();
    Take(task, 0, threads);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      task_ = nullptr;  // who comes now is too late
    }
    if (!SpinUntil([this] { return busy_.load(std::memory_order_acquire) == 0; })) {
      std::unique_lock<std::mutex> lock(mutex_);
      done_.wait(lock, [this] { return busy_.load() == 0; });
    }
  }

 private:
  struct alignas(64) Part {
    std::atomic<int> next{0};
    int end = 0;
  };

  // A worker that wakes up on the caller's processor while the others are busy waits there until the caller has done
  // all the work: two threads on two processors then take as long as one.
  void KeepOff(int processor) {
    constexpr size_t kFew = 8;  // with more, one that waits matters less than the calls to move them all
    if ((processor == caller_at_ && placed_ == workers_.size()) || workers_.size() > kFew) return;
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return;
    CPU_CLR(processor, &allowed);
    if (CPU_COUNT(&allowed) < static_cast<int>(workers_.size())) return;  // who binds the caller has it his way
    for (pthread_t worker : workers_) pthread_setaffinity_np(worker, sizeof(allowed), &allowed);
    caller_at_ = processor, placed_ = workers_.size();
  }

  int PartBegin(int t, int count) const { return static_cast<int>(int64_t(count) * t / threads_); }

  void Take(const std::function<void(int)>& task, int id, int threads) {
    for (int t = 0; t < threads; ++t) {
      Part& part = parts_[(id + t) % threads];
      for (int i; (i = part.next.fetch_add(1, std::memory_order_relaxed)) < part.end;) task(i);
    }
  }

  void Work(int id) {
    uint64_t seen = 0;
    for (;;) {
      const auto called = [&] { return round_.load(std::memory_order_acquire) != seen; };
      SpinUntil(called);
      const std::function<void(int)>* task;
      int threads;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        sleeping_.fetch_add(1);
        wake_.wait(lock, called);
        sleeping_.fetch_sub(1);
        seen = round_.load();
        threads = threads_;
        task = id < threads ? task_ : nullptr;
        if (task) busy_.fetch_add(1);
      }
      if (!task) continue;
      Take(*task, id, threads);
      std::lock_guard<std::mutex> lock(mutex_);
      if (busy_.fetch_sub(1, std::memory_order_release) == 1) done_.notify_one();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_, done_;
  const std::function<void(int)>* task_ = nullptr;
  int threads_ = 1;
  std::vector<pthread_t> workers_;
  int caller_at_ = -1;  // processor that the workers keep off
  size_t placed_ = 0;   // how many of them know
  Part parts_[kThreads];
  std::atomic<int> busy_{0}, sleeping_{0};
  std::atomic<uint64_t> round_{0};
};

std::mutex g_mutex;
std::atomic<int> g_threads{0};

// MindSpore sets OMP_NUM_THREADS when it is imported, to its own taste, so that variable cannot be the user's word.
int DefaultThreads() {
  const char* text = std::getenv("NEONEXT_NUM_THREADS");
  const int wanted = text ? std::atoi(text) : 0;
  return wanted > 0 ? wanted : std::max(1u, std::thread::hardware_concurrency());
}

// Threads do not survive a fork, so a child starts its own pool. A pool is never destroyed: its threads sleep.
Pool& ThisPool() {
  static Pool* current = nullptr;
  static pid_t owner = 0;
  if (owner != getpid()) {
    current = new Pool;
    owner = getpid();
  }
  return *current;
}

}  // namespace

int ThreadCount() {
  int count = g_threads.load();
  if (count == 0) g_threads.store(count = DefaultThreads());
  return count;
}

void SetThreadCount(int count) { g_threads.store(std::max(0, count)); }

void ParallelFor(int count, const std::function<void(int)>& task) {
  const int threads = std::min({ThreadCount(), count, Pool::kThreads});
  std::unique_lock<std::mutex> lock(g_mutex, std::defer_lock);
  if (threads <= 1 || !lock.try_lock()) {
    for (int i = 0; i < count; ++i) task(i);
    return;
  }
  ThisPool().Run(count, task, threads);
}

}  // namespace neonext
