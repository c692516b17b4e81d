// Attention of one head in AVX-512 registers: softmax(scale q k^T) v and its gradients, without the matrix of scores.
//
// Everything is one small matrix product, `product`: numbers are held in lanes of 32 bits, one float or two neighbouring
// bfloat16 along the axis that is summed over, and one side's lanes are broadcast while the other's are a register. Keys
// are worked on in panels of `PanelVectors` registers. Forward keeps the scores of a few queries against all keys, so that
// the largest is known before the first exponential; backward recomputes them tile by tile from their logsumexp.
#pragma once

#include <c10/util/BFloat16.h>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define VARIDIFF_FUSED_ATTENTION 1

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma")

namespace varidiff {

namespace attention {

#define VARIDIFF_AVX512 inline __attribute__((always_inline))

constexpr int64_t Lanes = 16;
/** Registers of keys in a panel: with 8 rows of accumulators they leave 8 of the 32 registers for operands. */
constexpr int PanelVectors = 3;
constexpr int64_t PanelKeys = PanelVectors * Lanes;
/** Rows of accumulators: queries, or features of a gradient. */
constexpr int Rows = 8;
/** Queries that share a pass over a panel in backward. */
constexpr int64_t TileQueries = 32;

/** One head of one image. Gradients have the layout of q, k and v. */
template <typename T>
struct Head {
  const T *q, *k, *v;
  /** From a token's numbers to the next one's. */
  int64_t step;
  int64_t length, features;
  float scale;
};

/** Numbers of type T in lanes of 32 bits. */
template <typename T>
struct Lane;
template <>
struct Lane<float> {
  static constexpr int64_t each = 1;
  static VARIDIFF_AVX512 __m512 add(__m512 sum, __m512i a, __m512i b) {
    return _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), sum);
  }
  static VARIDIFF_AVX512 void store(float* to, __m512 x) { _mm512_storeu_ps(to, x); }
  static VARIDIFF_AVX512 __m512 load(const float* from) { return _mm512_loadu_ps(from); }
};
template <>
struct Lane<c10::BFloat16> {
  static constexpr int64_t each = 2;
  static VARIDIFF_AVX512 __m512 add(__m512 sum, __m512i a, __m512i b) {
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
  }
  static VARIDIFF_AVX512 void store(c10::BFloat16* to, __m512 x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), (__m256i)_mm512_cvtneps_pbh(x));
  }
  static VARIDIFF_AVX512 __m512 load(const c10::BFloat16* from) {
    const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
  }
};

/** 2^x for x below 127 by a polynomial on [-1/2, 1/2], to a relative error of 8e-5 where bfloat16 rounds by 2e-3, else 1e-7. */
template <typename T>
VARIDIFF_AVX512 __m512 exponential2(__m512 x) {
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

/** sums[r][v] += sum_t a[r rowStep + t laneStep] b[t bStep + v]; `count` is even. */
template <typename T, int Vectors>
VARIDIFF_AVX512 void product(__m512 (&sums)[Rows][Vectors], const int32_t* a, int64_t rowStep, int64_t laneStep, const int32_t* b,
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
VARIDIFF_AVX512 void zero(__m512 (&sums)[Rows][Vectors]) {
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) sums[r][v] = _mm512_setzero_ps();
}

/** `c` [rows, 16 vectors] += a b, where a row of `c` is `cStep` floats from the next */
template <typename T, int Vectors>
VARIDIFF_AVX512 void accumulate(float* c, int64_t cStep, const int32_t* a, int64_t rowStep, int64_t laneStep, const int32_t* b,
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
VARIDIFF_AVX512 void inPanels(int64_t width, F f) {
  int64_t at = 0;
  for (; width - at >= PanelKeys && width - at != PanelKeys + Lanes; at += PanelKeys) f(std::integral_constant<int, PanelVectors>{}, at);
  for (; width - at >= 2 * Lanes; at += 2 * Lanes) f(std::integral_constant<int, 2>{}, at);
  if (width > at) f(std::integral_constant<int, 1>{}, at);
}

constexpr int64_t roundUp(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

VARIDIFF_AVX512 void transpose16(__m512i (&x)[16]) {
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

/** [tokens, lanes of features], zero behind the last token. */
template <typename T>
void packRows(const T* from, int64_t step, int64_t tokens, int64_t padded, int64_t features, int32_t* to) {
  const int64_t lanes = features / Lane<T>::each;
  for (int64_t i = 0; i < tokens; ++i) std::memcpy(to + i * lanes, from + i * step, lanes * 4);
  std::memset(to + tokens * lanes, 0, (padded - tokens) * lanes * 4);
}

/** [lanes of tokens, features], zero behind the last token. */
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

/** Panels of keys, each [lanes of features, keys of the panel]; behind the last token it is repeated. */
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

/** `to` [tokens, features] = scale * transpose of `from` [features, width] */
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

constexpr float Log2E = 1.44269504088896341f;

/** Replaces the scores of a row by exp(scale (s - largest)), as T; gives the row's logsumexp to base 2 and 1 / sum. */
template <typename T>
VARIDIFF_AVX512 void softmaxRow(float* row, int64_t length, float scale, float* logSum, float* share) {
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
    for (int l = 0; l < 4; ++l) {
      sums[l] = _mm512_add_ps(sums[l], p[l]);
      Lane<T>::store(to + j + l * Lanes, p[l]);
    }
  }
  for (; j < padded; j += Lanes) {
    const auto inside = static_cast<__mmask16>(length - j >= Lanes ? 0xffff : (1u << (length - j)) - 1);
    const __m512 p = _mm512_maskz_mov_ps(inside, weight(j));
    sums[0] = _mm512_add_ps(sums[0], p);
    Lane<T>::store(to + j, p);
  }
  const float sum = _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3])));
  *share = 1.0f / sum;
  *logSum = shift + std::log2(sum);
}

/** Lanes of 32 bits that `forward` needs as work. */
template <typename T>
int64_t forwardWork(int64_t length, int64_t features) {
  const int64_t padded = roundUp(length, Lanes), lanes = features / Lane<T>::each;
  return 2 * padded * lanes + Rows * (lanes + padded + Lanes);
}

/** `out` [length, features], its rows `outStep` apart; `logSums` [length], to base 2. */
template <typename T>
void forward(const Head<T>& head, T* out, int64_t outStep, float* logSums, int32_t* work) {
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
    for (int64_t i = 0; i < count; ++i) softmaxRow<T>(scores + i * rowStep, L, head.scale, logSums + i0 + i, share + i);
    inPanels(d, [&](auto vectors, int64_t f) __attribute__((always_inline)) {
      constexpr int Vectors = decltype(vectors)::value;
      __m512 sums[Rows][Vectors];
      zero(sums);
      product<T>(sums, reinterpret_cast<const int32_t*>(scores), rowStep, 1, values + f, d, padded / Lane<T>::each);
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r)
        if (r < count)
#pragma GCC unroll 4
          for (int v = 0; v < Vectors; ++v)
            Lane<T>::store(out + (i0 + r) * outStep + f + v * Lanes, _mm512_mul_ps(sums[r][v], _mm512_set1_ps(share[r])));
    });
  }
}

/** Writes two rows of a tile so that both lie in one lane: (first, second) for every key. */
template <typename T>
VARIDIFF_AVX512 void storeQueries(int32_t* to, int64_t width, int64_t row, __m512 first, __m512 second) {
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

/** Lanes of 32 bits that `backward` needs as work. */
template <typename T>
int64_t backwardWork(int64_t length, int64_t features) {
  const int64_t keys = roundUp(length, Lanes), queries = roundUp(length, Lanes), lanes = features / Lane<T>::each;
  return 3 * keys * lanes + 4 * queries * lanes + queries * features + 2 * queries + 2 * PanelKeys * features + 4 * TileQueries * PanelKeys;
}

/** What tiles of backward share; all of it packed. */
template <typename T>
struct Packed {
  const int32_t *query, *slope;              // rows
  const int32_t *queryTokens, *slopeTokens;  // lanes of queries
  const float *logSums, *dots;               // [queries]; dots are sum_f dout out
  float* dQuery;                             // [queries, features]
  int64_t queries, features;
  float scale;
};

/** One panel of keys against all queries. keys, values: [lanes, width]; keyTokens: [lanes of keys, features]; dKey, dValue: [features, width] */
template <typename T, int Vectors>
VARIDIFF_AVX512 void backwardPanel(const Packed<T>& p, const int32_t* keys, const int32_t* values, const int32_t* keyTokens, float* dKey,
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

/** Gradients of q, k and v, laid out as these are, from that of `out`; `out` and `dOut` have rows `outStep` apart. */
template <typename T>
void backward(const Head<T>& head, const T* out, const T* dOut, int64_t outStep, const float* logSums, T* dq, T* dk, T* dv, int32_t* work) {
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
  packRows(dOut, outStep, L, queries, d, slope);
  packTokens(dOut, outStep, L, queries, d, slopeTokens);
  packPanels(head.k, head.step, L, padded, d, keys);
  packTokens(head.k, head.step, L, padded, d, keyTokens);
  packPanels(head.v, head.step, L, padded, d, values);
  std::memset(dQuery, 0, queries * d * sizeof(float));
  for (int64_t i = 0; i < queries; ++i) {
    __m512 dot = _mm512_setzero_ps();
    if (i < L)
      for (int64_t f = 0; f < d; f += Lanes)
        dot = _mm512_fmadd_ps(Lane<T>::load(out + i * outStep + f), Lane<T>::load(dOut + i * outStep + f), dot);
    dots[i] = _mm512_reduce_add_ps(dot);
    paddedLogSums[i] = i < L ? logSums[i] : 0.0f;
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

}  // namespace attention

}  // namespace varidiff

#pragma GCC pop_options
#endif
