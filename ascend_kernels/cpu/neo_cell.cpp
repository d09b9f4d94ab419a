// The NeoCell operators: the work of a call, cut into tasks.
#include <new>

#include "arguments.h"
#include "neo_cell_any.h"
#include "neo_cell_backward.h"
#include "neo_cell_forward.h"
#include "neo_cell_plain.h"
#include "neonext_cpu.h"
#include "parallel.h"

namespace neonext {
namespace {

template <class T>
using ForwardKernel = void (*)(const Plan&, const Run&, const Workspace&, int, int, const T*, T*);
template <class T>
using BackwardKernel = void (*)(const Plan&, const Run&, Workspace&, int, int, const T*, const T*, T*);

template <class S>
bool Matches(const Group& g) {
  return g.h_out == S::kHOut && g.h_in == S::kHIn && g.w_in == S::kWIn && g.w_out == S::kWOut;
}

// Null for blocks of other sizes, which ForwardAny and BackwardAny take.
template <class T, int planes>
ForwardKernel<T> FindForwardKernel(const Group& g) {
  if (Matches<Shape<4, 4, 4, 4>>(g)) return ForwardPlanes<Shape<4, 4, 4, 4>, planes, T>;
  if (Matches<Shape<7, 7, 7, 7>>(g)) return ForwardPlanes<Shape<7, 7, 7, 7>, planes, T>;
  if (Matches<Shape<1, 2, 2, 1>>(g)) return ForwardPlanes<Shape<1, 2, 2, 1>, planes, T>;
  return nullptr;
}

template <class T, int planes>
BackwardKernel<T> FindBackwardKernel(const Group& g) {
  if (Matches<Shape<4, 4, 4, 4>>(g)) return BackwardPlanes<Shape<4, 4, 4, 4>, planes, T>;
  if (Matches<Shape<7, 7, 7, 7>>(g)) return BackwardPlanes<Shape<7, 7, 7, 7>, planes, T>;
  if (Matches<Shape<1, 2, 2, 1>>(g)) return BackwardPlanes<Shape<1, 2, 2, 1>, planes, T>;
  return nullptr;
}

// Y of `channels` channels of `images` images where no kernel is made for the blocks.
template <class T>
void ForwardImages(const Plan& plan, const Run& run, Workspace& work, int channels, int images, const T* x, T* y) {
  const int64_t in = int64_t(plan.h) * plan.w, out = int64_t(plan.h_out) * plan.w_out;
  const auto any = run.planes == 2 ? ForwardAny<Vec::kMaxPlanes, T> : ForwardAny<1, T>;
  for (int image = 0; image < images; image += run.planes) {
    const int present = std::min(run.planes, images - image);
    for (int c = 0; c < channels; ++c) {
      const int64_t at = int64_t(image) * plan.c + c, last = at + (present - 1) * plan.c;
      const T* const xs[] = {x + at * in, x + last * in};
      T* const ys[] = {y + at * out, y + last * out};
      if (run.vectorised) {
        any(plan, run, work[c], xs, ys, present, work.rows());
      } else {
        ForwardPlain(plan, run, work[c].a, work[c].b, work[c].bias, xs[0], ys[0], work.rows());
      }
    }
  }
}

template <class T>
void ForwardTask(const Call& call, const Task& task) {
  const Plan& plan = *call.plan;
  const Run& run = plan.runs[task.run];
  const int64_t in = int64_t(plan.h) * plan.w, out = int64_t(plan.h_out) * plan.w_out;
  const auto kernel = run.planes == 2 ? FindForwardKernel<T, Vec::kMaxPlanes>(plan.groups[run.group])
                                      : FindForwardKernel<T, 1>(plan.groups[run.group]);
  for (int first = task.first; first < task.first + task.count; first += plan.stretch) {
    const int count = std::min(plan.stretch, task.first + task.count - first);
    Workspace work(plan, run, count, false);
    for (int c = 0; c < count; ++c) {
      work.Load(call, work[c], (run.first_in_group + first + c) / plan.copies);
      if (call.has_bias) ReadFloats(call.bias, (run.first + first + c) / plan.copies, 1, &work[c].bias);
    }
    const int64_t plane = int64_t(task.image) * plan.c + run.first + first;
    const T* const x = static_cast<const T*>(call.x.data) + plane * in;
    T* const y = static_cast<T*>(call.y.data) + plane * out;
    const int images = task.last_image - task.image;
    if (kernel) {
      kernel(plan, run, work, count, images, x, y);
    } else {
      ForwardImages(plan, run, work, count, images, x, y);
    }
  }
}

// dX of them, and their sums, likewise.
template <class T>
void BackwardImages(const Plan& plan, const Run& run, Workspace& work, int channels, int images, const T* x,
                    const T* dy, T* dx) {
  const int64_t in = int64_t(plan.h) * plan.w, out = int64_t(plan.h_out) * plan.w_out;
  const auto any = run.planes == 2 ? BackwardAny<Vec::kMaxPlanes, T> : BackwardAny<1, T>;
  for (int image = 0; image < images; image += run.planes) {
    const int present = std::min(run.planes, images - image);
    for (int c = 0; c < channels; ++c) {
      ChannelState& state = work[c];
      const int64_t at = int64_t(image) * plan.c + c, last = at + (present - 1) * plan.c;
      const T* const xs[] = {x + at * in, x + last * in};
      const T* const dys[] = {dy + at * out, dy + last * out};
      T* const dxs[] = {dx + at * in, dx + last * in};
      if (run.vectorised) {
        any(plan, run, state, xs, dys, dxs, present, work.rows());
      } else {
        BackwardPlain(plan, run, state.a, state.b, xs[0], dys[0], dxs[0], state.sum_a, state.sum_b, state.sum_y,
                      work.rows());
      }
    }
  }
}

template <class T>
void BackwardTask(const Call& call, const Task& task) {
  const Plan& plan = *call.plan;
  const Run& run = plan.runs[task.run];
  const Group& group = plan.groups[run.group];
  const auto kernel = run.planes == 2 ? FindBackwardKernel<T, Vec::kMaxPlanes>(group) : FindBackwardKernel<T, 1>(group);
  const int64_t in = int64_t(plan.h) * plan.w, out = int64_t(plan.h_out) * plan.w_out;
  const int64_t left = group.h_out * group.h_in, right = group.w_in * group.w_out;
  for (int first = task.first; first < task.first + task.count; first += plan.stretch) {
    const int count = std::min(plan.stretch, task.first + task.count - first);
    Workspace work(plan, run, count, true);
    for (int c = 0; c < count; ++c) work.Load(call, work[c], (run.first_in_group + first + c) / plan.copies);
    const int64_t plane = int64_t(task.image) * plan.c + run.first + first;
    const T* const x = static_cast<const T*>(call.x.data) + plane * in;
    const T* const dy = static_cast<const T*>(call.y.data) + plane * out;
    T* const dx = static_cast<T*>(call.dx.data) + plane * in;
    const int images = task.last_image - task.image;
    if (kernel) {
      kernel(plan, run, work, count, images, x, dy, dx);
    } else {
      BackwardImages(plan, run, work, count, images, x, dy, dx);
    }
    for (int c = 0; c < count; ++c) {
      ChannelState& state = work[c];
      work.Reduce(state);
      const int64_t in_group = run.first_in_group + first + c, in_cell = run.first + first + c;
      if (call.partial) {
        float* const at = call.partial + int64_t(task.segment) * plan.gradients;
        std::copy_n(state.sum_a, left, at + plan.left_at[run.group] + in_group * left);
        std::copy_n(state.b, right, at + plan.right_at[run.group] + in_group * right);
        at[plan.bias_at + in_cell] = state.sum_y[0];
      } else {
        WriteFloats(state.sum_a, left, call.dleft[run.group], in_group * left);
        WriteFloats(state.b, right, call.dright[run.group], in_group * right);
        WriteFloats(state.sum_y, 1, call.dbias, in_cell);
      }
    }
  }
}

// Write the gradients of a tensor: of every channel, `copies` parts in a row, each of which is `size` values.
void WriteSums(float* parts, int copies, int64_t size, const Tensor& to) {
  const int64_t all = to.size();
  for (int64_t i = 0; copies > 1 && i < all; ++i) {
    const float* const first = parts + i / size * copies * size + i % size;  // at i or behind it: not overwritten yet
    float sum = 0;
    for (int part = 0; part < copies; ++part) sum += first[part * size];
    parts[i] = sum;
  }
  WriteFloats(parts, all, to, 0);
}

// Add up the segments in their order, whichever thread finished first, and the planes of every channel.
void SumSegments(const Call& call) {
  const Plan& plan = *call.plan;
  for (int s = 1; s < plan.segments; ++s) {
    for (int i = 0; i < plan.gradients; ++i) call.partial[i] += call.partial[int64_t(s) * plan.gradients + i];
  }
  for (size_t g = 0; g < plan.groups.size(); ++g) {
    const Group& group = plan.groups[g];
    WriteSums(call.partial + plan.left_at[g], plan.copies, group.h_out * group.h_in, call.dleft[g]);
    WriteSums(call.partial + plan.right_at[g], plan.copies, group.w_in * group.w_out, call.dright[g]);
  }
  WriteSums(call.partial + plan.bias_at, plan.copies, 1, call.dbias);
}

// Below this many elements the threads would wait longer for each other than for the work.
constexpr int64_t kParallel = 1 << 14;

void RunTasks(const Call& call, void (*work)(const Call&, const Task&)) {
  const std::vector<Task>& tasks = call.plan->tasks;
  const int count = static_cast<int>(tasks.size());
  if (std::max(call.x.size(), call.y.size()) < kParallel) {
    for (const Task& task : tasks) work(call, task);
  } else {
    ParallelFor(count, [&](int i) { work(call, tasks[i]); });
  }
}

int Forward(int count, const Arguments& arguments) {
  Call call;
  if (const int bad = ReadForward(count, arguments, call)) return bad;
  RunTasks(call, call.x.type == Type::f32 ? ForwardTask<float> : ForwardTask<Half>);
  return NEONEXT_OK;
}

int Backward(int count, const Arguments& arguments) {
  Call call;
  if (const int bad = ReadBackward(count, arguments, call)) return bad;
  Aligned<float> partial;
  if (call.plan->segments > 1 || call.plan->copies > 1) {
    partial.resize(int64_t(call.plan->segments) * call.plan->gradients);
    call.partial = partial.data();
  }
  RunTasks(call, call.x.type == Type::f32 ? BackwardTask<float> : BackwardTask<Half>);
  if (call.partial) SumSegments(call);
  return NEONEXT_OK;
}

}  // namespace
}  // namespace neonext

extern "C" {

int neocell_forward(NEONEXT_PARAMETERS) {
  try {
    return neonext::Forward(nparam, {params, ndims, shapes, dtypes});
  } catch (const std::bad_alloc&) {
    return NEONEXT_NO_MEMORY;
  }
}

int neocell_backward(NEONEXT_PARAMETERS) {
  try {
    return neonext::Backward(nparam, {params, ndims, shapes, dtypes});
  } catch (const std::bad_alloc&) {
    return NEONEXT_NO_MEMORY;
  }
}

void neonext_set_threads(int count) { neonext::SetThreadCount(count); }

int neonext_threads() { return neonext::ThreadCount(); }

const char* neonext_simd() { return neonext::Vec::kName; }

}  // extern "C"
