// The pointwise operators forward, at every pixel of x (N, K, H, W) with w (M, K) and b (M), all of one 16-bit type:
//   Pointwise          y = w x + b
//   PointwiseGelu      y = GELU(w x + b)
//   PointwiseGeluKept  y = GELU(z), z = w x + b
//   PointwiseResidual  y = r + s (w x + b), r like y, s (N) in float32
//   PointwiseMlp       y = r + s (w2 GELU(w1 x + b1) + b2), r like x, s (N) in float32
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

static ge::graphStatus PointwiseMlpTiling(gert::TilingContext* context) {
  const gert::Shape& x = context->GetInputShape(0)->GetStorageShape();
  neocell::PointwiseShape shape = {neocell::Dim(context, 0, 0), neocell::Dim(context, 1, 1),
                                   neocell::Dim(context, 1, 0), neocell::Pixels(x)};
  const char* reason = nullptr;
  if (neocell::Dim(context, 0, 1) != shape.in || neocell::Dim(context, 3, 0) != shape.in ||
      neocell::Dim(context, 3, 1) != shape.out) {
    reason = "w1 and w2 do not belong to as many channels";
  }
  return neocell::FinishPointwise<neocell::MlpTiling>(context, "PointwiseMlp", shape, neocell::PlanPointwiseMlp, true,
                                                      reason);
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

static graphStatus PointwiseMlpShape(gert::InferShapeContext* context) {
  *context->GetOutputShape(0) = *context->GetInputShape(0);
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

class PointwiseMlp : public OpDef {
 public:
  explicit PointwiseMlp(const char* name) : OpDef(name) {
    for (const char* input : {"x", "w1", "b1", "w2", "b2", "r"}) {
      neocell::DeclareHalf(this->Input(input));
    }
    neocell::DeclareFloat(this->Input("s"));
    neocell::DeclareHalf(this->Output("y"));
    this->SetInferShape(ge::PointwiseMlpShape).SetInferDataType(ge::PointwiseType);
    this->AICore().SetTiling(optiling::PointwiseMlpTiling).AddConfig("ascend910b").AddConfig("ascend910_93");
  }
};
OP_ADD(PointwiseMlp);
}  // namespace ops
