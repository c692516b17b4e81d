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

/** exp on [-60, 60] (clamped), within 2 units in the last place; branch-free, so that loops around it vectorise. */
VARIDIFF_INLINE float exponential(float x) {
  x = x < -60.0f ? -60.0f : x;
  x = x > 60.0f ? 60.0f : x;
  const float shifted = x * 1.44269504088896341f + 12582912.0f;  // rounds to an integer in the low mantissa bits
  const float n = shifted - 12582912.0f;
  float r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const int32_t power = (static_cast<int32_t>(n) + 127) << 23;
  float scale;
  std::memcpy(&scale, &power, 4);
  return p * scale;
}
VARIDIFF_INLINE double exponential(double x) { return std::exp(x); }

template <typename T>
VARIDIFF_INLINE T logistic(T x) {
  return T(1) / (T(1) + exponential(-x));
}

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
