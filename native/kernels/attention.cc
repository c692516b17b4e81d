// varidiff::attention: softmax(q k^T / sqrt(d)) v of several heads over the product [q k v] that a network makes for them.
//
// It takes that product whole, [B, L, 3 C], and its gradient has the same layout: q, k and v apart would be copies in
// backward. Heads are joined in the result, [B, L, C]. Where a head's width is no multiple of 16, the numbers are
// float64, or the processor lacks the instructions, it is composed of ATen's operators.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "attention.h"

namespace varidiff {

namespace {

using at::Tensor;

/** Where heads lie in `[B, L, 3 C]`: [heads, 3, d] where `headsFirst`, else [3, heads, d]. */
struct Layout {
  int64_t images, length, heads, features;
  bool headsFirst;
};

Layout layoutOf(const Tensor& qkv, int64_t heads, bool headsFirst) {
  TORCH_CHECK(qkv.dim() == 3 && qkv.numel() > 0, "expected [q k v] of shape [B, L, 3 C] with elements, got ", qkv.sizes());
  TORCH_CHECK(heads > 0 && qkv.size(2) % (3 * heads) == 0, "expected q, k and v of ", heads, " heads, got ", qkv.size(2), " channels");
  return {qkv.size(0), qkv.size(1), heads, qkv.size(2) / (3 * heads), headsFirst};
}

/** ATen's operators write their scores out: about as many at a time, so that some stay in the cache between two products. */
constexpr int64_t ScoresAtATime = int64_t{1} << 20;

/**
 * The same in ATen's operators, of qkv's type: differentiable as often as wanted, on any device. The softmax is taken in float32 or
 * better.
 */
Tensor reference(const Tensor& qkv, int64_t heads, bool headsFirst) {
  const Layout n = layoutOf(qkv, heads, headsFirst);
  const auto wide = qkv.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const double scale = 1 / std::sqrt(static_cast<double>(n.features));
  const auto attended = [&](const Tensor& some) {
    const Tensor parts = headsFirst ? some.reshape({-1, n.length, heads, 3, n.features}).permute({3, 0, 2, 1, 4})
                                    : some.reshape({-1, n.length, 3, heads, n.features}).permute({2, 0, 3, 1, 4});
    const Tensor scores = at::matmul(parts[0], parts[1].transpose(-2, -1)).to(wide) * scale;
    const Tensor out = at::matmul(at::softmax(scores, -1).to(some.scalar_type()), parts[2]).to(some.scalar_type());
    return out.transpose(1, 2).reshape({-1, n.length, heads * n.features});
  };
  if (!qkv.device().is_cpu()) return attended(qkv);
  std::vector<Tensor> results;
  for (const Tensor& some : qkv.split(std::max<int64_t>(1, ScoresAtATime / (heads * n.length * n.length)), 0))
    results.push_back(attended(some));
  return results.size() == 1 ? results[0] : at::cat(results, 0);
}

bool isFused(const Tensor& qkv, const Layout& n) {
#ifdef VARIDIFF_FUSED_ATTENTION
  static const bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("fma");
  static const bool pairs = wide && __builtin_cpu_supports("avx512bf16");
  const auto type = qkv.scalar_type();
  return qkv.device().is_cpu() && n.features % 16 == 0 && (type == at::kFloat ? wide : type == at::kBFloat16 && pairs);
#else
  return false;
#endif
}

#ifdef VARIDIFF_FUSED_ATTENTION

/** Calls `f(head, where its channels begin in the result, its number, work)` for every head of every image. */
template <typename T, typename F>
void eachHead(const Tensor& qkv, const Layout& n, int64_t work, F f) {
  const T* from = qkv.data_ptr<T>();
  const int64_t d = n.features, channels = n.heads * d;
  const int64_t part = n.headsFirst ? d : channels, head = n.headsFirst ? 3 * d : d;
  const float scale = static_cast<float>(1 / std::sqrt(static_cast<double>(d)));
  at::parallel_for(0, n.images * n.heads, 1, [&](int64_t begin, int64_t end) {
    const Tensor memory = at::empty({work}, at::kInt);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t image = i / n.heads, h = i % n.heads;
      const T* q = from + image * n.length * 3 * channels + h * head;
      f(attention::Head<T>{q, q + part, q + 2 * part, 3 * channels, n.length, d, scale}, image * n.length * channels + h * d, i,
        memory.data_ptr<int32_t>());
    }
  });
}

/** That of head `i`, whose channels begin at `at`. */
template <typename T>
attention::Result<T> resultOf(const Layout& n, const Tensor& out, const Tensor& remainder, const Tensor& logSums, int64_t at, int64_t i) {
  return {out.data_ptr<T>() + at, remainder.defined() ? remainder.data_ptr<T>() + at : nullptr, n.heads * n.features,
          logSums.data_ptr<float>() + i * n.length};
}

class Attention : public torch::autograd::Function<Attention> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& input, int64_t heads, bool headsFirst) {
    at::AutoDispatchBelowADInplaceOrView below;
    const Layout n = layoutOf(input, heads, headsFirst);
    const Tensor qkv = input.contiguous();
    Tensor out = at::empty({n.images, n.length, heads * n.features}, qkv.options());
    const bool rounded = qkv.scalar_type() == at::kBFloat16;
    Tensor remainder = rounded ? at::empty_like(out) : Tensor();
    Tensor logSums = at::empty({n.images * heads, n.length}, qkv.options().dtype(at::kFloat));
    const auto run = [&](auto type) {
      using T = decltype(type);
      eachHead<T>(qkv, n, attention::forwardWork<T>(n.length, n.features), [&](const auto& head, int64_t at, int64_t i, int32_t* work) {
        attention::forward<T>(head, resultOf<T>(n, out, remainder, logSums, at, i), work);
      });
    };
    if (rounded) run(c10::BFloat16{});
    else run(float{});
    context->save_for_backward({input, out, logSums, remainder});
    context->saved_data["heads"] = heads;
    context->saved_data["headsFirst"] = headsFirst;
    return out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, torch::autograd::variable_list grads) {
    const auto saved = context->get_saved_variables();
    const int64_t heads = context->saved_data["heads"].toInt();
    const bool headsFirst = context->saved_data["headsFirst"].toBool();
    if (c10::GradMode::is_enabled()) {  // create_graph: the gradient itself must be differentiable
      if (!saved[0].requires_grad()) return {Tensor(), Tensor(), Tensor()};
      return {torch::autograd::grad({reference(saved[0], heads, headsFirst)}, {saved[0]}, {grads[0]}, true, true)[0], Tensor(), Tensor()};
    }
    const Layout n = layoutOf(saved[0], heads, headsFirst);
    const Tensor qkv = saved[0].contiguous(), &out = saved[1], &logSums = saved[2], &remainder = saved[3];
    const Tensor slope = grads[0].to(qkv.scalar_type()).contiguous();
    Tensor dQkv = at::empty_like(qkv);
    const auto run = [&](auto type) {
      using T = decltype(type);
      const T* from = qkv.data_ptr<T>();
      T* to = dQkv.data_ptr<T>();
      eachHead<T>(qkv, n, attention::backwardWork<T>(n.length, n.features), [&](const auto& head, int64_t at, int64_t i, int32_t* work) {
        attention::backward<T>(head, resultOf<T>(n, out, remainder, logSums, at, i), slope.data_ptr<T>() + at, to + (head.q - from),
                               to + (head.k - from), to + (head.v - from), work);
      });
    };
    if (qkv.scalar_type() == at::kFloat) run(float{});
    else run(c10::BFloat16{});
    return {dQkv, Tensor(), Tensor()};
  }
};

#endif

Tensor attend(const Tensor& qkv, int64_t heads, bool headsFirst) {
#ifdef VARIDIFF_FUSED_ATTENTION
  if (isFused(qkv, layoutOf(qkv, heads, headsFirst))) return Attention::apply(qkv, heads, headsFirst);
#endif
  return reference(qkv, heads, headsFirst);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(varidiff, m) {
  m.def("attention(Tensor qkv, int heads, bool heads_first) -> Tensor", attend);
  m.def("attention_reference(Tensor qkv, int heads, bool heads_first) -> Tensor", reference);
}

}  // namespace varidiff
