// The gradients of the pointwise operators, with w (M, K):
//   PointwiseInputGrad   dx (N, K, H, W) = w^T dy
//   PointwiseGeluGrad    dz (N, K, H, W) = (w^T dy) GELU'(z): through a layer and the GELU before it
//   PointwiseWeightGrad  dw (S, M, K) and db (S, M) in float32, to be summed over S, a function of the shape alone
#include "pointwise_host.h"

namespace optiling {
static ge::graphStatus PointwiseInputGradTiling(gert::TilingContext* context) {
  return neocell::LaunchPointwise(context, "PointwiseInputGrad", neocell::PlanPointwiseInputGrad, true, false);
}

static ge::graphStatus PointwiseGeluGradTiling(gert::TilingContext* context) {
  return neocell::LaunchPointwise(context, "PointwiseGeluGrad", neocell::PlanPointwiseGeluGrad, true, true);
}

// dy (N, M, H, W), x (N, K, H, W)
static ge::graphStatus PointwiseWeightGradTiling(gert::TilingContext* context) {
  const gert::Shape& x = context->GetInputShape(1)->GetStorageShape();
  neocell::PointwiseShape shape = {neocell::Dim(context, 1, 0), neocell::Dim(context, 1, 1),
                                   neocell::Dim(context, 0, 1), neocell::Pixels(x)};
  return neocell::FinishPointwise<neocell::PointwiseTiling>(context, "PointwiseWeightGrad", shape,
                                                            neocell::PlanPointwiseWeightGrad, false, nullptr);
}
}  // namespace optiling

namespace ge {
static graphStatus PointwiseInputShape(gert::InferShapeContext* context) {
  gert::Shape* dx = context->GetOutputShape(0);
  *dx = *context->GetInputShape(0);
  dx->SetDim(1, context->GetInputShape(1)->GetDim(1));
  return GRAPH_SUCCESS;
}

static graphStatus PointwiseInputType(gert::InferDataTypeContext* context) {
  return context->SetOutputDataType(0, context->GetInputDataType(0));
}

static graphStatus PointwiseWeightShape(gert::InferShapeContext* context) {
  const gert::Shape *dy = context->GetInputShape(0), *x = context->GetInputShape(1);
  neocell::PointwiseShape shape = {static_cast<uint32_t>(x->GetDim(0)), static_cast<uint32_t>(x->GetDim(1)),
                                   static_cast<uint32_t>(dy->GetDim(1)), neocell::Pixels(*x)};
  neocell::PointwiseTiling tiling;
  if (neocell::PlanPointwiseWeightGrad(shape, neocell::MOST_CORES, &tiling) != nullptr) {
    return GRAPH_FAILED;
  }
  gert::Shape *dw = context->GetOutputShape(0), *db = context->GetOutputShape(1);
  dw->SetDimNum(3);
  db->SetDimNum(2);
  for (gert::Shape* sum : {dw, db}) {
    sum->SetDim(0, tiling.splits);
    sum->SetDim(1, dy->GetDim(1));
  }
  dw->SetDim(2, x->GetDim(1));
  return GRAPH_SUCCESS;
}

static graphStatus PointwiseWeightType(gert::InferDataTypeContext* context) {
  context->SetOutputDataType(0, DT_FLOAT);
  return context->SetOutputDataType(1, DT_FLOAT);
}
}  // namespace ge

namespace ops {
class PointwiseInputGrad : public OpDef {
 public:
  explicit PointwiseInputGrad(const char* name) : OpDef(name) {
    neocell::DeclareHalf(this->Input("dy"));
    neocell::DeclareHalf(this->Input("w"));
    neocell::DeclareHalf(this->Output("dx"));
    this->SetInferShape(ge::PointwiseInputShape).SetInferDataType(ge::PointwiseInputType);
    this->AICore().SetTiling(optiling::PointwiseInputGradTiling).AddConfig("ascend910b").AddConfig("ascend910_93");
  }
};
OP_ADD(PointwiseInputGrad);

class PointwiseGeluGrad : public OpDef {
 public:
  explicit PointwiseGeluGrad(const char* name) : OpDef(name) {
    neocell::DeclareHalf(this->Input("dy"));
    neocell::DeclareHalf(this->Input("w"));
    neocell::DeclareHalf(this->Input("z"));
    neocell::DeclareHalf(this->Output("dz"));
    this->SetInferShape(ge::PointwiseInputShape).SetInferDataType(ge::PointwiseInputType);
    this->AICore().SetTiling(optiling::PointwiseGeluGradTiling).AddConfig("ascend910b").AddConfig("ascend910_93");
  }
};
OP_ADD(PointwiseGeluGrad);

class PointwiseWeightGrad : public OpDef {
 public:
  explicit PointwiseWeightGrad(const char* name) : OpDef(name) {
    neocell::DeclareHalf(this->Input("dy"));
    neocell::DeclareHalf(this->Input("x"));
    neocell::DeclareFloat(this->Output("dw"));
    neocell::DeclareFloat(this->Output("db"));
    this->SetInferShape(ge::PointwiseWeightShape).SetInferDataType(ge::PointwiseWeightType);
    this->AICore().SetTiling(optiling::PointwiseWeightGradTiling).AddConfig("ascend910b").AddConfig("ascend910_93");
  }
};
OP_ADD(PointwiseWeightGrad);
}  // namespace ops
