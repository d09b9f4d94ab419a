// How the operands of a matrix product are written down, and how they are multiplied.
//
// A product runs over its depth in words. A word of the left matrix, a value a row, is broadcast to meet 16 words of
// the right one, a value a column. Sums are float32 and run over the depth in order, so that they do not depend on how
// the columns are put together.
//   Exact    a word is a float32.
//   Rounded  the same, rounded to bfloat16: for machines without instructions for it.
//   Paired   a word is two values in bfloat16, neighbours in depth, that one instruction multiplies and adds, or, of
//            whole tiles, one of AMX.
// A right operand is a tile: rows of 16 words, one for every word of the depth. A left one is cut into panels of kRows
// rows, in lines of 16 words a row: a line of a panel is (kRows, 16), and the lines lie in the order of their use.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "amx.h"
#include "gelu_table.h"
#include "plan.h"
#include "simd.h"
#include "tensor.h"

namespace neonext {

// out[v] (rows x lanes, in rows of kTile) = panel (rows x words) times the columns at right[v], rows of kTile.
template <class F, int rows, int vectors>
inline void MultiplyVectors(const typename F::Word* line, int64_t line_stride, const typename F::Word* const* right,
                            int words, float* const* out) {
  Vec::F sum[rows][vectors];
  for (int r = 0; r < rows; ++r) {
    for (int v = 0; v < vectors; ++v) sum[r][v] = Vec::Zero();
  }
  const typename F::Word* row[vectors];
  for (int v = 0; v < vectors; ++v) row[v] = right[v];
  for (int k = 0; k < words; k += kTile, line += line_stride) {
    const int count = std::min(kTile, words - k);
    for (int i = 0; i < count; ++i) {
      typename F::Vector value[vectors];
      for (int v = 0; v < vectors; ++v) {
        value[v] = F::Load(row[v]);
        row[v] += kTile;
      }
#pragma GCC unroll 16
      for (int r = 0; r < rows; ++r) {
        const typename F::Vector left = F::Broadcast(line[r * kTile + i]);
        for (int v = 0; v < vectors; ++v) sum[r][v] = F::MultiplyAdd(left, value[v], sum[r][v]);
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r) {
    for (int v = 0; v < vectors; ++v) Vec::Store(out[v] + r * kTile, sum[r][v]);
  }
}

struct Exact {
  using Word = float;
  using Vector = Vec::F;
  static constexpr bool kExact = true;
  static constexpr int kGeluTerms = GeluIntervals::kTerms;
  static constexpr int kDepth = 1;  // values in a word
  static constexpr Word kOne = 1;
  static constexpr int kStep = 1;  // the words of a depth are a multiple of this
  // With two vectors a row, as many as the registers hold beside two vectors of the right matrix and one of the left.
  static constexpr int kRows = Vec::kLanes == 16 ? 14 : 6;

  struct Session {};  // held by a thread while it multiplies

  // What is kept of a value for the backward pass.
  using Kept = float;
  static void Keep(Kept* to, Vec::F value) { Vec::Store<1>(&to, 0, Vec::MakeMask<1>(Vec::kLanes, 1), value); }
  static Vec::F Recall(const Kept* from) { return Vec::Load<1>(&from, 0, Vec::MakeMask<1>(Vec::kLanes, 1)); }

  static Vec::F Enter(Vec::F value) { return value; }
  static Vector Load(const Word* p) { return Vec::LoadUnaligned(p); }
  static Vector Broadcast(Word word) { return Vec::Set1(word); }
  static Vec::F MultiplyAdd(Vector a, Vector b, Vec::F sum) { return Vec::Fma(a, b, sum); }

  // Products of a panel with one or two tiles; `other` may be null.
  static void Multiply(const Word* panel, int64_t line_stride, const Word* tile, const Word* other, int words,
                       float* first, float* second) {
    const Word* right[] = {tile, other};
    float* out[] = {first, second};
    if constexpr (Vec::kLanes == kTile) {
      other ? MultiplyVectors<Exact, kRows, 2>(panel, line_stride, right, words, out)
            : MultiplyVectors<Exact, kRows, 1>(panel, line_stride, right, words, out);
    } else {
      for (int i = 0; i < (other ? 2 : 1); ++i) {
        const Word* halves[] = {right[i], right[i] + Vec::kLanes};
        float* to[] = {out[i], out[i] + Vec::kLanes};
        MultiplyVectors<Exact, kRows, 2>(panel, line_stride, halves, words, to);
      }
    }
  }
};

struct Rounded : Exact {
  static constexpr bool kExact = false;
  static constexpr int kGeluTerms = GeluIntervals::kRoughTerms;
  static Vec::F Enter(Vec::F value) { return Vec::RoundToBfloat16(value); }

  using Kept = uint16_t;
  static void Keep(Kept* to, Vec::F value) {
    alignas(64) float values[Vec::kLanes];
    Vec::Store(values, Enter(value));
    for (int i = 0; i < Vec::kLanes; ++i) {
      uint32_t bits;
      std::memcpy(&bits, values + i, sizeof(bits));
      to[i] = static_cast<Kept>(bits >> 16);
    }
  }
  static Vec::F Recall(const Kept* from) {
    alignas(64) float values[Vec::kLanes];
    for (int i = 0; i < Vec::kLanes; ++i) {
      const uint32_t bits = static_cast<uint32_t>(from[i]) << 16;
      std::memcpy(values + i, &bits, sizeof(bits));
    }
    return Vec::Load(values);
  }
};

#if defined(__AVX512BF16__)

struct Paired {
  using Word = uint32_t;
  using Vector = __m512bh;
  static constexpr bool kExact = false;
  static constexpr int kGeluTerms = GeluIntervals::kRoughTerms;
  static constexpr int kDepth = 2;
  static constexpr Word kOne = 0x3f803f80;
  static constexpr int kStep = kAmx ? kTile : 1;
  static constexpr int kRows = kAmx ? 2 * kTile : 14;

  using Session = AmxSession;

  static Vector Load(const Word* p) { return reinterpret_cast<Vector>(_mm512_loadu_si512(p)); }
  static Vector Broadcast(Word word) { return reinterpret_cast<Vector>(_mm512_set1_epi32(static_cast<int32_t>(word))); }
  static Vec::F MultiplyAdd(Vector a, Vector b, Vec::F sum) { return _mm512_dpbf16_ps(sum, b, a); }

  using Kept = uint16_t;
  static void Keep(Kept* to, Vec::F value) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(value)));
  }
  static Vec::F Recall(const Kept* from) {
    const __m256i values = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(values), 16));
  }

  // Words from two rows; from 32 values of a row; half as many words from 16 values.
  static void StoreRows(Word* to, Vec::F even, Vec::F odd) {
    alignas(64) static constexpr uint16_t kOrder[] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                      8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    const __m512i both = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(odd, even));
    _mm512_store_si512(to, _mm512_permutexvar_epi16(_mm512_load_si512(kOrder), both));
  }
  static void StoreLine(Word* to, Vec::F low, Vec::F high) {
    _mm512_store_si512(to, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low)));
  }
  static void StoreHalfLine(void* to, Vec::F values) {
    _mm256_store_si256(static_cast<__m256i*>(to), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(values)));
  }

  static void Multiply(const Word* panel, int64_t line_stride, const Word* tile, const Word* other, int words,
                       float* first, float* second) {
    if constexpr (kAmx) {
      if (AmxAllowed()) return MultiplyTiles(panel, line_stride, tile, other, words, first, second);
    }
    constexpr int kPart = kAmx ? 8 : kRows;
    for (int row = 0; row < kRows; row += kPart) {
      const Word* right[] = {tile, other};
      float* out[] = {first + row * kTile, second + row * kTile};
      other ? MultiplyVectors<Paired, kPart, 2>(panel + row * kTile, line_stride, right, words, out)
            : MultiplyVectors<Paired, kPart, 1>(panel + row * kTile, line_stride, right, words, out);
    }
  }
};
using Bfloat16 = Paired;

#else

using Bfloat16 = Rounded;

#endif

// Words of a depth of so many values.
template <class F>
int WordsOf(int depth) {
  return Parts(Parts(depth, F::kDepth), F::kStep) * F::kStep;
}

// Writes rows of a right operand from an even one on, which `to` is; value(row, i) gives lanes i.. of a row.
template <class F, class Value>
inline void StoreAcross(typename F::Word* to, int rows, Value value) {
  if constexpr (F::kDepth == 1) {
    for (int r = 0; r < rows; ++r, to += kTile) {
      for (int i = 0; i < kTile; i += Vec::kLanes) Vec::Store(to + i, F::Enter(value(r, i)));
    }
  } else {
    int r = 0;
    for (; r + 2 <= rows; r += 2, to += kTile) F::StoreRows(to, value(r, 0), value(r + 1, 0));
    if (r < rows) F::StoreRows(to, value(r, 0), Vec::Zero());
  }
}

// Brings values that are read soon into the cache, where the processor does not foresee it.
template <class T>
inline void Fetch(const T* values, int64_t count) {
  constexpr int kLine = 64 / sizeof(T);
  for (int64_t i = 0; i < count; i += kLine) __builtin_prefetch(values + i);
}

// Zeroes the words of a right operand that fill up its depth.
template <class F>
inline void FillUp(typename F::Word* tile, int depth) {
  const int words = Parts(depth, F::kDepth);
  std::fill_n(tile + words * kTile, (WordsOf<F>(depth) - words) * kTile, typename F::Word{});
}

// Memory of this thread that stays for its next call; the names tell pieces apart that are in use at the same time.
enum class Scratch { tile, gate, x, dy, hidden, panels1, panels2, dh, gelu, xt, dyt, sum1, sum2, bias, count };
template <class Word = float>
inline Word* ScratchFor(Scratch which, int64_t size) {
  static_assert(sizeof(Word) == sizeof(float));
  static thread_local Aligned<float> pieces[static_cast<int>(Scratch::count)];
  Aligned<float>& piece = pieces[static_cast<int>(which)];
  if (static_cast<int64_t>(piece.size()) < size) piece.resize(size);
  return reinterpret_cast<Word*>(piece.data());
}

}  // namespace neonext
