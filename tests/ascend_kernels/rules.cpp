// The register of the kernels in rules_*.cpp, and its C interface.
#include "rules.h"

namespace rules {

std::map<std::string, Kernel>& Kernels() {
  static std::map<std::string, Kernel> kernels;
  return kernels;
}

}  // namespace rules

extern "C" {

// The names of all kernels, and after each the message that it must give, one a line.
const char* list_kernels() {
  static std::string text;
  text.clear();
  for (const auto& kernel : rules::Kernels()) {
    text += kernel.first + "\n" + kernel.second.message + "\n";
  }
  return text.c_str();
}

// Runs a kernel and returns the first violation, or an empty text.
const char* run_kernel(const char* name, uint8_t* gm, uint8_t* half_gm) {
  static std::string text;
  static float workspace[4096];
  const rules::Kernel& kernel = rules::Kernels().at(name);
  emulator::Device& device = emulator::TheDevice();
  device.Prepare(false, kernel.blocks, kernel.mixed);
  device.AddTensor("gm", gm, 16384, emulator::Use::OUTPUT);
  device.AddTensor("half_gm", half_gm, 8192, emulator::Use::OUTPUT);
  device.AddTensor("workspace", workspace, sizeof(workspace), emulator::Use::WORKSPACE);
  for (int block = 0; block < kernel.blocks; ++block) {
    device.RunBlock(block, [&] { kernel.body(gm, half_gm, reinterpret_cast<uint8_t*>(workspace)); });
  }
  text = device.violations.empty() ? "" : device.violations[0];
  return text.c_str();
}
}
