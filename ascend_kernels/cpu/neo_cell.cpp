// The NeoCell operators: arguments, coefficients, tasks.
#include <new>

#include "neo_cell_plain.h"
#include "neo_cell_vector.h"
#include "neonext_cpu.h"
#include "parallel.h"
#include "tensor.h"

namespace neonext {
namespace {

constexpr int kFieldsOfGroup = 7;

struct Call {
  std::shared_ptr<const Plan> plan;
  Tensor x{}, y{};                   // y is dY in the backward pass
  Tensor dx{};
  std::vector<Tensor> left, right;   // of every group
  std::vector<Tensor> dleft, dright;
  Tensor bias{}, dbias{};
  bool has_bias = false;
  float* partial = nullptr;  // (segments, gradients) when the images are cut into several segments
};

template <class T>
using ForwardKernel = void (*)(const Plan&, const Run&, const ChannelState&, const T* const*, T* const*, int, float*);
template <class T>
using BackwardKernel = void (*)(const Plan&, const Run&, const ChannelState&, const T* const*, const T* const*,
                                T* const*, int, float*);

template <class S>
bool matches(const Group& g) {
  return g.h_out == S::h_out && g.h_in == S::h_in && g.w_in == S::w_in && g.w_out == S::w_out;
}

template <class T, int planes>
ForwardKernel<T> forward_kernel(const Group& g) {
  if (matches<Shape<4, 4, 4, 4>>(g)) return forward_planes<Shape<4, 4, 4, 4>, planes, T>;
  if (matches<Shape<7, 7, 7, 7>>(g)) return forward_planes<Shape<7, 7, 7, 7>, planes, T>;
  if (matches<Shape<1, 2, 2, 1>>(g)) return forward_planes<Shape<1, 2, 2, 1>, planes, T>;
  return forward_planes<Shape<0, 0, 0, 0>, planes, T>;
}

template <class T, int planes>
BackwardKernel<T> backward_kernel(const Group& g) {
  if (matches<Shape<4, 4, 4, 4>>(g)) return backward_planes<Shape<4, 4, 4, 4>, planes, T>;
  if (matches<Shape<7, 7, 7, 7>>(g)) return backward_planes<Shape<7, 7, 7, 7>, planes, T>;
  if (matches<Shape<1, 2, 2, 1>>(g)) return backward_planes<Shape<1, 2, 2, 1>, planes, T>;
  return backward_planes<Shape<0, 0, 0, 0>, planes, T>;
}

void read_floats(const Tensor& from, int64_t at, int64_t count, float* to) {
  for (int64_t i = 0; i < count; ++i) {
    to[i] = from.type == Type::f32 ? static_cast<const float*>(from.data)[at + i]
                                   : to_float(static_cast<const Half*>(from.data)[at + i]);
  }
}

void write_floats(const float* from, int64_t count, const Tensor& to, int64_t at) {
  for (int64_t i = 0; i < count; ++i) {
    if (to.type == Type::f32) {
      static_cast<float*>(to.data)[at + i] = from[i];
    } else {
      static_cast<Half*>(to.data)[at + i] = to_half(from[i]);
    }
  }
}

// Everything a thread needs for the channels it works on, kept for the thread's next task.
class Workspace {
 public:
  // Room for `channels` channels of a run.
  Workspace(const Plan& plan, const Run& run, int channels, bool backward)
      : group_(plan.groups[run.group]), run_(run), backward_(backward) {
    const size_t vectors = run.patterns.size() * Vec::lanes;
    const size_t left = group_.h_out * group_.h_in, right = group_.w_in * group_.w_out;
    const size_t width = run.vectorised ? Vec::lanes : plan.w;
    const auto whole = [](size_t count) { return (count + 15) / 16 * 16; };
    size_t state[] = {whole(left), whole(vectors * group_.w_in), 0, 0, 0, 0};
    if (!run.vectorised) state[1] = whole(right);
    if (backward) {
      state[2] = whole(vectors * group_.w_out);
      state[3] = run.vectorised ? left * Vec::lanes : whole(left);
      state[4] = run.vectorised ? whole(vectors * group_.w_out) : whole(right);
      state[5] = 16;
    }
    size_t each = 0;
    for (size_t part : state) each += part;
    const size_t rows = (group_.h_in + group_.h_out + 2) * whole(width) + whole(left) + whole(right);
    thread_local Aligned<float> memory;
    if (memory.size() < channels * each + rows + whole(right)) memory.resize(channels * each + rows + whole(right));
    float* at = memory.data();
    for (int c = 0; c < channels; ++c) {
      float* part[6];
      for (int i = 0; i < 6; ++i) part[i] = at, at += state[i];
      if (backward) std::fill(part[3], at, 0.0f);
      states_.push_back({part[0], part[1], part[2], part[3], part[4], part[5], 0.0f});
    }
    rows_ = at;
    small_ = at + rows;
  }

  ChannelState& operator[](int channel) { return states_[channel]; }
  float* rows() { return rows_; }

  // Fill in the coefficients of channel c of the group.
  void load(const Call& call, ChannelState& state, int c) {
    const int64_t left = group_.h_out * group_.h_in, right = group_.w_in * group_.w_out;
    read_floats(call.left[run_.group], c * left, left, state.a);
    float* b = run_.vectorised ? small_ : state.b;
    read_floats(call.right[run_.group], c * right, right, b);
    if (!run_.vectorised) return;
    for (size_t i = 0; i < run_.patterns.size(); ++i) {
      const Pattern& pattern = run_.patterns[i];
      const int count = group_.w_in * Vec::lanes;
      for (int at = 0; at < count; ++at) {
        const int q = pattern.forward_pos[at];
        state.b[i * count + at] = q < 0 ? 0.0f : b[at / Vec::lanes * group_.w_out + q];
      }
      if (!backward_) continue;
      const int count_t = group_.w_out * Vec::lanes;
      for (int at = 0; at < count_t; ++at) {
        const int p = pattern.backward_pos[at];
        state.b_t[i * count_t + at] = p < 0 ? 0.0f : b[p * group_.w_out + at / Vec::lanes];
      }
    }
  }

  // Sum a channel's gradients over lanes, in place: dA at sum_a, dB at b (no longer needed), dBias at sum_y.
  void reduce(ChannelState& state) {
    if (!run_.vectorised) {
      state.b = state.sum_b;
      return;
    }
    for (int i = 0; i < group_.h_out * group_.h_in; ++i) state.a[i] = Vec::sum(Vec::load(state.sum_a + i * Vec::lanes));
    state.sum_a = state.a;
    std::fill_n(small_, group_.w_in * group_.w_out, 0.0f);
    for (size_t i = 0; i < run_.patterns.size(); ++i) {
      const float* sum = state.sum_b + i * group_.w_out * Vec::lanes;
      const int32_t* position = run_.patterns[i].backward_pos.data();
      for (int at = 0; at < group_.w_out * Vec::lanes; ++at) {
        if (position[at] >= 0) small_[position[at] * group_.w_out + at / Vec::lanes] += sum[at];
      }
    }
    state.b = small_;
    state.sum_y[0] = Vec::sum(Vec::load(state.sum_y));
  }

 private:
  const Group& group_;
  const Run& run_;
  const bool backward_;
  std::vector<ChannelState> states_;
  float* rows_;
  float* small_;
};

// Channels whose planes are worked on image by image, so that small planes are read in longer stretches.
int channels_together(const Plan& plan) { return std::max(1, std::min(8, 1024 / std::max(1, plan.h * plan.w))); }

template <class T>
void forward_task(const Call& call, const Task& task) {
  const Plan& plan = *call.plan;
  const Run& run = plan.runs[task.run];
  const Group& group = plan.groups[run.group];
  const auto kernel = run.planes == 2 ? forward_kernel<T, Vec::max_planes>(group) : forward_kernel<T, 1>(group);
  const int64_t in = int64_t(plan.h) * plan.w, out = int64_t(plan.h_out) * plan.w_out;
  const int together = channels_together(plan);
  for (int first = task.first; first < task.first + task.count; first += together) {
    const int count = std::min(together, task.first + task.count - first);
    Workspace work(plan, run, count, false);
    for (int c = 0; c < count; ++c) {
      work.load(call, work[c], run.first_in_group + first + c);
      if (call.has_bias) read_floats(call.bias, run.first + first + c, 1, &work[c].bias);
    }
    for (int image = task.image; image < task.last_image; image += run.planes) {
      const int present = std::min(run.planes, task.last_image - image);
      for (int c = 0; c < count; ++c) {
        const int64_t plane = int64_t(image) * plan.c + run.first + first + c, next = present == 2 ? plan.c : 0;
        const T* const x = static_cast<const T*>(call.x.data) + plane * in;
        T* const y = static_cast<T*>(call.y.data) + plane * out;
        if (run.vectorised) {
          const T* const xs[] = {x, x + next * in};
          T* const ys[] = {y, y + next * out};
          kernel(plan, run, work[c], xs, ys, present, work.rows());
        } else {
          forward_plain(plan, run, work[c].a, work[c].b, work[c].bias, x, y, work.rows());
        }
      }
    }
  }
}

template <class T>
void backward_task(const Call& call, const Task& task) {
  const Plan& plan = *call.plan;
  const Run& run = plan.runs[task.run];
  const Group& group = plan.groups[run.group];
  const auto kernel = run.planes == 2 ? backward_kernel<T, Vec::max_planes>(group) : backward_kernel<T, 1>(group);
  const int64_t in = int64_t(plan.h) * plan.w, out = int64_t(plan.h_out) * plan.w_out;
  const int64_t left = group.h_out * group.h_in, right = group.w_in * group.w_out;
  const int together = channels_together(plan);
  for (int first = task.first; first < task.first + task.count; first += together) {
    const int count = std::min(together, task.first + task.count - first);
    Workspace work(plan, run, count, true);
    for (int c = 0; c < count; ++c) work.load(call, work[c], run.first_in_group + first + c);
    for (int image = task.image; image < task.last_image; image += run.planes) {
      const int present = std::min(run.planes, task.last_image - image);
      for (int c = 0; c < count; ++c) {
        const int64_t plane = int64_t(image) * plan.c + run.first + first + c, next = present == 2 ? plan.c : 0;
        const T* const x = static_cast<const T*>(call.x.data) + plane * in;
        const T* const dy = static_cast<const T*>(call.y.data) + plane * out;
        T* const dx = static_cast<T*>(call.dx.data) + plane * in;
        ChannelState& state = work[c];
        if (run.vectorised) {
          const T* const xs[] = {x, x + next * in};
          const T* const dys[] = {dy, dy + next * out};
          T* const dxs[] = {dx, dx + next * in};
          kernel(plan, run, state, xs, dys, dxs, present, work.rows());
        } else {
          backward_plain(plan, run, state.a, state.b, x, dy, dx, state.sum_a, state.sum_b, state.sum_y, work.rows());
        }
      }
    }
    for (int c = 0; c < count; ++c) {
      ChannelState& state = work[c];
      work.reduce(state);
      const int64_t in_group = run.first_in_group + first + c, in_cell = run.first + first + c;
      if (call.partial) {
        float* const at = call.partial + int64_t(task.segment) * plan.gradients;
        std::copy_n(state.sum_a, left, at + plan.left_at[run.group] + in_group * left);
        std::copy_n(state.b, right, at + plan.right_at[run.group] + in_group * right);
        at[plan.bias_at + in_cell] = state.sum_y[0];
      } else {
        write_floats(state.sum_a, left, call.dleft[run.group], in_group * left);
        write_floats(state.b, right, call.dright[run.group], in_group * right);
        write_floats(state.sum_y, 1, call.dbias, in_cell);
      }
    }
  }
}

// Add up the segments in their order, whichever thread finished first.
void sum_segments(const Call& call) {
  const Plan& plan = *call.plan;
  for (int s = 1; s < plan.segments; ++s) {
    for (int i = 0; i < plan.gradients; ++i) call.partial[i] += call.partial[int64_t(s) * plan.gradients + i];
  }
  for (size_t g = 0; g < plan.groups.size(); ++g) {
    write_floats(call.partial + plan.left_at[g], call.dleft[g].size(), call.dleft[g], 0);
    write_floats(call.partial + plan.right_at[g], call.dright[g].size(), call.dright[g], 0);
  }
  write_floats(call.partial + plan.bias_at, plan.c, call.dbias, 0);
}

// Below this many elements the threads would wait longer for each other than for the work.
constexpr int64_t kParallel = 1 << 14;

void run_tasks(const Call& call, void (*work)(const Call&, const Task&)) {
  const std::vector<Task>& tasks = call.plan->tasks;
  const int count = static_cast<int>(tasks.size());
  if (std::max(call.x.size(), call.y.size()) < kParallel) {
    for (const Task& task : tasks) work(call, task);
  } else {
    parallel_for(count, [&](int i) { work(call, tasks[i]); });
  }
}

// Reads the layout into groups; false when it cannot be one.
bool read_layout(const Tensor& layout, std::vector<Group>& groups, bool& has_bias) {
  const int64_t size = layout.size();
  if (layout.type != Type::i32 || size <= kFieldsOfGroup || (size - 1) % kFieldsOfGroup != 0) return false;
  const int32_t* field = static_cast<const int32_t*>(layout.data);
  has_bias = *field++ != 0;
  for (; static_cast<int64_t>(groups.size()) < size / kFieldsOfGroup; field += kFieldsOfGroup) {
    const Group g{field[0], field[1], field[2], field[3], field[4], field[5], field[6]};
    if (std::min({g.channels, g.h_out, g.h_in, g.w_in, g.w_out}) < 1 || g.shift_left < 0 || g.shift_right < 0) return false;
    if (g.shift_left && (g.h_out != g.h_in || g.shift_left >= g.h_in)) return false;
    if (g.shift_right && (g.w_out != g.w_in || g.shift_right >= g.w_in)) return false;
    groups.push_back(g);
  }
  return true;
}

bool has_shape(const Tensor& tensor, std::initializer_list<int64_t> shape) {
  return tensor.ndim == static_cast<int>(shape.size()) && std::equal(shape.begin(), shape.end(), tensor.shape);
}

// The blocks of every group, alternating left and right, from argument `at` on; moves `at` behind them.
int take_blocks(const Arguments& arguments, const std::vector<Group>& groups, int& at, std::vector<Tensor>& left,
                std::vector<Tensor>& right) {
  for (const Group& g : groups) {
    left.push_back(arguments[at++]);
    right.push_back(arguments[at++]);
    if (!left.back().is_float() || !right.back().is_float()) return NEONEXT_BAD_TYPE;
    if (!has_shape(left.back(), {g.channels, g.h_out, g.h_in})) return NEONEXT_BAD_SHAPE;
    if (!has_shape(right.back(), {g.channels, g.w_in, g.w_out})) return NEONEXT_BAD_SHAPE;
  }
  return NEONEXT_OK;
}

// Finds the plan and checks x and y (or dY) against it.
int make_plan(Call& call, const std::vector<Group>& groups) {
  const Tensor &x = call.x, &y = call.y;
  if (!x.is_float() || y.type != x.type) return NEONEXT_BAD_TYPE;
  if (x.ndim != 4 || y.ndim != 4) return NEONEXT_BAD_SHAPE;
  const int64_t n = x.shape[0], h = x.shape[2], w = x.shape[3];
  int64_t c = 0;
  for (const Group& g : groups) {
    c += g.channels;
    if (!has_shape(y, {n, x.shape[1], h * g.h_out / g.h_in, w * g.w_out / g.w_in})) return NEONEXT_BAD_SHAPE;
  }
  if (c != x.shape[1]) return NEONEXT_BAD_SHAPE;
  constexpr int64_t kLargest = INT32_MAX / 2;
  if (std::max({n, h * w, y.shape[2] * y.shape[3]}) > kLargest) return NEONEXT_BAD_SHAPE;
  call.plan = plan_for(groups, static_cast<int>(n), static_cast<int>(c), static_cast<int>(h), static_cast<int>(w),
                       Vec::lanes, Vec::max_planes);
  return NEONEXT_OK;
}

int forward(int count, const Arguments& arguments) {
  Call call;
  std::vector<Group> groups;
  if (count < 5) return NEONEXT_BAD_COUNT;
  if (!read_layout(arguments[1], groups, call.has_bias)) return NEONEXT_BAD_LAYOUT;
  if (count != 3 + 2 * static_cast<int>(groups.size()) + call.has_bias) return NEONEXT_BAD_COUNT;
  call.x = arguments[0];
  call.y = arguments[count - 1];
  int at = 2;
  if (const int bad = take_blocks(arguments, groups, at, call.left, call.right)) return bad;
  if (const int bad = make_plan(call, groups)) return bad;
  if (call.has_bias) {
    call.bias = arguments[at];
    if (!call.bias.is_float()) return NEONEXT_BAD_TYPE;
    if (!has_shape(call.bias, {call.plan->c})) return NEONEXT_BAD_SHAPE;
  }
  run_tasks(call, call.x.type == Type::f32 ? forward_task<float> : forward_task<Half>);
  return NEONEXT_OK;
}

int backward(int count, const Arguments& arguments) {
  Call call;
  std::vector<Group> groups;
  if (count < 8) return NEONEXT_BAD_COUNT;
  if (!read_layout(arguments[2], groups, call.has_bias)) return NEONEXT_BAD_LAYOUT;
  if (count != 5 + 4 * static_cast<int>(groups.size())) return NEONEXT_BAD_COUNT;
  call.x = arguments[0];
  call.y = arguments[1];
  int at = 3;
  if (const int bad = take_blocks(arguments, groups, at, call.left, call.right)) return bad;
  call.dx = arguments[at++];
  if (const int bad = take_blocks(arguments, groups, at, call.dleft, call.dright)) return bad;
  call.dbias = arguments[at];
  if (const int bad = make_plan(call, groups)) return bad;
  if (call.dx.type != call.x.type || !call.dbias.is_float()) return NEONEXT_BAD_TYPE;
  if (!call.dx.same_shape(call.x) || !has_shape(call.dbias, {call.plan->c})) return NEONEXT_BAD_SHAPE;
  Aligned<float> partial;
  if (call.plan->segments > 1) {
    partial.resize(int64_t(call.plan->segments) * call.plan->gradients);
    call.partial = partial.data();
  }
  run_tasks(call, call.x.type == Type::f32 ? backward_task<float> : backward_task<Half>);
  if (call.partial) sum_segments(call);
  return NEONEXT_OK;
}

}  // namespace
}  // namespace neonext

extern "C" {

int neocell_forward(int nparam, void** params, int* ndims, int64_t** shapes, const char** dtypes, void*, void*) {
  try {
    return neonext::forward(nparam, {params, ndims, shapes, dtypes});
  } catch (const std::bad_alloc&) {
    return NEONEXT_NO_MEMORY;
  }
}

int neocell_backward(int nparam, void** params, int* ndims, int64_t** shapes, const char** dtypes, void*, void*) {
  try {
    return neonext::backward(nparam, {params, ndims, shapes, dtypes});
  } catch (const std::bad_alloc&) {
    return NEONEXT_NO_MEMORY;
  }
}

void neonext_set_threads(int count) { neonext::set_thread_count(count); }

int neonext_threads() { return neonext::thread_count(); }

const char* neonext_simd() { return neonext::Vec::name; }

}  // extern "C"
