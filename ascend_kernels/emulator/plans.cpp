// The tilings of the operators as the host sees them: arguments, cores, workspace.
#include <cstring>

#include "host.h"
#include "pointwise_tiling.h"

namespace emulator {

namespace {

using neocell::PointwiseTiling;
using neocell::Tiling;

template <typename T>
void SetTiling(const T& tiling, Plan* plan) {
  plan->tiling.resize(sizeof(tiling));
  std::memcpy(plan->tiling.data(), &tiling, sizeof(tiling));
}

Argument Input(const char* name, uint64_t bytes, uint32_t sharers = 1) { return {name, bytes, Use::INPUT, sharers}; }
Argument Output(const char* name, uint64_t bytes) { return {name, bytes, Use::OUTPUT, 1}; }

const char* PlanTiling(Operator op, const neocell::Shape& s, const uint32_t* terms, uint32_t cores, Tiling* t) {
  switch (op) {
    case Operator::NEO_CELL_KRON:
      return neocell::PlanKron(s, cores, t);
    case Operator::NEO_CELL_GRAD:
      return neocell::PlanGrad(s, cores, t);
    case Operator::NEO_CELL_TERMS:
      return neocell::PlanTerms(s, terms[0], terms[1], cores, t);
    default:
      return neocell::PlanForward(s, cores, t);
  }
}

// `terms`: rank and width of the groups, read for NEO_CELL_TERMS alone.
Plan PlanNeoCell(Operator op, const neocell::Shape& s, const uint32_t* terms, uint32_t cores) {
  Plan plan;
  Tiling t{};
  if (const char* reason = PlanTiling(op, s, terms, cores, &t)) {
    plan.refusal = reason;
    return plan;
  }
  SetTiling(t, &plan);
  plan.cores = neocell::UsedCores(t);
  plan.facts = {{"channel_cores", t.channelCores}, {"image_cores", t.imageCores}, {"tile_channels", t.tileChannels},
                {"tile_images", t.tileImages},     {"splits", t.splits},          {"result_buffers", t.resultBuffers}};
  uint64_t planes = static_cast<uint64_t>(s.images) * s.channels, channels = s.channels;
  uint64_t x = planes * s.height * s.width * 2, y = planes * s.outHeight * s.outWidth * 2;
  uint64_t matrices = channels * t.rank * t.groupWidth;
  uint64_t a = matrices * s.outHeight * s.height, b = matrices * s.width * s.outWidth;
  if (op == Operator::NEO_CELL || op == Operator::NEO_CELL_TERMS) {
    plan.arguments = {Input("x", x), Input("a", 2 * a), Input("b", 2 * b), Output("y", y)};
  } else if (op == Operator::NEO_CELL_KRON) {
    plan.arguments = {Input("x", x), Input("k", 2 * b), Output("y", y)};
  } else {
    plan.arguments = {Input("x", x),
                      Input("a", 2 * a),
                      Input("b", 2 * b),
                      Input("dy", y),
                      Output("dx", x),
                      Output("da", 4 * a * t.splits),
                      Output("db", 4 * b * t.splits)};
  }
  return plan;
}

const char* PlanTiling(Operator op, const neocell::PointwiseShape& s, uint32_t cores, PointwiseTiling* t) {
  switch (op) {
    case Operator::POINTWISE_INPUT_GRAD:
      return neocell::PlanPointwiseInputGrad(s, cores, t);
    case Operator::POINTWISE_GELU_GRAD:
      return neocell::PlanPointwiseGeluGrad(s, cores, t);
    case Operator::POINTWISE_WEIGHT_GRAD:
      return neocell::PlanPointwiseWeightGrad(s, cores, t);
    default:
      return neocell::PlanPointwise(s, cores, t);
  }
}

std::vector<Argument> PointwiseArguments(Operator op, const neocell::PointwiseShape& s, const PointwiseTiling& t) {
  uint64_t pixels = static_cast<uint64_t>(s.images) * s.pixels, in = pixels * s.in * 2, out = pixels * s.out * 2;
  // Neighbouring tiles run at the same time: the rows of a pair of strips share the right operand, and all share W.
  bool gradient = op == Operator::POINTWISE_INPUT_GRAD || op == Operator::POINTWISE_GELU_GRAD;
  uint32_t rows = neocell::RowTiles(t, gradient ? s.in : s.out), sharers = neocell::Min(rows, t.cores);
  Argument x = Input("x", in, sharers), dy = Input("dy", out, sharers);
  Argument w = Input("w", 2ull * s.in * s.out, t.cores), b = Input("b", 2ull * s.out, t.cores);
  switch (op) {
    case Operator::POINTWISE:
    case Operator::POINTWISE_GELU:
      return {x, w, b, Output("y", out)};
    case Operator::POINTWISE_GELU_KEPT:
      return {x, w, b, Output("y", out), Output("z", out)};
    case Operator::POINTWISE_RESIDUAL:
      return {x, w, b, Input("r", out), Input("s", 4ull * s.images), Output("y", out)};
    case Operator::POINTWISE_INPUT_GRAD:
      return {dy, w, Output("dx", in)};
    case Operator::POINTWISE_GELU_GRAD:
      return {dy, w, Input("z", in), Output("dz", in)};
    default:
      break;
  }
  // Here the tiles of a row of dW share dY, those of a column share X; as many as fit stand side by side, and what such
  // a round reads of the operand that it goes through as a whole is in L2 for the next.
  uint32_t columns = t.columnTiles, inner = neocell::Min(rows, columns), outer = neocell::Max(rows, columns);
  uint32_t together = neocell::Max(1, neocell::Min(t.cores, rows * columns) / inner);
  bool rowsFirst = rows <= columns;
  uint64_t whole = rowsFirst ? out : in, part = (rowsFirst ? in : out) / outer * together;
  uint32_t again = (whole + part) / t.splits <= L2_BYTES ? outer : together;
  return {Input("dy", out, rowsFirst ? again : inner), Input("x", in, rowsFirst ? inner : again),
          Output("dw", 4ull * t.splits * s.out * s.in), Output("db", 4ull * t.splits * s.out)};
}

// The share of core 0 in a product with `rows` rows, or in the gradient of W: it may have the wider strips.
double ShareOfCore0(const PointwiseTiling& t, uint32_t rows) {
  double columns = 0;
  for (uint32_t item = 0; item < neocell::ProductItems(t, rows); item += t.cores) {
    uint32_t tiles = neocell::RowTiles(t, rows), pair = item / tiles * neocell::STRIPS_IN_TILE;
    double height = neocell::Min(t.rowTile, rows - item % tiles * t.rowTile);
    for (uint32_t s = pair; s < neocell::Min(t.strips, pair + neocell::STRIPS_IN_TILE); ++s) {
      neocell::Strip strip = neocell::StripAt(t, s);
      columns += height * strip.images * strip.pixels;
    }
  }
  return columns / rows / t.images / t.pixels;
}

double ShareOfCore0(const PointwiseTiling& t) {
  uint32_t rows = neocell::RowTiles(t, t.out), wide = neocell::STRIPS_IN_TILE * t.columnStrip;
  double area = 0;
  for (uint32_t item = 0; item < t.splits * neocell::WeightTiles(t); item += t.cores) {
    uint32_t split = item / neocell::WeightTiles(t), tile = item % neocell::WeightTiles(t);
    bool rowsFirst = rows <= t.columnTiles;
    uint32_t row = (rowsFirst ? tile % rows : tile / t.columnTiles) * t.rowTile;
    uint32_t column = (rowsFirst ? tile / rows : tile % t.columnTiles) * wide;
    double columns = 0;
    for (uint32_t s = neocell::PartBegin(t.strips, t.splits, split);
         s < neocell::PartBegin(t.strips, t.splits, split + 1); ++s) {
      neocell::Strip strip = neocell::StripAt(t, s);
      columns += strip.images * strip.pixels;
    }
    area += columns * neocell::Min(t.rowTile, t.out - row) * neocell::Min(wide, t.in - column);
  }
  return area / t.out / t.in / t.images / t.pixels;
}

Plan PlanMlp(const neocell::PointwiseShape& s, uint32_t cores) {
  Plan plan;
  neocell::MlpTiling t{};
  if (const char* reason = neocell::PlanPointwiseMlp(s, cores, &t)) {
    plan.refusal = reason;
    return plan;
  }
  SetTiling(t, &plan);
  plan.cores = t.first.cores;
  plan.mixed = true;
  plan.workspaceBytes = neocell::WorkspaceBytes(t);
  uint32_t pairs = neocell::CeilDiv(t.first.strips, neocell::STRIPS_IN_TILE);
  plan.facts = {{"cores", plan.cores}, {"items", pairs}};
  PointwiseTiling whole = t.second;
  whole.rowTile = whole.out;  // an item is a pair of strips
  plan.share = ShareOfCore0(whole, whole.out);
  uint64_t plane = 2ull * s.images * s.pixels * s.in, weight = 2ull * s.in * s.out;
  plan.arguments = {Input("x", plane),
                    Input("w1", weight, plan.cores),
                    Input("b1", 2ull * s.out, plan.cores),
                    Input("w2", weight, plan.cores),
                    Input("b2", 2ull * s.in, plan.cores),
                    Input("r", plane),
                    Input("s", 4ull * s.images),
                    Output("y", plane)};
  return plan;
}

Plan PlanPointwise(Operator op, const neocell::PointwiseShape& s, uint32_t cores) {
  if (op == Operator::POINTWISE_MLP) {
    return PlanMlp(s, cores);
  }
  Plan plan;
  PointwiseTiling t{};
  if (const char* reason = PlanTiling(op, s, cores, &t)) {
    plan.refusal = reason;
    return plan;
  }
  SetTiling(t, &plan);
  plan.cores = t.cores;
  plan.mixed = op == Operator::POINTWISE_GELU || op == Operator::POINTWISE_GELU_KEPT ||
               op == Operator::POINTWISE_RESIDUAL || op == Operator::POINTWISE_GELU_GRAD;
  plan.workspaceBytes = plan.mixed ? neocell::WorkspaceBytes(t) : 0;
  bool gradient = op == Operator::POINTWISE_INPUT_GRAD || op == Operator::POINTWISE_GELU_GRAD;
  uint32_t items = op == Operator::POINTWISE_WEIGHT_GRAD ? t.splits * neocell::WeightTiles(t)
                                                         : neocell::ProductItems(t, gradient ? s.in : s.out);
  plan.facts = {{"cores", t.cores},
                {"items", items},
                {"strip_pixels", t.stripPixels},
                {"strip_images", t.stripImages},
                {"strips", t.strips},
                {"depth_tile", t.depthTile},
                {"row_tile", t.rowTile},
                {"splits", t.splits}};
  plan.share = op == Operator::POINTWISE_WEIGHT_GRAD ? ShareOfCore0(t) : ShareOfCore0(t, gradient ? s.in : s.out);
  plan.arguments = PointwiseArguments(op, s, t);
  return plan;
}

}  // namespace

Plan MakePlan(Operator op, const uint32_t* s, uint32_t cores) {
  return op < Operator::POINTWISE ? PlanNeoCell(op, {s[0], s[1], s[2], s[3], s[4], s[5]}, s + 6, cores)
                                  : PlanPointwise(op, {s[0], s[1], s[2], s[3]}, cores);
}

}  // namespace emulator
