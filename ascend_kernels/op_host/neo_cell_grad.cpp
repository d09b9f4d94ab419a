// NeoCellGrad: x, a, b and dy -> dx like x, and in float32 da (S, C, H', H), db (S, C, W, W'), to be summed over S.
// S = GradSplits(N, C), 1 from 24 channels on.
#include "neo_cell_host.h"

namespace optiling {
static ge::graphStatus NeoCellGradTiling(gert::TilingContext* context) {
  return neocell::LaunchPlanes(context, "NeoCellGrad", neocell::PlanGrad);
}
}  // namespace optiling

namespace ge {
static void SetSumShape(gert::Shape* sum, int64_t splits, const gert::Shape* weight) {
  sum->SetDimNum(4);
  sum->SetDim(0, splits);
  for (size_t axis = 0; axis < 3; ++axis) {
    sum->SetDim(axis + 1, weight->GetDim(axis));
  }
}

static graphStatus NeoCellGradShape(gert::InferShapeContext* context) {
  const gert::Shape* x = context->GetInputShape(0);
  int64_t splits = neocell::GradSplits(static_cast<uint32_t>(x->GetDim(0)), static_cast<uint32_t>(x->GetDim(1)));
  *context->GetOutputShape(0) = *x;
  SetSumShape(context->GetOutputShape(1), splits, context->GetInputShape(1));
  SetSumShape(context->GetOutputShape(2), splits, context->GetInputShape(2));
  return GRAPH_SUCCESS;
}

static graphStatus NeoCellGradType(gert::InferDataTypeContext* context) {
  context->SetOutputDataType(0, context->GetInputDataType(0));
  context->SetOutputDataType(1, DT_FLOAT);
  return context->SetOutputDataType(2, DT_FLOAT);
}
}  // namespace ge

namespace ops {
class NeoCellGrad : public OpDef {
 public:
  explicit NeoCellGrad(const char* name) : OpDef(name) {
    for (const char* input : {"x", "a", "b", "dy"}) {
      neocell::DeclareHalf(this->Input(input));
    }
    neocell::DeclareHalf(this->Output("dx"));
    for (const char* sum : {"da", "db"}) {
      neocell::DeclareFloat(this->Output(sum));
    }
    this->SetInferShape(ge::NeoCellGradShape).SetInferDataType(ge::NeoCellGradType);
    this->AICore().SetTiling(optiling::NeoCellGradTiling).AddConfig("ascend910b").AddConfig("ascend910_93");
  }
};
OP_ADD(NeoCellGrad);
}  // namespace ops
