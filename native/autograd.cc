// Reverse-mode differentiation, and the modes that surround it.
#include "core.h"
#include "torch-at-least.h"

#include <ATen/autocast_mode.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>

namespace varidiff {

namespace {

std::vector<at::Tensor> gradientsOrNone(napi_env env, napi_value value) {
  return isNullish(env, value) ? std::vector<at::Tensor>{} : tensorsOf(env, value);
}

/** backward(roots, gradients | null, retainGraph, createGraph): accumulates into the leaves. */
napi_value backward(napi_env env, Arguments& a) {
  torch::autograd::backward(tensorsOf(env, a[0]), gradientsOrNone(env, a[1]), booleanOf(env, a[2]), booleanOf(env, a[3]));
  return undefined(env);
}

/** grad(outputs, inputs, gradients | null, retainGraph, createGraph): null where an input was not used. */
napi_value grad(napi_env env, Arguments& a) {
  const auto result = torch::autograd::grad(tensorsOf(env, a[0]), tensorsOf(env, a[1]), gradientsOrNone(env, a[2]),
                                            booleanOf(env, a[3]), booleanOf(env, a[4]), /*allow_unused=*/true);
  std::vector<napi_value> items;
  for (const at::Tensor& tensor : result) items.push_back(wrap(env, tensor));
  return array(env, items);
}

napi_value requiresGrad(napi_env env, Arguments& a) { return toBoolean(env, tensorOf(env, a[0]).requires_grad()); }

napi_value setRequiresGrad(napi_env env, Arguments& a) {
  tensorOf(env, a[0]).requires_grad_(booleanOf(env, a[1]));
  return undefined(env);
}

napi_value gradient(napi_env env, Arguments& a) { return wrap(env, tensorOf(env, a[0]).grad()); }

/** clearGradients([tensor, ...]) */
napi_value clearGradients(napi_env env, Arguments& a) {
  for (const at::Tensor& tensor : tensorsOf(env, a[0])) tensor.mutable_grad().reset();
  return undefined(env);
}

/** setGradMode(enabled) -> what it was */
napi_value setGradMode(napi_env env, Arguments& a) {
  const bool before = c10::GradMode::is_enabled();
  c10::GradMode::set_enabled(booleanOf(env, a[0]));
  return toBoolean(env, before);
}

napi_value gradMode(napi_env env, Arguments&) { return toBoolean(env, c10::GradMode::is_enabled()); }

/** The type that autocast computes in, or null where it is off. */
napi_value autocastNow(napi_env env, bool cuda) {
  bool enabled;
  at::ScalarType type;
#if VARIDIFF_TORCH_AT_LEAST(2, 4)
  const auto device = cuda ? at::kCUDA : at::kCPU;
  enabled = at::autocast::is_autocast_enabled(device);
  type = at::autocast::get_autocast_dtype(device);
#else
  enabled = cuda ? at::autocast::is_enabled() : at::autocast::is_cpu_enabled();
  type = cuda ? at::autocast::get_autocast_gpu_dtype() : at::autocast::get_autocast_cpu_dtype();
#endif
  napi_value none;
  check(env, napi_get_null(env, &none));
  return enabled ? toNumber(env, static_cast<double>(type)) : none;
}

/** setAutocast("cpu" | "cuda", dtype | null) -> what it was; weights that were cast for another dtype, or for none, are forgotten. */
napi_value setAutocast(napi_env env, Arguments& a) {
  const bool cuda = stringOf(env, a[0]) != "cpu";
  const bool enabled = !isNullish(env, a[1]);
  const napi_value before = autocastNow(env, cuda);
  const bool same = enabled && !isNullish(env, before) && integerOf(env, before) == integerOf(env, a[1]);
  if (enabled) {
    const auto type = static_cast<at::ScalarType>(integerOf(env, a[1]));
#if VARIDIFF_TORCH_AT_LEAST(2, 4)
    at::autocast::set_autocast_dtype(cuda ? at::kCUDA : at::kCPU, type);
#else
    if (cuda) at::autocast::set_autocast_gpu_dtype(type);
    else at::autocast::set_autocast_cpu_dtype(type);
#endif
  }
#if VARIDIFF_TORCH_AT_LEAST(2, 4)
  at::autocast::set_autocast_enabled(cuda ? at::kCUDA : at::kCPU, enabled);
#else
  if (cuda) at::autocast::set_enabled(enabled);
  else at::autocast::set_cpu_enabled(enabled);
#endif
  if (!same) at::autocast::clear_cache();
  return before;
}

}  // namespace

void defineAutograd(napi_env env, napi_value exports) {
  define<backward>(env, exports, "backward");
  define<grad>(env, exports, "grad");
  define<requiresGrad>(env, exports, "requiresGrad");
  define<setRequiresGrad>(env, exports, "setRequiresGrad");
  define<gradient>(env, exports, "gradient");
  define<clearGradients>(env, exports, "clearGradients");
  define<setGradMode>(env, exports, "setGradMode");
  define<gradMode>(env, exports, "gradMode");
  define<setAutocast>(env, exports, "setAutocast");
}

}  // namespace varidiff
