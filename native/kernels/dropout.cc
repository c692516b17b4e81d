// varidiff::dropout: inverted dropout whose mask is a hash of (key, position), so that nothing is stored for backward,
// every thread count gives the same mask, and a resumed run repeats it. ATen's own is serial and takes no generator.
#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "simd.h"

namespace varidiff {

namespace {

using at::Tensor;

/** Two rounds of a 32-bit finaliser, the halves of the key mixed in between. */
VARIDIFF_INLINE uint32_t mix(uint32_t h) {
  h ^= h >> 16;
  h *= 0x21f0aaadu;
  h ^= h >> 15;
  h *= 0x735a2d97u;
  h ^= h >> 15;
  return h;
}

template <typename T>
VARIDIFF_INLINE void dropRange(const T* x, T* y, uint32_t begin, uint32_t end, uint32_t low, uint32_t high, uint32_t threshold,
                               typename Accumulate<T>::type scale) {
  using A = typename Accumulate<T>::type;
  for (uint32_t i = begin; i < end; ++i) {
    const uint32_t h = mix(mix(i ^ low) + high);
    store(y + i, h >= threshold ? load(x + i) * scale : A(0));
  }
}

VARIDIFF_CLONES void drop(const c10::BFloat16* x, c10::BFloat16* y, uint32_t b, uint32_t e, uint32_t l, uint32_t h, uint32_t t, float s) { dropRange(x, y, b, e, l, h, t, s); }
VARIDIFF_CLONES void drop(const float* x, float* y, uint32_t b, uint32_t e, uint32_t l, uint32_t h, uint32_t t, float s) { dropRange(x, y, b, e, l, h, t, s); }
VARIDIFF_CLONES void drop(const double* x, double* y, uint32_t b, uint32_t e, uint32_t l, uint32_t h, uint32_t t, double s) { dropRange(x, y, b, e, l, h, t, s); }

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
  TORCH_CHECK(x.numel() < (int64_t(1) << 32), "expected fewer than 2^32 elements, got ", x.numel());
  const auto low = static_cast<uint32_t>(key), high = static_cast<uint32_t>(static_cast<uint64_t>(key) >> 32);
  const auto threshold = static_cast<uint32_t>(rate * 4294967296.0);
  byType(x.scalar_type(), [&](auto type) {
    using T = decltype(type);
    const T* from = x.data_ptr<T>();
    T* to = y.data_ptr<T>();
    const auto scale = static_cast<typename Accumulate<T>::type>(1.0 / (1.0 - rate));
    at::parallel_for(0, x.numel(), 16384, [&](int64_t begin, int64_t end) {
      drop(from, to, static_cast<uint32_t>(begin), static_cast<uint32_t>(end), low, high, threshold, scale);
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

Tensor dropout(const Tensor& x, double rate, int64_t key) {
  TORCH_CHECK(rate >= 0 && rate < 1, "expected a rate in [0, 1), got ", rate);
  if (rate == 0) return x;
  return Dropout::apply(x, rate, key);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(varidiff, m) { m.def("dropout(Tensor x, float rate, int key) -> Tensor", dropout); }

}  // namespace varidiff
