// NeoCellTerms: x (N, C, H, W), a (R, G, C, H', H), b (R, G, C, W, W') -> y (N, C, H', W'), the sum over r and g of
// a[r,g,c] x[n,in] b[r,g,c], where `in` is the channel g further than c around its group of G channels.
#include "neo_cell_host.h"

namespace optiling {
static const char* RefuseTerms(const gert::TilingContext* context) {
  using neocell::Dim;
  if (Dim(context, 2, 0) != Dim(context, 1, 0) || Dim(context, 2, 1) != Dim(context, 1, 1)) {
    return "a and b need as many terms";
  }
  int64_t sizes[3][4] = {{Dim(context, 0, 0), Dim(context, 0, 1), Dim(context, 0, 2), Dim(context, 0, 3)},
                         {Dim(context, 1, 2), Dim(context, 1, 3), Dim(context, 1, 4), 0},
                         {Dim(context, 2, 2), Dim(context, 2, 3), Dim(context, 2, 4), 0}};
  return neocell::RefuseSizes(sizes[0], sizes[1], sizes[2]);
}

static ge::graphStatus NeoCellTermsTiling(gert::TilingContext* context) {
  using neocell::Dim;
  neocell::Shape shape = {Dim(context, 0, 0), Dim(context, 0, 1), Dim(context, 0, 2),
                          Dim(context, 0, 3), Dim(context, 1, 3), Dim(context, 2, 4)};
  uint32_t rank = Dim(context, 1, 0), width = Dim(context, 1, 1);
  auto plan = [rank, width](const neocell::Shape& s, uint32_t cores, neocell::Tiling* tiling) {
    return neocell::PlanTerms(s, rank, width, cores, tiling);
  };
  return neocell::Launch(context, "NeoCellTerms", shape, plan, RefuseTerms(context));
}
}  // namespace optiling

namespace ge {
static graphStatus NeoCellTermsShape(gert::InferShapeContext* context) {
  gert::Shape* y = context->GetOutputShape(0);
  *y = *context->GetInputShape(0);
  y->SetDim(2, context->GetInputShape(1)->GetDim(3));
  y->SetDim(3, context->GetInputShape(2)->GetDim(4));
  return GRAPH_SUCCESS;
}

static graphStatus NeoCellTermsType(gert::InferDataTypeContext* context) {
  return context->SetOutputDataType(0, context->GetInputDataType(0));
}
}  // namespace ge

namespace ops {
class NeoCellTerms : public OpDef {
 public:
  explicit NeoCellTerms(const char* name) : OpDef(name) {
    for (const char* input : {"x", "a", "b"}) {
      neocell::DeclareHalf(this->Input(input));
    }
    neocell::DeclareHalf(this->Output("y"));
    this->SetInferShape(ge::NeoCellTermsShape).SetInferDataType(ge::NeoCellTermsType);
    this->AICore().SetTiling(optiling::NeoCellTermsTiling).AddConfig("ascend910b").AddConfig("ascend910_93");
  }
};
OP_ADD(NeoCellTerms);
}  // namespace ops
