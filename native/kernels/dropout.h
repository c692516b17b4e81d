// Which elements dropout leaves: a hash of (key, position), so that nothing is stored for backward, every thread count
// gives the same mask, and a resumed run repeats it.
#pragma once

#include <ATen/core/Tensor.h>

#include "simd.h"

namespace varidiff {

/** Two rounds of a 32-bit finaliser, of one number or of a vector of them. */
template <typename U>
VARIDIFF_INLINE U mix(U h) {
  h ^= h >> 16;
  h *= 0x21f0aaadu;
  h ^= h >> 15;
  h *= 0x735a2d97u;
  h ^= h >> 15;
  return h;
}

/** The halves of the key are mixed in before each round. */
struct DropoutMask {
  uint32_t low, high, threshold;
  double scale;  // of what is left

  DropoutMask(double rate, int64_t key)
      : low(static_cast<uint32_t>(key)),
        high(static_cast<uint32_t>(static_cast<uint64_t>(key) >> 32)),
        threshold(static_cast<uint32_t>(rate * 4294967296.0)),
        scale(1.0 / (1.0 - rate)) {}

  /** Whether the element at a position in memory is left; of a vector of positions, all ones where it is. */
  template <typename U>
  VARIDIFF_INLINE auto leaves(U position) const {
    return mix(mix(position ^ low) + high) >= threshold;
  }
};

/** Inverted dropout; the identity where the rate is 0. */
at::Tensor dropout(const at::Tensor& x, double rate, int64_t key);

inline void checkDropout(const at::Tensor& x, double rate) {
  TORCH_CHECK(rate >= 0 && rate < 1, "expected a rate in [0, 1), got ", rate);
  TORCH_CHECK(rate == 0 || !x.is_cpu() || x.numel() < (int64_t(1) << 32), "expected fewer than 2^32 elements, got ", x.numel());
}

}  // namespace varidiff
