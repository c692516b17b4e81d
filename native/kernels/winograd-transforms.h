// What surrounds the products of the Winograd convolution: B^T d B of inputs, A dY A^T of gradients, A^T M A of outputs.
#pragma once

#include "winograd.h"

#ifdef VARIDIFF_WINOGRAD

namespace varidiff::winograd {

/**
 * Where the four values that a row of a transform gives for one tile go, for 16 channels: `data + f * stride + place of the tile`.
 * `Tiles`: one place a tile, `tileStride` numbers from tile to tile. `Pairs`: tiles 2q and 2q + 1 of a row of tiles share a place,
 * interleaved, and so do the last tiles of two rows where their number is odd.
 */
template <typename T>
struct Places {
  T* data;
  int64_t stride, tileStride;
};
struct PairPlaces {
  uint32_t* data;
  int64_t stride, pairStride;
  uint32_t* left;   // for an odd last tile
  bool completing;  // whether `left` holds another row's last tile already
};

/** A row of tiles of one image: 2 `tileRow` is its first row of outputs; `channels` numbers a position. */
template <typename T>
struct TileRow {
  const T* image;
  int64_t height, width, channels, tileRow;
};

/** Row f of B^T d B for 16 channels from `channel`. */
template <typename T, typename X>
void transformInputs(int f, const TileRow<X>& from, int64_t channel, const Places<T>& to);
template <typename T>
void transformInputs(int f, const TileRow<T>& from, int64_t channel, const PairPlaces& to);

/** Row f of A dY A^T for 16 channels from `channel`. */
template <typename T>
void transformGradients(int f, const TileRow<T>& from, int64_t channel, const Places<T>& to);
template <typename T>
void transformGradients(int f, const TileRow<T>& from, int64_t channel, const PairPlaces& to);

/** Adds the sum over the positions of a row of tiles to `sums` `[channels]`. */
template <typename T>
VARIDIFF_AVX512 void addPositions(const TileRow<T>& from, float* sums);

/**
 * `y = A^T M A + bias + residual` for a row of tiles and `vectors` x 16 channels from `channel` on. M of tile t and product f is at
 * `m + f * stride + t * 16 vectors`. `bias` `[channels]` and `residual` (an image, as `y`) may be null.
 */
template <typename Y>
VARIDIFF_AVX512 void transformOutputs(const float* m, int64_t stride, int64_t vectors, const TileRow<Y>& at, int64_t channel, const float* bias,
                      const Y* residual, Y* y);

}  // namespace varidiff::winograd

#endif
