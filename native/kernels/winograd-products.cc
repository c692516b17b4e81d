// Microkernels: a block of up to 6 rows by 4 vectors of sums stays in registers while the steps go by.
#include "winograd-products.h"
#include "winograd-vectors.h"

#ifdef VARIDIFF_WINOGRAD

namespace varidiff::winograd {

namespace {

enum class Sum { Fresh, Added };

/** 24 sums, 4 vectors of b and one of a: 29 of 32 registers. */
constexpr int64_t kRows = 6;

template <typename T>
VARIDIFF_VECTOR Vector multiplyAdd(Vector sum, __m512i a, __m512i b) {
  if constexpr (sizeof(T) == 2) return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
  else return _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), sum);
}

template <typename T, Sum S, int R, int N>
VARIDIFF_AVX512 void block(const Left& left, const uint32_t* b, float* c, int64_t cStride, int64_t steps) {
  Vector sums[R][N];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) {
      sums[r][n] = _mm512_setzero_ps();
      if (S == Sum::Added) _mm_prefetch(reinterpret_cast<const char*>(c + r * cStride + n * kLanes), _MM_HINT_T0);
    }
  const uint32_t* a = left.data;
  const int64_t rowStride = left.rowStride, stepStride = left.stepStride;
  for (int64_t s = 0; s < steps; ++s) {
    __m512i right[N];
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) right[n] = _mm512_loadu_si512(b + n * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const __m512i one = _mm512_set1_epi32(static_cast<int>(a[r * rowStride]));
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) sums[r][n] = multiplyAdd<T>(sums[r][n], one, right[n]);
    }
    a += stepStride;
    b += N * kLanes;
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) {
      float* at = c + r * cStride + n * kLanes;
      _mm512_storeu_ps(at, S == Sum::Added ? _mm512_add_ps(_mm512_loadu_ps(at), sums[r][n]) : sums[r][n]);
    }
}

using Block = void (*)(const Left&, const uint32_t*, float*, int64_t, int64_t);

template <typename T, Sum S, int N>
constexpr Block blocks[kRows] = {block<T, S, 1, N>, block<T, S, 2, N>, block<T, S, 3, N>,
                                 block<T, S, 4, N>, block<T, S, 5, N>, block<T, S, 6, N>};

/** Rows are shared out evenly: 8 are 4 and 4, not 6 and a slow 2. */
template <typename T, Sum S>
void allRows(const Left& a, const uint32_t* b, float* c, int64_t cStride, int64_t rows, int64_t vectors, int64_t steps) {
  static constexpr const Block* sizes[kPanel] = {blocks<T, S, 1>, blocks<T, S, 2>, blocks<T, S, 3>, blocks<T, S, 4>};
  const Block* ofRows = sizes[vectors - 1];
  const int64_t count = (rows + kRows - 1) / kRows;
  for (int64_t i = 0, row = 0; i < count; ++i) {
    const int64_t some = (rows - row + count - i - 1) / (count - i);
    ofRows[some - 1]({a.data + row * a.rowStride, a.rowStride, a.stepStride}, b, c + row * cStride, cStride, steps);
    row += some;
  }
}

}  // namespace

template <typename T>
void product(const Left& a, const uint32_t* b, float* c, int64_t cStride, int64_t rows, int64_t vectors, int64_t steps) {
  allRows<T, Sum::Fresh>(a, b, c, cStride, rows, vectors, steps);
}
template <typename T>
void productAdded(const Left& a, const uint32_t* b, float* c, int64_t cStride, int64_t rows, int64_t vectors, int64_t steps) {
  allRows<T, Sum::Added>(a, b, c, cStride, rows, vectors, steps);
}

template void product<float>(const Left&, const uint32_t*, float*, int64_t, int64_t, int64_t, int64_t);
template void product<c10::BFloat16>(const Left&, const uint32_t*, float*, int64_t, int64_t, int64_t, int64_t);
template void productAdded<float>(const Left&, const uint32_t*, float*, int64_t, int64_t, int64_t, int64_t);
template void productAdded<c10::BFloat16>(const Left&, const uint32_t*, float*, int64_t, int64_t, int64_t, int64_t);

}  // namespace varidiff::winograd

#endif
