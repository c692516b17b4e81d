// Gradients of one head, a panel of keys against all queries at a time.
#include "attention-packing.h"
#include "attention-products.h"

#ifdef VARIDIFF_FUSED_ATTENTION

#include <algorithm>
#include <cstring>

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma")

namespace varidiff::attention {

namespace {

/** Queries that share a pass over a panel. */
constexpr int64_t TileQueries = 32;

/** Writes two rows of a tile so that both lie in one lane: (first, second) for every key. */
template <typename T>
VARIDIFF_INLINE void storeQueries(int32_t* to, int64_t width, int64_t row, __m512 first, __m512 second) {
  if constexpr (Lane<T>::each == 1) {
    _mm512_storeu_si512(to + row * width, _mm512_castps_si512(first));
    _mm512_storeu_si512(to + (row + 1) * width, _mm512_castps_si512(second));
  } else {
    const __m512i both = (__m512i)_mm512_cvtne2ps_pbh(second, first);
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4,
                                           19, 3, 18, 2, 17, 1, 16, 0);
    _mm512_storeu_si512(to + row / 2 * width, _mm512_permutexvar_epi16(order, both));
  }
}

/** What tiles of backward share; all of it packed. */
template <typename T>
struct Packed {
  const int32_t *query, *slope;              // rows
  const int32_t *queryTokens, *slopeTokens;  // lanes of queries
  const float *logSums, *dots;               // [queries]; dots are sum_f dOut out = sum_j P dP
  float* dQuery;                             // [queries, features]
  int64_t queries, features;
  float scale;
};

/** One panel of keys against all queries. keys, values: [lanes, width]; keyTokens: [lanes of keys, features]; dKey, dValue: [features, width] */
template <typename T, int Vectors>
VARIDIFF_INLINE void backwardPanel(const Packed<T>& p, const int32_t* keys, const int32_t* values, const int32_t* keyTokens, float* dKey,
                                   float* dValue, int32_t* tile) {
  constexpr int64_t width = Vectors * Lanes, each = Lane<T>::each;
  const int64_t d = p.features, lanes = d / each;
  auto* weights = reinterpret_cast<float*>(tile);       // [8, width]
  int32_t* weightLanes = tile + TileQueries * width;    // [lanes of queries, width]
  int32_t* slopeLanes = weightLanes + TileQueries * width;
  int32_t* slopes = each == 1 ? slopeLanes : slopeLanes + TileQueries * width;  // [queries, lanes of keys]
  std::memset(dKey, 0, d * width * sizeof(float));
  std::memset(dValue, 0, d * width * sizeof(float));
  const __m512 factor = _mm512_set1_ps(p.scale * Log2E);
  for (int64_t i0 = 0; i0 < p.queries; i0 += TileQueries) {
    const int64_t rows = std::min(TileQueries, p.queries - i0);
    for (int64_t i = 0; i < rows; i += Rows) {
      __m512 sums[Rows][Vectors];
      zero(sums);
      product<T>(sums, p.query + (i0 + i) * lanes, lanes, 1, keys, width, lanes);
#pragma GCC unroll 4
      for (int r = 0; r < Rows; r += 2)
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; ++v) {
          const auto weight = [&](int row) __attribute__((always_inline)) {
            return exponential2<T>(_mm512_fmsub_ps(sums[row][v], factor, _mm512_set1_ps(p.logSums[i0 + i + row])));
          };
          const __m512 first = weight(r), second = weight(r + 1);
          _mm512_storeu_ps(weights + r * width + v * Lanes, first);
          _mm512_storeu_ps(weights + (r + 1) * width + v * Lanes, second);
          storeQueries<T>(weightLanes + v * Lanes, width, i + r, first, second);
        }
      zero(sums);
      product<T>(sums, p.slope + (i0 + i) * lanes, lanes, 1, values, width, lanes);
#pragma GCC unroll 4
      for (int r = 0; r < Rows; r += 2)
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; ++v) {
          const auto slope = [&](int row) __attribute__((always_inline)) {
            return _mm512_mul_ps(_mm512_loadu_ps(weights + row * width + v * Lanes),
                                 _mm512_sub_ps(sums[row][v], _mm512_set1_ps(p.dots[i0 + i + row])));
          };
          const __m512 first = slope(r), second = slope(r + 1);
          storeQueries<T>(slopeLanes + v * Lanes, width, i + r, first, second);
          if constexpr (each == 2) {
            auto* row = reinterpret_cast<T*>(slopes + (i + r) * width / each) + v * Lanes;
            Lane<T>::store(row, first);
            Lane<T>::store(row + width, second);
          }
        }
    }
    inPanels(d, [&](auto vectors, int64_t f) __attribute__((always_inline)) {
      for (int64_t i = 0; i < rows; i += Rows)
        accumulate<T, decltype(vectors)::value>(p.dQuery + (i0 + i) * d + f, d, slopes + i * width / each, width / each, 1, keyTokens + f, d,
                                      width / each);
    });
    for (int64_t f = 0; f < d; f += Rows) {
      accumulate<T, Vectors>(dValue + f * width, width, p.slopeTokens + i0 / each * d + f, 1, d, weightLanes, width, rows / each);
      accumulate<T, Vectors>(dKey + f * width, width, p.queryTokens + i0 / each * d + f, 1, d, slopeLanes, width, rows / each);
    }
  }
}

}  // namespace

template <typename T>
int64_t backwardWork(int64_t length, int64_t features) {
  const int64_t keys = roundUp(length, Lanes), queries = roundUp(length, Lanes), lanes = features / Lane<T>::each;
  return 3 * keys * lanes + 4 * queries * lanes + queries * features + 2 * queries + 2 * PanelKeys * features + 4 * TileQueries * PanelKeys;
}

template <typename T>
void backward(const Head<T>& head, const Result<T>& result, const T* dOut, T* dq, T* dk, T* dv, int32_t* work) {
  const int64_t L = head.length, d = head.features, lanes = d / Lane<T>::each;
  const int64_t padded = roundUp(L, Lanes), queries = roundUp(L, Lanes);
  const auto take = [&](int64_t count) {
    int32_t* here = work;
    work += count;
    return here;
  };
  int32_t *query = take(queries * lanes), *slope = take(queries * lanes), *queryTokens = take(queries * lanes);
  int32_t *slopeTokens = take(queries * lanes), *keys = take(padded * lanes), *values = take(padded * lanes);
  int32_t* keyTokens = take(padded * lanes);
  auto* dQuery = reinterpret_cast<float*>(take(queries * d));
  auto *paddedLogSums = reinterpret_cast<float*>(take(queries)), *dots = reinterpret_cast<float*>(take(queries));
  auto *dKey = reinterpret_cast<float*>(take(PanelKeys * d)), *dValue = reinterpret_cast<float*>(take(PanelKeys * d));
  int32_t* tile = take(4 * TileQueries * PanelKeys);

  packRows(head.q, head.step, L, queries, d, query);
  packTokens(head.q, head.step, L, queries, d, queryTokens);
  packRows(dOut, result.step, L, queries, d, slope);
  packTokens(dOut, result.step, L, queries, d, slopeTokens);
  packPanels(head.k, head.step, L, padded, d, keys);
  packTokens(head.k, head.step, L, padded, d, keyTokens);
  packPanels(head.v, head.step, L, padded, d, values);
  std::memset(dQuery, 0, queries * d * sizeof(float));
  for (int64_t i = 0; i < queries; ++i) {
    __m512 dot = _mm512_setzero_ps();
    if (i < L)
      for (int64_t at = i * result.step; at < i * result.step + d; at += Lanes) {
        __m512 out = Lane<T>::load(result.out + at);
        if constexpr (Lane<T>::each == 2) out = _mm512_add_ps(out, Lane<T>::load(result.remainder + at));
        dot = _mm512_fmadd_ps(out, Lane<T>::load(dOut + at), dot);
      }
    dots[i] = _mm512_reduce_add_ps(dot);
    paddedLogSums[i] = i < L ? result.logSums[i] : 0.0f;
  }
  const Packed<T> packed{query, slope, queryTokens, slopeTokens, paddedLogSums, dots, dQuery, queries, d, head.scale};
  inPanels(padded, [&](auto vectors, int64_t at) __attribute__((always_inline)) {
    backwardPanel<T, vectors>(packed, keys + at * lanes, values + at * lanes, keyTokens + at / Lane<T>::each * d, dKey, dValue, tile);
    const int64_t tokens = std::min(L - at, vectors * Lanes);
    unpackPanel(dKey, vectors * Lanes, tokens, d, head.scale, dk + at * head.step, head.step);
    unpackPanel(dValue, vectors * Lanes, tokens, d, 1.0f, dv + at * head.step, head.step);
  });
  for (int64_t i = 0; i < L; ++i)
    for (int64_t f = 0; f < d; f += Lanes)
      Lane<T>::store(dq + i * head.step + f, _mm512_mul_ps(_mm512_loadu_ps(dQuery + i * d + f), _mm512_set1_ps(head.scale)));
}

template int64_t backwardWork<float>(int64_t, int64_t);
template int64_t backwardWork<c10::BFloat16>(int64_t, int64_t);
template void backward<float>(const Head<float>&, const Result<float>&, const float*, float*, float*, float*, int32_t*);
template void backward<c10::BFloat16>(const Head<c10::BFloat16>&, const Result<c10::BFloat16>&, const c10::BFloat16*, c10::BFloat16*,
                                      c10::BFloat16*, c10::BFloat16*, int32_t*);

}  // namespace varidiff::attention

#pragma GCC pop_options
#endif
