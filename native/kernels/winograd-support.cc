// Whether this processor runs the Winograd kernels, and whether they are the fastest way there.
#include "winograd.h"

#ifdef VARIDIFF_WINOGRAD
#include <cpuid.h>
#endif

namespace varidiff::winograd {

#ifdef VARIDIFF_WINOGRAD

/** oneDNN's direct convolutions on AMX tiles are faster than these: 16 products instead of 36 do not make up for it. */
static bool hasAmxBfloat16() {
  unsigned a, b, c, d;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 22 & 1);
}

template <>
bool supported<float>() {
  static const bool found = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
                            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  return found;
}

template <>
bool supported<c10::BFloat16>() {
  static const bool found = supported<float>() && __builtin_cpu_supports("avx512bf16") && !hasAmxBfloat16();
  return found;
}

#else

template <>
bool supported<float>() {
  return false;
}

template <>
bool supported<c10::BFloat16>() {
  return false;
}

#endif

}  // namespace varidiff::winograd
