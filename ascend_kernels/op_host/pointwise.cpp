// The pointwise operators forward, at every pixel of x (N, K, H, W) with w (M, K) and b (M), all of one 16-bit type:
//   Pointwise          y = w x + b
//   PointwiseGelu      y = GELU(w x + b)
//   PointwiseGeluKept  y = GELU(z), z = w x + b
//   PointwiseResidual  y = r + s (w x + b), r like y, s (N) in float32
#include "pointwise_host.h"

namespace optiling {
static ge::graphStatus PointwiseTiling(gert::TilingContext* context) {
  return neocell::LaunchPointwise(context, "Pointwise", neocell::PlanPointwise, false, false);
}

static ge::graphStatus PointwiseGeluTiling(gert::TilingContext* context) {
  return neocell::LaunchPointwise(context, "PointwiseGelu", neocell::PlanPointwise, false, true);
}

static ge::graphStatus PointwiseGeluKeptTiling(gert::TilingContext* context) {
  return neocell::LaunchPointwise(context, "PointwiseGeluKept", neocell::PlanPointwise, false, true);
}

static ge::graphStatus PointwiseResidualTiling(gert::TilingContext* context) {
  return neocell::LaunchPointwise(context, "PointwiseResidual", neocell::PlanPointwise, false, true);
}
}  // namespace optiling

namespace ge {
static void SetOutput(gert::InferShapeContext* context, size_t output) {
  gert::Shape* y = context->GetOutputShape(output);
  *y = *context->GetInputShape(0);
  y->SetDim(1, context->GetInputShape(1)->GetDim(0));
}

static graphStatus PointwiseShape(gert::InferShapeContext* context) {
  SetOutput(context, 0);
  return GRAPH_SUCCESS;
}

static graphStatus PointwiseKeptShape(gert::InferShapeContext* context) {
  SetOutput(context, 0);
  SetOutput(context, 1);
  return GRAPH_SUCCESS;
}

static graphStatus PointwiseType(gert::InferDataTypeContext* context) {
  return context->SetOutputDataType(0, context->GetInputDataType(0));
}

static graphStatus PointwiseKeptType(gert::InferDataTypeContext* context) {
  context->SetOutputDataType(1, context->GetInputDataType(0));
  return context->SetOutputDataType(0, context->GetInputDataType(0));
}
}  // namespace ge

namespace ops {
class Pointwise : public OpDef {
 public:
  explicit Pointwise(const char* name) : OpDef(name) {
    neocell::DeclareHalf(this->Input("x"));
    neocell::DeclareHalf(this->Input("w"));
    neocell::DeclareHalf(this->Input("b"));
    neocell::DeclareHalf(this->Output("y"));
    this->SetInferShape(ge::PointwiseShape).SetInferDataType(ge::PointwiseType);
    this->AICore().SetTiling(optiling::PointwiseTiling).AddConfig("ascend910b").AddConfig("ascend910_93");
  }
};
OP_ADD(Pointwise);

class PointwiseGelu : public OpDef {
 public:
  explicit PointwiseGelu(const char* name) : OpDef(name) {
    neocell::DeclareHalf(this->Input("x"));
    neocell::DeclareHalf(this->Input("w"));
    neocell::DeclareHalf(this->Input("b"));
    neocell::DeclareHalf(this->Output("y"));
    this->SetInferShape(ge::PointwiseShape).SetInferDataType(ge::PointwiseType);
    this->AICore().SetTiling(optiling::PointwiseGeluTiling).AddConfig("ascend910b").AddConfig("ascend910_93");
  }
};
OP_ADD(PointwiseGelu);

class PointwiseGeluKept : public OpDef {
 public:
  explicit PointwiseGeluKept(const char* name) : OpDef(name) {
    neocell::DeclareHalf(this->Input("x"));
    neocell::DeclareHalf(this->Input("w"));
    neocell::DeclareHalf(this->Input("b"));
    neocell::DeclareHalf(this->Output("y"));
    neocell::DeclareHalf(this->Output("z"));
    this->SetInferShape(ge::PointwiseKeptShape).SetInferDataType(ge::PointwiseKeptType);
    this->AICore().SetTiling(optiling::PointwiseGeluKeptTiling).AddConfig("ascend910b").AddConfig("ascend910_93");
  }
};
OP_ADD(PointwiseGeluKept);

class PointwiseResidual : public OpDef {
 public:
  explicit PointwiseResidual(const char* name) : OpDef(name) {
    neocell::DeclareHalf(this->Input("x"));
    neocell::DeclareHalf(this->Input("w"));
    neocell::DeclareHalf(this->Input("b"));
    neocell::DeclareHalf(this->Input("r"));
    neocell::DeclareFloat(this->Input("s"));
    neocell::DeclareHalf(this->Output("y"));
    this->SetInferShape(ge::PointwiseShape).SetInferDataType(ge::PointwiseType);
    this->AICore().SetTiling(optiling::PointwiseResidualTiling).AddConfig("ascend910b").AddConfig("ascend910_93");
  }
};
OP_ADD(PointwiseResidual);
}  // namespace ops
