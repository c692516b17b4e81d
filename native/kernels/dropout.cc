// varidiff::dropout: inverted dropout whose mask is a hash of (key, position). ATen's own is serial and takes no generator.
#include "dropout.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

namespace varidiff {

using at::Tensor;

namespace {

template <typename T>
VARIDIFF_INLINE void dropRange(const T* x, T* y, uint32_t begin, uint32_t end, const DropoutMask& mask) {
  using A = typename Accumulate<T>::type;
  const DropoutMask m = mask;  // its own copy: y might be it
  const A scale = static_cast<A>(m.scale);
  for (uint32_t i = begin; i < end; ++i) store(y + i, m.leaves(i) ? load(x + i) * scale : A(0));
}

VARIDIFF_CLONES void drop(const c10::BFloat16* x, c10::BFloat16* y, uint32_t b, uint32_t e, const DropoutMask& m) { dropRange(x, y, b, e, m); }
VARIDIFF_CLONES void drop(const float* x, float* y, uint32_t b, uint32_t e, const DropoutMask& m) { dropRange(x, y, b, e, m); }
VARIDIFF_CLONES void drop(const double* x, double* y, uint32_t b, uint32_t e, const DropoutMask& m) { dropRange(x, y, b, e, m); }

/** The mask belongs to positions in memory: the gradient must lie as its tensor does. */
Tensor masked(const Tensor& input, double rate, int64_t key, at::MemoryFormat format) {
  if (!input.device().is_cpu()) {
    auto generator = at::globalContext().defaultGenerator(input.device()).clone();
    generator.set_current_seed(static_cast<uint64_t>(key));
    const Tensor uniform = at::rand(input.sizes(), generator, input.options().dtype(at::kFloat));
    return input * (uniform >= rate).to(input.scalar_type()) * (1.0 / (1.0 - rate));
  }
  const Tensor x = input.contiguous(format);
  Tensor y = at::empty_like(x);
  const DropoutMask mask(rate, key);
  byType(x.scalar_type(), [&](auto type) {
    using T = decltype(type);
    const T* from = x.data_ptr<T>();
    T* to = y.data_ptr<T>();
    at::parallel_for(0, x.numel(), 16384, [&](int64_t begin, int64_t end) {
      drop(from, to, static_cast<uint32_t>(begin), static_cast<uint32_t>(end), mask);
    });
    return 0;
  });
  return y;
}

class Dropout : public torch::autograd::Function<Dropout> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& x, double rate, int64_t key) {
    const auto format = x.suggest_memory_format();
    context->saved_data["rate"] = rate;
    context->saved_data["key"] = key;
    context->saved_data["format"] = static_cast<int64_t>(format);
    at::AutoDispatchBelowADInplaceOrView below;
    return masked(x, rate, key, format);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, torch::autograd::variable_list grads) {
    const auto format = static_cast<at::MemoryFormat>(context->saved_data["format"].toInt());
    // Linear in x: the gradient goes through the same mask, again as a differentiable operator.
    return {Dropout::apply(grads[0].contiguous(format), context->saved_data["rate"].toDouble(), context->saved_data["key"].toInt()),
            Tensor(), Tensor()};
  }
};

}  // namespace

Tensor dropout(const Tensor& x, double rate, int64_t key) {
  checkDropout(x, rate);
  return rate == 0 ? x.clone() : Dropout::apply(x, rate, key);
}

TORCH_LIBRARY_FRAGMENT(varidiff, m) { m.def("dropout(Tensor x, float rate, int key) -> Tensor", dropout); }

}  // namespace varidiff
