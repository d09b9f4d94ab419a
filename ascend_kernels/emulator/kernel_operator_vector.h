// The vector core: copies between GM and UB and element-wise operations on the first `count` elements.
#ifndef EMULATOR_KERNEL_OPERATOR_VECTOR_H
#define EMULATOR_KERNEL_OPERATOR_VECTOR_H
#include <algorithm>

namespace AscendC {

enum class RoundMode : uint8_t { CAST_NONE, CAST_RINT };
struct DataCopyExtParams {
  uint16_t blockCount = 1;
  uint32_t blockLen = 0, srcStride = 0, dstStride = 0, rsv = 0;
};
template <typename T>
struct DataCopyPadExtParams {
  bool isPad = false;
  uint8_t leftPadding = 0, rightPadding = 0;
  T paddingValue = T(0.0f);
};

using emulator::SLOW;

inline void ExpectBlocks(const char* call, uint64_t bytes) {
  if (bytes % 32 != 0) {
    TheMachine().Die(std::string(call) + ": the length must be a multiple of 32 B (DataCopyPad takes any), given " +
                     std::to_string(bytes));
  }
}

template <typename T>
void DataCopy(const LocalTensor<T>& ub, const GlobalTensor<T>& gm, uint32_t count) {
  ExpectBlocks("DataCopy(GM to UB)", count * sizeof(T));
  TheMachine().CopyToUb(ub.address, gm.address, {1, uint32_t(count * sizeof(T)), 0, 0});
}

template <typename T>
void DataCopy(const GlobalTensor<T>& gm, const LocalTensor<T>& ub, uint32_t count) {
  ExpectBlocks("DataCopy(UB to GM)", count * sizeof(T));
  TheMachine().CopyFromUb(gm.address, ub.address, {1, uint32_t(count * sizeof(T)), 0, 0});
}

// UB strides count 32 B, GM strides bytes.
template <typename T>
void DataCopyPad(const LocalTensor<T>& ub, const GlobalTensor<T>& gm, const DataCopyExtParams& p,
                 const DataCopyPadExtParams<T>&) {
  TheMachine().CopyToUb(ub.address, gm.address, {p.blockCount, p.blockLen, p.srcStride, p.dstStride * 32});
}

template <typename T>
void DataCopyPad(const GlobalTensor<T>& gm, const LocalTensor<T>& ub, const DataCopyExtParams& p) {
  TheMachine().CopyFromUb(gm.address, ub.address, {p.blockCount, p.blockLen, p.dstStride, p.srcStride * 32});
}

// d[i] = f(i) after the checks of an instruction that reads `sources` and writes `count` elements; `widest` is the size
// of the largest element among them.
template <typename D, typename Function>
void Elementwise(const char* call, uint32_t rate, uint32_t widest, const LocalTensor<D>& d, uint32_t count,
                 std::initializer_list<emulator::Bytes> sources, Function f) {
  if (count == 0 || count > d.size) {
    TheMachine().Die(std::string(call) + ": count must be 1.." + std::to_string(d.size) + ", given " +
                     std::to_string(count));
  }
  uint32_t cycles = emulator::VectorCycles(count, widest) * rate;
  TheMachine().VectorAccess(call, cycles, {d.address, uint32_t(count * sizeof(D))}, sources);
  for (uint32_t i = 0; !emulator::TheDevice().Dry() && i < count; ++i) {
    d.address[i] = f(i);
  }
}

template <typename T>
constexpr void ExpectArithmetic() {
  static_assert(!std::is_same<T, bfloat16_t>::value,
                "a vector core calculates in half and float: Cast bfloat16_t first");
}

#define EMULATOR_BINARY(NAME, RATE, EXPRESSION)                                                                \
  template <typename T>                                                                                        \
  void NAME(const LocalTensor<T>& d, const LocalTensor<T>& left, const LocalTensor<T>& right, int32_t count) { \
    ExpectArithmetic<T>();                                                                                     \
    uint32_t bytes = static_cast<uint32_t>(count * sizeof(T));                                                 \
    auto f = [&](uint32_t i) {                                                                                 \
      float a = left.address[i], b = right.address[i];                                                         \
      return T(EXPRESSION);                                                                                    \
    };                                                                                                         \
    Elementwise(#NAME, RATE, sizeof(T), d, count, {{left.address, bytes}, {right.address, bytes}}, f);         \
  }
EMULATOR_BINARY(Add, 1, a + b)
EMULATOR_BINARY(Sub, 1, a - b)
EMULATOR_BINARY(Mul, 1, a* b)
EMULATOR_BINARY(Div, SLOW, a / b)
EMULATOR_BINARY(Max, 1, std::fmax(a, b))
EMULATOR_BINARY(Min, 1, std::fmin(a, b))
#undef EMULATOR_BINARY

#define EMULATOR_SCALAR(NAME, EXPRESSION)                                                            \
  template <typename T>                                                                              \
  void NAME(const LocalTensor<T>& d, const LocalTensor<T>& source, const T& scalar, int32_t count) { \
    ExpectArithmetic<T>();                                                                           \
    uint32_t bytes = static_cast<uint32_t>(count * sizeof(T));                                       \
    auto f = [&](uint32_t i) {                                                                       \
      float a = source.address[i], b = scalar;                                                       \
      return T(EXPRESSION);                                                                          \
    };                                                                                               \
    Elementwise(#NAME, 1, sizeof(T), d, count, {{source.address, bytes}}, f);                        \
  }
EMULATOR_SCALAR(Adds, a + b)
EMULATOR_SCALAR(Muls, a* b)
EMULATOR_SCALAR(Maxs, std::fmax(a, b))
EMULATOR_SCALAR(Mins, std::fmin(a, b))
#undef EMULATOR_SCALAR

// d += scalar * source
template <typename T>
void Axpy(const LocalTensor<T>& d, const LocalTensor<T>& source, const T& scalar, int32_t count) {
  ExpectArithmetic<T>();
  uint32_t bytes = static_cast<uint32_t>(count * sizeof(T));
  Elementwise("Axpy", 1, sizeof(T), d, count, {{source.address, bytes}, {d.address, bytes}},
              [&](uint32_t i) { return T(float(source.address[i]) * float(scalar) + float(d.address[i])); });
}

// d = d + left * right
template <typename T>
void MulAddDst(const LocalTensor<T>& d, const LocalTensor<T>& left, const LocalTensor<T>& right, int32_t count) {
  ExpectArithmetic<T>();
  uint32_t bytes = static_cast<uint32_t>(count * sizeof(T));
  Elementwise("MulAddDst", 1, sizeof(T), d, count, {{left.address, bytes}, {right.address, bytes}, {d.address, bytes}},
              [&](uint32_t i) { return T(float(left.address[i]) * float(right.address[i]) + float(d.address[i])); });
}

// How many elements the next instructions without a count of their own take.
enum class MaskMode : uint8_t { NORMAL, COUNTER };
struct Mask {
  bool counting = false;
  uint32_t count = 0;
};
inline Mask& TheMask() {
  static Mask mask;
  return mask;
}
constexpr uint64_t MASK_PLACEHOLDER = 0;
inline void SetMaskCount() { TheMask().counting = true; }
inline void SetMaskNorm() { TheMask().counting = false; }
inline void ResetMask() { TheMask().count = 0; }
template <typename T, MaskMode MODE>
void SetVectorMask(uint64_t, uint64_t count) {
  static_assert(MODE == MaskMode::COUNTER, "only a number of elements is modelled");
  TheMask().count = static_cast<uint32_t>(count);
}

struct BinaryRepeatParams {  // strides of 32 B: of the eight blocks of a repeat, and from one repeat to the next
  uint8_t dstBlkStride, src0BlkStride, src1BlkStride, dstRepStride, src0RepStride, src1RepStride;
};

// d = d * left + right.  With a repeat stride of 0, right is the same 256 B for all of d.
template <typename T, bool SET_MASK>
void FusedMulAdd(const LocalTensor<T>& d, const LocalTensor<T>& left, const LocalTensor<T>& right, uint64_t, uint8_t,
                 const BinaryRepeatParams& p) {
  ExpectArithmetic<T>();
  static_assert(!SET_MASK, "only the form with SetVectorMask is modelled");
  bool dense = p.dstBlkStride == 1 && p.src0BlkStride == 1 && p.src1BlkStride == 1 && p.dstRepStride == 8 &&
               p.src0RepStride == 8 && (p.src1RepStride == 8 || p.src1RepStride == 0);
  if (!TheMask().counting || !dense) {
    TheMachine().Die("FusedMulAdd: only a number of elements (SetMaskCount), side by side, is modelled");
  }
  uint32_t count = TheMask().count, bytes = static_cast<uint32_t>(count * sizeof(T));
  uint32_t lanes = p.src1RepStride == 0 ? std::min<uint32_t>(count, 256 / sizeof(T)) : count;
  Elementwise(
      "FusedMulAdd", 1, sizeof(T), d, count,
      {{left.address, bytes}, {right.address, uint32_t(lanes * sizeof(T))}, {d.address, bytes}},
      [&](uint32_t i) { return T(float(d.address[i]) * float(left.address[i]) + float(right.address[i % lanes])); });
}

#define EMULATOR_UNARY(NAME, RATE, EXPRESSION)                                      \
  template <typename T>                                                             \
  void NAME(const LocalTensor<T>& d, const LocalTensor<T>& source, int32_t count) { \
    ExpectArithmetic<T>();                                                          \
    uint32_t bytes = static_cast<uint32_t>(count * sizeof(T));                      \
    auto f = [&](uint32_t i) {                                                      \
      float a = source.address[i];                                                  \
      return T(EXPRESSION);                                                         \
    };                                                                              \
    Elementwise(#NAME, RATE, sizeof(T), d, count, {{source.address, bytes}}, f);    \
  }
EMULATOR_UNARY(Exp, SLOW, emulator::RoughExp(a))
EMULATOR_UNARY(Abs, 1, std::fabs(a))
EMULATOR_UNARY(Relu, 1, a < 0.0f ? 0.0f : a)
#undef EMULATOR_UNARY

template <typename D, typename S>
void Cast(const LocalTensor<D>& d, const LocalTensor<S>& source, const RoundMode& mode, uint32_t count) {
  if ((sizeof(D) < sizeof(S)) != (mode == RoundMode::CAST_RINT)) {
    TheMachine().Die("Cast: to fewer bits with CAST_RINT, to more with CAST_NONE");
  }
  constexpr uint32_t widest = sizeof(D) > sizeof(S) ? sizeof(D) : sizeof(S);
  Elementwise("Cast", 1, widest, d, count, {{source.address, uint32_t(count * sizeof(S))}},
              [&](uint32_t i) { return D(float(source.address[i])); });
}

template <typename T>
void Duplicate(const LocalTensor<T>& d, const T& value, int32_t count) {
  Elementwise("Duplicate", 1, sizeof(T), d, count, {}, [&](uint32_t) { return value; });
}

}  // namespace AscendC
#endif
