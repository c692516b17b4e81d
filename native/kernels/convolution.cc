// varidiff::conv2d_3x3: conv(x, weight) + bias + residual with a 3x3 kernel, stride 1 and padding 1.
//
// Three quarters of a training step are such convolutions, and libtorch's run near the limit of the processor's arithmetic, so
// that only fewer products make them faster: Winograd's (see winograd.h). It is taken where it was measured to pay; everything
// else goes to libtorch. Under autocast weights are transformed from float32, and their gradients come back as float32.
#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "autocast.h"
#include "differentiable.h"
#include "winograd.h"

namespace varidiff {

namespace {

using at::Tensor;
using c10::optional;
using winograd::Direction;

void checkResidual(const optional<Tensor>& residual, at::IntArrayRef sizes) {
  TORCH_CHECK(!residual || residual->sizes() == sizes, "expected a residual of the result's shape ", sizes, ", got ",
              residual ? residual->sizes() : at::IntArrayRef{});
}

/** Of x's type, also under autocast, or of the residual's where that is wider. */
Tensor libtorchs(const Tensor& x, const Tensor& weight, const optional<Tensor>& bias, const optional<Tensor>& residual) {
  const Tensor y = at::conv2d(x, weight, bias, 1, 1).to(x.scalar_type());
  checkResidual(residual, y.sizes());
  return residual ? y + *residual : y;
}

#ifdef VARIDIFF_WINOGRAD

/** Images smaller than this are mostly edge. */
constexpr int64_t kSmallestSide = 4;

/** Below this number of channels in times channels out the transforms take what the products leave out. */
constexpr int64_t kLeastProducts = 512;

Tensor channelsLast(const Tensor& x) { return x.contiguous(at::MemoryFormat::ChannelsLast); }

/** Calls `f` with a value of the C++ type that x is stored in: float or bfloat16. */
template <typename F>
auto byStored(const Tensor& x, F f) {
  return x.scalar_type() == at::kFloat ? f(float{}) : f(c10::BFloat16{});
}

bool isSupported(at::ScalarType type) {
  if (type == at::kFloat) return winograd::supported<float>();
  return type == at::kBFloat16 && winograd::supported<c10::BFloat16>();
}

/** Whether the Winograd kernels take a convolution of x; with `cast`, float32 inputs are cast to that type. */
bool fits(const Tensor& x, const Tensor& weight, const optional<Tensor>& bias, const optional<Tensor>& residual,
          optional<at::ScalarType> cast) {
  const auto type = cast.value_or(x.scalar_type());
  const auto known = [&](const Tensor& t, bool wide) {
    return t.device().is_cpu() && (t.scalar_type() == type || (wide && t.scalar_type() == at::kFloat));
  };
  const bool casts = cast.has_value();
  return isSupported(type) && x.dim() == 4 && known(x, casts) && known(weight, casts) && (!residual || known(*residual, true)) &&
         (!bias || (known(*bias, casts) && bias->dim() == 1 && bias->size(0) == weight.size(0))) && x.size(0) > 0 &&
         x.size(1) == weight.size(1) && x.size(1) % winograd::kLanes == 0 && weight.size(0) % winograd::kLanes == 0 &&
         weight.size(0) * x.size(1) >= kLeastProducts && x.size(2) >= kSmallestSide && x.size(3) >= kSmallestSide;
}

winograd::Shape shapeOf(const Tensor& x, const Tensor& weight, Direction direction) {
  const bool forward = direction == Direction::Forward;
  return {x.size(0), x.size(2), x.size(3), weight.size(forward ? 1 : 0), weight.size(forward ? 0 : 1)};
}

/**
 * `conv(x, weight) + bias + residual`, or for `Adjoint` its transpose in x, by products of numbers of `type`. x is channels-last, of
 * that type or of float32; the result has the wider of the types of x and the residual.
 */
Tensor convolve(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& residual, Direction direction, at::ScalarType type) {
  const winograd::Shape n = shapeOf(x, weight, direction);
  const Tensor w = channelsLast(weight.to(at::kFloat)), b = bias.defined() ? bias.to(at::kFloat).contiguous() : bias;
  const auto stored = residual.defined() ? at::promote_types(x.scalar_type(), residual.scalar_type()) : x.scalar_type();
  const Tensor r = residual.defined() ? channelsLast(residual.to(stored)) : residual;
  Tensor y = at::empty({n.images, n.out, n.height, n.width}, x.options().dtype(stored), at::MemoryFormat::ChannelsLast);
  const auto run = [&](auto product, auto image, auto result) {
    using T = decltype(product);
    using X = decltype(image);
    using Y = decltype(result);
    Tensor u = at::empty({winograd::transformedSize<T>(n.in, n.out)}, x.options().dtype(at::kInt));
    auto* units = reinterpret_cast<uint32_t*>(u.data_ptr<int32_t>());
    winograd::transformWeights<T>(w.data_ptr<float>(), w.size(1), w.size(0), direction, units);
    winograd::convolve<T>(n, x.data_ptr<X>(), units, b.defined() ? b.data_ptr<float>() : nullptr,
                          r.defined() ? r.data_ptr<Y>() : nullptr, y.data_ptr<Y>());
  };
  using Half = c10::BFloat16;
  if (type == at::kFloat) run(float{}, float{}, float{});
  else if (x.scalar_type() == at::kFloat) run(Half{}, float{}, float{});
  else if (stored == at::kFloat) run(Half{}, Half{}, float{});
  else run(Half{}, Half{}, Half{});
  return y;
}

class Convolution3x3 : public torch::autograd::Function<Convolution3x3> {
 public:
  /** `whole`, where it is given, is x as it was before it was rounded: it is what is computed of, and x what is kept. */
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& x, const Tensor& weight, const optional<Tensor>& bias,
                        const optional<Tensor>& residual, const optional<Tensor>& whole) {
    at::AutoDispatchBelowADInplaceOrView below;
    const Tensor b = bias ? *bias : Tensor(), r = residual ? *residual : Tensor();
    context->save_for_backward({x, weight, b});
    context->saved_data["residual"] = r.defined();
    return convolve(channelsLast(whole ? *whole : x), weight, b, r, Direction::Forward, x.scalar_type());
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, torch::autograd::variable_list grads) {
    const auto saved = context->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1], &bias = saved[2];
    const bool hasBias = bias.defined();
    // Edges are counted without the inputs that were left out.
    const bool wantsX = context->needs_input_grad(0), wantsWeight = context->needs_input_grad(1);
    const bool wantsBias = hasBias && context->needs_input_grad(2);
    const Tensor ofResidual = context->saved_data["residual"].toBool() ? grads[0] : Tensor();
    Tensor ofX, ofWeight, ofBias;
    if (c10::GradMode::is_enabled()) {  // create_graph: the gradient itself must be differentiable
      const auto at = aliases({x, weight, bias});
      const auto cast = [&](const Tensor& t) { return t.to(x.scalar_type()); };
      const Tensor y = libtorchs(at[0], cast(at[1]), hasBias ? optional<Tensor>(cast(at[2])) : c10::nullopt, c10::nullopt);
      const auto found = ::varidiff::gradients(
          y, {wantsX ? at[0] : Tensor(), wantsWeight ? at[1] : Tensor(), wantsBias ? at[2] : Tensor()}, cast(grads[0]));
      return {found[0], found[1], found[2], ofResidual, Tensor()};
    }
    const Tensor dy = channelsLast(grads[0].to(x.scalar_type()));
    if (wantsX) ofX = convolve(dy, weight, Tensor(), Tensor(), Direction::Adjoint, dy.scalar_type());
    if (wantsWeight) {
      const Tensor input = channelsLast(x);
      const auto options = x.options().dtype(at::kFloat);
      ofWeight = at::empty(weight.sizes(), options, at::MemoryFormat::ChannelsLast);
      if (wantsBias) ofBias = at::empty({weight.size(0)}, options);
      byStored(x, [&](auto type) {
        using T = decltype(type);
        winograd::gradients<T>(shapeOf(input, weight, Direction::Forward), input.data_ptr<T>(), dy.data_ptr<T>(),
                               ofWeight.data_ptr<float>(), wantsBias ? ofBias.data_ptr<float>() : nullptr);
      });
      ofWeight = ofWeight.to(weight.scalar_type());
    } else if (wantsBias) {
      ofBias = dy.sum({0, 2, 3}, false, at::kFloat);
    }
    if (wantsBias) ofBias = ofBias.to(bias.scalar_type());
    return {ofX, ofWeight, ofBias, ofResidual, Tensor()};
  }
};

#endif

Tensor convolution(const Tensor& x, const Tensor& weight, const optional<Tensor>& bias, const optional<Tensor>& residual) {
  TORCH_CHECK(weight.dim() == 4 && weight.size(2) == 3 && weight.size(3) == 3, "expected weight of shape [O, C, 3, 3], got ",
              weight.sizes());
#ifdef VARIDIFF_WINOGRAD
  const auto cast = autocastType(x);
  if (fits(x, weight, bias, residual, cast)) {
    checkResidual(residual, {x.size(0), weight.size(0), x.size(2), x.size(3)});
    const auto type = cast.value_or(x.scalar_type());
    if (!c10::GradMode::is_enabled())
      return convolve(channelsLast(x), weight, bias.value_or(Tensor()), residual.value_or(Tensor()), Direction::Forward, type);
    const auto whole = x.scalar_type() == type ? c10::nullopt : optional<Tensor>(x.detach());
    return Convolution3x3::apply(x.to(type), weight, bias, residual, whole);
  }
#endif
  return libtorchs(x, weight, bias, residual);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(varidiff, m) {
  m.def("conv2d_3x3(Tensor x, Tensor weight, Tensor? bias, Tensor? residual) -> Tensor", convolution);
}

}  // namespace varidiff
