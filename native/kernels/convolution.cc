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
#include "winograd.h"

namespace varidiff {

namespace {

using at::Tensor;
using c10::optional;
using winograd::Direction;

/** Of x's type, also under autocast, or of the residual's where that is wider. */
Tensor libtorchs(const Tensor& x, const Tensor& weight, const optional<Tensor>& bias, const optional<Tensor>& residual) {
  const Tensor y = at::conv2d(x, weight, bias, 1, 1).to(x.scalar_type());
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
bool fits(const Tensor& x, const Tensor& weight, const optional<Tensor>& bias, optional<at::ScalarType> cast) {
  const auto type = cast.value_or(x.scalar_type());
  const auto known = [&](const Tensor& t) { return t.scalar_type() == type || (cast && t.scalar_type() == at::kFloat); };
  return isSupported(type) && x.device().is_cpu() && weight.device().is_cpu() && x.dim() == 4 && weight.dim() == 4 &&
         known(x) && known(weight) && (!bias || known(*bias)) && x.size(0) > 0 && x.size(1) == weight.size(1) &&
         x.size(1) % winograd::kLanes == 0 && weight.size(0) % winograd::kLanes == 0 && weight.size(0) * x.size(1) >= kLeastProducts &&
         x.size(2) >= kSmallestSide && x.size(3) >= kSmallestSide;
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
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& x, const Tensor& weight, const optional<Tensor>& bias,
                        const optional<Tensor>& residual) {
    at::AutoDispatchBelowADInplaceOrView below;
    const Tensor b = bias ? *bias : Tensor(), r = residual ? *residual : Tensor();
    context->save_for_backward({x, weight, b});
    context->saved_data["residual"] = r.defined();
    return convolve(channelsLast(x), weight, b, r, Direction::Forward, x.scalar_type());
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
      const auto cast = [&](const Tensor& t) { return t.defined() ? t.to(x.scalar_type()) : t; };
      const Tensor y = libtorchs(x, cast(weight), hasBias ? optional<Tensor>(cast(bias)) : c10::nullopt, c10::nullopt);
      std::vector<Tensor> inputs;
      if (wantsX) inputs.push_back(x);
      if (wantsWeight) inputs.push_back(weight);
      if (wantsBias) inputs.push_back(bias);
      if (inputs.empty()) return {Tensor(), Tensor(), Tensor(), ofResidual};
      const auto found = torch::autograd::grad({y}, inputs, {grads[0]}, true, true, true);
      size_t next = 0;
      if (wantsX) ofX = found[next++];
      if (wantsWeight) ofWeight = found[next++];
      if (wantsBias) ofBias = found[next++];
      return {ofX, ofWeight, ofBias, ofResidual};
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
    return {ofX, ofWeight, ofBias, ofResidual};
  }
};

#endif

Tensor convolution(const Tensor& x, const Tensor& weight, const optional<Tensor>& bias, const optional<Tensor>& residual) {
  TORCH_CHECK(weight.dim() == 4 && weight.size(2) == 3 && weight.size(3) == 3, "expected weight of shape [O, C, 3, 3], got ",
              weight.sizes());
#ifdef VARIDIFF_WINOGRAD
  const auto cast = autocastType(x);
  if (fits(x, weight, bias, cast)) {
    TORCH_CHECK(!residual || residual->sizes() == at::IntArrayRef({x.size(0), weight.size(0), x.size(2), x.size(3)}),
                "expected a residual of the result's shape, got ", residual ? residual->sizes() : at::IntArrayRef{});
    const auto type = cast.value_or(x.scalar_type());
    const bool together = residual && (residual->scalar_type() == type || residual->scalar_type() == at::kFloat);
    const auto r = together ? residual : c10::nullopt;
    Tensor y;
    if (c10::GradMode::is_enabled()) {  // what is kept for the gradient is rounded
      y = Convolution3x3::apply(x.to(type), weight, bias, r);
      y = y.to(at::promote_types(x.scalar_type(), y.scalar_type()));
    } else {
      y = convolve(channelsLast(x), weight, bias.value_or(Tensor()), r.value_or(Tensor()), Direction::Forward, type);
    }
    return residual && !together ? y + *residual : y;
  }
#endif
  return libtorchs(x, weight, bias, residual);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(varidiff, m) {
  m.def("conv2d_3x3(Tensor x, Tensor weight, Tensor? bias, Tensor? residual) -> Tensor", convolution);
}

}  // namespace varidiff
