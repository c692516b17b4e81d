// varidiff::group_norm: y = act(GroupNorm(x + shift)), act = SiLU or identity, in one pass over channels-last memory.
//
// In libtorch 1.13 normalisation and activation cost more than the convolutions between them. One image's feature map
// fits the second-level cache, so mean, variance and output are three cheap readings of the same memory, and backward
// recomputes the activation instead of storing it. `shift` [N, C] is the conditioning that a residual block adds to
// every position before its second normalisation. Weight and bias are [C], or [N, C] where the conditioning scales and
// shifts what was normalised.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/library.h>

#include <vector>

#include "simd.h"

namespace varidiff {

namespace {

using at::Tensor;
using c10::optional;

/** One image: `rows` positions of `channels` values, `channels` fastest. */
template <typename T, typename A>
struct Image {
  const T* x;
  const A* shift;  // [channels] or null
  const A* weight;
  const A* bias;
  int64_t rows, channels, groups;
};

template <typename T, typename A>
VARIDIFF_INLINE void statistics(const Image<T, A>& im, double eps, A* mean, A* rstd, A* work) {
  const int64_t C = im.channels, D = C / im.groups;
  A* sum = work;
  A* at = work + C;
  for (int64_t c = 0; c < C; ++c) sum[c] = 0;
  for (int64_t r = 0; r < im.rows; ++r) {
    const T* row = im.x + r * C;
    for (int64_t c = 0; c < C; ++c) sum[c] += load(row + c);
  }
  for (int64_t g = 0; g < im.groups; ++g) {
    double total = 0;
    for (int64_t c = g * D; c < (g + 1) * D; ++c) total += static_cast<double>(sum[c]) + (im.shift ? static_cast<double>(im.shift[c]) * im.rows : 0.0);
    mean[g] = static_cast<A>(total / static_cast<double>(D * im.rows));
    for (int64_t c = g * D; c < (g + 1) * D; ++c) at[c] = (im.shift ? im.shift[c] : A(0)) - mean[g];
  }
  // Second reading: squares of differences from the mean, so that a large mean cancels nothing.
  for (int64_t c = 0; c < C; ++c) sum[c] = 0;
  for (int64_t r = 0; r < im.rows; ++r) {
    const T* row = im.x + r * C;
    for (int64_t c = 0; c < C; ++c) {
      const A d = load(row + c) + at[c];
      sum[c] += d * d;
    }
  }
  for (int64_t g = 0; g < im.groups; ++g) {
    double total = 0;
    for (int64_t c = g * D; c < (g + 1) * D; ++c) total += static_cast<double>(sum[c]);
    rstd[g] = static_cast<A>(1.0 / std::sqrt(total / static_cast<double>(D * im.rows) + eps));
  }
}

/** xhat = x * scale + offset per channel; u = xhat * weight + bias. */
template <typename T, typename A>
VARIDIFF_INLINE void coefficients(const Image<T, A>& im, const A* mean, const A* rstd, A* scale, A* offset) {
  const int64_t D = im.channels / im.groups;
  for (int64_t c = 0; c < im.channels; ++c) {
    const int64_t g = c / D;
    scale[c] = rstd[g];
    offset[c] = ((im.shift ? im.shift[c] : A(0)) - mean[g]) * rstd[g];
  }
}

template <bool Silu, typename T, typename A>
VARIDIFF_INLINE void forwardImage(const Image<T, A>& im, double eps, T* y, A* mean, A* rstd, A* work) {
  const int64_t C = im.channels;
  statistics(im, eps, mean, rstd, work);
  A* scale = work;
  A* offset = work + C;
  coefficients(im, mean, rstd, scale, offset);
  for (int64_t c = 0; c < C; ++c) {
    offset[c] = offset[c] * im.weight[c] + im.bias[c];
    scale[c] *= im.weight[c];
  }
  for (int64_t r = 0; r < im.rows; ++r) {
    const T* row = im.x + r * C;
    T* out = y + r * C;
    for (int64_t c = 0; c < C; ++c) {
      const A u = load(row + c) * scale[c] + offset[c];
      if constexpr (Silu) store(out + c, u * logistic(u));
      else store(out + c, u);
    }
  }
}

/** work: 8 * channels + rows * channels. dWeight, dBias: this image's share. */
template <bool Silu, typename T, typename A>
VARIDIFF_INLINE void backwardImage(const Image<T, A>& im, const T* dy, const A* mean, const A* rstd, T* dx, A* dWeight,
                                   A* dBias, A* dShift, A* work) {
  const int64_t C = im.channels, D = C / im.groups;
  A *scale = work, *offset = work + C, *a = work + 2 * C, *b = work + 3 * C, *k = work + 4 * C, *sumX = work + 5 * C;
  A* du = work + 8 * C;
  const A *weight = im.weight, *bias = im.bias;
  coefficients(im, mean, rstd, scale, offset);
  for (int64_t c = 0; c < C; ++c) dWeight[c] = dBias[c] = sumX[c] = 0;
  for (int64_t r = 0; r < im.rows; ++r) {
    const T* row = im.x + r * C;
    const T* grad = dy + r * C;
    A* d = du + r * C;
    VARIDIFF_INDEPENDENT
    for (int64_t c = 0; c < C; ++c) {
      const A x = load(row + c);
      const A xhat = x * scale[c] + offset[c];
      A slope = load(grad + c);
      if constexpr (Silu) {
        const A u = xhat * weight[c] + bias[c];
        const A s = logistic(u);
        slope = slope * (s * (A(1) + u * (A(1) - s)));
      }
      d[c] = slope;
      dBias[c] += slope;
      dWeight[c] += slope * xhat;
      sumX[c] += x;
    }
  }
  // dx = rstd (du w - mean(du w) - xhat mean(du w xhat)), gathered into du * a + x * b + k
  const double count = static_cast<double>(D * im.rows);
  for (int64_t g = 0; g < im.groups; ++g) {
    double s1 = 0, s2 = 0;
    for (int64_t c = g * D; c < (g + 1) * D; ++c) {
      s1 += static_cast<double>(dBias[c]) * static_cast<double>(im.weight[c]);
      s2 += static_cast<double>(dWeight[c]) * static_cast<double>(im.weight[c]);
    }
    const A m1 = static_cast<A>(s1 / count), m2 = static_cast<A>(s2 / count);
    for (int64_t c = g * D; c < (g + 1) * D; ++c) {
      a[c] = rstd[g] * im.weight[c];
      b[c] = -rstd[g] * rstd[g] * m2;
      k[c] = -rstd[g] * (m1 + offset[c] * m2);
    }
  }
  for (int64_t r = 0; r < im.rows; ++r) {
    const T* row = im.x + r * C;
    const A* d = du + r * C;
    T* out = dx + r * C;
    for (int64_t c = 0; c < C; ++c) store(out + c, d[c] * a[c] + load(row + c) * b[c] + k[c]);
  }
  if (dShift)
    for (int64_t c = 0; c < C; ++c) dShift[c] = dBias[c] * a[c] + sumX[c] * b[c] + static_cast<A>(im.rows) * k[c];
}

// target_clones needs plain functions: one a type and activation.
#define VARIDIFF_IMAGE_KERNELS(NAME, T, A, SILU)                                                                        \
  VARIDIFF_CLONES void forward##NAME(const Image<T, A>& im, double eps, T* y, A* mean, A* rstd, A* work) {              \
    forwardImage<SILU>(im, eps, y, mean, rstd, work);                                                                   \
  }                                                                                                                     \
  VARIDIFF_CLONES void backward##NAME(const Image<T, A>& im, const T* dy, const A* mean, const A* rstd, T* dx,          \
                                      A* dWeight, A* dBias, A* dShift, A* work) {                                       \
    backwardImage<SILU>(im, dy, mean, rstd, dx, dWeight, dBias, dShift, work);                                          \
  }
VARIDIFF_IMAGE_KERNELS(BfloatSilu, c10::BFloat16, float, true)
VARIDIFF_IMAGE_KERNELS(BfloatPlain, c10::BFloat16, float, false)
VARIDIFF_IMAGE_KERNELS(FloatSilu, float, float, true)
VARIDIFF_IMAGE_KERNELS(FloatPlain, float, float, false)
VARIDIFF_IMAGE_KERNELS(DoubleSilu, double, double, true)
VARIDIFF_IMAGE_KERNELS(DoublePlain, double, double, false)

template <typename T>
struct Chosen;
#define VARIDIFF_CHOOSE(T, PREFIX)                                                          \
  template <>                                                                               \
  struct Chosen<T> {                                                                        \
    static constexpr auto forwardSilu = forward##PREFIX##Silu;                              \
    static constexpr auto forwardPlain = forward##PREFIX##Plain;                            \
    static constexpr auto backwardSilu = backward##PREFIX##Silu;                            \
    static constexpr auto backwardPlain = backward##PREFIX##Plain;                          \
  };
VARIDIFF_CHOOSE(c10::BFloat16, Bfloat)
VARIDIFF_CHOOSE(float, Float)
VARIDIFF_CHOOSE(double, Double)

struct Sizes {
  int64_t images, channels, rows, groups;
  int64_t stride;  // from one image's weight and bias to the next: 0 where all share them
};

Sizes sizesOf(const Tensor& x, const Tensor& weight, const Tensor& bias, const optional<Tensor>& shift, int64_t groups) {
  TORCH_CHECK(x.dim() == 4, "expected x of shape [N, C, H, W], got ", x.sizes());
  const int64_t C = x.size(1);
  TORCH_CHECK(groups > 0 && C % groups == 0, "expected channels that are a multiple of ", groups, " groups, got ", C);
  const bool own = weight.dim() == 2;
  TORCH_CHECK(weight.sizes() == bias.sizes() && weight.dim() >= 1 && weight.size(-1) == C &&
                  (weight.dim() == 1 || (own && weight.size(0) == x.size(0))),
              "expected weight and bias of shape [", C, "] or [", x.size(0), ", ", C, "], got ", weight.sizes(), " and ", bias.sizes());
  TORCH_CHECK(!shift || (shift->dim() == 2 && shift->size(0) == x.size(0) && shift->size(1) == C), "expected shift of shape [",
              x.size(0), ", ", C, "], got ", shift ? shift->sizes() : at::IntArrayRef{});
  return {x.size(0), C, x.size(2) * x.size(3), groups, own ? C : 0};
}

Tensor channelsLast(const Tensor& x) { return x.contiguous(at::MemoryFormat::ChannelsLast); }

template <typename A>
Tensor plain(const Tensor& t) {
  return t.to(c10::CppTypeToScalarType<A>::value).contiguous();
}

template <typename T>
std::vector<Tensor> runForward(const Tensor& x, const Tensor& weight, const Tensor& bias, const optional<Tensor>& shift,
                               const Sizes& n, double eps, bool silu) {
  using A = typename Accumulate<T>::type;
  const Tensor w = plain<A>(weight), b = plain<A>(bias), s = shift ? plain<A>(*shift) : Tensor();
  Tensor y = at::empty_like(x);
  const auto options = x.options().dtype(c10::CppTypeToScalarType<A>::value);
  Tensor mean = at::empty({n.images, n.groups}, options), rstd = at::empty({n.images, n.groups}, options);
  const auto* xp = x.data_ptr<T>();
  const auto *wp = w.data_ptr<A>(), *bp = b.data_ptr<A>(), *sp = shift ? s.data_ptr<A>() : nullptr;
  auto* yp = y.data_ptr<T>();
  auto *mp = mean.data_ptr<A>(), *rp = rstd.data_ptr<A>();
  at::parallel_for(0, n.images, 1, [&](int64_t begin, int64_t end) {
    std::vector<A> work(2 * n.channels);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t at = i * n.rows * n.channels;
      const int64_t w = i * n.stride;
      const Image<T, A> im{xp + at, sp ? sp + i * n.channels : nullptr, wp + w, bp + w, n.rows, n.channels, n.groups};
      (silu ? Chosen<T>::forwardSilu : Chosen<T>::forwardPlain)(im, eps, yp + at, mp + i * n.groups, rp + i * n.groups, work.data());
    }
  });
  return {y, mean, rstd};
}

template <typename T>
std::vector<Tensor> runBackward(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& bias,
                                const optional<Tensor>& shift, const Tensor& mean, const Tensor& rstd, const Sizes& n, bool silu) {
  using A = typename Accumulate<T>::type;
  const Tensor w = plain<A>(weight), b = plain<A>(bias), s = shift ? plain<A>(*shift) : Tensor();
  const Tensor g = channelsLast(dy.to(x.scalar_type()));
  Tensor dx = at::empty_like(x);
  const auto options = mean.options();
  Tensor dWeight = at::empty({n.images, n.channels}, options), dBias = at::empty({n.images, n.channels}, options);
  Tensor dShift = shift ? at::empty({n.images, n.channels}, options) : Tensor();
  const auto *xp = x.data_ptr<T>(), *gp = g.data_ptr<T>();
  const auto *wp = w.data_ptr<A>(), *bp = b.data_ptr<A>(), *sp = shift ? s.data_ptr<A>() : nullptr;
  const auto *mp = mean.data_ptr<A>(), *rp = rstd.data_ptr<A>();
  auto* dxp = dx.data_ptr<T>();
  auto *dwp = dWeight.data_ptr<A>(), *dbp = dBias.data_ptr<A>(), *dsp = shift ? dShift.data_ptr<A>() : nullptr;
  at::parallel_for(0, n.images, 1, [&](int64_t begin, int64_t end) {
    std::vector<A> work((8 + n.rows) * n.channels);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t at = i * n.rows * n.channels, c = i * n.channels, w = i * n.stride;
      const Image<T, A> im{xp + at, sp ? sp + c : nullptr, wp + w, bp + w, n.rows, n.channels, n.groups};
      (silu ? Chosen<T>::backwardSilu : Chosen<T>::backwardPlain)(im, gp + at, mp + i * n.groups, rp + i * n.groups, dxp + at,
                                                                  dwp + c, dbp + c, dsp ? dsp + c : nullptr, work.data());
    }
  });
  const auto ofAll = [&](const Tensor& gradient) { return n.stride == 0 ? gradient.sum(0) : gradient; };
  return {dx, ofAll(dWeight).to(weight.scalar_type()), ofAll(dBias).to(bias.scalar_type()),
          shift ? dShift.to(shift->scalar_type()) : Tensor()};
}

/** The same function in ATen's own operators: differentiable as often as wanted, on any device. */
Tensor reference(const Tensor& x, const Tensor& weight, const Tensor& bias, const optional<Tensor>& shift, int64_t groups,
                 double eps, bool silu) {
  const auto wide = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  Tensor h = x.to(wide);
  if (shift) h = h + shift->to(wide).unsqueeze(-1).unsqueeze(-1);
  const Tensor grouped = h.reshape({h.size(0), groups, -1});
  const Tensor centred = grouped - grouped.mean(-1, true);
  const Tensor rstd = (centred.square().mean(-1, true) + eps).rsqrt();
  const auto spread = [&](const Tensor& t) { return t.to(wide).reshape({-1, h.size(1), 1, 1}); };
  const Tensor u = (centred * rstd).reshape(h.sizes()) * spread(weight) + spread(bias);
  return (silu ? u * u.sigmoid() : u).to(x.scalar_type()).contiguous(at::MemoryFormat::ChannelsLast);
}

class GroupNorm : public torch::autograd::Function<GroupNorm> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& input, const Tensor& weight, const Tensor& bias,
                        const optional<Tensor>& shift, int64_t groups, double eps, bool silu) {
    at::AutoDispatchBelowADInplaceOrView below;
    const Tensor x = channelsLast(input);
    const Sizes n = sizesOf(x, weight, bias, shift, groups);
    const auto out = byType(x.scalar_type(), [&](auto type) {
      return runForward<decltype(type)>(x, weight, bias, shift, n, eps, silu);
    });
    context->save_for_backward({input, weight, bias, shift ? *shift : Tensor(), out[1], out[2]});
    context->saved_data["groups"] = groups;
    context->saved_data["eps"] = eps;
    context->saved_data["silu"] = silu;
    return out[0];
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, torch::autograd::variable_list grads) {
    const auto saved = context->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1], &bias = saved[2];
    const optional<Tensor> shift = saved[3].defined() ? optional<Tensor>(saved[3]) : c10::nullopt;
    const int64_t groups = context->saved_data["groups"].toInt();
    const double eps = context->saved_data["eps"].toDouble();
    const bool silu = context->saved_data["silu"].toBool();
    if (c10::GradMode::is_enabled()) {  // create_graph: the gradient itself must be differentiable
      const Tensor y = reference(x, weight, bias, shift, groups, eps, silu);
      std::vector<Tensor> inputs;
      for (int i = 0; i < 4; ++i)
        if (saved[i].defined() && saved[i].requires_grad()) inputs.push_back(saved[i]);
      if (inputs.empty()) return torch::autograd::variable_list(7);
      const auto found = torch::autograd::grad({y}, inputs, {grads[0]}, true, true, true);
      torch::autograd::variable_list result(7);
      size_t next = 0;
      for (int i = 0; i < 4; ++i)
        if (saved[i].defined() && saved[i].requires_grad()) result[i] = found[next++];
      return result;
    }
    const Sizes n = sizesOf(x, weight, bias, shift, groups);
    const Tensor input = channelsLast(x);
    const auto out = byType(x.scalar_type(), [&](auto type) {
      return runBackward<decltype(type)>(grads[0], input, weight, bias, shift, saved[4], saved[5], n, silu);
    });
    return {out[0], out[1], out[2], out[3], Tensor(), Tensor(), Tensor()};
  }
};

Tensor groupNorm(const Tensor& x, const Tensor& weight, const Tensor& bias, const optional<Tensor>& shift, int64_t groups,
                 double eps, bool silu) {
  sizesOf(x, weight, bias, shift, groups);
  if (!x.device().is_cpu()) return reference(x, weight, bias, shift, groups, eps, silu);
  return GroupNorm::apply(x, weight, bias, shift, groups, eps, silu);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(varidiff, m) {
  m.def("group_norm(Tensor x, Tensor weight, Tensor bias, Tensor? shift, int groups, float eps, bool silu) -> Tensor", groupNorm);
  m.def("group_norm_reference(Tensor x, Tensor weight, Tensor bias, Tensor? shift, int groups, float eps, bool silu) -> Tensor", reference);
}

}  // namespace varidiff
