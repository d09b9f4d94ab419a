// A pool of threads that share numbered tasks.
#pragma once

#include <functional>

namespace neonext {

// Calls task(i) once for every i in 0..count-1, on up to ThreadCount() threads, the caller among them. Which thread
// runs a task is left to chance; tasks must not depend on it. A call while another is under way (an executor that runs
// two operators at once) does its tasks alone.
void ParallelFor(int count, const std::function<void(int)>& task);

int ThreadCount();
void SetThreadCount(int count);  // 0: NEONEXT_NUM_THREADS, else the number of processors

}  // namespace neonext
