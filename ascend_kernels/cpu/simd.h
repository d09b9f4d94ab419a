// The vector of the machine this file is compiled for: AVX-512, AVX2 with FMA, NEON, or plain C++.
//
// Every variant has the same members, but for those that tables need, which AVX-512 and AVX2 have (see gelu.h).
// min(a, b) is b when either is not a number. F holds `lanes` floats, I as many lane numbers, Mask says which lanes a
// load or a store touches. With `planes` > 1 a vector can be filled from several places: its lanes are cut into equal
// parts, and part i comes from pointer i. Lanes outside the mask load as zero and are not stored.
#pragma once

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define NEONEXT_AVX512
#include "simd_avx512.h"
#else

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#define NEONEXT_AVX2
#include "simd_avx2.h"
#elif defined(__aarch64__)
#include "simd_neon.h"
#else
#include "simd_plain.h"
#endif

namespace neonext {

// Masks of the narrower variants count lanes: a partial vector always starts at lane 0.
struct Vec : Vec8 {
  using Mask = int;
  static constexpr int kLanes = 8;
  static constexpr int kMaxPlanes = 1;
  using Vec8::Load;
  using Vec8::Store;

  static float Sum(F v) {
    alignas(32) float l[8];
    Store(l, v);
    return ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]));
  }
  template <int planes>
  static Mask MakeMask(int count, int) {
    return count;
  }
  template <int planes, class T>
  static F Load(const T* const* p, ptrdiff_t at, Mask m) {
    return m == kLanes ? LoadUnaligned(p[0] + at) : LoadFirst(p[0] + at, m);
  }
  template <int planes, class T>
  static void Store(T* const* p, ptrdiff_t at, Mask m, F v) {
    m == kLanes ? StoreUnaligned(p[0] + at, v) : StoreFirst(p[0] + at, m, v);
  }
};

}  // namespace neonext

#endif
