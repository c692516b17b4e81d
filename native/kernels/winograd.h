// The 3x3 convolution of stride 1 and padding 1 by Winograd's minimal filtering F(2x2, 3x3), channels-last, on AVX-512.
//
// Each tile of 2x2 outputs costs 16 products of channels instead of 36 (Lavin and Gray, 2016):
//   Y = A^T [(G g G^T) . (B^T d B)] A,   d the 4x4 inputs around the tile, g the kernel,
// where the product over all tiles is 16 matrix products V[f] U[f], V of [tiles, in] and U of [in, out]. Transforms, sums and
// outputs are float32; in bfloat16 U and V are rounded once, before they are multiplied.
#pragma once

#include "lanes.h"

#ifdef VARIDIFF_AVX512
#define VARIDIFF_WINOGRAD
#endif

namespace varidiff::winograd {

/** Channels that a vector holds: those of images and weights must be multiples of it. */
constexpr int64_t kLanes = 16;

/** What a product takes at a time along the dimension that it sums over: one float32 number or a pair of bfloat16. */
template <typename T>
constexpr int64_t kStep = 4 / sizeof(T);

/** Images `[images, height, width, in]` and `[images, height, width, out]`. */
struct Shape {
  int64_t images, height, width, in, out;
  int64_t tileRows() const { return (height + 1) / 2; }
  int64_t tileColumns() const { return (width + 1) / 2; }
};

/** Whether this processor has the instructions that products of `T` need, and nothing that makes direct convolution faster. */
template <typename T>
bool supported();
template <>
bool supported<float>();
template <>
bool supported<c10::BFloat16>();

/** Which way through a layer: `Forward` maps in to out; `Adjoint` out to in, with the kernel turned by half a turn. */
enum class Direction { Forward, Adjoint };

/** 32-bit units that the transformed weights take. */
template <typename T>
int64_t transformedSize(int64_t in, int64_t out);

/** U of weights `[out, 3, 3, in]`; for `Adjoint` that of the convolution that maps gradients of outputs to those of inputs. */
template <typename T>
void transformWeights(const float* weights, int64_t in, int64_t out, Direction direction, uint32_t* u);

/** `y = conv(x) + bias + residual` by products of T; bias and residual may be null. Images may be stored wider, as X and Y. */
template <typename T, typename X, typename Y>
void convolve(const Shape& shape, const X* x, const uint32_t* u, const float* bias, const Y* residual, Y* y);

/** `weights` `[out, 3, 3, in]` and `bias` `[out]` (or null): the gradients where that of y is `dy`. */
template <typename T>
void gradients(const Shape& shape, const T* x, const T* dy, float* weights, float* bias);

}  // namespace varidiff::winograd
