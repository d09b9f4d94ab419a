// The arguments of an operator as MindSpore passes them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <new>

#include "half.h"
#include "neonext_cpu.h"

namespace neonext {

constexpr int kTile = 16;  // words in a row of a tile, and of a row in a line of a panel

constexpr int Parts(int64_t size, int of) { return static_cast<int>((size + of - 1) / of); }

enum class Type { f32, f16, bf16, i32, other };

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
  bool IsFloat() const { return type == Type::f32 || type == Type::f16; }
  bool HasShape(std::initializer_list<int64_t> wanted) const {
    return ndim == static_cast<int>(wanted.size()) && std::equal(wanted.begin(), wanted.end(), shape);
  }
  template <class T>
  T* As() const {
    return static_cast<T*>(data);
  }
  bool SameShape(const Tensor& other) const {
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
    const Type type = !std::strcmp(name, "float32")    ? Type::f32
                      : !std::strcmp(name, "float16")  ? Type::f16
                      : !std::strcmp(name, "bfloat16") ? Type::bf16
                      : !std::strcmp(name, "int32")    ? Type::i32
                                                       : Type::other;
    return {params[i], ndims[i], shapes[i], type};
  }
  // Whether the first `count` are all of x's type, and that is a float type; of `weights`, which are some of them, each
  // may be packed instead.
  bool AreFloatsLike(const Tensor& x, int count, std::initializer_list<int> weights = {}) const {
    for (int i = 0; i < count; ++i) {
      const bool packed = (*this)[i].type == Type::i32 && std::find(weights.begin(), weights.end(), i) != weights.end();
      if ((*this)[i].type != x.type && !packed) return false;
    }
    return x.IsFloat();
  }
};

#define NEONEXT_TENSORS (neonext::Arguments{params, ndims, shapes, dtypes})

// Calls work with a value of the C++ type of a float tensor, and gives what the operator returns.
template <class Work>
int WithType(Type type, Work work) {
  try {
    type == Type::f32 ? work(float{}) : work(Half{});
  } catch (const std::bad_alloc&) {
    return NEONEXT_NO_MEMORY;
  }
  return NEONEXT_OK;
}

}  // namespace neonext
