// The arguments of an operator as MindSpore passes them.
#pragma once

#include <cstdint>
#include <cstring>

namespace neonext {

enum class Type { f32, f16, i32, other };

struct Tensor {
  void* data;
  int ndim;
  const int64_t* shape;
  Type type;

  int64_t size() const {
    int64_t result = 1;
    for (int i = 0; i < ndim; ++i) result *= shape[i];
    return result;
  }
  bool is_float() const { return type == Type::f32 || type == Type::f16; }
  bool same_shape(const Tensor& other) const {
    return ndim == other.ndim && std::memcmp(shape, other.shape, ndim * sizeof(int64_t)) == 0;
  }
};

struct Arguments {
  void** params;
  int* ndims;
  int64_t** shapes;
  const char** dtypes;

  Tensor operator[](int i) const {
    const char* name = dtypes[i];
    const Type type = !std::strcmp(name, "float32")   ? Type::f32
                      : !std::strcmp(name, "float16") ? Type::f16
                      : !std::strcmp(name, "int32")   ? Type::i32
                                                      : Type::other;
    return {params[i], ndims[i], shapes[i], type};
  }
};

}  // namespace neonext
