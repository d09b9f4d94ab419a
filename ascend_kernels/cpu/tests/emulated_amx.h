// The instructions of AMX that amx.h takes, and Linux's answer to the request for them, for machines without: as
// Intel's manual describes them, and strict about what a thread has configured. EMULATED_AMX_REFUSED is set: Linux
// refuses.
#pragma once

#include <immintrin.h>
#include <sys/syscall.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#undef _tile_zero  // macros in GCC
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps

namespace neonext {

struct EmulatedTiles {
  bool configured = false;
  uint16_t row_bytes[8];
  uint8_t rows[8];
  alignas(64) unsigned char data[8][16][64];
};
inline thread_local EmulatedTiles g_tiles;

inline void Insist(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "emulated AMX: %s\n", what);
  std::abort();
}

inline EmulatedTiles& Configured(int tile) {
  Insist(g_tiles.configured, "illegal instruction: this thread has no configuration");
  Insist(tile >= 0 && tile < 8 && g_tiles.rows[tile] > 0, "illegal instruction: no such tile");
  return g_tiles;
}

inline long syscall(long number, long request, long feature) {
  Insist(number == SYS_arch_prctl && request == 0x1023 && feature == 18, "another system call was expected");
  return std::getenv("EMULATED_AMX_REFUSED") ? -1 : 0;
}

inline void _tile_loadconfig(const void* config) {
  Insist(!std::getenv("EMULATED_AMX_REFUSED"), "used without permission");
  const unsigned char* bytes = static_cast<const unsigned char*>(config);
  Insist(bytes[0] == 1 && bytes[1] == 0, "general protection fault: palette or start row");
  for (int i = 2; i < 16; ++i) Insist(bytes[i] == 0, "general protection fault: reserved bytes");
  std::memcpy(g_tiles.row_bytes, bytes + 16, sizeof(g_tiles.row_bytes));
  std::memcpy(g_tiles.rows, bytes + 48, sizeof(g_tiles.rows));
  for (int t = 0; t < 8; ++t) Insist(g_tiles.row_bytes[t] <= 64 && g_tiles.rows[t] <= 16, "tiles are too large");
  std::memset(g_tiles.data, 0, sizeof(g_tiles.data));
  g_tiles.configured = true;
}

inline void _tile_release() { g_tiles.configured = false; }

inline void _tile_zero(int tile) { std::memset(Configured(tile).data[tile], 0, sizeof(g_tiles.data[tile])); }

inline void _tile_loadd(int tile, const void* from, int stride) {
  EmulatedTiles& t = Configured(tile);
  _tile_zero(tile);
  for (int r = 0; r < t.rows[tile]; ++r) {
    std::memcpy(t.data[tile][r], static_cast<const char*>(from) + r * stride, t.row_bytes[tile]);
  }
}

inline void _tile_stored(int tile, void* to, int stride) {
  const EmulatedTiles& t = Configured(tile);
  for (int r = 0; r < t.rows[tile]; ++r) {
    std::memcpy(static_cast<char*>(to) + r * stride, t.data[tile][r], t.row_bytes[tile]);
  }
}

inline float EmulatedValue(const unsigned char* row, int i) {
  uint32_t bits = 0;
  std::memcpy(reinterpret_cast<unsigned char*>(&bits) + 2, row + 2 * i, 2);
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

inline void _tile_dpbf16ps(int sum, int a, int b) {
  EmulatedTiles& t = Configured(sum);
  Configured(a), Configured(b);
  Insist(t.rows[a] == t.rows[sum] && t.row_bytes[b] == t.row_bytes[sum] && t.rows[b] == t.row_bytes[a] / 4,
         "illegal instruction: tiles that do not fit each other");
  for (int m = 0; m < t.rows[sum]; ++m) {
    float* out = reinterpret_cast<float*>(t.data[sum][m]);
    for (int k = 0; k < t.row_bytes[a] / 4; ++k) {
      for (int n = 0; n < t.row_bytes[sum] / 4; ++n) {
        for (int i = 0; i < 2; ++i) {
          out[n] += EmulatedValue(t.data[a][m], 2 * k + i) * EmulatedValue(t.data[b][k], 2 * n + i);
        }
      }
    }
  }
}

}  // namespace neonext
