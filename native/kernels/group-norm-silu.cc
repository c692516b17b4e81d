// varidiff::group_norm: y = drop(act(GroupNorm(x + shift))), act = SiLU or identity, in one pass over channels-last memory.
//
// In libtorch 1.13 normalisation and activation cost more than the convolutions between them. One image's feature map
// fits the second-level cache, so mean, variance and output are three cheap readings of the same memory, and backward
// recomputes the activation instead of storing it. `shift` [N, C] is the conditioning that a residual block adds to
// every position before its second normalisation. Weight and bias are [C], or [N, C] where the conditioning scales and
// shifts what was normalised. The mask is that of varidiff::dropout. varidiff::group_norm_fork returns x too, for what goes
// past the normalisation: the gradient of that is then added while dx is written, and not in a pass of its own.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/library.h>

#include <vector>

#include "differentiable.h"
#include "group-norm-image.h"

namespace varidiff {

namespace {

using at::Tensor;
using c10::optional;
using torch::autograd::variable_list;

// target_clones needs plain functions: one a type.
#define VARIDIFF_IMAGE_KERNELS(SUFFIX, ATTRIBUTE, SET, T, A)                                                         \
  ATTRIBUTE void forward##SUFFIX(const Image<T, A>& im, double eps, T* y, A* mean, A* rstd, A* work) {               \
    forwardImage<SET>(im, eps, y, mean, rstd, work);                                                                 \
  }                                                                                                                  \
  ATTRIBUTE void backward##SUFFIX(const Image<T, A>& im, const Gradients<T, A>& to, const A* mean, const A* rstd, A* work) { \
    backwardImage<SET>(im, to, mean, rstd, work);                                                                    \
  }
VARIDIFF_IMAGE_KERNELS(Any, VARIDIFF_CLONES, AnyCpu, c10::BFloat16, float)
VARIDIFF_IMAGE_KERNELS(Any, VARIDIFF_CLONES, AnyCpu, float, float)
VARIDIFF_IMAGE_KERNELS(Any, VARIDIFF_CLONES, AnyCpu, double, double)
#ifdef VARIDIFF_AVX512
VARIDIFF_IMAGE_KERNELS(Avx512, VARIDIFF_AVX512, Avx512, c10::BFloat16, float)
VARIDIFF_IMAGE_KERNELS(Avx512, VARIDIFF_AVX512, Avx512, float, float)
VARIDIFF_IMAGE_KERNELS(Avx512, VARIDIFF_AVX512, Avx512, double, double)
#endif

template <typename T, typename A>
void forwardOne(const Image<T, A>& im, double eps, T* y, A* mean, A* rstd, A* work) {
#ifdef VARIDIFF_AVX512
  if (hasAvx512()) return forwardAvx512(im, eps, y, mean, rstd, work);
#endif
  forwardAny(im, eps, y, mean, rstd, work);
}

template <typename T, typename A>
void backwardOne(const Image<T, A>& im, const Gradients<T, A>& to, const A* mean, const A* rstd, A* work) {
#ifdef VARIDIFF_AVX512
  if (hasAvx512()) return backwardAvx512(im, to, mean, rstd, work);
#endif
  backwardAny(im, to, mean, rstd, work);
}

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
  TORCH_CHECK(weight.device() == x.device() && bias.device() == x.device() && (!shift || shift->device() == x.device()),
              "expected weight, bias and shift on x's device, ", x.device());
  return {x.size(0), C, x.size(2) * x.size(3), groups, own ? C : 0};
}

/** What of the operator's arguments is not a tensor. */
struct Options {
  int64_t groups;
  double eps;
  bool silu;
  double rate;
  int64_t key;
};

Tensor channelsLast(const Tensor& x) { return x.contiguous(at::MemoryFormat::ChannelsLast); }

template <typename A>
Tensor plain(const Tensor& t) {
  return t.to(c10::CppTypeToScalarType<A>::value).contiguous();
}

/** The images of a batch that lies channels-last, and what their arrays belong to. */
template <typename T>
struct Batch {
  using A = typename Accumulate<T>::type;
  const Sizes n;
  const Options& options;
  const Tensor x, weight, bias, shift;
  const DropoutMask mask;

  Batch(const Tensor& input, const Tensor& w, const Tensor& b, const optional<Tensor>& s, const Options& o)
      : n(sizesOf(input, w, b, s, o.groups)), options(o), x(channelsLast(input)), weight(plain<A>(w)), bias(plain<A>(b)),
        shift(s ? plain<A>(*s) : Tensor()), mask(o.rate, o.key) {}

  /** Where image i's part of a map lies. */
  int64_t at(int64_t i) const { return i * n.rows * n.channels; }

  Image<T, A> image(int64_t i) const {
    const int64_t w = i * n.stride;
    return {x.data_ptr<T>() + at(i), shift.defined() ? shift.data_ptr<A>() + i * n.channels : nullptr,
            weight.data_ptr<A>() + w, bias.data_ptr<A>() + w, n.rows, n.channels, n.groups, options.silu,
            options.rate > 0 ? &mask : nullptr, static_cast<uint32_t>(at(i))};
  }
};

template <typename T>
std::vector<Tensor> runForward(const Batch<T>& batch) {
  using A = typename Accumulate<T>::type;
  const Sizes& n = batch.n;
  Tensor y = at::empty_like(batch.x);
  const auto options = y.options().dtype(c10::CppTypeToScalarType<A>::value);
  Tensor mean = at::empty({n.images, n.groups}, options), rstd = at::empty({n.images, n.groups}, options);
  auto* yp = y.data_ptr<T>();
  auto *mp = mean.data_ptr<A>(), *rp = rstd.data_ptr<A>();
  at::parallel_for(0, n.images, 1, [&](int64_t begin, int64_t end) {
    std::vector<A> work(forwardWork<A>(n.channels));
    for (int64_t i = begin; i < end; ++i)
      forwardOne(batch.image(i), batch.options.eps, yp + batch.at(i), mp + i * n.groups, rp + i * n.groups, work.data());
  });
  return {y, mean, rstd};
}

/** Gradients of x, weight, bias and shift; `past` is that of x where it goes past the normalisation. */
template <typename T>
std::vector<Tensor> runBackward(const Batch<T>& batch, const Tensor& dy, const Tensor& past, const Tensor& mean, const Tensor& rstd) {
  using A = typename Accumulate<T>::type;
  const Sizes& n = batch.n;
  const auto type = c10::CppTypeToScalarType<T>::value;
  const Tensor g = channelsLast(dy.to(type));
  const Tensor skip = past.defined() ? channelsLast(past.to(type)) : Tensor();
  Tensor dx = at::empty_like(batch.x);
  const auto ofEach = [&] { return at::empty({n.images, n.channels}, mean.options()); };
  Tensor dWeight = ofEach(), dBias = ofEach(), dShift = batch.shift.defined() ? ofEach() : Tensor();
  const T *gp = g.data_ptr<T>(), *pp = skip.defined() ? skip.data_ptr<T>() : nullptr;
  const auto *mp = mean.data_ptr<A>(), *rp = rstd.data_ptr<A>();
  auto* dxp = dx.data_ptr<T>();
  auto *dwp = dWeight.data_ptr<A>(), *dbp = dBias.data_ptr<A>(), *dsp = dShift.defined() ? dShift.data_ptr<A>() : nullptr;
  at::parallel_for(0, n.images, 1, [&](int64_t begin, int64_t end) {
    std::vector<A> work(backwardWork<A>(n.rows, n.channels));
    for (int64_t i = begin; i < end; ++i) {
      const int64_t at = batch.at(i), c = i * n.channels;
      const Gradients<T, A> to{gp + at, pp ? pp + at : nullptr, dxp + at, dwp + c, dbp + c, dsp ? dsp + c : nullptr};
      backwardOne(batch.image(i), to, mp + i * n.groups, rp + i * n.groups, work.data());
    }
  });
  const auto ofAll = [&](const Tensor& gradient) { return n.stride == 0 ? gradient.sum(0) : gradient; };
  return {dx, ofAll(dWeight), ofAll(dBias), dShift};
}

/** The same function in ATen's own operators: differentiable as often as wanted, on any device. */
Tensor composed(const Tensor& x, const Tensor& weight, const Tensor& bias, const optional<Tensor>& shift, const Options& o) {
  const auto wide = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  Tensor h = x.to(wide);
  if (shift) h = h + shift->to(wide).unsqueeze(-1).unsqueeze(-1);
  const Tensor grouped = h.reshape({h.size(0), o.groups, -1});
  const Tensor centred = grouped - grouped.mean(-1, true);
  const Tensor rstd = (centred.square().mean(-1, true) + o.eps).rsqrt();
  const auto spread = [&](const Tensor& t) { return t.to(wide).reshape({-1, h.size(1), 1, 1}); };
  const Tensor u = (centred * rstd).reshape(h.sizes()) * spread(weight) + spread(bias);
  const Tensor y = (o.silu ? u * u.sigmoid() : u).contiguous(at::MemoryFormat::ChannelsLast);
  return dropout(y, o.rate, o.key).to(x.scalar_type());
}

constexpr int Arguments = 10;

class GroupNorm : public torch::autograd::Function<GroupNorm> {
 public:
  /** y, and x again where it forks. */
  static variable_list forward(torch::autograd::AutogradContext* context, const Tensor& x, const Tensor& weight, const Tensor& bias,
                               const optional<Tensor>& shift, int64_t groups, double eps, bool silu, double rate, int64_t key, bool forks) {
    at::AutoDispatchBelowADInplaceOrView below;
    const Options options{groups, eps, silu, rate, key};
    const auto out = byType(x.scalar_type(), [&](auto type) {
      return runForward(Batch<decltype(type)>(x, weight, bias, shift, options));
    });
    context->save_for_backward({x, weight, bias, shift ? *shift : Tensor(), out[1], out[2]});
    context->saved_data["groups"] = groups;
    context->saved_data["eps"] = eps;
    context->saved_data["silu"] = silu;
    context->saved_data["rate"] = rate;
    context->saved_data["key"] = key;
    context->set_materialize_grads(false);
    return forks ? variable_list{out[0], x} : variable_list{out[0]};
  }

  static variable_list backward(torch::autograd::AutogradContext* context, variable_list grads) {
    const auto saved = context->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1], &bias = saved[2], &dy = grads[0];
    const Tensor past = grads.size() > 1 ? grads[1] : Tensor();
    const optional<Tensor> shift = saved[3].defined() ? optional<Tensor>(saved[3]) : c10::nullopt;
    auto& data = context->saved_data;
    const Options options{data["groups"].toInt(), data["eps"].toDouble(), data["silu"].toBool(), data["rate"].toDouble(), data["key"].toInt()};
    variable_list result(Arguments);
    if (!dy.defined()) {
      result[0] = past;
      return result;
    }
    if (c10::GradMode::is_enabled()) {  // create_graph: the gradient itself must be differentiable
      const variable_list at = aliases({x, weight, bias, saved[3]});
      const Tensor y = composed(at[0], at[1], at[2], shift ? optional<Tensor>(at[3]) : c10::nullopt, options);
      const variable_list found = gradients(y, at, dy);
      std::copy(found.begin(), found.end(), result.begin());
      if (past.defined()) result[0] = result[0].defined() ? result[0] + past : past;
      return result;
    }
    const auto out = byType(x.scalar_type(), [&](auto type) {
      return runBackward(Batch<decltype(type)>(x, weight, bias, shift, options), dy, past, saved[4], saved[5]);
    });
    result[0] = out[0];
    result[1] = out[1].to(weight.scalar_type());
    result[2] = out[2].to(bias.scalar_type());
    if (shift) result[3] = out[3].to(shift->scalar_type());
    return result;
  }
};

void check(const Tensor& x, const Tensor& weight, const Tensor& bias, const optional<Tensor>& shift, int64_t groups, double rate) {
  sizesOf(x, weight, bias, shift, groups);
  checkDropout(x, rate);
}

Tensor reference(const Tensor& x, const Tensor& weight, const Tensor& bias, const optional<Tensor>& shift, int64_t groups,
                 double eps, bool silu, double rate, int64_t key) {
  return composed(x, weight, bias, shift, {groups, eps, silu, rate, key});
}

Tensor groupNorm(const Tensor& x, const Tensor& weight, const Tensor& bias, const optional<Tensor>& shift, int64_t groups,
                 double eps, bool silu, double rate, int64_t key) {
  check(x, weight, bias, shift, groups, rate);
  if (!x.device().is_cpu()) return reference(x, weight, bias, shift, groups, eps, silu, rate, key);
  return GroupNorm::apply(x, weight, bias, shift, groups, eps, silu, rate, key, false)[0];
}

std::tuple<Tensor, Tensor> groupNormFork(const Tensor& x, const Tensor& weight, const Tensor& bias, const optional<Tensor>& shift,
                                         int64_t groups, double eps, bool silu, double rate, int64_t key) {
  check(x, weight, bias, shift, groups, rate);
  if (!x.device().is_cpu()) return {reference(x, weight, bias, shift, groups, eps, silu, rate, key), x};
  const auto out = GroupNorm::apply(x, weight, bias, shift, groups, eps, silu, rate, key, true);
  return {out[0], out[1]};
}

}  // namespace

#define VARIDIFF_GROUP_NORM_ARGUMENTS \
  "Tensor weight, Tensor bias, Tensor? shift, int groups, float eps, bool silu, float rate, int key"

TORCH_LIBRARY_FRAGMENT(varidiff, m) {
  m.def("group_norm(Tensor x, " VARIDIFF_GROUP_NORM_ARGUMENTS ") -> Tensor", groupNorm);
  m.def("group_norm_reference(Tensor x, " VARIDIFF_GROUP_NORM_ARGUMENTS ") -> Tensor", reference);
  m.def("group_norm_fork(Tensor(a) x, " VARIDIFF_GROUP_NORM_ARGUMENTS ") -> (Tensor, Tensor(a))", groupNormFork);
}

}  // namespace varidiff
