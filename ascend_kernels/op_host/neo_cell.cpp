// NeoCell: x (N, C, H, W), a (C, H', H), b (C, W, W') -> y (N, C, H', W'), y[n,c] = a[c] x[n,c] b[c].
#include "neo_cell_host.h"

namespace optiling {
static ge::graphStatus NeoCellTiling(gert::TilingContext* context) {
  return neocell::LaunchPlanes(context, "NeoCell", neocell::PlanForward);
}
}  // namespace optiling

namespace ge {
static graphStatus NeoCellShape(gert::InferShapeContext* context) {
  gert::Shape* y = context->GetOutputShape(0);
  *y = *context->GetInputShape(0);
  y->SetDim(2, context->GetInputShape(1)->GetDim(1));
  y->SetDim(3, context->GetInputShape(2)->GetDim(2));
  return GRAPH_SUCCESS;
}

static graphStatus NeoCellType(gert::InferDataTypeContext* context) {
  return context->SetOutputDataType(0, context->GetInputDataType(0));
}
}  // namespace ge

namespace ops {
class NeoCell : public OpDef {
 public:
  explicit NeoCell(const char* name) : OpDef(name) {
    for (const char* input : {"x", "a", "b"}) {
      neocell::DeclareHalf(this->Input(input));
    }
    neocell::DeclareHalf(this->Output("y"));
    this->SetInferShape(ge::NeoCellShape).SetInferDataType(ge::NeoCellType);
    this->AICore().SetTiling(optiling::NeoCellTiling).AddConfig("ascend910b").AddConfig("ascend910_93");
  }
};
OP_ADD(NeoCell);
}  // namespace ops
