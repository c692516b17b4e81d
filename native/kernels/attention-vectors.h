// Registers of attention's kernels: loads, stores and sums of either number format, and 2^x.
#pragma once

#include "attention.h"

#ifdef VARIDIFF_FUSED_ATTENTION

#include <immintrin.h>

#include "simd.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma")

namespace varidiff::attention {

constexpr int64_t Lanes = 16;
constexpr float Log2E = 1.44269504088896341f;

constexpr int64_t roundUp(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

/** Numbers of type T in lanes of 32 bits. */
template <typename T>
struct Lane;
template <>
struct Lane<float> {
  static constexpr int64_t each = 1;
  static VARIDIFF_INLINE __m512 add(__m512 sum, __m512i a, __m512i b) {
    return _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), sum);
  }
  static VARIDIFF_INLINE void store(float* to, __m512 x) { _mm512_storeu_ps(to, x); }
  /** Gives `sum` plus what was stored. */
  static VARIDIFF_INLINE __m512 storeAdded(float* to, __m512 x, __m512 sum) {
    store(to, x);
    return _mm512_add_ps(sum, x);
  }
  static VARIDIFF_INLINE __m512 load(const float* from) { return _mm512_loadu_ps(from); }
};
template <>
struct Lane<c10::BFloat16> {
  static constexpr int64_t each = 2;
  static VARIDIFF_INLINE __m512 add(__m512 sum, __m512i a, __m512i b) {
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
  }
  static VARIDIFF_INLINE void store(c10::BFloat16* to, __m512 x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), (__m256i)_mm512_cvtneps_pbh(x));
  }
  static VARIDIFF_INLINE __m512 storeAdded(c10::BFloat16* to, __m512 x, __m512 sum) {
    const __m256i rounded = (__m256i)_mm512_cvtneps_pbh(x);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), rounded);
    return add(sum, _mm512_zextsi256_si512(rounded), _mm512_set1_epi32(0x3f803f80));  // pairs of 1
  }
  static VARIDIFF_INLINE __m512 load(const c10::BFloat16* from) {
    const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
  }
};

/** 2^x for x below 127 by a polynomial on [-1/2, 1/2], to a relative error of 8e-5 where bfloat16 rounds by 2e-3, else 1e-7. */
template <typename T>
VARIDIFF_INLINE __m512 exponential2(__m512 x) {
  const __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 r = _mm512_sub_ps(x, n);
  const auto step = [&](__m512 p, float c) __attribute__((always_inline)) { return _mm512_fmadd_ps(p, r, _mm512_set1_ps(c)); };
  __m512 p;
  if constexpr (Lane<T>::each == 2) {
    p = step(step(step(_mm512_set1_ps(0.05517166853f), 0.24261112511f), 0.69326096773f), 0.99992805719f);
  } else {
    p = step(step(_mm512_set1_ps(0.00132764725f), 0.00967554096f), 0.05550713092f);
    p = step(step(step(p, 0.24022120237f), 0.69314694405f), 1.00000011921f);
  }
  return _mm512_scalef_ps(p, n);
}

}  // namespace varidiff::attention

#pragma GCC pop_options
#endif
