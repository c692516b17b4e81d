// The matrix products of the Winograd convolution.
#pragma once

#include "winograd.h"

namespace varidiff::winograd {

/** Vectors of outputs that a product works on at a time. */
constexpr int64_t kPanel = 4;

/**
 * Rows of units (a float32 number or a pair of bfloat16): element (row, step) lies at `data[row * rowStride + step * stepStride]`.
 */
struct Left {
  const uint32_t* data;
  int64_t rowStride, stepStride;
};

/**
 * `c` = or += `a` `[rows, steps]` times `b` `[steps, 16 vectors]`, sums in float32; `c` has rows of `cStride` numbers.
 * `vectors` is at most kPanel.
 */
template <typename T>
void product(const Left& a, const uint32_t* b, float* c, int64_t cStride, int64_t rows, int64_t vectors, int64_t steps);
template <typename T>
void productAdded(const Left& a, const uint32_t* b, float* c, int64_t cStride, int64_t rows, int64_t vectors, int64_t steps);

}  // namespace varidiff::winograd
