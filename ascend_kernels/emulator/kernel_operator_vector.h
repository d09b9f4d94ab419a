// The vector core: copies between GM and UB and element-wise operations on the first `count` elements.
#ifndef EMULATOR_KERNEL_OPERATOR_VECTOR_H
#define EMULATOR_KERNEL_OPERATOR_VECTOR_H

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
