// TorchScript modules: loaded from a file, called with tensors, differentiable.
#include "core.h"

#include <torch/csrc/jit/serialization/import.h>
#include <torch/csrc/jit/api/module.h>

namespace varidiff {

namespace {

struct ModuleHandle : Handle {
  torch::jit::Module module;
  explicit ModuleHandle(torch::jit::Module m) : Handle(Kind::Module), module(std::move(m)) {}
};

void finalizeModule(node_api_basic_env, void* data, void*) { delete static_cast<ModuleHandle*>(data); }

napi_value loadScript(napi_env env, Arguments& a) {
  torch::jit::Module module = torch::jit::load(stringOf(env, a[0]), c10::Device(stringOf(env, a[1])));
  module.eval();
  auto* handle = new ModuleHandle(std::move(module));
  napi_value value;
  check(env, napi_create_external(env, handle, finalizeModule, nullptr, &value));
  return value;
}

void collect(napi_env env, const c10::IValue& value, std::vector<napi_value>& out) {
  if (value.isTensor()) out.push_back(wrap(env, value.toTensor()));
  else if (value.isTuple()) for (const auto& element : value.toTupleRef().elements()) collect(env, element, out);
  else if (value.isTensorList()) for (const at::Tensor& tensor : value.toTensorVector()) out.push_back(wrap(env, tensor));
  else throw Misuse("the TorchScript module returned a " + value.tagKind() + "; expected tensors");
}

/** runScript(module, method, ...tensors and booleans) -> tensors */
napi_value runScript(napi_env env, Arguments& a) {
  Handle* handle = handleOf(env, a[0]);
  if (handle == nullptr || handle->kind != Kind::Module) throw Misuse("expected a TorchScript module");
  std::vector<c10::IValue> inputs;
  for (size_t i = 2; i < a.count; ++i) {
    napi_valuetype type;
    check(env, napi_typeof(env, a[i], &type));
    if (type == napi_boolean) inputs.emplace_back(booleanOf(env, a[i]));
    else inputs.emplace_back(tensorOf(env, a[i]));
  }
  const c10::IValue result = static_cast<ModuleHandle*>(handle)->module.get_method(stringOf(env, a[1]))(std::move(inputs));
  std::vector<napi_value> out;
  collect(env, result, out);
  return array(env, out);
}

}  // namespace

void defineScript(napi_env env, napi_value exports) {
  define<loadScript>(env, exports, "loadScript");
  define<runScript>(env, exports, "runScript");
}

}  // namespace varidiff
