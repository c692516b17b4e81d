// What the CPU kernels share: one clone of a loop for each instruction set, number formats, and exp in registers.
#pragma once

#include <c10/core/ScalarType.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Exception.h>

#include <cmath>
#include <cstdint>
#include <cstring>

// The addon may be carried to another machine, so the instruction set is chosen when it is loaded.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define VARIDIFF_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define VARIDIFF_CLONES
#endif
/** Before a loop whose arrays do not overlap, where there are too many of them to compare at run time. */
#define VARIDIFF_INDEPENDENT _Pragma("GCC ivdep")
#define VARIDIFF_INLINE inline __attribute__((always_inline))

namespace varidiff {

VARIDIFF_INLINE float load(const c10::BFloat16* p) {
  uint16_t half;
  std::memcpy(&half, p, 2);
  const uint32_t bits = static_cast<uint32_t>(half) << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}
VARIDIFF_INLINE float load(const float* p) { return *p; }
VARIDIFF_INLINE double load(const double* p) { return *p; }

/** Round to nearest even; a NaN stays one because its upper bits are never all zero after the shift below. */
VARIDIFF_INLINE void store(c10::BFloat16* p, float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const uint16_t half = value == value ? static_cast<uint16_t>(rounded) : static_cast<uint16_t>(0x7fc0);
  std::memcpy(p, &half, 2);
}
VARIDIFF_INLINE void store(float* p, float value) { *p = value; }
VARIDIFF_INLINE void store(double* p, double value) { *p = value; }

/**
 * exp on [-60, 60], within 2 units in the last place; branch-free, so that loops around it vectorise, and in few steps that
 * wait for each other. F is float or a vector of floats, U as many 32-bit numbers.
 */
template <typename F, typename U>
VARIDIFF_INLINE F exponentialWithin(F x) {
  const F shifted = x * 1.44269504088896341f + 12582912.0f;  // rounds to an integer in the low mantissa bits
  const F n = shifted - 12582912.0f;
  F r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  const F square = r * r;
  F p = (r * 1.9875691500e-4f + 1.3981999507e-3f) * square + (r * 8.3334519073e-3f + 4.1665795894e-2f);
  p = p * square + (r * 1.6666665459e-1f + 5.0000001201e-1f);
  p = p * square + (r + 1.0f);
  U bits;
  std::memcpy(&bits, &shifted, sizeof(bits));
  const U power = (bits << 23) + (127u << 23);  // all that is left of `shifted` are the low bits
  F scale;
  std::memcpy(&scale, &power, sizeof(scale));
  return p * scale;
}
/** A vector or a number kept in [-60, 60]. */
template <typename F>
VARIDIFF_INLINE F clamped(F x) {
  const F least = F{} - 60.0f, most = F{} + 60.0f;
  x = x < least ? least : x;
  return x > most ? most : x;
}
VARIDIFF_INLINE float exponential(float x) { return exponentialWithin<float, uint32_t>(clamped(x)); }
VARIDIFF_INLINE double exponential(double x) { return std::exp(x); }

/** What sums of a stored type are kept in. */
template <typename T>
struct Accumulate {
  using type = float;
};
template <>
struct Accumulate<double> {
  using type = double;
};

/** Calls `f` with a value of the C++ type that `type` names. */
template <typename F>
auto byType(c10::ScalarType type, F f) {
  switch (type) {
    case c10::ScalarType::BFloat16: return f(c10::BFloat16{});
    case c10::ScalarType::Float: return f(float{});
    case c10::ScalarType::Double: return f(double{});
    default: break;
  }
  TORCH_CHECK(false, "expected float32, float64 or bfloat16, got ", type);
}

}  // namespace varidiff
