// Handles between JavaScript and libtorch, and the guard that turns every C++ exception into a JavaScript one.
#pragma once

#include <ATen/ATen.h>
#include <node_api.h>

#include <cstdint>
#include <string>
#include <vector>

namespace varidiff {

/** What an External points to; the first word of each, so that a wrong handle is an error and not a crash. */
enum class Kind : uint64_t { Tensor = 0x76617269'74656e73, Generator = 0x76617269'67656e00, Module = 0x76617269'6d6f6400, Graph = 0x76617269'67726100 };

struct Handle {
  Kind kind;
  explicit Handle(Kind k) : kind(k) {}
};

struct TensorHandle : Handle {
  at::Tensor tensor;
  int64_t bytes;  // what the collector was told of; 0 once disposed
  TensorHandle(at::Tensor t, int64_t b) : Handle(Kind::Tensor), tensor(std::move(t)), bytes(b) {}
};

struct GeneratorHandle : Handle {
  at::Generator generator;
  explicit GeneratorHandle(at::Generator g) : Handle(Kind::Generator), generator(std::move(g)) {}
};

/** A JavaScript exception that is already pending: unwinds to the guard. */
struct Pending {};

/** A mistake in how the bridge was called: becomes an Error of the code ERR_VARIDIFF_ARGUMENT. */
struct Misuse : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void check(napi_env env, napi_status status) {
  if (status == napi_ok) return;
  if (status == napi_pending_exception) throw Pending{};
  const napi_extended_error_info* info = nullptr;
  napi_get_last_error_info(env, &info);
  throw Misuse(info && info->error_message ? info->error_message : "unexpected argument");
}

/** The arguments of one call, at most `Most`; reading past the end gives undefined. */
struct Arguments {
  static constexpr size_t Most = 40;
  napi_env env;
  size_t count = Most;
  napi_value values[Most];
  Arguments(napi_env e, napi_callback_info info) : env(e) {
    check(env, napi_get_cb_info(env, info, &count, values, nullptr, nullptr));
    if (count > Most) throw Misuse("more than 40 arguments");
  }
  napi_value operator[](size_t i) const { return values[i]; }
};

/** Calls `f` with every element of an array. */
template <typename F>
void eachItem(napi_env env, napi_value value, F f) {
  uint32_t length;
  if (napi_get_array_length(env, value, &length) != napi_ok) throw Misuse("expected an array");
  for (uint32_t i = 0; i < length; ++i) {
    napi_value item;
    check(env, napi_get_element(env, value, i, &item));
    f(item);
  }
}

// Conversions (values.cc)
at::Tensor& tensorOf(napi_env env, napi_value value);
at::Generator& generatorOf(napi_env env, napi_value value);
Handle* handleOf(napi_env env, napi_value value);
napi_value wrap(napi_env env, at::Tensor tensor);
/** The same, in the handle of a disposed tensor where `spare` is one: making a handle costs more than a small operator. */
napi_value wrap(napi_env env, at::Tensor tensor, napi_value spare);
/** A handle as of a disposed tensor. */
napi_value emptyHandle(napi_env env);
napi_value wrap(napi_env env, at::Generator generator);
bool isNullish(napi_env env, napi_value value);
double numberOf(napi_env env, napi_value value);
int64_t integerOf(napi_env env, napi_value value);
bool booleanOf(napi_env env, napi_value value);
std::string stringOf(napi_env env, napi_value value);
std::vector<int64_t> integersOf(napi_env env, napi_value value);
std::vector<at::Tensor> tensorsOf(napi_env env, napi_value value);
napi_value array(napi_env env, const std::vector<napi_value>& items);
napi_value toNumber(napi_env env, double value);
napi_value toBoolean(napi_env env, bool value);
napi_value toText(napi_env env, const std::string& value);
napi_value undefined(napi_env env);
void setProperty(napi_env env, napi_value object, const char* name, napi_value value);
int64_t liveTensors();
/** Whether the collector is told of the memory of tensors. */
void setReporting(bool on);
void disposeHandle(napi_env env, napi_value value);

/** `float32[2, 3]`: what an error message says of a tensor. */
std::string describe(const at::Tensor& tensor);
/** The first line of a libtorch message, without its backtrace. */
std::string firstLine(const std::string& text);
void raise(napi_env env, const char* code, const std::string& message);

using Body = napi_value (*)(napi_env, Arguments&);

template <Body body>
napi_value guard(napi_env env, napi_callback_info info) {
  try {
    Arguments arguments(env, info);
    return body(env, arguments);
  } catch (const Pending&) {
  } catch (const Misuse& e) {
    raise(env, "ERR_VARIDIFF_ARGUMENT", e.what());
  } catch (const c10::Error& e) {
    raise(env, "ERR_LIBTORCH", firstLine(e.what_without_backtrace()));
  } catch (const std::exception& e) {
    raise(env, "ERR_LIBTORCH", firstLine(e.what()));
  }
  return nullptr;
}

template <Body body>
void define(napi_env env, napi_value exports, const char* name) {
  napi_value function;
  check(env, napi_create_function(env, name, NAPI_AUTO_LENGTH, guard<body>, nullptr, &function));
  check(env, napi_set_named_property(env, exports, name, function));
}

// One registrar a file of functions.
void defineTensor(napi_env env, napi_value exports);
void defineDispatch(napi_env env, napi_value exports);
void defineAutograd(napi_env env, napi_value exports);
void defineCheckpoint(napi_env env, napi_value exports);
void defineRandom(napi_env env, napi_value exports);
void defineScript(napi_env env, napi_value exports);
void defineProfile(napi_env env, napi_value exports);
void defineCuda(napi_env env, napi_value exports);
#ifdef VARIDIFF_CUDA
void defineCudaGraph(napi_env env, napi_value exports);
#endif

}  // namespace varidiff
