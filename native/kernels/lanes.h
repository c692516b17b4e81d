// 64 bytes of numbers at a time, for kernels that keep sums and coefficients in registers. An instruction set with
// narrower registers takes them in parts; what only AVX-512 can do is chosen by a type, `AnyCpu` or `Avx512`.
#pragma once

#include "simd.h"

// Inlined everywhere, these vectors are passed to no function: there is no ABI for them to change.
#pragma GCC diagnostic ignored "-Wpsabi"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define VARIDIFF_AVX512 __attribute__((target("arch=x86-64-v4,avx512bf16")))
#endif

namespace varidiff {

typedef float Floats __attribute__((vector_size(64)));
typedef double Doubles __attribute__((vector_size(64)));
typedef uint16_t Halves __attribute__((vector_size(32)));
typedef uint32_t FloatBits __attribute__((vector_size(64)));

/** The vector of A, how many it has, vectors of as many positions and of masks as wide as A. */
template <typename A>
struct Lanes;
template <>
struct Lanes<float> {
  using Values = Floats;
  using Positions = FloatBits;
  typedef int32_t Mask __attribute__((vector_size(64)));
  static constexpr int64_t count = 16;
  static constexpr Positions first = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
};
template <>
struct Lanes<double> {
  using Values = Doubles;
  typedef uint32_t Positions __attribute__((vector_size(32)));
  typedef int64_t Mask __attribute__((vector_size(64)));
  static constexpr int64_t count = 8;
  static constexpr Positions first = {0, 1, 2, 3, 4, 5, 6, 7};
};

struct AnyCpu {
  static VARIDIFF_INLINE Floats clamp(Floats x) { return clamped(x); }
  static VARIDIFF_INLINE FloatBits widen(Halves x) { return __builtin_convertvector(x, FloatBits); }
  /** To nearest even; a NaN stays one because its upper bits are never all zero after the shift. */
  static VARIDIFF_INLINE Halves toBfloat16(Floats x) {
    const FloatBits bits = reinterpret_cast<FloatBits>(x);
    const FloatBits rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return __builtin_convertvector(x == x ? rounded : FloatBits{} + 0x7fc0u, Halves);
  }
};

#ifdef VARIDIFF_AVX512
/**
 * Single instructions where the compiler takes several for the above. Only for functions of VARIDIFF_AVX512, and in
 * assembler because an intrinsic cannot stand in a function that is inlined into such ones and others.
 */
struct Avx512 {
  static VARIDIFF_INLINE Floats clamp(Floats x) {
    // In this order a NaN stays one.
    asm("vmaxps %0, %1, %0\n\tvminps %0, %2, %0" : "+v"(x) : "v"(Floats{} - 60.0f), "v"(Floats{} + 60.0f));
    return x;
  }
  static VARIDIFF_INLINE FloatBits widen(Halves x) {
    FloatBits y;
    asm("vpmovzxwd %1, %0" : "=v"(y) : "vm"(x));
    return y;
  }
  static VARIDIFF_INLINE Halves toBfloat16(Floats x) {
    Halves y;
    asm("vcvtneps2bf16 %1, %0" : "=v"(y) : "v"(x));
    return y;
  }
};

inline bool hasAvx512() {
  static const bool has = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
                          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                          __builtin_cpu_supports("avx512bf16");
  return has;
}
#endif

template <typename Set>
VARIDIFF_INLINE Floats loadLanes(const c10::BFloat16* p) {
  Halves halves;
  std::memcpy(&halves, p, sizeof(halves));
  return reinterpret_cast<Floats>(Set::widen(halves) << 16);
}
template <typename Set>
VARIDIFF_INLINE Floats loadLanes(const float* p) {
  Floats values;
  std::memcpy(&values, p, sizeof(values));
  return values;
}
template <typename Set>
VARIDIFF_INLINE Doubles loadLanes(const double* p) {
  Doubles values;
  std::memcpy(&values, p, sizeof(values));
  return values;
}

template <typename Set>
VARIDIFF_INLINE void storeLanes(c10::BFloat16* p, Floats values) {
  const Halves halves = Set::toBfloat16(values);
  std::memcpy(p, &halves, sizeof(halves));
}
template <typename Set>
VARIDIFF_INLINE void storeLanes(float* p, Floats values) { std::memcpy(p, &values, sizeof(values)); }
template <typename Set>
VARIDIFF_INLINE void storeLanes(double* p, Doubles values) { std::memcpy(p, &values, sizeof(values)); }

template <typename Set>
VARIDIFF_INLINE Floats exponential(Floats x) { return exponentialWithin<Floats, FloatBits>(Set::clamp(x)); }
template <typename Set>
VARIDIFF_INLINE Doubles exponential(Doubles x) {
  for (int64_t l = 0; l < Lanes<double>::count; ++l) x[l] = std::exp(x[l]);
  return x;
}

}  // namespace varidiff
