// One image of varidiff::group_norm, forward and backward. Positions and channels are gone through in tiles that the
// first-level cache holds, so that coefficients and sums of a tile's channels stay in registers. What the processor reads
// ahead by itself are not such tiles, so each asks for the memory of the one below it.
#pragma once

#include <algorithm>
#include <type_traits>

#include "dropout.h"
#include "lanes.h"

namespace varidiff {

/** One image: `rows` positions of `channels` values, `channels` fastest. */
template <typename T, typename A>
struct Image {
  const T* x;
  const A* shift;  // [channels] or null
  const A* weight;
  const A* bias;
  int64_t rows, channels, groups;
  bool silu;
  const DropoutMask* mask;  // or null: nothing is dropped
  uint32_t position;        // of the image's first value in the mask
};

/** `skip` is the gradient that comes past the normalisation, or null. The other outputs are this image's shares. */
template <typename T, typename A>
struct Gradients {
  const T *dy, *skip;
  T* dx;
  A *weight, *bias, *shift;  // shift: or null
};

/** Values of `rows` positions from `row` on, of the channels from `channel` on that fit a vector. */
template <typename A, bool Whole>
struct Tile {
  using V = typename Lanes<A>::Values;
  int64_t row, rows, channel;
  int64_t channels;  // fewer than a vector's where it is not whole

  template <typename Set, typename T>
  VARIDIFF_INLINE V load(const T* p) const {
    if constexpr (Whole) return loadLanes<Set>(p);
    T part[Lanes<A>::count] = {};
    std::copy_n(p, channels, part);
    return loadLanes<Set>(part);
  }
  template <typename Set, typename T>
  VARIDIFF_INLINE void store(T* p, V values) const {
    if constexpr (Whole) return storeLanes<Set>(p, values);
    T part[Lanes<A>::count];
    storeLanes<Set>(part, values);
    std::copy_n(part, channels, p);
  }
};

constexpr int64_t TileRows = 16;

/** Channels, rounded up to whole vectors: the length of what is kept for each channel while an image is worked on. */
template <typename A>
constexpr int64_t paddedChannels(int64_t channels) {
  constexpr int64_t count = Lanes<A>::count;
  return (channels + count - 1) / count * count;
}

template <typename A, typename F>
VARIDIFF_INLINE void forTiles(int64_t rows, int64_t channels, F f) {
  constexpr int64_t count = Lanes<A>::count;
  const int64_t whole = channels - channels % count;
  for (int64_t r = 0; r < rows; r += TileRows) {
    const int64_t height = std::min(TileRows, rows - r);
    for (int64_t c = 0; c < whole; c += count) f(Tile<A, true>{r, height, c, count});
    if (whole < channels) f(Tile<A, false>{r, height, whole, channels - whole});
  }
}

/** sums[c] = sum over positions of f(x, at[c]) */
template <typename Set, typename T, typename A, typename F>
VARIDIFF_INLINE void channelSums(const Image<T, A>& im, const A* at, A* sums, F f) {
  using V = typename Lanes<A>::Values;
  const int64_t C = im.channels;
  std::fill_n(sums, paddedChannels<A>(C), A(0));
  forTiles<A>(im.rows, C, [&](auto tile) __attribute__((always_inline)) {
    const T* x = im.x + tile.row * C + tile.channel;
    const V offset = loadLanes<Set>(at + tile.channel);
    V a{}, b{}, c{}, d{};  // an addition takes as long as four begin
    int64_t r = 0;
    for (; r + 4 <= tile.rows; r += 4, x += 4 * C) {
      for (int64_t k = 0; k < 4; ++k) __builtin_prefetch(x + (TileRows + k) * C);
      a += f(tile.template load<Set>(x), offset);
      b += f(tile.template load<Set>(x + C), offset);
      c += f(tile.template load<Set>(x + 2 * C), offset);
      d += f(tile.template load<Set>(x + 3 * C), offset);
    }
    for (; r < tile.rows; ++r, x += C) a += f(tile.template load<Set>(x), offset);
    A* sum = sums + tile.channel;
    storeLanes<Set>(sum, loadLanes<Set>(sum) + ((a + b) + (c + d)));
  });
}

/** Numbers of A that forwardImage works with. */
template <typename A>
int64_t forwardWork(int64_t channels) {
  return 2 * paddedChannels<A>(channels);
}

template <typename Set, typename T, typename A>
VARIDIFF_INLINE void statistics(const Image<T, A>& im, double eps, A* mean, A* rstd, A* work) {
  using V = typename Lanes<A>::Values;
  const int64_t C = im.channels, D = C / im.groups, P = paddedChannels<A>(C);
  A *sum = work, *at = work + P;
  const double count = static_cast<double>(D * im.rows);
  std::fill_n(at, P, A(0));
  channelSums<Set>(im, at, sum, [](V x, V) __attribute__((always_inline)) { return x; });
  for (int64_t g = 0; g < im.groups; ++g) {
    double total = 0;
    for (int64_t c = g * D; c < (g + 1) * D; ++c) total += static_cast<double>(sum[c]) + (im.shift ? static_cast<double>(im.shift[c]) * im.rows : 0.0);
    mean[g] = static_cast<A>(total / count);
    for (int64_t c = g * D; c < (g + 1) * D; ++c) at[c] = (im.shift ? im.shift[c] : A(0)) - mean[g];
  }
  // Second reading: squares of differences from the mean, so that a large mean cancels nothing.
  channelSums<Set>(im, at, sum, [](V x, V offset) __attribute__((always_inline)) {
    const V d = x + offset;
    return d * d;
  });
  for (int64_t g = 0; g < im.groups; ++g) {
    double total = 0;
    for (int64_t c = g * D; c < (g + 1) * D; ++c) total += static_cast<double>(sum[c]);
    rstd[g] = static_cast<A>(1.0 / std::sqrt(total / count + eps));
  }
}

/** xhat = x * scale + offset per channel; u = xhat * weight + bias. */
template <typename T, typename A>
VARIDIFF_INLINE void coefficients(const Image<T, A>& im, const A* mean, const A* rstd, A* scale, A* offset) {
  const int64_t D = im.channels / im.groups;
  for (int64_t c = 0; c < im.channels; ++c) {
    const int64_t g = c / D;
    scale[c] = rstd[g];
    offset[c] = ((im.shift ? im.shift[c] : A(0)) - mean[g]) * rstd[g];
  }
}

/** Calls f with what the image does to u as types. */
template <typename T, typename A, typename F>
VARIDIFF_INLINE void byKind(const Image<T, A>& im, F f) {
  if (im.silu && im.mask) f(std::true_type{}, std::true_type{});
  else if (im.silu) f(std::true_type{}, std::false_type{});
  else if (im.mask) f(std::false_type{}, std::true_type{});
  else f(std::false_type{}, std::false_type{});
}

/** What a factor of the mask leaves of values at these positions. */
template <typename A, typename V, typename P>
VARIDIFF_INLINE V dropped(V values, P positions, const DropoutMask& mask) {
  using Mask = typename Lanes<A>::Mask;
  return __builtin_convertvector(mask.leaves(positions), Mask) ? values * static_cast<A>(mask.scale) : V{};
}

template <typename Set, typename T, typename A>
VARIDIFF_INLINE void forwardImage(const Image<T, A>& im, double eps, T* y, A* mean, A* rstd, A* work) {
  using V = typename Lanes<A>::Values;
  const int64_t C = im.channels;
  A *scale = work, *offset = work + paddedChannels<A>(C);
  statistics<Set>(im, eps, mean, rstd, work);
  coefficients(im, mean, rstd, scale, offset);
  for (int64_t c = 0; c < C; ++c) {
    offset[c] = offset[c] * im.weight[c] + im.bias[c];
    scale[c] *= im.weight[c];
  }
  byKind(im, [&](auto silu, auto drops) __attribute__((always_inline)) {
    forTiles<A>(im.rows, C, [&](auto tile) __attribute__((always_inline)) {
      const int64_t at = tile.row * C + tile.channel;
      const T* x = im.x + at;
      T* out = y + at;
      const V a = loadLanes<Set>(scale + tile.channel), b = loadLanes<Set>(offset + tile.channel);
      auto positions = Lanes<A>::first + (im.position + static_cast<uint32_t>(at));
      for (int64_t r = 0; r < tile.rows; ++r, x += C, out += C) {
        __builtin_prefetch(out + TileRows * C, 1);
        V u = tile.template load<Set>(x) * a + b;
        if constexpr (silu) u = u / (1 + exponential<Set>(-u));
        if constexpr (drops) {
          u = dropped<A>(u, positions, *im.mask);
          positions += static_cast<uint32_t>(C);
        }
        tile.template store<Set>(out, u);
      }
    });
  });
}

/** Numbers of A that backwardImage works with. */
template <typename A>
int64_t backwardWork(int64_t rows, int64_t channels) {
  return 9 * paddedChannels<A>(channels) + rows * channels;
}

template <typename Set, typename T, typename A>
VARIDIFF_INLINE void backwardImage(const Image<T, A>& im, const Gradients<T, A>& to, const A* mean, const A* rstd, A* work) {
  using V = typename Lanes<A>::Values;
  const int64_t C = im.channels, D = C / im.groups, P = paddedChannels<A>(C);
  A *scale = work, *offset = work + P, *weight = work + 2 * P, *bias = work + 3 * P;
  A *sumDu = work + 4 * P, *sumDuXhat = work + 5 * P, *sumXhat = work + 6 * P;
  A* du = work + 9 * P;
  std::fill_n(work, 7 * P, A(0));
  coefficients(im, mean, rstd, scale, offset);
  std::copy_n(im.weight, C, weight);
  std::copy_n(im.bias, C, bias);
  byKind(im, [&](auto silu, auto drops) __attribute__((always_inline)) {
    forTiles<A>(im.rows, C, [&](auto tile) __attribute__((always_inline)) {
      const int64_t c = tile.channel, at = tile.row * C + c;
      const T *x = im.x + at, *dy = to.dy + at;
      A* out = du + at;
      const V rs = loadLanes<Set>(scale + c), m = loadLanes<Set>(offset + c), w = loadLanes<Set>(weight + c), b = loadLanes<Set>(bias + c);
      V s1 = loadLanes<Set>(sumDu + c), s2 = loadLanes<Set>(sumDuXhat + c), s3 = loadLanes<Set>(sumXhat + c);
      auto positions = Lanes<A>::first + (im.position + static_cast<uint32_t>(at));
      for (int64_t r = 0; r < tile.rows; ++r, x += C, dy += C, out += C) {
        __builtin_prefetch(x + TileRows * C);
        __builtin_prefetch(dy + TileRows * C);
        const V xhat = tile.template load<Set>(x) * rs + m;
        V slope = tile.template load<Set>(dy);
        if constexpr (drops) {
          slope = dropped<A>(slope, positions, *im.mask);
          positions += static_cast<uint32_t>(C);
        }
        if constexpr (silu) {
          const V u = xhat * w + b;
          const V s = 1 / (1 + exponential<Set>(-u));
          slope *= s * (1 + u * (1 - s));
        }
        tile.template store<Set>(out, slope);
        s1 += slope;
        s2 += slope * xhat;
        s3 += xhat;
      }
      storeLanes<Set>(sumDu + c, s1);
      storeLanes<Set>(sumDuXhat + c, s2);
      storeLanes<Set>(sumXhat + c, s3);
    });
  });
  // dx = rstd (du w - mean(du w) - xhat mean(du w xhat)), gathered into du * a + x * b + k
  A *a = work, *b = work + 7 * P, *k = work + 8 * P;
  std::fill_n(b, 2 * P, A(0));
  const double count = static_cast<double>(D * im.rows);
  for (int64_t g = 0; g < im.groups; ++g) {
    double s1 = 0, s2 = 0;
    for (int64_t c = g * D; c < (g + 1) * D; ++c) {
      s1 += static_cast<double>(sumDu[c]) * static_cast<double>(weight[c]);
      s2 += static_cast<double>(sumDuXhat[c]) * static_cast<double>(weight[c]);
    }
    const A m1 = static_cast<A>(s1 / count), m2 = static_cast<A>(s2 / count);
    for (int64_t c = g * D; c < (g + 1) * D; ++c) {
      a[c] = rstd[g] * weight[c];
      b[c] = -rstd[g] * rstd[g] * m2;
      k[c] = -rstd[g] * (m1 + offset[c] * m2);
      if (to.shift) to.shift[c] = sumDu[c] * a[c] - rstd[g] * (static_cast<A>(im.rows) * m1 + sumXhat[c] * m2);
    }
  }
  std::copy_n(sumDuXhat, C, to.weight);
  std::copy_n(sumDu, C, to.bias);
  const auto finish = [&](auto skips) __attribute__((always_inline)) {
    forTiles<A>(im.rows, C, [&](auto tile) __attribute__((always_inline)) {
      const int64_t c = tile.channel, at = tile.row * C + c;
      const V va = loadLanes<Set>(a + c), vb = loadLanes<Set>(b + c), vk = loadLanes<Set>(k + c);
      for (int64_t r = 0, i = at; r < tile.rows; ++r, i += C) {
        __builtin_prefetch(to.dx + i + TileRows * C, 1);
        if constexpr (skips) __builtin_prefetch(to.skip + i + TileRows * C);
        V dx = tile.template load<Set>(du + i) * va + tile.template load<Set>(im.x + i) * vb + vk;
        if constexpr (skips) dx += tile.template load<Set>(to.skip + i);
        tile.template store<Set>(to.dx + i, dx);
      }
    });
  };
  if (to.skip) finish(std::true_type{});
  else finish(std::false_type{});
}

}  // namespace varidiff
