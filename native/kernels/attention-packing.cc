// Packing by copies, by pairing two tokens' lanes and by transposing blocks of 16x16 lanes in registers.
#include "attention-packing.h"

#include "attention-products.h"

#ifdef VARIDIFF_FUSED_ATTENTION

#include <algorithm>
#include <cstring>

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma")

namespace varidiff::attention {

namespace {

VARIDIFF_INLINE void transpose16(__m512i (&x)[16]) {
  __m512i y[16];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    y[2 * i] = _mm512_unpacklo_epi32(x[2 * i], x[2 * i + 1]);
    y[2 * i + 1] = _mm512_unpackhi_epi32(x[2 * i], x[2 * i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    x[4 * i] = _mm512_unpacklo_epi64(y[4 * i], y[4 * i + 2]);
    x[4 * i + 1] = _mm512_unpackhi_epi64(y[4 * i], y[4 * i + 2]);
    x[4 * i + 2] = _mm512_unpacklo_epi64(y[4 * i + 1], y[4 * i + 3]);
    x[4 * i + 3] = _mm512_unpackhi_epi64(y[4 * i + 1], y[4 * i + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    y[i] = _mm512_shuffle_i32x4(x[i], x[4 + i], 0x88);
    y[4 + i] = _mm512_shuffle_i32x4(x[i], x[4 + i], 0xdd);
    y[8 + i] = _mm512_shuffle_i32x4(x[8 + i], x[12 + i], 0x88);
    y[12 + i] = _mm512_shuffle_i32x4(x[8 + i], x[12 + i], 0xdd);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    x[i] = _mm512_shuffle_i32x4(y[i], y[8 + i], 0x88);
    x[8 + i] = _mm512_shuffle_i32x4(y[i], y[8 + i], 0xdd);
    x[4 + i] = _mm512_shuffle_i32x4(y[4 + i], y[12 + i], 0x88);
    x[12 + i] = _mm512_shuffle_i32x4(y[4 + i], y[12 + i], 0xdd);
  }
}

}  // namespace

template <typename T>
void packRows(const T* from, int64_t step, int64_t tokens, int64_t padded, int64_t features, int32_t* to) {
  const int64_t lanes = features / Lane<T>::each;
  for (int64_t i = 0; i < tokens; ++i) std::memcpy(to + i * lanes, from + i * step, lanes * 4);
  std::memset(to + tokens * lanes, 0, (padded - tokens) * lanes * 4);
}

template <typename T>
void packTokens(const T* from, int64_t step, int64_t tokens, int64_t padded, int64_t features, int32_t* to) {
  if constexpr (Lane<T>::each == 1) {
    packRows(from, step, tokens, padded, features, to);
  } else {
    const auto half = [&](int64_t i, int64_t f) __attribute__((always_inline)) {
      return i < tokens ? _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i * step + f)))
                        : _mm512_setzero_si512();
    };
    for (int64_t i = 0; i < padded; i += 2)
      for (int64_t f = 0; f < features; f += Lanes)
        _mm512_storeu_si512(to + i / 2 * features + f, _mm512_or_si512(half(i, f), _mm512_slli_epi32(half(i + 1, f), 16)));
  }
}

template <typename T>
void packPanels(const T* from, int64_t step, int64_t tokens, int64_t padded, int64_t features, int32_t* to) {
  const int64_t lanes = features / Lane<T>::each;
  inPanels(padded, [&](auto vectors, int64_t at) __attribute__((always_inline)) {
    int32_t* panel = to + at * lanes;
    for (int64_t j = 0; j < vectors * Lanes; j += Lanes)
      for (int64_t t = 0; t < lanes; t += Lanes) {
        const int64_t count = std::min(Lanes, lanes - t);
        const auto mask = static_cast<__mmask16>((1u << count) - 1);
        __m512i block[16];
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) {
          const T* row = from + std::min(at + j + i, tokens - 1) * step + t * Lane<T>::each;
          block[i] = _mm512_maskz_loadu_epi32(mask, row);
        }
        transpose16(block);
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i)
          if (i < count) _mm512_storeu_si512(panel + (t + i) * vectors * Lanes + j, block[i]);
      }
  });
}

template <typename T>
void unpackPanel(const float* from, int64_t width, int64_t tokens, int64_t features, float scale, T* to, int64_t step) {
  for (int64_t j = 0; j < tokens; j += Lanes)
    for (int64_t f = 0; f < features; f += Lanes) {
      __m512i block[16];
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) block[i] = _mm512_loadu_si512(from + (f + i) * width + j);
      transpose16(block);
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i)
        if (j + i < tokens) Lane<T>::store(to + (j + i) * step + f, _mm512_mul_ps(_mm512_castsi512_ps(block[i]), _mm512_set1_ps(scale)));
    }
}

template void packRows<float>(const float*, int64_t, int64_t, int64_t, int64_t, int32_t*);
template void packTokens<float>(const float*, int64_t, int64_t, int64_t, int64_t, int32_t*);
template void packPanels<float>(const float*, int64_t, int64_t, int64_t, int64_t, int32_t*);
template void unpackPanel<float>(const float*, int64_t, int64_t, int64_t, float, float*, int64_t);
template void packRows<c10::BFloat16>(const c10::BFloat16*, int64_t, int64_t, int64_t, int64_t, int32_t*);
template void packTokens<c10::BFloat16>(const c10::BFloat16*, int64_t, int64_t, int64_t, int64_t, int32_t*);
template void packPanels<c10::BFloat16>(const c10::BFloat16*, int64_t, int64_t, int64_t, int64_t, int32_t*);
template void unpackPanel<c10::BFloat16>(const float*, int64_t, int64_t, int64_t, float, c10::BFloat16*, int64_t);

}  // namespace varidiff::attention

#pragma GCC pop_options
#endif
