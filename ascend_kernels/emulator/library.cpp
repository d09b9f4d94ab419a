// The C interface of the emulator for tests and the performance model.
#include <cstring>

#include "host.h"
#include "pointwise_tiling.h"

using emulator::Operator;

namespace {

void Append(std::string* json, const char* key, double value) {
  char text[64];
  std::snprintf(text, sizeof(text), "%s\"%s\": %.17g", json->back() == '{' ? "" : ", ", key, value);
  *json += text;
}

std::string Quote(const std::string& text) {
  std::string quoted = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
    }
    quoted += c;
  }
  return quoted + "\"";
}

std::string ToJson(const emulator::Counters& counters) {
  std::string json = "{";
  uint64_t instructions = 0;
  for (int p = 0; p < emulator::PIPES; ++p) {
    Append(&json, emulator::PIPE_NAME[p], static_cast<double>(counters.instructions[p]));
    instructions += counters.instructions[p];
  }
  Append(&json, "instructions", static_cast<double>(instructions));
  Append(&json, "flags", static_cast<double>(counters.flags));
  Append(&json, "barriers", static_cast<double>(counters.barriers));
  Append(&json, "gm_read", counters.gmRead);
  Append(&json, "gm_written", counters.gmWritten);
  Append(&json, "l2_read", static_cast<double>(counters.l2Read));
  Append(&json, "l2_written", static_cast<double>(counters.l2Written));
  Append(&json, "cube_cycles", static_cast<double>(counters.cubeCycles));
  Append(&json, "l0_cycles", static_cast<double>(counters.l0Cycles));
  Append(&json, "fix_cycles", static_cast<double>(counters.fixCycles));
  Append(&json, "vector_cycles", static_cast<double>(counters.vectorCycles));
  return json + "}";
}

std::string ToJson(const emulator::Plan& plan) {
  std::string json = "{";
  for (const auto& fact : plan.facts) {
    Append(&json, fact.first, fact.second);
  }
  Append(&json, "share", plan.share);
  return json + "}";
}

std::string ToJson(const emulator::Times& times) {
  std::string json = "{";
  Append(&json, "total", times.total);
  Append(&json, "issue", times.issue[emulator::CUBE_CORE]);
  Append(&json, "gm", times.gm);
  for (int p = 0; p < emulator::PIPES; ++p) {
    Append(&json, emulator::PIPE_NAME[p],
           p == emulator::PIPE_VECTOR ? times.busy[emulator::VECTOR_CORE_0][p] : times.busy[emulator::CUBE_CORE][p]);
  }
  return json + "}";
}

std::string ToJson(const emulator::Report& report) {
  std::string json = "{\"refusal\": " + Quote(report.plan.refusal) + ", \"violations\": [";
  for (size_t i = 0; i < report.violations.size(); ++i) {
    json += (i ? ", " : "") + Quote(report.violations[i]);
  }
  json += "]";
  Append(&json, "violation_count", static_cast<double>(report.violationCount));
  Append(&json, "races", static_cast<double>(report.races));
  return json + ", \"tiling\": " + ToJson(report.plan) + ", \"total\": " + ToJson(report.total) +
         ", \"core\": " + ToJson(report.core) + ", \"total_vector\": " + ToJson(report.totalVector) +
         ", \"core_vector\": " + ToJson(report.coreVector) + ", \"cycles\": " + ToJson(report.times) + "}";
}

bool ParseOperator(const char* name, Operator* op) {
  for (int i = 0; i < emulator::OPERATORS; ++i) {
    if (std::strcmp(name, emulator::OPERATOR_NAME[i]) == 0) {
      *op = static_cast<Operator>(i);
      return true;
    }
  }
  return false;
}

}  // namespace

extern "C" {

// Runs `op` for a shape as MakePlan takes it; `tensors` in the operator's order, or null for a dry run of core 0.
// Returns a JSON report.
const char* neo_cell_emulate(const char* op, int bf16, const uint32_t* shape, uint32_t cores, void** tensors) {
  static std::string json;
  Operator which;
  if (!ParseOperator(op, &which)) {
    json = "{\"refusal\": \"unknown operator\"}";
    return json.c_str();
  }
  json = ToJson(emulator::Launch(which, bf16 != 0, shape, cores, reinterpret_cast<uint8_t* const*>(tensors)));
  return json.c_str();
}

// 1 if the Kronecker kernel is the faster forward for the shape {N, C, H, W, H', W'}.
int neo_cell_prefers_kron(const uint32_t* s) { return neocell::PrefersKron({s[0], s[1], s[2], s[3], s[4], s[5]}); }

// Images over which dA and dB of a gradient are summed apart: the first axis S of its outputs da and db.
uint32_t neo_cell_grad_splits(uint32_t images, uint32_t channels) { return neocell::GradSplits(images, channels); }

// 1 if one kernel is the faster MLP for {N, channels, hidden channels, pixels}.
int pointwise_prefers_mlp(const uint32_t* s) { return neocell::PrefersMlp({s[0], s[1], s[2], s[3]}); }

// Parts of the strips whose dW and db are summed apart, for {N, channels in, channels out, pixels}.
uint32_t pointwise_splits(const uint32_t* s) {
  neocell::PointwiseTiling tiling;
  return neocell::PlanPointwiseWeightGrad({s[0], s[1], s[2], s[3]}, 1, &tiling) == nullptr ? tiling.splits : 0;
}
}
