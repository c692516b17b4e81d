// Transforms along rows of tiles, 16 channels at a time, one of the four rows of a tile's transform a call.
#include "winograd-transforms.h"
#include "winograd-vectors.h"

#ifdef VARIDIFF_WINOGRAD

namespace varidiff::winograd {

namespace {

/** The last tile of a row reaches over the image's edge. */
enum class Tile { Inner, Last };

/** One row of an image; rows outside the image are zero. */
template <typename T>
struct Line {
  const T* data;
  int64_t step, width;

  VARIDIFF_VECTOR Line(const TileRow<T>& from, int64_t row, int64_t channel) : width(from.width) {
    alignas(64) static const T zeros[kLanes] = {};
    const bool inside = row >= 0 && row < from.height;
    data = inside ? from.image + row * from.width * from.channels + channel : zeros;
    step = inside ? from.channels : 0;
  }
  template <Tile Kind>
  VARIDIFF_VECTOR Vector at(int64_t column) const {
    if (Kind == Tile::Last && column >= width) return _mm512_setzero_ps();
    return load(data + column * step);
  }
};

/** Row F of B^T d B, B^T = [1 0 -1 0; 0 1 1 0; 0 -1 1 0; 0 1 0 -1]. Neighbouring tiles share two columns of four. */
template <int F, typename T>
struct Inputs {
  Line<T> first, second;
  Vector before, here;  // columns 2t - 1 and 2t of row F of B^T d

  VARIDIFF_VECTOR Inputs(const TileRow<T>& from, int64_t channel)
      : first(from, 2 * from.tileRow + (F == 0 ? -1 : 0), channel),
        second(from, 2 * from.tileRow + (F == 3 ? 2 : 1), channel),
        before(_mm512_setzero_ps()),
        here(column<Tile::Inner>(0)) {}

  template <Tile Kind>
  VARIDIFF_VECTOR Vector column(int64_t j) const {
    const Vector a = first.template at<Kind>(j), b = second.template at<Kind>(j);
    return F == 1 ? _mm512_add_ps(a, b) : F == 2 ? _mm512_sub_ps(b, a) : _mm512_sub_ps(a, b);
  }

  template <Tile Kind>
  VARIDIFF_VECTOR void tile(int64_t t, Vector* v) {
    const Vector next = column<Kind>(2 * t + 1), last = column<Kind>(2 * t + 2);
    v[0] = _mm512_sub_ps(before, next);
    v[1] = _mm512_add_ps(here, next);
    v[2] = _mm512_sub_ps(next, here);
    v[3] = _mm512_sub_ps(here, last);
    before = next;
    here = last;
  }
};

/** Row F of A dY A^T, A = [1 0; 1 1; 1 -1; 0 -1]. */
template <int F, typename T>
struct Gradients {
  Line<T> first, second;

  VARIDIFF_VECTOR Gradients(const TileRow<T>& from, int64_t channel)
      : first(from, 2 * from.tileRow, channel), second(from, 2 * from.tileRow + 1, channel) {}

  template <Tile Kind>
  VARIDIFF_VECTOR Vector column(int64_t j) const {
    if constexpr (F == 0) return first.template at<Kind>(j);
    const Vector b = second.template at<Kind>(j);
    if constexpr (F == 3) return _mm512_sub_ps(_mm512_setzero_ps(), b);
    const Vector a = first.template at<Kind>(j);
    return F == 1 ? _mm512_add_ps(a, b) : _mm512_sub_ps(a, b);
  }

  template <Tile Kind>
  VARIDIFF_VECTOR void tile(int64_t t, Vector* v) {
    const Vector a = column<Kind>(2 * t), b = column<Kind>(2 * t + 1);
    v[0] = a;
    v[1] = _mm512_add_ps(a, b);
    v[2] = _mm512_sub_ps(a, b);
    v[3] = _mm512_sub_ps(_mm512_setzero_ps(), b);
  }
};

/** All tiles of a row, each to a place of its own. */
template <typename Transform, typename X, typename T>
VARIDIFF_AVX512 void alongRow(const TileRow<X>& from, int64_t channel, const Places<T>& to) {
  Transform transform(from, channel);
  const int64_t last = (from.width + 1) / 2 - 1;
  const int64_t stride = to.stride, step = to.tileStride;
  T* at = to.data;
  Vector v[4];
  for (int64_t t = 0; t < last; ++t, at += step) {
    transform.template tile<Tile::Inner>(t, v);
    for (int i = 0; i < 4; ++i) store(at + i * stride, v[i]);
  }
  transform.template tile<Tile::Last>(last, v);
  for (int i = 0; i < 4; ++i) store(at + i * stride, v[i]);
}

/** All tiles of a row, two to a place. */
template <typename Transform, typename X>
VARIDIFF_AVX512 void alongRow(const TileRow<X>& from, int64_t channel, const PairPlaces& to) {
  Transform transform(from, channel);
  const int64_t last = (from.width + 1) / 2 - 1;
  const int64_t stride = to.stride, step = to.pairStride;
  uint32_t* at = to.data;
  Vector v[4], w[4];
  int64_t t = 0;
  for (; t + 1 < last; t += 2, at += step) {
    transform.template tile<Tile::Inner>(t, v);
    transform.template tile<Tile::Inner>(t + 1, w);
    for (int i = 0; i < 4; ++i) _mm512_storeu_si512(at + i * stride, paired(v[i], w[i]));
  }
  if (t + 1 == last) {
    transform.template tile<Tile::Inner>(t, v);
    transform.template tile<Tile::Last>(t + 1, w);
    for (int i = 0; i < 4; ++i) _mm512_storeu_si512(at + i * stride, paired(v[i], w[i]));
    return;
  }
  transform.template tile<Tile::Last>(t, v);
  for (int i = 0; i < 4; ++i) {
    uint32_t* left = to.left + i * stride;
    const __m512i one = halves(v[i]);
    _mm512_storeu_si512(left, to.completing ? _mm512_or_si512(_mm512_loadu_si512(left), _mm512_slli_epi32(one, 16)) : one);
  }
}

/** One tile of 16 channels: its M, as 16 rows `stride` apart, to its up to 2x2 outputs. */
struct Outputs {
  Vector y[2][2];

  VARIDIFF_VECTOR Outputs(const float* m, int64_t stride) {
    Vector top[4], bottom[4];
    for (int j = 0; j < 4; ++j) {
      const Vector m0 = load(m + j * stride), m1 = load(m + (4 + j) * stride);
      const Vector m2 = load(m + (8 + j) * stride), m3 = load(m + (12 + j) * stride);
      top[j] = _mm512_add_ps(_mm512_add_ps(m0, m1), m2);
      bottom[j] = _mm512_sub_ps(_mm512_sub_ps(m1, m2), m3);
    }
    y[0][0] = _mm512_add_ps(_mm512_add_ps(top[0], top[1]), top[2]);
    y[0][1] = _mm512_sub_ps(_mm512_sub_ps(top[1], top[2]), top[3]);
    y[1][0] = _mm512_add_ps(_mm512_add_ps(bottom[0], bottom[1]), bottom[2]);
    y[1][1] = _mm512_sub_ps(_mm512_sub_ps(bottom[1], bottom[2]), bottom[3]);
  }
};

}  // namespace

template <typename Y>
VARIDIFF_AVX512 void transformOutputs(const float* m, int64_t stride, int64_t vectors, const TileRow<Y>& at, int64_t channel,
                                      const float* bias, const Y* residual, Y* y) {
  const int64_t rows = at.height - 2 * at.tileRow >= 2 ? 2 : 1;
  for (int64_t t = 0; 2 * t < at.width; ++t) {
    const int64_t columns = at.width - 2 * t >= 2 ? 2 : 1;
    const int64_t corner = (2 * at.tileRow * at.width + 2 * t) * at.channels + channel;
    for (int64_t v = 0; v < vectors; ++v) {
      const Outputs tile(m + (t * vectors + v) * kLanes, stride);
      const Vector b = bias ? load(bias + channel + v * kLanes) : _mm512_setzero_ps();
#pragma GCC unroll 2
      for (int64_t i = 0; i < 2; ++i)
#pragma GCC unroll 2
        for (int64_t j = 0; j < 2; ++j) {
          if (i >= rows || j >= columns) continue;
          const int64_t place = corner + (i * at.width + j) * at.channels + v * kLanes;
          Vector value = _mm512_add_ps(tile.y[i][j], b);
          if (residual) value = _mm512_add_ps(value, load(residual + place));
          store(y + place, value);
        }
    }
  }
}

template <typename T>
VARIDIFF_AVX512 void addPositions(const TileRow<T>& from, float* sums) {
  const T* first = from.image + 2 * from.tileRow * from.width * from.channels;
  const int64_t count = from.width * (from.height - 2 * from.tileRow >= 2 ? 2 : 1);
  for (int64_t c = 0; c < from.channels; c += kLanes) {
    Vector sum = _mm512_setzero_ps();
    for (int64_t i = 0; i < count; ++i) sum = _mm512_add_ps(sum, load(first + i * from.channels + c));
    store(sums + c, _mm512_add_ps(load(sums + c), sum));
  }
}

// The four rows of both transforms, of images stored as X, to either kind of places.
#define VARIDIFF_ROWS(NAME, TRANSFORM, X, PLACES)                                      \
  template <>                                                                          \
  void NAME(int f, const TileRow<X>& from, int64_t channel, const PLACES& to) {        \
    switch (f) {                                                                       \
      case 0: return alongRow<TRANSFORM<0, X>>(from, channel, to);                     \
      case 1: return alongRow<TRANSFORM<1, X>>(from, channel, to);                     \
      case 2: return alongRow<TRANSFORM<2, X>>(from, channel, to);                     \
      default: return alongRow<TRANSFORM<3, X>>(from, channel, to);                    \
    }                                                                                  \
  }
VARIDIFF_ROWS(transformInputs, Inputs, float, Places<float>)
VARIDIFF_ROWS(transformInputs, Inputs, float, Places<c10::BFloat16>)
VARIDIFF_ROWS(transformInputs, Inputs, c10::BFloat16, Places<c10::BFloat16>)
VARIDIFF_ROWS(transformInputs, Inputs, c10::BFloat16, PairPlaces)
VARIDIFF_ROWS(transformGradients, Gradients, float, Places<float>)
VARIDIFF_ROWS(transformGradients, Gradients, c10::BFloat16, PairPlaces)

template void transformOutputs<float>(const float*, int64_t, int64_t, const TileRow<float>&, int64_t, const float*, const float*, float*);
template void transformOutputs<c10::BFloat16>(const float*, int64_t, int64_t, const TileRow<c10::BFloat16>&, int64_t, const float*,
                                              const c10::BFloat16*, c10::BFloat16*);

template void addPositions<float>(const TileRow<float>&, float*);
template void addPositions<c10::BFloat16>(const TileRow<c10::BFloat16>&, float*);

}  // namespace varidiff::winograd

#endif
