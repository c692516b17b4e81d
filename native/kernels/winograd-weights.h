// Weights to their Winograd form, and gradients of that form back to those of weights.
#pragma once

#include <algorithm>

#include "winograd-products.h"

#ifdef VARIDIFF_WINOGRAD

namespace varidiff::winograd {

/** Weights `[out, 3, 3, in]`. */
struct Layer {
  int64_t in, out;
};

/** Vectors `begin` to `begin + vectors` of outputs, which products take together. */
struct Panel {
  int64_t begin, vectors;
};

/** The panel that holds vector `v` of `outputs` numbers. */
inline Panel panelAt(int64_t outputs, int64_t v) {
  const int64_t begin = v / kPanel * kPanel;
  return {begin, std::min(kPanel, outputs / kLanes - begin)};
}

/**
 * For vectors `begin` to `end` of outputs: U `[16][panels][steps][vectors][16]` of units, which are a float32 number or, in bfloat16, a
 * pair along the channels that are summed over.
 */
template <typename T>
VARIDIFF_AVX512 void transformWeights(const float* weights, const Layer& layer, Direction direction, int64_t begin, int64_t end, uint32_t* u);

/** For vectors `begin` to `end` of outputs: gradients of weights from those of U, `[16][panels][in][vectors][16]`, of each thread. */
VARIDIFF_AVX512 void gatherWeights(const float* const* sums, int64_t threads, const Layer& layer, int64_t begin, int64_t end, float* weights);

}  // namespace varidiff::winograd

#endif
