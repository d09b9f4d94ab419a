#include "arguments.h"

#include <algorithm>

#include "neonext_cpu.h"
#include "simd.h"

namespace neonext {
namespace {

constexpr int kFieldsOfGroup = 7;

// Reads the layout into groups; false when it cannot be one.
bool ReadLayout(const Tensor& layout, std::vector<Group>& groups, bool& has_bias) {
  const int64_t size = layout.size();
  if (layout.type != Type::i32 || size <= kFieldsOfGroup || (size - 1) % kFieldsOfGroup != 0) return false;
  const int32_t* field = static_cast<const int32_t*>(layout.data);
  has_bias = *field++ != 0;
  for (; static_cast<int64_t>(groups.size()) < size / kFieldsOfGroup; field += kFieldsOfGroup) {
    const Group g{field[0], field[1], field[2], field[3], field[4], field[5], field[6]};
    if (std::min({g.channels, g.h_out, g.h_in, g.w_in, g.w_out}) < 1) return false;
    if (std::min(g.shift_left, g.shift_right) < 0) return false;
    if (g.shift_left && (g.h_out != g.h_in || g.shift_left >= g.h_in)) return false;
    if (g.shift_right && (g.w_out != g.w_in || g.shift_right >= g.w_in)) return false;
    groups.push_back(g);
  }
  return true;
}

// The blocks of every group, alternating left and right, from argument `at` on; moves `at` behind them.
int TakeBlocks(const Arguments& arguments, const std::vector<Group>& groups, int& at, std::vector<Tensor>& left,
               std::vector<Tensor>& right) {
  for (const Group& g : groups) {
    left.push_back(arguments[at++]);
    right.push_back(arguments[at++]);
    if (!left.back().IsFloat() || !right.back().IsFloat()) return NEONEXT_BAD_TYPE;
    if (!left.back().HasShape({g.channels, g.h_out, g.h_in})) return NEONEXT_BAD_SHAPE;
    if (!right.back().HasShape({g.channels, g.w_in, g.w_out})) return NEONEXT_BAD_SHAPE;
  }
  return NEONEXT_OK;
}

// Finds the plan and checks x and y (or dY) against it.
int MakePlan(Call& call, const std::vector<Group>& groups) {
  const Tensor &x = call.x, &y = call.y;
  if (!x.IsFloat() || y.type != x.type) return NEONEXT_BAD_TYPE;
  if (x.ndim != 4 || y.ndim != 4) return NEONEXT_BAD_SHAPE;
  const int64_t n = x.shape[0], h = x.shape[2], w = x.shape[3];
  int64_t c = 0;
  for (const Group& g : groups) {
    c += g.channels;
    if (!y.HasShape({n, x.shape[1], h * g.h_out / g.h_in, w * g.w_out / g.w_in})) return NEONEXT_BAD_SHAPE;
  }
  if (x.shape[1] % c != 0 || x.size() == 0) return NEONEXT_BAD_SHAPE;
  constexpr int64_t kLargest = INT32_MAX / 2;
  if (std::max({n, x.shape[1], h * w, y.shape[2] * y.shape[3]}) > kLargest) return NEONEXT_BAD_SHAPE;
  call.plan = PlanFor(groups, static_cast<int>(x.shape[1] / c), static_cast<int>(n), static_cast<int>(x.shape[1]),
                      static_cast<int>(h), static_cast<int>(w), Vec::kLanes, Vec::kMaxPlanes);
  return NEONEXT_OK;
}

}  // namespace

int ReadForward(int count, const Arguments& arguments, Call& call) {
  std::vector<Group> groups;
  if (count < 5) return NEONEXT_BAD_COUNT;
  if (!ReadLayout(arguments[1], groups, call.has_bias)) return NEONEXT_BAD_LAYOUT;
  if (count != 3 + 2 * static_cast<int>(groups.size()) + call.has_bias) return NEONEXT_BAD_COUNT;
  call.x = arguments[0];
  call.y = arguments[count - 1];
  int at = 2;
  if (const int bad = TakeBlocks(arguments, groups, at, call.left, call.right)) return bad;
  if (const int bad = MakePlan(call, groups)) return bad;
  if (call.has_bias) {
    call.bias = arguments[at];
    if (!call.bias.IsFloat()) return NEONEXT_BAD_TYPE;
    if (!call.bias.HasShape({call.plan->c / call.plan->copies})) return NEONEXT_BAD_SHAPE;
  }
  return NEONEXT_OK;
}

int ReadBackward(int count, const Arguments& arguments, Call& call) {
  std::vector<Group> groups;
  if (count < 8) return NEONEXT_BAD_COUNT;
  if (!ReadLayout(arguments[2], groups, call.has_bias)) return NEONEXT_BAD_LAYOUT;
  if (count != 5 + 4 * static_cast<int>(groups.size())) return NEONEXT_BAD_COUNT;
  call.x = arguments[0];
  call.y = arguments[1];
  int at = 3;
  if (const int bad = TakeBlocks(arguments, groups, at, call.left, call.right)) return bad;
  call.dx = arguments[at++];
  if (const int bad = TakeBlocks(arguments, groups, at, call.dleft, call.dright)) return bad;
  call.dbias = arguments[at];
  if (const int bad = MakePlan(call, groups)) return bad;
  if (call.dx.type != call.x.type || !call.dbias.IsFloat()) return NEONEXT_BAD_TYPE;
  if (!call.dx.SameShape(call.x) || !call.dbias.HasShape({call.plan->c / call.plan->copies})) return NEONEXT_BAD_SHAPE;
  return NEONEXT_OK;
}

}  // namespace neonext
