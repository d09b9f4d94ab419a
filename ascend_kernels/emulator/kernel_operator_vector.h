// The vector core: copies between GM and UB and element-wise operations on the first `count` elements.  The NeoCell
// kernels run on the cube core alone; these are here for an epilogue (bias, activation) that would follow them.
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

inline void ExpectBlocks(const char* call, uint64_t bytes) {
  if (bytes % 32 != 0) {
    TheMachine().Die(std::string(call) + ": the length must be a multiple of 32 B (DataCopyPad takes any), given " +
                     std::to_string(bytes));
  }
}

template <typename T>
void DataCopy(const LocalTensor<T>& ub, const GlobalTensor<T>& gm, uint32_t count) {
  ExpectBlocks("DataCopy(GM to UB)", count * sizeof(T));
  TheMachine().CopyToUb(ub.address, gm.address, count * sizeof(T));
}

template <typename T>
void DataCopy(const GlobalTensor<T>& gm, const LocalTensor<T>& ub, uint32_t count) {
  ExpectBlocks("DataCopy(UB to GM)", count * sizeof(T));
  TheMachine().CopyFromUb(gm.address, ub.address, count * sizeof(T));
}

template <typename T>
void DataCopyPad(const LocalTensor<T>& ub, const GlobalTensor<T>& gm, const DataCopyExtParams& p,
                 const DataCopyPadExtParams<T>&) {
  uint32_t row = (p.blockLen + 31) / 32 * 32 + p.dstStride * 32;  // UB strides count 32 B, GM strides bytes
  for (uint32_t b = 0; b < p.blockCount; ++b) {
    TheMachine().CopyToUb(reinterpret_cast<uint8_t*>(ub.address) + b * row,
                          reinterpret_cast<uint8_t*>(gm.address) + b * (p.blockLen + p.srcStride), p.blockLen);
  }
}

template <typename T>
void DataCopyPad(const GlobalTensor<T>& gm, const LocalTensor<T>& ub, const DataCopyExtParams& p) {
  uint32_t row = (p.blockLen + 31) / 32 * 32 + p.srcStride * 32;
  for (uint32_t b = 0; b < p.blockCount; ++b) {
    TheMachine().CopyFromUb(reinterpret_cast<uint8_t*>(gm.address) + b * (p.blockLen + p.dstStride),
                            reinterpret_cast<uint8_t*>(ub.address) + b * row, p.blockLen);
  }
}

// d[i] = f(i) after the checks of an instruction that reads `sources` and writes `count` elements
template <typename D, typename Function>
void Elementwise(const char* call, const LocalTensor<D>& d, uint32_t count,
                 const std::vector<std::pair<const void*, uint32_t>>& sources, Function f) {
  if (count == 0 || count > d.size) {
    TheMachine().Die(std::string(call) + ": count must be 1.." + std::to_string(d.size) + ", given " +
                     std::to_string(count));
  }
  TheMachine().VectorAccess(call, d.address, count * sizeof(D), sources);
  for (uint32_t i = 0; !TheMachine().Dry() && i < count; ++i) {
    d.address[i] = f(i);
  }
}

#define EMULATOR_BINARY(NAME, EXPRESSION)                                                                      \
  template <typename T>                                                                                        \
  void NAME(const LocalTensor<T>& d, const LocalTensor<T>& left, const LocalTensor<T>& right, int32_t count) { \
    uint32_t bytes = static_cast<uint32_t>(count * sizeof(T));                                                 \
    Elementwise(#NAME, d, count, {{left.address, bytes}, {right.address, bytes}}, [&](uint32_t i) {            \
      float a = left.address[i], b = right.address[i];                                                         \
      return T(EXPRESSION);                                                                                    \
    });                                                                                                        \
  }
EMULATOR_BINARY(Add, a + b)
EMULATOR_BINARY(Sub, a - b)
EMULATOR_BINARY(Mul, a* b)
EMULATOR_BINARY(Div, a / b)
EMULATOR_BINARY(Max, std::fmax(a, b))
EMULATOR_BINARY(Min, std::fmin(a, b))
#undef EMULATOR_BINARY

#define EMULATOR_SCALAR(NAME, EXPRESSION)                                                            \
  template <typename T>                                                                              \
  void NAME(const LocalTensor<T>& d, const LocalTensor<T>& source, const T& scalar, int32_t count) { \
    uint32_t bytes = static_cast<uint32_t>(count * sizeof(T));                                       \
    Elementwise(#NAME, d, count, {{source.address, bytes}}, [&](uint32_t i) {                        \
      float a = source.address[i], b = scalar;                                                       \
      return T(EXPRESSION);                                                                          \
    });                                                                                              \
  }
EMULATOR_SCALAR(Adds, a + b)
EMULATOR_SCALAR(Muls, a* b)
EMULATOR_SCALAR(Maxs, std::fmax(a, b))
EMULATOR_SCALAR(Mins, std::fmin(a, b))
#undef EMULATOR_SCALAR

#define EMULATOR_UNARY(NAME, EXPRESSION)                                            \
  template <typename T>                                                             \
  void NAME(const LocalTensor<T>& d, const LocalTensor<T>& source, int32_t count) { \
    uint32_t bytes = static_cast<uint32_t>(count * sizeof(T));                      \
    Elementwise(#NAME, d, count, {{source.address, bytes}}, [&](uint32_t i) {       \
      float a = source.address[i];                                                  \
      return T(EXPRESSION);                                                         \
    });                                                                             \
  }
EMULATOR_UNARY(Exp, std::exp(a))
EMULATOR_UNARY(Ln, std::log(a))
EMULATOR_UNARY(Abs, std::fabs(a))
EMULATOR_UNARY(Sqrt, std::sqrt(a))
EMULATOR_UNARY(Rsqrt, 1.0f / std::sqrt(a))
EMULATOR_UNARY(Reciprocal, 1.0f / a)
EMULATOR_UNARY(Relu, std::fmax(a, 0.0f))
#undef EMULATOR_UNARY

template <typename D, typename S>
void Cast(const LocalTensor<D>& d, const LocalTensor<S>& source, const RoundMode&, uint32_t count) {
  Elementwise("Cast", d, count, {{source.address, static_cast<uint32_t>(count * sizeof(S))}},
              [&](uint32_t i) { return D(float(source.address[i])); });
}

template <typename T>
void Duplicate(const LocalTensor<T>& d, const T& value, int32_t count) {
  Elementwise("Duplicate", d, count, {}, [&](uint32_t) { return value; });
}

}  // namespace AscendC
#endif
