// JavaScript values to C++ ones and back, and who owns a tensor's memory.
#include "core.h"

#include <atomic>
#include <cmath>
#include <utility>

namespace varidiff {

namespace {

std::atomic<int64_t> live{0};

// Finalizers run inside the collector, where napi_adjust_external_memory aborts: they only add here, and the next
// creation reports the sum. Per thread, since each worker has its own collector.
thread_local int64_t pendingBytes = 0;
constexpr int64_t ReportAt = 1 << 20;

// What a scope makes, it frees or hands on: told of every tensor of a training step, the collector would run several
// times a step to find nothing (5 % of a step).
thread_local bool reporting = true;

void report(napi_env env) {
  if (!reporting || std::abs(pendingBytes) < ReportAt) return;
  int64_t total;
  napi_adjust_external_memory(env, pendingBytes, &total);
  pendingBytes = 0;
}

void releaseTensor(TensorHandle* handle) {
  if (!handle->tensor.defined()) return;
  handle->tensor.reset();
  pendingBytes -= handle->bytes;
  handle->bytes = 0;
  live.fetch_sub(1, std::memory_order_relaxed);
}

void finalizeTensor(node_api_basic_env, void* data, void*) {
  auto* handle = static_cast<TensorHandle*>(data);
  releaseTensor(handle);
  delete handle;
}

void finalizeGenerator(node_api_basic_env, void* data, void*) { delete static_cast<GeneratorHandle*>(data); }

/** Bytes this handle alone keeps alive; a view keeps nothing of its own. */
int64_t ownBytes(const at::Tensor& tensor) {
  if (!tensor.has_storage() || tensor.storage().use_count() > 1) return 0;
  return static_cast<int64_t>(tensor.storage().nbytes());
}

}  // namespace

void setReporting(bool on) { reporting = on; }

int64_t liveTensors() { return live.load(std::memory_order_relaxed); }

static napi_value fill(napi_env env, TensorHandle* handle, napi_value value, at::Tensor tensor) {
  handle->bytes = ownBytes(tensor);
  handle->tensor = std::move(tensor);
  live.fetch_add(1, std::memory_order_relaxed);
  pendingBytes += handle->bytes;
  report(env);
  return value;
}

static napi_value null(napi_env env) {
  napi_value value;
  check(env, napi_get_null(env, &value));
  return value;
}

static std::pair<TensorHandle*, napi_value> makeHandle(napi_env env) {
  auto* handle = new TensorHandle(at::Tensor(), 0);
  napi_value value;
  if (napi_create_external(env, handle, finalizeTensor, nullptr, &value) != napi_ok) {
    delete handle;
    throw Misuse("could not create a handle");
  }
  return {handle, value};
}

napi_value wrap(napi_env env, at::Tensor tensor) {
  if (!tensor.defined()) return null(env);
  const auto [handle, value] = makeHandle(env);
  return fill(env, handle, value, std::move(tensor));
}

napi_value wrap(napi_env env, at::Tensor tensor, napi_value spare) {
  if (!tensor.defined()) return null(env);
  Handle* handle = handleOf(env, spare);
  if (handle == nullptr || handle->kind != Kind::Tensor || static_cast<TensorHandle*>(handle)->tensor.defined())
    return wrap(env, std::move(tensor));
  return fill(env, static_cast<TensorHandle*>(handle), spare, std::move(tensor));
}

napi_value emptyHandle(napi_env env) { return makeHandle(env).second; }

napi_value wrap(napi_env env, at::Generator generator) {
  auto* handle = new GeneratorHandle(std::move(generator));
  napi_value value;
  check(env, napi_create_external(env, handle, finalizeGenerator, nullptr, &value));
  return value;
}

Handle* handleOf(napi_env env, napi_value value) {
  void* data = nullptr;
  if (napi_get_value_external(env, value, &data) != napi_ok || data == nullptr) return nullptr;
  return static_cast<Handle*>(data);
}

at::Tensor& tensorOf(napi_env env, napi_value value) {
  Handle* handle = handleOf(env, value);
  if (handle == nullptr || handle->kind != Kind::Tensor) throw Misuse("expected a tensor");
  at::Tensor& tensor = static_cast<TensorHandle*>(handle)->tensor;
  if (!tensor.defined()) throw Misuse("the tensor was disposed (its scope has ended): keep() it or return it from the scope");
  return tensor;
}

at::Generator& generatorOf(napi_env env, napi_value value) {
  Handle* handle = handleOf(env, value);
  if (handle == nullptr || handle->kind != Kind::Generator) throw Misuse("expected a generator");
  return static_cast<GeneratorHandle*>(handle)->generator;
}

void disposeHandle(napi_env env, napi_value value) {
  Handle* handle = handleOf(env, value);
  if (handle == nullptr || handle->kind != Kind::Tensor) throw Misuse("expected a tensor");
  releaseTensor(static_cast<TensorHandle*>(handle));
}

bool isNullish(napi_env env, napi_value value) {
  napi_valuetype type;
  check(env, napi_typeof(env, value, &type));
  return type == napi_undefined || type == napi_null;
}

double numberOf(napi_env env, napi_value value) {
  double number;
  if (napi_get_value_double(env, value, &number) != napi_ok) throw Misuse("expected a number");
  return number;
}

int64_t integerOf(napi_env env, napi_value value) {
  double number;
  if (napi_get_value_double(env, value, &number) == napi_ok) {
    if (std::trunc(number) != number || std::abs(number) > 9007199254740992.0)
      throw Misuse("expected a whole number, got " + std::to_string(number));
    return static_cast<int64_t>(number);
  }
  int64_t integer;
  bool lossless;
  if (napi_get_value_bigint_int64(env, value, &integer, &lossless) == napi_ok && lossless) return integer;
  throw Misuse("expected a whole number");
}

bool booleanOf(napi_env env, napi_value value) {
  bool boolean;
  if (napi_get_value_bool(env, value, &boolean) != napi_ok) throw Misuse("expected true or false");
  return boolean;
}

std::string stringOf(napi_env env, napi_value value) {
  size_t length;
  if (napi_get_value_string_utf8(env, value, nullptr, 0, &length) != napi_ok) throw Misuse("expected a string");
  std::string text(length, '\0');
  check(env, napi_get_value_string_utf8(env, value, text.data(), length + 1, &length));
  return text;
}

std::vector<int64_t> integersOf(napi_env env, napi_value value) {
  std::vector<int64_t> integers;
  eachItem(env, value, [&](napi_value item) { integers.push_back(integerOf(env, item)); });
  return integers;
}

std::vector<at::Tensor> tensorsOf(napi_env env, napi_value value) {
  std::vector<at::Tensor> tensors;
  eachItem(env, value, [&](napi_value item) { tensors.push_back(tensorOf(env, item)); });
  return tensors;
}

napi_value array(napi_env env, const std::vector<napi_value>& items) {
  napi_value result;
  check(env, napi_create_array_with_length(env, items.size(), &result));
  for (size_t i = 0; i < items.size(); ++i) check(env, napi_set_element(env, result, static_cast<uint32_t>(i), items[i]));
  return result;
}

napi_value toNumber(napi_env env, double number) {
  napi_value value;
  check(env, napi_create_double(env, number, &value));
  return value;
}

napi_value toBoolean(napi_env env, bool boolean) {
  napi_value value;
  check(env, napi_get_boolean(env, boolean, &value));
  return value;
}

napi_value toText(napi_env env, const std::string& text) {
  napi_value value;
  check(env, napi_create_string_utf8(env, text.data(), text.size(), &value));
  return value;
}

napi_value undefined(napi_env env) {
  napi_value value;
  check(env, napi_get_undefined(env, &value));
  return value;
}

void setProperty(napi_env env, napi_value object, const char* name, napi_value value) {
  check(env, napi_set_named_property(env, object, name, value));
}

std::string describe(const at::Tensor& tensor) {
  static const char* const names[] = {"uint8",   "int8",      "int16",     "int32",      "int64", "float16",
                                      "float32", "float64",   "complex32", "complex64",  "complex128", "bool",
                                      "qint8",   "quint8",    "qint32",    "bfloat16"};
  const auto code = static_cast<size_t>(tensor.scalar_type());
  std::string text = code < sizeof(names) / sizeof(*names) ? names[code] : c10::toString(tensor.scalar_type());
  if (!tensor.device().is_cpu()) text += "@" + tensor.device().str();
  text += "[";
  for (int64_t i = 0; i < tensor.dim(); ++i) text += (i ? ", " : "") + std::to_string(tensor.size(i));
  return text + "]";
}

std::string firstLine(const std::string& text) {
  const auto start = text.find_first_not_of(" \n");
  if (start == std::string::npos) return "unknown error";
  return text.substr(start, text.find('\n', start) - start);
}

void raise(napi_env env, const char* code, const std::string& message) { napi_throw_error(env, code, message.c_str()); }

}  // namespace varidiff
