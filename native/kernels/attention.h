// Attention of one head in AVX-512 registers: softmax(scale q k^T) v and its gradients, without the matrix of scores.
//
// Everything is one small matrix product, `product`: numbers are held in lanes of 32 bits, one float or two neighbouring
// bfloat16 along the axis that is summed over, and one side's lanes are broadcast while the other's are a register. Keys
// are worked on in panels of `PanelVectors` registers. Forward keeps the scores of a few queries against all keys, so that
// the largest is known before the first exponential; backward recomputes them tile by tile from their logsumexp.
#pragma once

#include <c10/util/BFloat16.h>

#include <cstdint>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define VARIDIFF_FUSED_ATTENTION 1
#endif

namespace varidiff::attention {

/** One head of one image. Gradients have the layout of q, k and v. */
template <typename T>
struct Head {
  const T *q, *k, *v;
  /** From a token's numbers to the next one's. */
  int64_t step;
  int64_t length, features;
  float scale;
};

/** What forward gives for a head, and backward wants again. */
template <typename T>
struct Result {
  /** `[length, features]`, rows `step` apart. */
  T* out;
  /**
   * What rounding took from `out`, laid out like it; null where T is float. The scores' gradient is P (dP - dOut . out): in
   * a row where one weight is almost all, the rounding of `out` alone would be more than what is left of the difference.
   */
  T* remainder;
  int64_t step;
  /** `[length]`, of the scaled scores, to base 2. */
  float* logSums;
};

/** Lanes of 32 bits that `forward` needs as work. */
template <typename T>
int64_t forwardWork(int64_t length, int64_t features);

/** softmax(scale q k^T) v */
template <typename T>
void forward(const Head<T>& head, const Result<T>& result, int32_t* work);

/** Lanes of 32 bits that `backward` needs as work. */
template <typename T>
int64_t backwardWork(int64_t length, int64_t features);

/** Gradients of q, k and v, laid out as these are, from `dOut`, that of `result.out` and laid out like it. */
template <typename T>
void backward(const Head<T>& head, const Result<T>& result, const T* dOut, T* dq, T* dk, T* dv, int32_t* work);

}  // namespace varidiff::attention
