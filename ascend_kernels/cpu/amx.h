// AMX: products of whole tiles, 16 rows of 64 bytes each, of numbers in bfloat16.
//
// Linux gives a process the registers only when it asks, and may refuse (ENOSPC where a signal's stack is too small for
// them). The test driver takes this file with instructions that it emulates.
#pragma once

#include <cstdint>

#if defined(NEONEXT_EMULATED_AMX)
#include "emulated_amx.h"
#define NEONEXT_AMX
#elif defined(__AMX_TILE__) && defined(__AMX_BF16__)
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#define NEONEXT_AMX
#endif

namespace neonext {

#if defined(NEONEXT_AMX)

constexpr bool kAmx = true;

inline bool AmxAllowed() {
  constexpr long kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  static const bool allowed = syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
  return allowed;
}

// The registers are configured while this lives, and released after it: in use, they make every switch of threads
// slower.
struct AmxSession {
  AmxSession() {
    if (!AmxAllowed()) return;
    struct alignas(64) {
      uint8_t palette = 1, start_row = 0, reserved[14] = {};
      uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } config;
    // GCC 12 takes it that only 8 bytes are read, and leaves out the others.
    asm volatile("" ::"r"(&config) : "memory");
    _tile_loadconfig(&config);
  }
  ~AmxSession() {
    if (AmxAllowed()) _tile_release();
  }
  AmxSession(const AmxSession&) = delete;
};

// first, second (32 x 16) = panel (32 rows in lines of 16 words) times one or two tiles (words x 16); words is a
// multiple of 16. Four sums at a time: an instruction must not wait for the one before it.
inline void MultiplyTiles(const uint32_t* line, int64_t line_stride, const uint32_t* tile, const uint32_t* other,
                          int words, float* first, float* second) {
  constexpr int kRow = 64, kSize = 16 * 16;  // bytes, words
  asm volatile("" ::: "memory");             // GCC 12 does not know that loading tiles reads what was stored
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int k = 0; k < words; k += 16, line += line_stride, tile += kSize) {
    _tile_loadd(4, line, kRow);
    _tile_loadd(6, tile, kRow);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(5, line + kSize, kRow);
    _tile_dpbf16ps(1, 5, 6);
    if (!other) continue;
    _tile_loadd(7, other, kRow);
    _tile_dpbf16ps(2, 4, 7);
    _tile_dpbf16ps(3, 5, 7);
    other += kSize;
  }
  _tile_stored(0, first, kRow);
  _tile_stored(1, first + kSize, kRow);
  if (!other) return;
  _tile_stored(2, second, kRow);
  _tile_stored(3, second + kSize, kRow);
}

#else

constexpr bool kAmx = false;

inline bool AmxAllowed() { return false; }
struct AmxSession {};
inline void MultiplyTiles(const uint32_t*, int64_t, const uint32_t*, const uint32_t*, int, float*, float*) {}

#endif

}  // namespace neonext
