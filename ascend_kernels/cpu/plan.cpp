#include "plan.h"

#include <algorithm>
#include <map>
#include <mutex>

namespace neonext {
namespace {

Span Clip(int start, int length, int size) {
  const int first = std::max(0, start), last = std::min(size, start + length);
  return last > first ? Span{first, first - start, last - first} : Span{std::min(first, size), 0, 0};
}

// Blocks along one axis. A shift moves one block corner to s, so the first block starts (k - s) mod k above the plane.
std::vector<Block> BlocksOf(int size_in, int size_out, int block_in, int block_out, int shift) {
  const int cut = shift ? block_in - shift : 0;
  std::vector<Block> result;
  for (int b = 0;; ++b) {
    const Block block{Clip(b * block_in - cut, block_in, size_in), Clip(b * block_out - cut, block_out, size_out)};
    if (block.in.count == 0 && block.out.count == 0) return result;
    result.push_back(block);
  }
}

bool SameLayout(const Block& a, const Block& b) {
  return a.in.first == b.in.first && a.in.count == b.in.count && a.out.first == b.out.first &&
         a.out.count == b.out.count;
}

// Lane numbers of `members`, whose entries are `from` in the source and `to` in the result, for an M of k rows.
Lanes MakeLanes(const std::vector<Block>& members, Span Block::* from, Span Block::* to, int k, bool square, int lanes,
                int planes) {
  Lanes result;
  result.source.assign(k * lanes, lanes - 1);
  result.position.assign(k * lanes, -1);
  result.row.assign(k * lanes, 0);
  for (int plane = 0; plane < planes; ++plane) {
    int source = plane * lanes / planes, target = source;
    for (const Block& block : members) {
      for (int t = 0; t < (block.*to).count; ++t) {
        for (int s = 0; s < (block.*from).count; ++s) {
          const int row = (block.*from).first + s, position = (block.*to).first + t;
          const int at = (square ? (row - position + k) % k : row) * lanes + target + t;
          result.source[at] = source + s;
          result.position[at] = position;
          result.row[at] = row;
        }
      }
      source += (block.*from).count;
      target += (block.*to).count;
    }
  }
  for (int at = 0; at < k * lanes; ++at) {
    (result.position[at] < 0 ? result.empty : result.filled).push_back(at);
    result.position[at] = std::max(0, result.position[at]);
  }
  return result;
}

// Fill vectors with whole blocks from left to right.
void PackColumns(Run& run, const Group& group, int w, int w_out, int lanes, int max_planes) {
  run.vectorised = std::max(group.w_in, group.w_out) <= lanes;
  run.planes = 1;
  if (!run.vectorised) return;
  if (max_planes == 2 && std::max(w, w_out) <= lanes / 2) run.planes = 2;
  const int room = lanes / run.planes;
  std::vector<std::vector<Block>> layouts;
  for (size_t b = 0; b < run.cols.size();) {
    std::vector<Block> members;
    int in = 0, out = 0;
    for (; b < run.cols.size() && in + run.cols[b].in.count <= room && out + run.cols[b].out.count <= room; ++b) {
      members.push_back(run.cols[b]);
      in += run.cols[b].in.count;
      out += run.cols[b].out.count;
    }
    size_t pattern = 0;
    const auto same = [&](const std::vector<Block>& other) {
      return std::equal(members.begin(), members.end(), other.begin(), other.end(), SameLayout);
    };
    while (pattern < layouts.size() && !same(layouts[pattern])) ++pattern;
    if (pattern == layouts.size()) {
      layouts.push_back(members);
      const bool square = group.w_in == group.w_out;
      run.patterns.push_back({MakeLanes(members, &Block::in, &Block::out, group.w_in, square, lanes, run.planes),
                              MakeLanes(members, &Block::out, &Block::in, group.w_out, square, lanes, run.planes)});
    }
    run.columns.push_back({members[0].in.at, in, members[0].out.at, out, static_cast<int>(pattern)});
  }
}

// Run::cut.
int CutOf(const std::vector<Block>& rows, const Group& group) {
  if (rows.size() < 2 || group.h_in != group.h_out) return 0;
  const int last = rows.back().in.count;
  return rows.front().in.first > 0 && rows.front().in.count + last == group.h_in ? last : 0;
}

// Shift of channel c of a group: (k - 1) / step + 1 sub-groups of equal size, the remainder in the last.
int ShiftOf(int c, int channels, int k, int step) {
  if (step == 0) return 0;
  const int count = (k - 1) / step + 1, size = channels / count;
  return (size == 0 ? count - 1 : std::min(c / size, count - 1)) * step;
}

// The size of a part when n is cut into as few as `most` allows: no larger than that takes.
int EvenPart(int64_t n, int64_t most) {
  const int64_t parts = std::max<int64_t>(1, (n + most - 1) / most);
  return static_cast<int>(std::max<int64_t>(1, (n + parts - 1) / parts));
}

Plan MakePlan(const std::vector<Group>& groups, int copies, int n, int c, int h, int w, int lanes, int max_planes) {
  Plan plan{};
  plan.copies = copies, plan.n = n, plan.c = c, plan.h = h, plan.w = w;
  plan.h_out = h * groups[0].h_out / groups[0].h_in;
  plan.w_out = w * groups[0].w_out / groups[0].w_in;
  plan.groups = groups;
  int channel = 0;
  for (size_t g = 0; g < groups.size(); ++g) {
    const Group& group = groups[g];
    const int planes = group.channels * copies;
    for (int first = 0, last; first < planes; first = last) {
      const auto left = [&](int i) { return ShiftOf(i / copies, group.channels, group.h_in, group.shift_left); };
      const auto right = [&](int i) { return ShiftOf(i / copies, group.channels, group.w_in, group.shift_right); };
      last = first + 1;
      while (last < planes && left(last) == left(first) && right(last) == right(first)) ++last;
      Run run{};
      run.group = static_cast<int>(g);
      run.first = channel + first;
      run.count = last - first;
      run.first_in_group = first;
      run.rows = BlocksOf(h, plan.h_out, group.h_in, group.h_out, left(first));
      run.cols = BlocksOf(w, plan.w_out, group.w_in, group.w_out, right(first));
      run.cut = CutOf(run.rows, group);
      PackColumns(run, group, w, plan.w_out, lanes, max_planes);
      plan.runs.push_back(run);
    }
    channel += planes;
    plan.left_at.push_back(plan.gradients);
    plan.gradients += planes * group.h_out * group.h_in;
    plan.right_at.push_back(plan.gradients);
    plan.gradients += planes * group.w_in * group.w_out;
  }
  plan.bias_at = plan.gradients;
  plan.gradients += c;

  // A task is some channels of some images: enough to pay for its set-up, few enough to share out evenly. Its channels
  // are a stretch of memory that is long enough for the processor to fetch ahead.
  constexpr int64_t kTogether = 1 << 15, kTask = 1 << 14, kSegment = 1 << 17;
  const int64_t plane = std::max<int64_t>(1, std::max<int64_t>(int64_t(h) * w, int64_t(plan.h_out) * plan.w_out));
  plan.stretch = static_cast<int>(std::clamp<int64_t>(kTogether / plane, 1, Plan::kStretch));
  const int images = EvenPart(n, std::max<int64_t>(2, kSegment / (plane * plan.stretch)));
  plan.segments = (n + images - 1) / images;
  for (int s = 0; s < plan.segments; ++s) {
    for (size_t r = 0; r < plan.runs.size(); ++r) {
      const Run& run = plan.runs[r];
      const int together = EvenPart(run.count, std::max<int64_t>(plan.stretch, kTask / (plane * images)));
      for (int first = 0; first < run.count; first += together) {
        plan.tasks.push_back({static_cast<int>(r), first, std::min(together, run.count - first), s * images,
                              std::min(n, (s + 1) * images), s});
      }
    }
  }
  return plan;
}

}  // namespace

std::shared_ptr<const Plan> PlanFor(const std::vector<Group>& groups, int copies, int n, int c, int h, int w, int lanes,
                                    int max_planes) {
  static std::mutex mutex;
  static std::map<std::vector<int>, std::shared_ptr<const Plan>> plans;
  std::vector<int> key{copies, n, c, h, w, lanes, max_planes};
  for (const Group& g : groups) {
    key.insert(key.end(), {g.channels, g.h_out, g.h_in, g.w_in, g.w_out, g.shift_left, g.shift_right});
  }
  std::lock_guard<std::mutex> lock(mutex);
  std::shared_ptr<const Plan>& plan = plans[key];
  if (!plan) {
    auto made = std::make_shared<const Plan>(MakePlan(groups, copies, n, c, h, w, lanes, max_planes));
    if (plans.size() > 256) {  // inputs of ever new sizes
      plans.clear();
      return plans[key] = made;
    }
    plan = made;
  }
  return plan;
}

}  // namespace neonext
