// Buffers, queues and event ids: what a TPipe manages.  Included by kernel_operator.h.
#ifndef EMULATOR_KERNEL_OPERATOR_QUEUE_H
#define EMULATOR_KERNEL_OPERATOR_QUEUE_H

namespace AscendC {

struct Buffer {
  enum State { FREE, OCCUPIED, QUEUED, DEQUEUED } state;
  uint8_t* address;
  int enQueued, freed;  // event ids, -1 when not set
};

// Belongs to the TPipe, which outlives the queues and waits for their last events.
struct QueueBuffers {
  const char* memory;
  HardEvent freed;
  uint32_t bytes;
  std::vector<Buffer> buffers;
};

class TPipe {
 public:
  TPipe() {
    current[TheMachine().Which()] = this;
    for (int id = 0; id < 3 && ASCEND_IS_AIC; ++id) {  // as on 910B
      SetFlag<HardEvent::M_MTE1>(AllocEventID<HardEvent::M_MTE1>());
    }
  }
  ~TPipe() {
    for (const QueueBuffers& queue : queues_) {
      for (const Buffer& buffer : queue.buffers) {
        if (buffer.freed >= 0) {
          WaitFlagOf(queue.freed, buffer.freed);
        }
      }
    }
    for (int id = 0; id < 3 && ASCEND_IS_AIC; ++id) {
      WaitFlag<HardEvent::M_MTE1>(id);
    }
  }
  template <typename Queue>
  void InitBuffer(Queue& queue, uint8_t count, uint32_t bytes) {
    queues_.push_back({emulator::MEMORY_NAME[Queue::MEMORY], Queue::FREED, bytes, {}});
    queue.own = &queues_.back();
    for (int i = 0; i < count; ++i) {
      queue.own->buffers.push_back({Buffer::FREE, Take(Queue::MEMORY, bytes), -1, -1});
    }
  }
  template <typename Plain>
  void InitBuffer(Plain& buffer, uint32_t bytes) {
    buffer.address = Take(Plain::MEMORY, bytes);
    buffer.bytes = bytes;
  }
  template <HardEvent event>
  TEventID AllocEventID() {
    TEventID id = FetchEventID(event);
    occupied_[int(event)] |= 1u << id;
    return id;
  }
  template <HardEvent event>
  void ReleaseEventID(TEventID id) {
    occupied_[int(event)] &= ~(1u << id);
  }
  TEventID FetchEventID(HardEvent event) {
    for (int id = 0; id < emulator::EVENT_IDS; ++id) {
      if (!(occupied_[int(event)] >> id & 1)) {
        return static_cast<TEventID>(id);
      }
    }
    TheMachine().Die("AllocEventID: all 8 ids of an event are taken");
  }
  static inline TPipe* current[emulator::UNITS] = {};

 private:
  uint8_t* Take(emulator::Memory memory, uint32_t bytes) {
    if (!TheMachine().Has(memory)) {
      TheMachine().Die(std::string("InitBuffer: ") + emulator::UNIT_NAME[TheMachine().Which()] + " has no " +
                       emulator::MEMORY_NAME[memory]);
    }
    uint32_t offset = used_[memory];
    bytes = (bytes + 31) / 32 * 32;
    if (bytes == 0 || offset + bytes > emulator::CAPACITY[memory]) {
      TheMachine().Die(std::string("InitBuffer: ") + emulator::MEMORY_NAME[memory] + " holds " +
                       std::to_string(emulator::CAPACITY[memory]) + " B, " + std::to_string(offset) +
                       " are taken, given " + std::to_string(bytes));
    }
    if (++buffers_ > 64) {
      TheMachine().Die("InitBuffer: a TPipe manages at most 64 buffers");
    }
    used_[memory] += bytes;
    return TheMachine().Base(memory) + offset;
  }
  uint32_t used_[emulator::MEMORIES] = {};
  uint32_t occupied_[int(HardEvent::MAX)] = {};
  int buffers_ = 0;
  std::deque<QueueBuffers> queues_;
};

}  // namespace AscendC

inline AscendC::TPipe* GetTPipePtr() { return AscendC::TPipe::current[emulator::TheMachine().Which()]; }

namespace AscendC {

template <TPosition position>
struct TBuf {
  static constexpr emulator::Memory MEMORY = MemoryOf(position);
  uint8_t* address = nullptr;
  uint32_t bytes = 0;
  template <typename T>
  LocalTensor<T> Get() {
    return {reinterpret_cast<T*>(address), uint32_t(bytes / sizeof(T)), -1};
  }
};

template <TPosition position, int depth>
class TQue {
 public:
  static constexpr emulator::Memory MEMORY = MemoryOf(position);
  static constexpr bool OUT = position == TPosition::VECOUT;
  static constexpr HardEvent FILLED = MEMORY == emulator::MEM_L1    ? HardEvent::MTE2_MTE1
                                      : MEMORY == emulator::MEM_L0C ? HardEvent::M_FIX
                                      : MEMORY != emulator::MEM_UB  ? HardEvent::MTE1_M
                                      : OUT                         ? HardEvent::V_MTE3
                                                                    : HardEvent::MTE2_V;
  static constexpr HardEvent FREED = MEMORY == emulator::MEM_L1    ? HardEvent::MTE1_MTE2
                                     : MEMORY == emulator::MEM_L0C ? HardEvent::FIX_M
                                     : MEMORY != emulator::MEM_UB  ? HardEvent::M_MTE1
                                     : OUT                         ? HardEvent::MTE3_V
                                                                   : HardEvent::V_MTE2;

  template <typename T>
  LocalTensor<T> AllocTensor() {
    for (size_t tried = 0; tried < own->buffers.size(); ++tried) {
      size_t slot = (next_ + tried) % own->buffers.size();
      Buffer& buffer = own->buffers[slot];
      if (buffer.state != Buffer::FREE) {
        continue;
      }
      next_ = slot + 1;
      buffer.state = Buffer::OCCUPIED;
      TheMachine().HoldTensor(1);
      if (buffer.freed >= 0) {
        WaitFlag<FREED>(buffer.freed);
        GetTPipePtr()->ReleaseEventID<FREED>(static_cast<TEventID>(buffer.freed));
        buffer.freed = -1;
      }
      return Tensor<T>(static_cast<int>(slot));
    }
    TheMachine().Die(std::string("AllocTensor: none of the ") + std::to_string(own->buffers.size()) +
                     " buffers of a queue in " + own->memory + " is free (a FreeTensor is missing?)");
  }
  template <typename T>
  bool EnQue(const LocalTensor<T>& tensor) {
    Buffer& buffer = Of("EnQue", tensor.slot, Buffer::OCCUPIED);
    if (static_cast<int>(queued_.size()) >= depth) {
      TheMachine().Die("EnQue: the queue in " + std::string(own->memory) + " has depth " + std::to_string(depth));
    }
    buffer.state = Buffer::QUEUED;
    buffer.enQueued = GetTPipePtr()->AllocEventID<FILLED>();
    SetFlag<FILLED>(buffer.enQueued);
    queued_.push_back(tensor.slot);
    return true;
  }
  template <typename T>
  LocalTensor<T> DeQue() {
    if (queued_.empty()) {
      TheMachine().Die("DeQue: the queue in " + std::string(own->memory) + " is empty");
    }
    int slot = queued_.front();
    queued_.pop_front();
    Buffer& buffer = Of("DeQue", slot, Buffer::QUEUED);
    buffer.state = Buffer::DEQUEUED;
    WaitFlag<FILLED>(buffer.enQueued);
    GetTPipePtr()->ReleaseEventID<FILLED>(static_cast<TEventID>(buffer.enQueued));
    return Tensor<T>(slot);
  }
  template <typename T>
  void FreeTensor(LocalTensor<T>& tensor) {
    Buffer& buffer = Of("FreeTensor", tensor.slot, Buffer::DEQUEUED);
    buffer.state = Buffer::FREE;
    TheMachine().HoldTensor(-1);
    buffer.freed = GetTPipePtr()->AllocEventID<FREED>();
    SetFlag<FREED>(buffer.freed);
  }

  QueueBuffers* own = nullptr;  // set by TPipe::InitBuffer

 private:
  template <typename T>
  LocalTensor<T> Tensor(int slot) {
    return {reinterpret_cast<T*>(own->buffers[slot].address), uint32_t(own->bytes / sizeof(T)), slot};
  }
  Buffer& Of(const char* call, int slot, Buffer::State state) {
    static const char* const STATES[] = {"free", "allocated", "queued", "dequeued"};
    if (slot < 0 || slot >= static_cast<int>(own->buffers.size())) {
      TheMachine().Die(std::string(call) + ": the tensor belongs to no queue");
    }
    if (own->buffers[slot].state != state) {
      TheMachine().Die(std::string(call) + ": a tensor in " + own->memory + " must be " + STATES[state] + ", it is " +
                       STATES[own->buffers[slot].state]);
    }
    return own->buffers[slot];
  }
  size_t next_ = 0;
  std::deque<int> queued_;
};

}  // namespace AscendC
#endif
