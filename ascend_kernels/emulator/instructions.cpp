// The instructions of a cube core: what each moves or computes, and the rules that it checks.
#include "device.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace emulator {

namespace {

constexpr uint32_t C0 = 16;                 // 16-bit elements in 32 B
constexpr uint32_t FRACTAL_ELEMENTS = 256;  // 16 x 16

uint32_t Up(uint32_t value, uint32_t unit) { return (value + unit - 1) / unit * unit; }

// row += left * right, each element a float32 sum in the order of k
void AddProducts(float* row, const float* left, const float* right, uint32_t k, uint32_t columns) {
  uint32_t x = 0;
  for (; x + 4 <= k; x += 4) {
    const float* line = right + static_cast<size_t>(x) * columns;
    float a = left[x], b = left[x + 1], c = left[x + 2], d = left[x + 3];
    for (uint32_t j = 0; j < columns; ++j) {
      float sum = row[j] + a * line[j];
      sum += b * line[j + columns];
      sum += c * line[j + 2 * columns];
      row[j] = sum + d * line[j + 3 * columns];
    }
  }
  for (; x < k; ++x) {
    for (uint32_t j = 0; j < columns; ++j) {
      row[j] += left[x] * right[static_cast<size_t>(x) * columns + j];
    }
  }
}

}  // namespace

// ---------------------------------------------------------------------------------------------------------- MTE2
void Machine::CopyNd2Nz(uint16_t* l1, const uint16_t* gm, const Nd2Nz& p) {
  const char* call = "DataCopy(Nd2Nz)";
  ExpectMemory(call, "destination", l1, {MEM_L1});
  Align(call, l1, 32);
  Expect(p.ndNum >= 1 && p.ndNum <= 4095, call, "ndNum must be 1..4095", p.ndNum);
  Expect(p.nValue >= 1 && p.nValue <= 16384, call, "nValue must be 1..16384", p.nValue);
  Expect(p.dValue >= 1, call, "dValue must be at least 1", p.dValue);
  Expect(p.srcDValue >= p.dValue, call, "srcDValue must be at least dValue", p.srcDValue);
  Expect(p.dstNzC0Stride >= 1 && p.dstNzC0Stride <= 16384, call, "dstNzC0Stride must be 1..16384", p.dstNzC0Stride);
  Expect(p.dstNzNStride >= 1 && p.dstNzNStride <= 16384, call, "dstNzNStride must be 1..16384", p.dstNzNStride);
  Expect(p.dstNzMatrixStride % C0 == 0, call, "dstNzMatrixStride must be a multiple of 16", p.dstNzMatrixStride);
  double gmBytes = 0;
  for (uint32_t matrix = 0; matrix < p.ndNum; ++matrix) {
    const uint16_t* source = gm + static_cast<uint64_t>(matrix) * p.srcNdMatrixStride;
    TheDevice().Find(*this, call, source, ((p.nValue - 1) * static_cast<uint64_t>(p.srcDValue) + p.dValue) * 2);
    for (uint32_t row = 0; row < p.nValue; ++row) {
      gmBytes += ReadGm(PIPE_GM_L1, call, source + static_cast<uint64_t>(row) * p.srcDValue, p.dValue * 2);
    }
    for (uint32_t column = 0; column < p.dValue; column += C0) {
      uint16_t* block = l1 + static_cast<uint64_t>(matrix) * p.dstNzMatrixStride +
                        static_cast<uint64_t>(column / C0) * p.dstNzC0Stride * C0;
      uint32_t width = std::min(C0, p.dValue - column);
      if (p.dstNzNStride == 1) {
        Write(PIPE_GM_L1, call, block, p.nValue * 32);
      }
      for (uint32_t row = 0; row < p.nValue; ++row) {
        uint16_t* out = block + static_cast<uint64_t>(row) * p.dstNzNStride * C0;
        if (p.dstNzNStride != 1) {
          Write(PIPE_GM_L1, call, out, 32);
        }
        if (TheDevice().Dry()) {
          continue;
        }
        const uint16_t* in = source + static_cast<uint64_t>(row) * p.srcDValue + column;
        std::memcpy(out, in, width * 2);
        std::fill(out + width, out + C0, 0);  // columns are padded with zeros, rows are not
      }
    }
  }
  Work(PIPE_GM_L1, 0, static_cast<uint64_t>(p.ndNum) * p.nValue * p.dValue * 2, gmBytes);
}

void Machine::FillL1(uint16_t* l1, uint32_t repeat, uint32_t blocks, uint32_t gap, uint16_t value) {
  const char* call = "InitConstValue";
  ExpectMemory(call, "destination", l1, {MEM_L1});
  Align(call, l1, 32);
  Expect(repeat >= 1 && repeat <= 32767, call, "repeatTimes must be 1..32767", repeat);
  Expect(blocks >= 1 && blocks <= 32767, call, "blockNum must be 1..32767", blocks);
  Work(PIPE_GM_L1, static_cast<uint64_t>(repeat) * blocks * 32 / 256);
  for (uint32_t r = 0; r < repeat; ++r) {
    uint16_t* out = l1 + static_cast<uint64_t>(r) * (blocks + gap) * C0;
    Write(PIPE_GM_L1, call, out, blocks * 32);
    std::fill(out, out + blocks * C0, value);
  }
}

// ---------------------------------------------------------------------------------------------------------- MTE1
void Machine::CopyFractals(uint16_t* l0, const uint16_t* l1, const LoadFractals& p) {
  const char* call = "LoadData";
  Memory destination = ExpectMemory(call, "destination", l0, {MEM_L0A, MEM_L0B});
  ExpectMemory(call, "source", l1, {MEM_L1});
  Align(call, l0, 512);
  Align(call, l1, 32);
  Expect(p.repeatTimes >= 1 && p.repeatTimes <= 255, call, "repeatTimes must be 1..255", p.repeatTimes);
  uint32_t cycles = p.repeatTimes * (destination == MEM_L0A ? 1 : 2);  // 512 and 256 B a cycle
  counters.l0Cycles += cycles;
  Work(PIPE_L1_L0, cycles);
  for (uint32_t r = 0; r < p.repeatTimes; ++r) {
    const uint16_t* in = l1 + (p.startIndex + static_cast<uint64_t>(r) * p.srcStride) * FRACTAL_ELEMENTS;
    uint16_t* out = l0 + static_cast<uint64_t>(r) * (p.dstGap + 1) * FRACTAL_ELEMENTS;
    // the rows that pad a fractal may be unwritten: their NaN shows whether they reach a result
    Read(PIPE_L1_L0, call, in, 512, false);
    Write(PIPE_L1_L0, call, out, 512);
    if (TheDevice().Dry()) {
      continue;
    }
    if (!p.transpose) {
      std::memcpy(out, in, 512);
      continue;
    }
    for (uint32_t i = 0; i < 16; ++i) {
      for (uint32_t j = 0; j < 16; ++j) {
        out[i * 16 + j] = in[j * 16 + i];
      }
    }
  }
}

// ------------------------------------------------------------------------------------------------------------- M
void Machine::Multiply(float* c, const uint16_t* a, const uint16_t* b, uint32_t m, uint32_t k, uint32_t n, bool fresh,
                       Format format) {
  const char* call = "Mmad";
  ExpectMemory(call, "left operand", a, {MEM_L0A});
  ExpectMemory(call, "right operand", b, {MEM_L0B});
  ExpectMemory(call, "result", c, {MEM_L0C});
  Align(call, a, 512);
  Align(call, b, 512);
  Align(call, c, 64);
  Expect(m >= 2 && m <= 4095, call, "m must be 2..4095 (1 changes to a matrix-vector layout)", m);
  Expect(n >= 1 && n <= 4095, call, "n must be 1..4095", n);
  Expect(k >= 1 && k <= 4095, call, "k must be 1..4095", k);
  uint32_t mBlocks = Up(m, 16) / 16, kBlocks = Up(k, 16) / 16, nBlocks = Up(n, 16) / 16;
  uint64_t resultBytes = static_cast<uint64_t>(mBlocks) * nBlocks * 1024;
  counters.cubeCycles += static_cast<uint64_t>(mBlocks) * kBlocks * nBlocks;
  Work(PIPE_CUBE, static_cast<uint64_t>(mBlocks) * kBlocks * nBlocks);
  Read(PIPE_CUBE, call, a, static_cast<uint64_t>(mBlocks) * kBlocks * 512);
  Read(PIPE_CUBE, call, b, static_cast<uint64_t>(kBlocks) * nBlocks * 512);
  if (!fresh) {
    Read(PIPE_CUBE, call, c, resultBytes);
    uint64_t offset;
    Locate(call, c, 1, &offset);
    if (cells_[MEM_L0C][offset / GRANULE].cubeEpoch == cubeEpoch_ && mBlocks * nBlocks < 10) {
      Fail("Mmad: accumulates " + std::to_string(mBlocks) + " x " + std::to_string(nBlocks) +
           " fractals on the result of an earlier Mmad without PipeBarrier<PIPE_M>, needed below 10 fractals");
    }
  }
  Write(PIPE_CUBE, call, c, resultBytes);
  if (TheDevice().Dry()) {
    return;
  }

  uint32_t columns = nBlocks * 16;
  static std::vector<float> left, right, row;
  left.resize(k);
  right.resize(static_cast<size_t>(k) * columns);
  row.resize(columns);
  for (uint32_t x = 0; x < k; ++x) {
    for (uint32_t j = 0; j < columns; ++j) {
      right[static_cast<size_t>(x) * columns + j] =
          Widen(b[((static_cast<size_t>(x / 16) * nBlocks + j / 16) * 16 + j % 16) * 16 + x % 16], format);
    }
  }
  for (uint32_t i = 0; i < mBlocks * 16; ++i) {
    auto result = [&](uint32_t j) { return c + (static_cast<size_t>(j / 16) * mBlocks * 16 + i) * 16; };
    if (i >= m) {
      for (uint32_t j = 0; j < columns; j += 16) {
        std::fill_n(result(j), 16, NAN);
      }
      continue;
    }
    for (uint32_t x = 0; x < k; ++x) {
      left[x] = Widen(a[((static_cast<size_t>(i / 16) * kBlocks + x / 16) * 16 + i % 16) * 16 + x % 16], format);
    }
    for (uint32_t j = 0; j < columns; j += 16) {
      if (fresh) {
        std::fill_n(&row[j], 16, 0.0f);
      } else {
        std::copy_n(result(j), 16, &row[j]);
      }
    }
    AddProducts(row.data(), left.data(), right.data(), k, columns);
    std::fill(row.begin() + n, row.end(), NAN);
    for (uint32_t j = 0; j < columns; j += 16) {
      std::copy_n(&row[j], 16, result(j));
    }
  }
}

// ----------------------------------------------------------------------------------------------------------- FIX
void Machine::FixToL1(uint16_t* l1, const float* l0c, const FixPipe& p) {
  const char* call = "Fixpipe(L0C to L1)";
  ExpectMemory(call, "destination", l1, {MEM_L1});
  ExpectMemory(call, "source", l0c, {MEM_L0C});
  Align(call, l1, 32);
  Align(call, l0c, 64);
  Expect(p.format != Format::F32, call, "quantPre must convert to fp16 or bf16; there is no float32 path", 0);
  Expect(p.nSize >= 16 && p.nSize <= 4095 && p.nSize % 16 == 0, call, "nSize must be a multiple of 16 up to 4080",
         p.nSize);
  Expect(p.mSize >= 1 && p.mSize <= 65535, call, "mSize must be 1..65535", p.mSize);
  Expect(p.srcStride >= p.mSize && p.srcStride % 16 == 0, call, "srcStride must cover mSize in units of 16 rows",
         p.srcStride);
  Expect(p.dstStride >= p.mSize, call, "dstStride must be at least mSize", p.dstStride);
  uint32_t blocks = p.nSize / 16, cycles = blocks * Up(p.mSize, 4) / 4;  // 256 B of L0C a cycle
  counters.fixCycles += cycles;
  Work(PIPE_FIXPIPE, cycles);
  for (uint32_t j = 0; j < blocks; ++j) {
    const float* in = l0c + static_cast<uint64_t>(j) * p.srcStride * C0;
    uint16_t* out = l1 + static_cast<uint64_t>(j) * p.dstStride * C0;
    Read(PIPE_FIXPIPE, call, in, p.mSize * 64);
    Write(PIPE_FIXPIPE, call, out, p.mSize * 32);
    for (uint32_t e = 0; !TheDevice().Dry() && e < p.mSize * C0; ++e) {
      out[e] = Narrow(in[e], p.format);
    }
  }
}

void Machine::FixToGm(void* gm, const float* l0c, const FixPipe& p) {
  const char* call = "Fixpipe(L0C to GM)";
  ExpectMemory(call, "source", l0c, {MEM_L0C});
  Align(call, l0c, 64);
  Expect(p.nSize >= 1 && p.nSize <= 4095, call, "nSize must be 1..4095", p.nSize);
  Expect(p.mSize >= 1 && p.mSize <= 8192, call, "mSize must be 1..8192", p.mSize);
  Expect(p.srcStride >= p.mSize && p.srcStride % 16 == 0, call, "srcStride must cover mSize in units of 16 rows",
         p.srcStride);
  Expect(p.dstStride >= p.nSize, call, "dstStride must be at least nSize", p.dstStride);
  Expect(p.ndNum >= 1, call, "ndNum must be at least 1", p.ndNum);
  if (p.ndNum > 1) {
    Expect(p.srcNdStride >= 1 && p.srcNdStride <= 512, call, "srcNdStride must be 1..512 fractals", p.srcNdStride);
    Expect(p.dstNdStride >= 1 && p.dstNdStride <= 65535, call, "dstNdStride must be 1..65535", p.dstNdStride);
  }
  uint32_t element = p.format == Format::F32 ? 4 : 2, blocks = Up(p.nSize, 16) / 16;
  uint32_t cycles = p.ndNum * blocks * Up(p.mSize, 4) / 4;
  counters.fixCycles += cycles;
  double gmBytes = 0;
  for (uint32_t matrix = 0; matrix < p.ndNum; ++matrix) {
    const float* source = l0c + static_cast<uint64_t>(matrix) * p.srcNdStride * FRACTAL_ELEMENTS;
    uint8_t* target = static_cast<uint8_t*>(gm) + static_cast<uint64_t>(matrix) * p.dstNdStride * element;
    for (uint32_t j = 0; j < blocks; ++j) {
      Read(PIPE_FIXPIPE, call, source + static_cast<uint64_t>(j) * p.srcStride * C0, p.mSize * 64);
    }
    for (uint32_t row = 0; row < p.mSize; ++row) {
      uint8_t* out = target + static_cast<uint64_t>(row) * p.dstStride * element;
      gmBytes += WriteGm(PIPE_FIXPIPE, call, out, p.nSize * element);
      for (uint32_t column = 0; !TheDevice().Dry() && column < p.nSize; ++column) {
        float value = source[(static_cast<uint64_t>(column / 16) * p.srcStride + row) * C0 + column % 16];
        if (element == 4) {
          std::memcpy(out + column * 4, &value, 4);
        } else {
          uint16_t bits = Narrow(value, p.format);
          std::memcpy(out + column * 2, &bits, 2);
        }
      }
    }
  }
  Work(PIPE_FIXPIPE, cycles, static_cast<uint64_t>(p.ndNum) * p.mSize * p.nSize * element, gmBytes);
}

}  // namespace emulator
