// Vectors of 16 channels for the kernels of convolution: loads, stores and pairs of either number format.
#pragma once

#include "winograd.h"

#ifdef VARIDIFF_WINOGRAD

#include <immintrin.h>

#define VARIDIFF_VECTOR VARIDIFF_AVX512 __attribute__((always_inline)) inline

namespace varidiff::winograd {

using Vector = __m512;

template <typename T>
VARIDIFF_VECTOR Vector load(const T* p) {
  return loadLanes<Avx512>(p);
}
template <typename T>
VARIDIFF_VECTOR void store(T* p, Vector v) {
  storeLanes<Avx512>(p, v);
}

/** 16 numbers as bfloat16, each in the low half of a lane. */
VARIDIFF_VECTOR __m512i halves(Vector v) { return (__m512i)Avx512::widen(Avx512::toBfloat16(v)); }

/** bfloat16 pairs as vdpbf16ps multiplies them: `first` in the low half of each lane. */
VARIDIFF_VECTOR __m512i paired(Vector first, Vector second) {
  // Halves i and 16 + i of the two side by side go to lane i.
  const __m512i interleave = (__m512i)(Lanes<float>::first * 0x00010001u + 0x00100000u);
  return _mm512_permutexvar_epi16(interleave, (__m512i)_mm512_cvtne2ps_pbh(second, first));
}

}  // namespace varidiff::winograd

#endif
