// What the cores of a launch share: tensors in global memory, L2, the workspace, flags between cores, and the reports.
//
// The three cores of an AI core run by turns: one gives up its turn only where it waits for a flag that is not set.
// AI cores run one after another, for they may share nothing but inputs.
#ifndef EMULATOR_DEVICE_H
#define EMULATOR_DEVICE_H
#include <deque>
#include <functional>
#include <memory>

#include "machine.h"

namespace emulator {

enum class Use { INPUT, OUTPUT, WORKSPACE };

constexpr uint64_t L2_BYTES = 96u << 20;  // of the smallest chip served (910B4); the others have twice as much
constexpr uint32_t SECTOR = 32;           // bytes that device memory delivers at once

struct Tensor {
  std::string name;
  const uint8_t* base;
  uint64_t bytes;
  Use use;
  uint32_t sharers;              // AI cores that read the same bytes at the same time: L2 serves all but one of them
  std::vector<uint8_t> written;  // one entry per 2 bytes of an output
  // when this AI core last read each sector of an input: in units of 64 bytes that it had read, from 1 on
  std::unique_ptr<uint32_t[], decltype(&free)> touched{nullptr, &free};
  struct Cell {
    Clock read;
    uint32_t written;
    int8_t writer;  // unit * PIPES + pipe; -1: nobody wrote it
    int16_t owner;  // the AI core that used it first
  };
  std::vector<Cell> cells;  // one per GRANULE of a workspace
};

class Device {
 public:
  Device();

  void Prepare(bool dry, uint32_t blocks, bool mixed);  // before a launch: no tensors, no reports
  void AddTensor(const std::string& name, const void* base, uint64_t bytes, Use use, uint32_t sharers = 1);
  // Runs `body` on every core of an AI core; an Abort ends that core, its message is kept.
  void RunBlock(int block, const std::function<void()>& body);

  void (*onTurn)(int block, int unit) = nullptr;  // called whenever another core goes on

  bool Dry() const { return dry_; }  // count and check, but move no data
  bool Mixed() const { return mixed_; }
  int Block() const { return block_; }
  Machine& Core(int unit) { return *cores_[unit]; }
  Machine& Current() { return *cores_[current_]; }

  // ---- global memory; the results are bytes that device memory, not L2, delivers or takes
  Tensor& Find(Machine& core, const char* call, const void* address, uint64_t bytes);
  double Touch(Tensor& tensor, const uint8_t* address, uint64_t bytes);
  void ReadWorkspace(Machine& core, Tensor& tensor, Pipe pipe, const Clock& clock, const char* call, uint64_t offset,
                     uint64_t bytes);
  void WriteWorkspace(Machine& core, Tensor& tensor, Pipe pipe, const Clock& clock, const char* call, uint64_t offset,
                      uint64_t bytes);

  // ---- flags between the cores of an AI core
  void CrossSet(Machine& core, int id, const Clock& clock);
  Clock CrossWait(Machine& core, int id);

  // ---- reports
  void Fail(const std::string& message);
  std::vector<std::string> violations;  // the first few, in words
  uint64_t violationCount = 0, races = 0;

 private:
  void Enter();  // what the coroutine of a core runs
  bool Yield();  // false if every core has ended
  void Turn(int unit);
  Tensor::Cell& Own(Machine& core, Tensor& tensor, const char* call, uint64_t granule);
  void RaceInWorkspace(Machine& core, Tensor& tensor, const char* kind, int first, Pipe second, const char* call,
                       uint64_t granule);

  std::unique_ptr<Machine> cores_[UNITS];
  std::vector<Tensor> tensors_;
  struct Fibers;
  std::shared_ptr<Fibers> fibers_;
  const std::function<void()>* body_ = nullptr;
  std::deque<Clock> arrived_[UNITS][CROSS_IDS];  // per waiting core; the cube's flags count when both vectors set them
  std::deque<Clock> half_[2][CROSS_IDS];         // set by one vector core so far
  bool dry_ = false, mixed_ = false;
  uint32_t blocks_ = 1;
  int block_ = 0, current_ = 0;
  double moved_ = 0;        // bytes of inputs read so far, each divided among those who read them together
  uint64_t firstUnit_ = 1;  // where this AI core began, in units of 64 of them
  bool done_[UNITS] = {}, stuck_ = false;
  int waitsFor_[UNITS] = {};  // the flag that a core waits for, or -1
};

Device& TheDevice();

}  // namespace emulator
#endif
