// What NeoCell's operators share on the host: shapes out of a context, the tiling into it.
#ifndef NEO_CELL_HOST_H
#define NEO_CELL_HOST_H
#include <cstdio>

#include "neo_cell_tiling.h"
#include "register/op_def_registry.h"
#include "tiling/platform/platform_ascendc.h"

namespace neocell {

using Planner = const char* (*)(const Shape&, uint32_t, Tiling*);

inline uint32_t Dim(const gert::TilingContext* context, size_t input, size_t axis) {
  return static_cast<uint32_t>(context->GetInputShape(input)->GetStorageShape().GetDim(axis));
}

// Plans the shape for the chip at hand by a Planner; a refusal is a failed tiling with its reason on the error stream.
template <typename PlannerLike>
inline ge::graphStatus Launch(gert::TilingContext* context, const char* name, const Shape& shape, PlannerLike plan,
                              const char* reason = nullptr) {
  platform_ascendc::PlatformAscendC platform(context->GetPlatformInfo());
  Tiling* tiling = context->GetTilingData<Tiling>();
  if (tiling == nullptr) {
    reason = "no room for the tiling data";
  }
  if (reason == nullptr) {
    reason = plan(shape, platform.GetCoreNumAic(), tiling);
  }
  if (reason != nullptr) {
    std::fprintf(stderr, "%s: N=%u C=%u %ux%u -> %ux%u is not served: %s\n", name, shape.images, shape.channels,
                 shape.height, shape.width, shape.outHeight, shape.outWidth, reason);
    return ge::GRAPH_FAILED;
  }
  context->SetBlockDim(UsedCores(*tiling));
  context->SetTilingKey(0);
  context->GetWorkspaceSizes(1)[0] = platform.GetLibApiWorkSpaceSize();  // the system's; the kernels need none
  return ge::GRAPH_SUCCESS;
}

// x (N, C, H, W), a (C, H', H), b (C, W, W') and more
inline ge::graphStatus LaunchPlanes(gert::TilingContext* context, const char* name, Planner plan) {
  int64_t sizes[3][4] = {};
  for (size_t input = 0; input < 3; ++input) {
    const gert::Shape& shape = context->GetInputShape(input)->GetStorageShape();
    for (size_t axis = 0; axis < shape.GetDimNum() && axis < 4; ++axis) {
      sizes[input][axis] = shape.GetDim(axis);
    }
  }
  Shape shape = {Dim(context, 0, 0), Dim(context, 0, 1), Dim(context, 0, 2),
                 Dim(context, 0, 3), Dim(context, 1, 1), Dim(context, 2, 2)};
  return Launch(context, name, shape, plan, RefuseSizes(sizes[0], sizes[1], sizes[2]));
}

// fp16 and bf16, any shape, dense
inline void DeclareHalf(ops::OpParamDef& parameter) {
  parameter.ParamType(ops::REQUIRED)
      .DataType({ge::DT_FLOAT16, ge::DT_BF16})
      .Format({ge::FORMAT_ND, ge::FORMAT_ND})
      .UnknownShapeFormat({ge::FORMAT_ND, ge::FORMAT_ND});
}

inline void DeclareFloat(ops::OpParamDef& parameter) {
  parameter.ParamType(ops::REQUIRED)
      .DataType({ge::DT_FLOAT, ge::DT_FLOAT})
      .Format({ge::FORMAT_ND, ge::FORMAT_ND})
      .UnknownShapeFormat({ge::FORMAT_ND, ge::FORMAT_ND});
}

}  // namespace neocell
#endif
