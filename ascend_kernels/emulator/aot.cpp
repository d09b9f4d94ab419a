// The operators as functions with the calling convention of MindSpore's ops.Custom(func_type="aot"), by which a network
// runs on the emulated kernels.
#include <cstring>
#include <mutex>

#include "host.h"
#include "neo_cell_tiling.h"

using emulator::Operator;

namespace {

constexpr uint32_t AOT_CORES = 24;

int Refuse(const char* op, const std::string& reason) {
  std::fprintf(stderr, "%s: %s\n", op, reason.c_str());
  return 1;
}

struct Call {
  int count;
  void** params;
  int* ranks;
  int64_t** shapes;
  const char** dtypes;
};

int RunAot(const char* name, Operator op, const Call& call, const std::vector<uint32_t>& shape) {
  static std::mutex device;  // there is one, and MindSpore runs independent operators in several threads
  std::lock_guard<std::mutex> lock(device);
  bool bf16 = std::strcmp(call.dtypes[0], "bfloat16") == 0;
  if (!bf16 && std::strcmp(call.dtypes[0], "float16") != 0) {
    return Refuse(name, std::string("expects float16 or bfloat16, given ") + call.dtypes[0]);
  }
  emulator::Report report =
      emulator::Launch(op, bf16, shape.data(), AOT_CORES, reinterpret_cast<uint8_t* const*>(call.params));
  if (!report.plan.refusal.empty()) {
    return Refuse(name, report.plan.refusal);
  }
  if (!report.violations.empty()) {
    return Refuse(name, report.violations[0]);
  }
  return 0;
}

int RefuseCount(const char* name, const Call& call, int expected) {
  return Refuse(name, "expects " + std::to_string(expected) + " tensors, given " + std::to_string(call.count));
}

uint32_t Size(const Call& call, int tensor, int axis) { return static_cast<uint32_t>(call.shapes[tensor][axis]); }

// of (N, C, H, W)
uint32_t Pixels(const Call& call, int tensor) { return Size(call, tensor, 2) * Size(call, tensor, 3); }

// x (N, C, H, W), a (C, H', H), b (C, W, W') and, after them, what the operator adds
int RunPlanes(const char* name, Operator op, const Call& call, int expected) {
  if (call.count != expected) {
    return RefuseCount(name, call, expected);
  }
  if (const char* reason = neocell::RefuseSizes(call.shapes[0], call.shapes[1], call.shapes[2])) {
    return Refuse(name, reason);
  }
  return RunAot(
      name, op, call,
      {Size(call, 0, 0), Size(call, 0, 1), Size(call, 0, 2), Size(call, 0, 3), Size(call, 1, 1), Size(call, 2, 2)});
}

// ------------------------------------------------------------------------------------------------------- pointwise
// The operand (N, channels, H, W) is tensor 0, w (M, K) tensor 1; `gradient`: the operand has M channels, not K.
int RunPointwise(const char* name, Operator op, const Call& call, int expected, bool gradient) {
  if (call.count != expected) {
    return RefuseCount(name, call, expected);
  }
  uint32_t channels = Size(call, 0, 1), out = Size(call, 1, 0), in = Size(call, 1, 1);
  if (channels != (gradient ? out : in)) {
    return Refuse(name, "w does not belong to as many channels");
  }
  return RunAot(name, op, call, {Size(call, 0, 0), in, out, Pixels(call, 0)});
}

}  // namespace

extern "C" {

// x (N, C, H, W), a (C, H', H), b (C, W, W') -> y (N, C, H', W')
int NeoCell(int count, void** params, int* ranks, int64_t** shapes, const char** dtypes, void*, void*) {
  return RunPlanes("NeoCell", Operator::NEO_CELL, {count, params, ranks, shapes, dtypes}, 4);
}

// x (N, C, H*W), k (C, H'*W', H*W) -> y (N, C, H'*W')
int NeoCellKron(int count, void** params, int* ranks, int64_t** shapes, const char** dtypes, void*, void*) {
  Call call{count, params, ranks, shapes, dtypes};
  if (count != 3) {
    return RefuseCount("NeoCellKron", call, 3);
  }
  if (shapes[1][0] != shapes[0][1] || shapes[1][2] != shapes[0][2]) {
    return Refuse("NeoCellKron", "k needs a matrix for every channel of x, with as many columns as x");
  }
  return RunAot("NeoCellKron", Operator::NEO_CELL_KRON, call,
                {Size(call, 0, 0), Size(call, 0, 1), 1, Size(call, 0, 2), 1, Size(call, 1, 1)});
}

// x, a, b, dy -> dx like x, da (S, C, H', H) and db (S, C, W, W') in float32
int NeoCellGrad(int count, void** params, int* ranks, int64_t** shapes, const char** dtypes, void*, void*) {
  return RunPlanes("NeoCellGrad", Operator::NEO_CELL_GRAD, {count, params, ranks, shapes, dtypes}, 7);
}

// x, w (M, K), b (M) -> y (N, M, H, W)
int Pointwise(int count, void** params, int* ranks, int64_t** shapes, const char** dtypes, void*, void*) {
  return RunPointwise("Pointwise", Operator::POINTWISE, {count, params, ranks, shapes, dtypes}, 4, false);
}

// x, w, b -> y
int PointwiseGelu(int count, void** params, int* ranks, int64_t** shapes, const char** dtypes, void*, void*) {
  return RunPointwise("PointwiseGelu", Operator::POINTWISE_GELU, {count, params, ranks, shapes, dtypes}, 4, false);
}

// x, w, b -> y, z
int PointwiseGeluKept(int count, void** params, int* ranks, int64_t** shapes, const char** dtypes, void*, void*) {
  return RunPointwise("PointwiseGeluKept", Operator::POINTWISE_GELU_KEPT, {count, params, ranks, shapes, dtypes}, 5,
                      false);
}

// x, w, b, r like y, s (N) in float32 -> y
int PointwiseResidual(int count, void** params, int* ranks, int64_t** shapes, const char** dtypes, void*, void*) {
  return RunPointwise("PointwiseResidual", Operator::POINTWISE_RESIDUAL, {count, params, ranks, shapes, dtypes}, 6,
                      false);
}

// dy, w -> dx
int PointwiseInputGrad(int count, void** params, int* ranks, int64_t** shapes, const char** dtypes, void*, void*) {
  return RunPointwise("PointwiseInputGrad", Operator::POINTWISE_INPUT_GRAD, {count, params, ranks, shapes, dtypes}, 3,
                      true);
}

// dy, w, z -> dz
int PointwiseGeluGrad(int count, void** params, int* ranks, int64_t** shapes, const char** dtypes, void*, void*) {
  return RunPointwise("PointwiseGeluGrad", Operator::POINTWISE_GELU_GRAD, {count, params, ranks, shapes, dtypes}, 4,
                      true);
}

// x (N, C, H, W), w1 (hidden, C), b1, w2 (C, hidden), b2, r like x, s (N) in float32 -> y
int PointwiseMlp(int count, void** params, int* ranks, int64_t** shapes, const char** dtypes, void*, void*) {
  Call call{count, params, ranks, shapes, dtypes};
  if (count == 8 && (Size(call, 3, 0) != Size(call, 1, 1) || Size(call, 3, 1) != Size(call, 1, 0))) {
    return Refuse("PointwiseMlp", "w1 and w2 do not belong to as many channels");
  }
  return RunPointwise("PointwiseMlp", Operator::POINTWISE_MLP, call, 8, false);
}

// dy (N, M, H, W), x (N, K, H, W) -> dw (S, M, K) and db (S, M) in float32
int PointwiseWeightGrad(int count, void** params, int* ranks, int64_t** shapes, const char** dtypes, void*, void*) {
  Call call{count, params, ranks, shapes, dtypes};
  if (count != 4) {
    return RefuseCount("PointwiseWeightGrad", call, 4);
  }
  return RunAot("PointwiseWeightGrad", Operator::POINTWISE_WEIGHT_GRAD, call,
                {Size(call, 1, 0), Size(call, 1, 1), Size(call, 0, 1), Pixels(call, 1)});
}
}
