// What the pointwise operators share on the host: shapes out of a context, the tiling into it.
#ifndef POINTWISE_HOST_H
#define POINTWISE_HOST_H
#include "neo_cell_host.h"
#include "pointwise_tiling.h"

namespace neocell {

template <typename Plan>
using PlannerOf = const char* (*)(const PointwiseShape&, uint32_t, Plan*);
using PointwisePlanner = PlannerOf<PointwiseTiling>;

inline uint32_t CoresOf(const PointwiseTiling& t) { return t.cores; }
inline uint32_t CoresOf(const MlpTiling& t) { return t.first.cores; }

// (N, channels, H, W) or (N, channels, L)
inline uint32_t Pixels(const gert::Shape& tensor) {
  uint32_t pixels = 1;
  for (size_t axis = 2; axis < tensor.GetDimNum(); ++axis) {
    pixels *= static_cast<uint32_t>(tensor.GetDim(axis));
  }
  return pixels;
}

// Plans the shape for the chip at hand; a refusal is a failed tiling with its reason on the error stream.  `mixed`: the
// vector cores work too, and what the cube cores hand them goes through a workspace.
template <typename Plan>
inline ge::graphStatus FinishPointwise(gert::TilingContext* context, const char* name, const PointwiseShape& shape,
                                       PlannerOf<Plan> plan, bool mixed, const char* reason) {
  platform_ascendc::PlatformAscendC platform(context->GetPlatformInfo());
  Plan* tiling = context->GetTilingData<Plan>();
  if (tiling == nullptr) {
    reason = "no room for the tiling data";
  }
  if (reason == nullptr) {
    reason = plan(shape, platform.GetCoreNumAic(), tiling);
  }
  if (reason != nullptr) {
    std::fprintf(stderr, "%s: N=%u, %u to %u channels, %u pixels is not served: %s\n", name, shape.images, shape.in,
                 shape.out, shape.pixels, reason);
    return ge::GRAPH_FAILED;
  }
  context->SetBlockDim(CoresOf(*tiling));
  context->SetTilingKey(0);
  context->GetWorkspaceSizes(1)[0] = platform.GetLibApiWorkSpaceSize() + (mixed ? WorkspaceBytes(*tiling) : 0);
  return ge::GRAPH_SUCCESS;
}

// The operand of the product is input 0, W (M, K) input 1; `gradient`: the operand has M channels, not K.
inline ge::graphStatus LaunchPointwise(gert::TilingContext* context, const char* name, PointwisePlanner plan,
                                       bool gradient, bool mixed) {
  const gert::Shape& x = context->GetInputShape(0)->GetStorageShape();
  PointwiseShape shape = {Dim(context, 0, 0), Dim(context, 1, 1), Dim(context, 1, 0), Pixels(x)};
  const char* reason = nullptr;
  if (Dim(context, 0, 1) != (gradient ? shape.out : shape.in)) {
    reason = "w does not belong to as many channels";
  }
  return FinishPointwise<PointwiseTiling>(context, name, shape, plan, mixed, reason);
}

}  // namespace neocell
#endif
