// softmax(scale q k^T) v of one head, a few queries at a time.
#include "attention-packing.h"
#include "attention-products.h"

#ifdef VARIDIFF_FUSED_ATTENTION

#include <algorithm>
#include <cmath>

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma")

namespace varidiff::attention {

namespace {

/**
 * Replaces the scores of a row by exp(scale (s - largest)), as T; gives the row's logsumexp to base 2 and 1 / sum. The sum
 * is that of the rounded weights, which v is multiplied with: where one of them is all, the result is its v, exactly.
 */
template <typename T>
VARIDIFF_INLINE void softmaxRow(float* row, int64_t length, float scale, float* logSum, float* share) {
  const int64_t padded = roundUp(length, Lanes);  // scores behind the last are copies of it
  __m512 most[4];
  for (auto& m : most) m = _mm512_loadu_ps(row);
  int64_t j = 0;
  for (; j + 4 * Lanes <= padded; j += 4 * Lanes)
#pragma GCC unroll 4
    for (int l = 0; l < 4; ++l) most[l] = _mm512_max_ps(most[l], _mm512_loadu_ps(row + j + l * Lanes));
  for (; j < padded; j += Lanes) most[0] = _mm512_max_ps(most[0], _mm512_loadu_ps(row + j));
  const float top = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_max_ps(most[0], most[1]), _mm512_max_ps(most[2], most[3])));

  const float shift = top * (scale * Log2E);
  const __m512 factor = _mm512_set1_ps(scale * Log2E), offset = _mm512_set1_ps(-shift);
  T* to = reinterpret_cast<T*>(row);
  __m512 sums[4];
  for (auto& s : sums) s = _mm512_setzero_ps();
  const auto weight = [&](int64_t at) __attribute__((always_inline)) {
    return exponential2<T>(_mm512_fmadd_ps(_mm512_loadu_ps(row + at), factor, offset));
  };
  const int64_t whole = length - length % Lanes;
  for (j = 0; j + 4 * Lanes <= whole; j += 4 * Lanes) {
    __m512 p[4];
#pragma GCC unroll 4
    for (int l = 0; l < 4; ++l) p[l] = weight(j + l * Lanes);
#pragma GCC unroll 4
    for (int l = 0; l < 4; ++l) sums[l] = Lane<T>::storeAdded(to + j + l * Lanes, p[l], sums[l]);
  }
  for (; j < padded; j += Lanes) {
    const auto inside = static_cast<__mmask16>(length - j >= Lanes ? 0xffff : (1u << (length - j)) - 1);
    sums[0] = Lane<T>::storeAdded(to + j, _mm512_maskz_mov_ps(inside, weight(j)), sums[0]);
  }
  const float sum = _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3])));
  *share = 1.0f / sum;
  *logSum = shift + std::log2(sum);
}

}  // namespace

template <typename T>
int64_t forwardWork(int64_t length, int64_t features) {
  const int64_t padded = roundUp(length, Lanes), lanes = features / Lane<T>::each;
  return 2 * padded * lanes + Rows * (lanes + padded + Lanes);
}

template <typename T>
void forward(const Head<T>& head, const Result<T>& result, int32_t* work) {
  const int64_t L = head.length, d = head.features, lanes = d / Lane<T>::each;
  const int64_t padded = roundUp(L, Lanes), rowStep = padded + Lanes;  // rows a power of two apart would meet in the cache
  int32_t* keys = work;
  int32_t* values = keys + padded * lanes;
  int32_t* query = values + padded * lanes;
  auto* scores = reinterpret_cast<float*>(query + Rows * lanes);
  packPanels(head.k, head.step, L, padded, d, keys);
  packTokens(head.v, head.step, L, padded, d, values);
  for (int64_t i0 = 0; i0 < L; i0 += Rows) {
    const int64_t count = std::min<int64_t>(Rows, L - i0);
    packRows(head.q + i0 * head.step, head.step, count, Rows, d, query);
    inPanels(padded, [&](auto vectors, int64_t at) __attribute__((always_inline)) {
      constexpr int Vectors = decltype(vectors)::value;
      __m512 sums[Rows][Vectors];
      zero(sums);
      product<T>(sums, query, lanes, 1, keys + at * lanes, Vectors * Lanes, lanes);
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; ++v) _mm512_storeu_ps(scores + r * rowStep + at + v * Lanes, sums[r][v]);
    });
    float share[Rows];
    for (int64_t i = 0; i < count; ++i) softmaxRow<T>(scores + i * rowStep, L, head.scale, result.logSums + i0 + i, share + i);
    inPanels(d, [&](auto vectors, int64_t f) __attribute__((always_inline)) {
      constexpr int Vectors = decltype(vectors)::value;
      __m512 sums[Rows][Vectors];
      zero(sums);
      product<T>(sums, reinterpret_cast<const int32_t*>(scores), rowStep, 1, values + f, d, padded / Lane<T>::each);
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r)
        if (r < count)
#pragma GCC unroll 4
          for (int v = 0; v < Vectors; ++v) {
            const int64_t to = (i0 + r) * result.step + f + v * Lanes;
            const __m512 mean = _mm512_mul_ps(sums[r][v], _mm512_set1_ps(share[r]));
            Lane<T>::store(result.out + to, mean);
            if constexpr (Lane<T>::each == 2)
              Lane<T>::store(result.remainder + to, _mm512_sub_ps(mean, Lane<T>::load(result.out + to)));
          }
    });
  }
}

template int64_t forwardWork<float>(int64_t, int64_t);
template int64_t forwardWork<c10::BFloat16>(int64_t, int64_t);
template void forward<float>(const Head<float>&, const Result<float>&, int32_t*);
template void forward<c10::BFloat16>(const Head<c10::BFloat16>&, const Result<c10::BFloat16>&, int32_t*);

}  // namespace varidiff::attention

#pragma GCC pop_options
#endif
