// varidiff::scaled_softmax: softmax(scale * x) over the last dimension, computed in float32 (or double) whatever x is
// stored in, without the float32 copies of the [B, N, N] attention scores that an autocast softmax makes.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <algorithm>
#include <vector>

#include "simd.h"

namespace varidiff {

namespace {

using at::Tensor;

// A sum is kept in as many lanes as a register has, since the compiler may not reorder additions by itself.
constexpr int64_t Lanes = 16;

template <typename T, typename A>
VARIDIFF_INLINE void forwardRow(const T* x, T* y, int64_t n, A scale, A* work) {
  A most[Lanes], sum[Lanes];
  for (int64_t l = 0; l < Lanes; ++l) {
    most[l] = load(x) * scale;
    sum[l] = 0;
  }
  const int64_t whole = n - n % Lanes;
  for (int64_t i = 0; i < whole; i += Lanes)
    for (int64_t l = 0; l < Lanes; ++l) {
      const A value = load(x + i + l) * scale;
      work[i + l] = value;
      most[l] = most[l] < value ? value : most[l];
    }
  for (int64_t i = whole; i < n; ++i) {
    work[i] = load(x + i) * scale;
    most[0] = most[0] < work[i] ? work[i] : most[0];
  }
  const A top = *std::max_element(most, most + Lanes);
  for (int64_t i = 0; i < whole; i += Lanes)
    for (int64_t l = 0; l < Lanes; ++l) {
      const A value = exponential(work[i + l] - top);
      work[i + l] = value;
      sum[l] += value;
    }
  for (int64_t i = whole; i < n; ++i) sum[0] += work[i] = exponential(work[i] - top);
  A total = 0;
  for (int64_t l = 0; l < Lanes; ++l) total += sum[l];
  const A share = A(1) / total;
  for (int64_t i = 0; i < n; ++i) store(y + i, work[i] * share);
}

/** dx = scale p (g - sum(g p)) */
template <typename T, typename A>
VARIDIFF_INLINE void backwardRow(const T* g, const T* p, T* dx, int64_t n, A scale) {
  A sum[Lanes];
  for (int64_t l = 0; l < Lanes; ++l) sum[l] = 0;
  const int64_t whole = n - n % Lanes;
  for (int64_t i = 0; i < whole; i += Lanes)
    for (int64_t l = 0; l < Lanes; ++l) sum[l] += load(g + i + l) * load(p + i + l);
  for (int64_t i = whole; i < n; ++i) sum[0] += load(g + i) * load(p + i);
  A dot = 0;
  for (int64_t l = 0; l < Lanes; ++l) dot += sum[l];
  VARIDIFF_INDEPENDENT
  for (int64_t i = 0; i < n; ++i) store(dx + i, scale * load(p + i) * (load(g + i) - dot));
}

#define VARIDIFF_ROW_KERNELS(T, A)                                                                                     \
  VARIDIFF_CLONES void forwardRows(const T* x, T* y, int64_t begin, int64_t end, int64_t n, A scale, A* work) {        \
    for (int64_t r = begin; r < end; ++r) forwardRow<T, A>(x + r * n, y + r * n, n, scale, work);                      \
  }                                                                                                                    \
  VARIDIFF_CLONES void backwardRows(const T* g, const T* p, T* dx, int64_t begin, int64_t end, int64_t n, A scale) {   \
    for (int64_t r = begin; r < end; ++r) backwardRow<T, A>(g + r * n, p + r * n, dx + r * n, n, scale);               \
  }
VARIDIFF_ROW_KERNELS(c10::BFloat16, float)
VARIDIFF_ROW_KERNELS(float, float)
VARIDIFF_ROW_KERNELS(double, double)

/** The same in ATen's operators: differentiable as often as wanted, on any device. */
Tensor reference(const Tensor& x, double scale) {
  const auto wide = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  return at::softmax(x.to(wide) * scale, -1).to(x.scalar_type());
}

class ScaledSoftmax : public torch::autograd::Function<ScaledSoftmax> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& input, double scale) {
    at::AutoDispatchBelowADInplaceOrView below;
    const Tensor x = input.contiguous();
    Tensor y = at::empty_like(x);
    const int64_t n = x.size(-1), rows = x.numel() / n;
    byType(x.scalar_type(), [&](auto type) {
      using T = decltype(type);
      using A = typename Accumulate<T>::type;
      const T* from = x.data_ptr<T>();
      T* to = y.data_ptr<T>();
      at::parallel_for(0, rows, std::max<int64_t>(1, 16384 / n), [&](int64_t begin, int64_t end) {
        std::vector<A> work(n);
        forwardRows(from, to, begin, end, n, static_cast<A>(scale), work.data());
      });
      return 0;
    });
    context->save_for_backward({input, y});
    context->saved_data["scale"] = scale;
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, torch::autograd::variable_list grads) {
    const auto saved = context->get_saved_variables();
    const double scale = context->saved_data["scale"].toDouble();
    if (c10::GradMode::is_enabled()) {  // create_graph: the gradient itself must be differentiable
      if (!saved[0].requires_grad()) return {Tensor(), Tensor()};
      return {torch::autograd::grad({reference(saved[0], scale)}, {saved[0]}, {grads[0]}, true, true)[0], Tensor()};
    }
    const Tensor p = saved[1], g = grads[0].to(p.scalar_type()).contiguous();
    Tensor dx = at::empty_like(p);
    const int64_t n = p.size(-1), rows = p.numel() / n;
    byType(p.scalar_type(), [&](auto type) {
      using T = decltype(type);
      using A = typename Accumulate<T>::type;
      const T *gp = g.data_ptr<T>(), *pp = p.data_ptr<T>();
      T* to = dx.data_ptr<T>();
      at::parallel_for(0, rows, std::max<int64_t>(1, 16384 / n), [&](int64_t begin, int64_t end) {
        backwardRows(gp, pp, to, begin, end, n, static_cast<A>(scale));
      });
      return 0;
    });
    return {dx, Tensor()};
  }
};

Tensor scaledSoftmax(const Tensor& x, double scale) {
  TORCH_CHECK(x.dim() >= 1 && x.numel() > 0, "expected a tensor with elements, got shape ", x.sizes());
  if (!x.device().is_cpu()) return reference(x, scale);
  return ScaledSoftmax::apply(x, scale);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(varidiff, m) {
  m.def("scaled_softmax(Tensor x, float scale) -> Tensor", scaledSoftmax);
  m.def("scaled_softmax_reference(Tensor x, float scale) -> Tensor", reference);
}

}  // namespace varidiff
