// Weights to U = G g G^T and their gradients back, dg = G^T dU G, with G = [1 0 0; 1/2 1/2 1/2; 1/2 -1/2 1/2; 0 0 1].
#include "winograd-weights.h"
#include "winograd-vectors.h"

#ifdef VARIDIFF_WINOGRAD

namespace varidiff::winograd {

namespace {

/** `to[j][i] = from[i][j]` of 16 x 16 numbers, rows `fromStride` and `toStride` apart. */
VARIDIFF_AVX512 void transpose(const float* from, int64_t fromStride, float* to, int64_t toStride) {
  __m512 r[16], s[16];
  for (int i = 0; i < 16; ++i) r[i] = _mm512_loadu_ps(from + i * fromStride);
  for (int i = 0; i < 16; i += 2) {
    s[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
    s[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
  }
  // Four rows by four columns within each quarter of a vector.
  for (int i = 0; i < 16; i += 4) {
    const __m512d a = _mm512_castps_pd(s[i]), b = _mm512_castps_pd(s[i + 2]);
    const __m512d c = _mm512_castps_pd(s[i + 1]), d = _mm512_castps_pd(s[i + 3]);
    r[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
    r[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
    r[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(c, d));
    r[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(c, d));
  }
  // Quarters: rows 0-3, 4-7, 8-11 and 12-15 of the same columns.
  for (int i = 0; i < 4; ++i) {
    const __m512 low = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88), lowOdd = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xdd);
    const __m512 high = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88), highOdd = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xdd);
    _mm512_storeu_ps(to + i * toStride, _mm512_shuffle_f32x4(low, high, 0x88));
    _mm512_storeu_ps(to + (i + 4) * toStride, _mm512_shuffle_f32x4(lowOdd, highOdd, 0x88));
    _mm512_storeu_ps(to + (i + 8) * toStride, _mm512_shuffle_f32x4(low, high, 0xdd));
    _mm512_storeu_ps(to + (i + 12) * toStride, _mm512_shuffle_f32x4(lowOdd, highOdd, 0xdd));
  }
}

/** G a: three numbers to four. */
VARIDIFF_VECTOR void spread(const Vector a0, const Vector a1, const Vector a2, Vector* to, int step) {
  const Vector half = _mm512_set1_ps(0.5f);
  const Vector outer = _mm512_mul_ps(half, _mm512_add_ps(a0, a2)), inner = _mm512_mul_ps(half, a1);
  to[0] = a0;
  to[step] = _mm512_add_ps(outer, inner);
  to[2 * step] = _mm512_sub_ps(outer, inner);
  to[3 * step] = a2;
}

/** G^T b: four numbers to three. */
VARIDIFF_VECTOR void gather(const Vector b0, const Vector b1, const Vector b2, const Vector b3, Vector* to, int step) {
  const Vector half = _mm512_set1_ps(0.5f);
  const Vector sum = _mm512_mul_ps(half, _mm512_add_ps(b1, b2));
  to[0] = _mm512_add_ps(b0, sum);
  to[step] = _mm512_mul_ps(half, _mm512_sub_ps(b1, b2));
  to[2 * step] = _mm512_add_ps(sum, b3);
}

/** The 16 numbers of U for 16 outputs, of kernels whose taps are `stride` apart. */
VARIDIFF_VECTOR void transformKernel(const float* g, int64_t stride, Vector* u) {
  Vector rows[12];  // G g, 4 x 3
  for (int j = 0; j < 3; ++j)
    spread(load(g + j * stride), load(g + (3 + j) * stride), load(g + (6 + j) * stride), rows + j, 3);
  for (int i = 0; i < 4; ++i) spread(rows[3 * i], rows[3 * i + 1], rows[3 * i + 2], u + 4 * i, 1);
}

constexpr int64_t kBlock = kLanes * kLanes;  // numbers of a 16 x 16 block

/** `taps` [9][16 summed][16 outputs] of the block of weights at (row, column) of `[out, in]`. */
VARIDIFF_AVX512 void readBlock(const float* weights, int64_t in, int64_t row, int64_t column, Direction direction, float* taps) {
  for (int tap = 0; tap < 9; ++tap) {
    const float* from = weights + (row * 9 + tap) * in + column;
    if (direction == Direction::Forward) {
      transpose(from, 9 * in, taps + tap * kBlock, kLanes);
    } else {
      for (int64_t i = 0; i < kLanes; ++i) store(taps + (8 - tap) * kBlock + i * kLanes, load(from + i * 9 * in));
    }
  }
}

}  // namespace

template <typename T>
VARIDIFF_AVX512 void transformWeights(const float* weights, const Layer& layer, Direction direction, int64_t begin, int64_t end,
                                      uint32_t* u) {
  const bool forward = direction == Direction::Forward;
  const int64_t summed = forward ? layer.in : layer.out, outputs = forward ? layer.out : layer.in;
  const int64_t steps = summed / kStep<T>;
  alignas(64) float taps[9 * kBlock];
  Vector first[16], second[16];
  for (int64_t o = begin * kLanes; o < end * kLanes; o += kLanes)
    for (int64_t s = 0; s < summed; s += kLanes) {
      readBlock(weights, layer.in, forward ? o : s, forward ? s : o, direction, taps);
      const Panel panel = panelAt(outputs, o / kLanes);
      uint32_t* to = u + panel.begin * kLanes * steps + (s / kStep<T> * panel.vectors + o / kLanes - panel.begin) * kLanes;
      for (int64_t i = 0; i < kLanes; i += kStep<T>, to += panel.vectors * kLanes) {
        transformKernel(taps + i * kLanes, kBlock, first);
        if constexpr (kStep<T> == 2) transformKernel(taps + (i + 1) * kLanes, kBlock, second);
        for (int f = 0; f < 16; ++f) {
          __m512i units;
          if constexpr (kStep<T> == 2) units = paired(first[f], second[f]);
          else units = _mm512_castps_si512(first[f]);
          _mm512_storeu_si512(to + f * steps * outputs, units);
        }
      }
    }
}

VARIDIFF_AVX512 void gatherWeights(const float* const* sums, int64_t threads, const Layer& layer, int64_t begin, int64_t end,
                                   float* weights) {
  alignas(64) float taps[9 * kBlock];
  Vector u[16], rows[12], g[9];
  for (int64_t k = begin * kLanes; k < end * kLanes; k += kLanes) {
    const Panel panel = panelAt(layer.out, k / kLanes);
    for (int64_t c = 0; c < layer.in; c += kLanes) {
      for (int64_t i = 0; i < kLanes; ++i) {
        const int64_t place = panel.begin * kLanes * layer.in + ((c + i) * panel.vectors + k / kLanes - panel.begin) * kLanes;
        for (int f = 0; f < 16; ++f) {
          u[f] = load(sums[0] + f * layer.in * layer.out + place);
          for (int64_t t = 1; t < threads; ++t) u[f] = _mm512_add_ps(u[f], load(sums[t] + f * layer.in * layer.out + place));
        }
        for (int j = 0; j < 4; ++j) gather(u[j], u[4 + j], u[8 + j], u[12 + j], rows + j, 4);
        for (int r = 0; r < 3; ++r) gather(rows[4 * r], rows[4 * r + 1], rows[4 * r + 2], rows[4 * r + 3], g + 3 * r, 1);
        for (int tap = 0; tap < 9; ++tap) store(taps + tap * kBlock + i * kLanes, g[tap]);
      }
      for (int tap = 0; tap < 9; ++tap) transpose(taps + tap * kBlock, kLanes, weights + (k * 9 + tap) * layer.in + c, 9 * layer.in);
    }
  }
}

template void transformWeights<float>(const float*, const Layer&, Direction, int64_t, int64_t, uint32_t*);
template void transformWeights<c10::BFloat16>(const float*, const Layer&, Direction, int64_t, int64_t, uint32_t*);

}  // namespace varidiff::winograd

#endif
