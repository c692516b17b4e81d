// The matrix product of attention's kernels: a few rows times a panel of keys, sums in registers.
#pragma once

#include "attention-vectors.h"

#ifdef VARIDIFF_FUSED_ATTENTION

#include <type_traits>

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma")

namespace varidiff::attention {

/** Registers of keys in a panel: with 8 rows of accumulators they leave 8 of the 32 registers for operands. */
constexpr int PanelVectors = 3;
constexpr int64_t PanelKeys = PanelVectors * Lanes;
/** Rows of accumulators: queries, or features of a gradient. */
constexpr int Rows = 8;

/** sums[r][v] += sum_t a[r rowStep + t laneStep] b[t bStep + v]; `count` is even. */
template <typename T, int Vectors>
VARIDIFF_INLINE void product(__m512 (&sums)[Rows][Vectors], const int32_t* a, int64_t rowStep, int64_t laneStep, const int32_t* b,
                             int64_t bStep, int64_t count) {
  constexpr int Chains = Vectors == 1 ? 2 : 1;  // enough additions in flight to hide their latency
  __m512 others[Rows];
  for (auto& o : others) o = _mm512_setzero_ps();
#pragma GCC unroll 1
  for (int64_t t = 0; t < count; t += Chains) {
    __m512i columns[Vectors];
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) columns[v] = _mm512_loadu_si512(b + t * bStep + v * Lanes);
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      const __m512i x = _mm512_set1_epi32(a[r * rowStep + t * laneStep]);
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) sums[r][v] = Lane<T>::add(sums[r][v], x, columns[v]);
    }
    if constexpr (Chains == 2) {
      const __m512i next = _mm512_loadu_si512(b + (t + 1) * bStep);
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r)
        others[r] = Lane<T>::add(others[r], _mm512_set1_epi32(a[r * rowStep + (t + 1) * laneStep]), next);
    }
  }
  if constexpr (Chains == 2)
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) sums[r][0] = _mm512_add_ps(sums[r][0], others[r]);
}

template <int Vectors>
VARIDIFF_INLINE void zero(__m512 (&sums)[Rows][Vectors]) {
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) sums[r][v] = _mm512_setzero_ps();
}

/** `c` [rows, 16 vectors] += a b, where a row of `c` is `cStep` floats from the next */
template <typename T, int Vectors>
VARIDIFF_INLINE void accumulate(float* c, int64_t cStep, const int32_t* a, int64_t rowStep, int64_t laneStep, const int32_t* b,
                                int64_t bStep, int64_t count) {
  __m512 sums[Rows][Vectors];
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) sums[r][v] = _mm512_loadu_ps(c + r * cStep + v * Lanes);
  product<T>(sums, a, rowStep, laneStep, b, bStep, count);
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) _mm512_storeu_ps(c + r * cStep + v * Lanes, sums[r][v]);
}

/** Calls `f` with the number of registers of each panel of `width` numbers and where it begins; one alone only where width is 16. */
template <typename F>
VARIDIFF_INLINE void inPanels(int64_t width, F f) {
  int64_t at = 0;
  for (; width - at >= PanelKeys && width - at != PanelKeys + Lanes; at += PanelKeys) f(std::integral_constant<int, PanelVectors>{}, at);
  for (; width - at >= 2 * Lanes; at += 2 * Lanes) f(std::integral_constant<int, 2>{}, at);
  if (width > at) f(std::integral_constant<int, 1>{}, at);
}

}  // namespace varidiff::attention

#pragma GCC pop_options
#endif
