// Vectors of 16 channels for the kernels of convolution: loads, stores and pairs of either number format.
#pragma once

#include "winograd.h"

#ifdef VARIDIFF_WINOGRAD

#include <immintrin.h>

#define VARIDIFF_VECTOR VARIDIFF_AVX512 __attribute__((always_inline)) inline

namespace varidiff::winograd {

using Vector = __m512;

VARIDIFF_VECTOR Vector load(const float* p) { return _mm512_loadu_ps(p); }
VARIDIFF_VECTOR Vector load(const c10::BFloat16* p) {
  const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

VARIDIFF_VECTOR __m256i rounded(Vector v) { return (__m256i)_mm512_cvtneps_pbh(v); }

VARIDIFF_VECTOR void store(float* p, Vector v) { _mm512_storeu_ps(p, v); }
VARIDIFF_VECTOR void store(c10::BFloat16* p, Vector v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), rounded(v)); }

/** bfloat16 pairs as vdpbf16ps multiplies them: `first` in the low half of each lane. */
VARIDIFF_VECTOR __m512i paired(Vector first, Vector second) {
  const __m512i interleave = _mm512_add_epi32(_mm512_mullo_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                                                                _mm512_set1_epi32(0x00010001)),
                                              _mm512_set1_epi32(0x00100000));
  return _mm512_permutexvar_epi16(interleave, (__m512i)_mm512_cvtne2ps_pbh(second, first));
}

}  // namespace varidiff::winograd

#endif
