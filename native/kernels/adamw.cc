// varidiff::adamw_: one AdamW step with decoupled weight decay and the exponential moving average, for all parameters
// in one call and one reading of memory.
//
//   m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2,  p -= lr (m / (1 - b1^k) / (sqrt(v / (1 - b2^k)) + eps) + decay p)
//   ema += (1 - rate) (p - ema)
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/variable.h>
#include <torch/library.h>

#include <cmath>

#include "simd.h"

namespace varidiff {

namespace {

using at::Tensor;
using at::TensorList;

template <typename A>
struct Constants {
  A lr, b1, b2, eps, decay, correct1, correct2, ema, scale;
};

template <typename A>
VARIDIFF_INLINE void stepRange(A* p, const A* g, A* m, A* v, A* e, int64_t begin, int64_t end, const Constants<A> k) {
  VARIDIFF_INDEPENDENT
  for (int64_t i = begin; i < end; ++i) {
    const A grad = g[i] * k.scale;
    const A first = k.b1 * m[i] + (A(1) - k.b1) * grad;
    const A second = k.b2 * v[i] + (A(1) - k.b2) * grad * grad;
    m[i] = first;
    v[i] = second;
    const A direction = first * k.correct1 / (std::sqrt(second * k.correct2) + k.eps);
    const A updated = p[i] - k.lr * (direction + k.decay * p[i]);
    p[i] = updated;
    e[i] += (A(1) - k.ema) * (updated - e[i]);
  }
}

VARIDIFF_CLONES void step(float* p, const float* g, float* m, float* v, float* e, int64_t b, int64_t n, const Constants<float>& k) { stepRange(p, g, m, v, e, b, n, k); }
VARIDIFF_CLONES void step(double* p, const double* g, double* m, double* v, double* e, int64_t b, int64_t n, const Constants<double>& k) { stepRange(p, g, m, v, e, b, n, k); }

template <typename A>
void onCpu(const Tensor& p, const Tensor& g, const Tensor& m, const Tensor& v, const Tensor& e, const Constants<A>& k) {
  auto *pp = p.data_ptr<A>(), *mp = m.data_ptr<A>(), *vp = v.data_ptr<A>(), *ep = e.data_ptr<A>();
  const auto* gp = g.data_ptr<A>();
  at::parallel_for(0, p.numel(), 32768, [&](int64_t begin, int64_t end) { step(pp, gp, mp, vp, ep, begin, end, k); });
}

/** The same in ATen's operators, for other devices. */
void composite(const Tensor& p, const Tensor& g, const Tensor& m, const Tensor& v, const Tensor& e, const Constants<double>& k) {
  const Tensor grad = g * k.scale;
  m.mul_(k.b1).add_(grad, 1 - k.b1);
  v.mul_(k.b2).addcmul_(grad, grad, 1 - k.b2);
  const Tensor direction = (m * k.correct1) / ((v * k.correct2).sqrt_() + k.eps);
  p.mul_(1 - k.lr * k.decay).add_(direction, -k.lr);
  e.lerp_(p, 1 - k.ema);
}

void adamw(TensorList params, TensorList grads, TensorList first, TensorList second, TensorList averages,
           at::ArrayRef<double> decay, int64_t count, double lr, double b1, double b2, double eps, double ema, double scale) {
  const size_t n = params.size();
  TORCH_CHECK(grads.size() == n && first.size() == n && second.size() == n && averages.size() == n && decay.size() == n,
              "expected as many gradients, moments, averages and decays as parameters, ", n);
  TORCH_CHECK(count >= 1, "expected a step count from 1, got ", count);
  at::NoGradGuard off;
  const Constants<double> shared{lr, b1, b2, eps, 0, 1 / (1 - std::pow(b1, count)), 1 / (1 - std::pow(b2, count)), ema, scale};
  for (size_t i = 0; i < n; ++i) {
    const Tensor &p = params[i], &m = first[i], &v = second[i], &e = averages[i];
    TORCH_CHECK(p.sizes() == grads[i].sizes() && p.sizes() == m.sizes() && p.sizes() == v.sizes() && p.sizes() == e.sizes(),
                "expected one shape for a parameter, its gradient, moments and average, got ", p.sizes(), " and ", grads[i].sizes());
    TORCH_CHECK(p.device() == grads[i].device() && p.device() == m.device() && p.device() == v.device() && p.device() == e.device(),
                "expected one device for a parameter, its gradient, moments and average");
    TORCH_CHECK(p.scalar_type() == m.scalar_type() && p.scalar_type() == v.scalar_type() && p.scalar_type() == e.scalar_type(),
                "expected one dtype for a parameter, its moments and average");
    Constants<double> k = shared;
    k.decay = decay[i];
    if (!p.device().is_cpu()) {
      composite(p, grads[i], m, v, e, k);
      continue;
    }
    TORCH_CHECK(p.is_non_overlapping_and_dense() && p.strides() == m.strides() && p.strides() == v.strides() && p.strides() == e.strides(),
                "expected a parameter, its moments and average to lie alike in memory");
    Tensor g = grads[i];
    if (g.strides() != p.strides() || g.scalar_type() != p.scalar_type()) g = at::empty_like(p).copy_(grads[i]);
    if (p.scalar_type() == at::kDouble) onCpu<double>(p, g, m, v, e, k);
    else if (p.scalar_type() == at::kFloat) {
      const auto f = [](double x) { return static_cast<float>(x); };
      onCpu<float>(p, g, m, v, e, {f(k.lr), f(k.b1), f(k.b2), f(k.eps), f(k.decay), f(k.correct1), f(k.correct2), f(k.ema), f(k.scale)});
    } else TORCH_CHECK(false, "expected float32 or float64 parameters, got ", p.scalar_type());
    // A graph that was made before this step is refused, as after any other change in place.
    for (const Tensor& changed : {p, m, v, e}) torch::autograd::impl::bump_version(changed);
  }
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(varidiff, m) {
  m.def("adamw_(Tensor(a!)[] params, Tensor[] grads, Tensor(b!)[] first, Tensor(c!)[] second, Tensor(d!)[] averages, "
        "float[] decay, int count, float lr, float b1, float b2, float eps, float ema, float scale) -> ()", adamw);
}

}  // namespace varidiff
