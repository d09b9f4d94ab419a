// NeoCellKron: x (N, C, D), k (C, D', D) -> y (N, C, D'), y[n,c] = k[c] x[n,c]; k = kron(a, b^T) makes it a NeoCell.
#include "neo_cell_host.h"

namespace optiling {
static ge::graphStatus NeoCellKronTiling(gert::TilingContext* context) {
  using neocell::Dim;
  neocell::Shape rows = {Dim(context, 0, 0), Dim(context, 0, 1), 1, Dim(context, 0, 2), 1, Dim(context, 1, 1)};
  return neocell::Launch(context, "NeoCellKron", rows, neocell::PlanKron);
}
}  // namespace optiling

namespace ge {
static graphStatus NeoCellKronShape(gert::InferShapeContext* context) {
  gert::Shape* y = context->GetOutputShape(0);
  *y = *context->GetInputShape(0);
  y->SetDim(2, context->GetInputShape(1)->GetDim(1));
  return GRAPH_SUCCESS;
}

static graphStatus NeoCellKronType(gert::InferDataTypeContext* context) {
  return context->SetOutputDataType(0, context->GetInputDataType(0));
}
}  // namespace ge

namespace ops {
class NeoCellKron : public OpDef {
 public:
  explicit NeoCellKron(const char* name) : OpDef(name) {
    for (const char* input : {"x", "k"}) {
      neocell::DeclareHalf(this->Input(input));
    }
    neocell::DeclareHalf(this->Output("y"));
    this->SetInferShape(ge::NeoCellKronShape).SetInferDataType(ge::NeoCellKronType);
    this->AICore().SetTiling(optiling::NeoCellKronTiling).AddConfig("ascend910b").AddConfig("ascend910_93");
  }
};
OP_ADD(NeoCellKron);
}  // namespace ops
