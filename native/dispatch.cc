// The one generic entry: any operator of the c10 dispatcher, called by schema with JavaScript values.
#include "core.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>

#include <array>
#include <cmath>
#include <memory>
#include <mutex>
#include <unordered_map>

namespace varidiff {

namespace {

enum class Slot { Tensor, TensorList, OptionalTensorList, Int, IntList, Float, FloatList, Bool, BoolList, Scalar, ScalarList, String, Device, Generator, Unsupported };

struct Parameter {
  std::string name;
  Slot slot;
  bool optional;
  int32_t expand;  // int[2] accepts one number for both
  c10::optional<c10::IValue> fallback;
};

struct Operator {
  std::string name;
  c10::OperatorHandle handle;
  std::vector<Parameter> parameters;
};

// Written under the lock, read without: an entry is complete before its id is given out, and never moves.
constexpr size_t MostOperators = 4096;
std::mutex registryLock;
std::array<std::unique_ptr<Operator>, MostOperators> operators;
std::unordered_map<std::string, size_t> ids;

const Operator& operatorAt(napi_env env, napi_value value) {
  uint32_t id;
  if (napi_get_value_uint32(env, value, &id) != napi_ok || id >= MostOperators || !operators[id])
    throw Misuse("no operator with that id");
  return *operators[id];
}

Slot slotOf(const c10::TypePtr& type) {
  switch (type->kind()) {
    case c10::TypeKind::TensorType: return Slot::Tensor;
    case c10::TypeKind::IntType:
    case c10::TypeKind::SymIntType: return Slot::Int;
    case c10::TypeKind::FloatType: return Slot::Float;
    case c10::TypeKind::BoolType: return Slot::Bool;
    case c10::TypeKind::NumberType: return Slot::Scalar;
    case c10::TypeKind::StringType: return Slot::String;
    case c10::TypeKind::DeviceObjType: return Slot::Device;
    case c10::TypeKind::GeneratorType: return Slot::Generator;
    case c10::TypeKind::ListType: {
      const auto element = type->expectRef<c10::ListType>().getElementType();
      switch (element->kind()) {
        case c10::TypeKind::TensorType: return Slot::TensorList;
        case c10::TypeKind::OptionalType: return Slot::OptionalTensorList;
        case c10::TypeKind::IntType:
        case c10::TypeKind::SymIntType: return Slot::IntList;
        case c10::TypeKind::FloatType: return Slot::FloatList;
        case c10::TypeKind::BoolType: return Slot::BoolList;
        case c10::TypeKind::NumberType: return Slot::ScalarList;
        default: return Slot::Unsupported;
      }
    }
    default: return Slot::Unsupported;
  }
}

Parameter parameterOf(const c10::Argument& argument) {
  c10::TypePtr type = argument.type();
  bool optional = false;
  if (type->kind() == c10::TypeKind::OptionalType) {
    optional = true;
    type = type->expectRef<c10::OptionalType>().getElementType();
  }
  Parameter parameter{argument.name(), slotOf(type), optional, argument.N().value_or(0), c10::nullopt};
  if (argument.default_value().has_value()) parameter.fallback = *argument.default_value();
  else if (optional) parameter.fallback = c10::IValue();
  return parameter;
}

/** An integral number stays an integer, as a Python int would. */
at::Scalar scalarOf(napi_env env, napi_value value) {
  napi_valuetype type;
  check(env, napi_typeof(env, value, &type));
  if (type == napi_boolean) return at::Scalar(booleanOf(env, value));
  if (type == napi_bigint) return at::Scalar(integerOf(env, value));
  const double number = numberOf(env, value);
  if (std::trunc(number) == number && std::abs(number) < 9007199254740992.0 && !(number == 0 && std::signbit(number)))
    return at::Scalar(static_cast<int64_t>(number));
  return at::Scalar(number);
}

template <typename T, typename Convert>
c10::List<T> convertList(napi_env env, napi_value value, Convert convert) {
  c10::List<T> list;
  eachItem(env, value, [&](napi_value item) { list.push_back(convert(item)); });
  return list;
}

c10::IValue convert(napi_env env, napi_value value, const Parameter& parameter) {
  switch (parameter.slot) {
    case Slot::Tensor: return tensorOf(env, value);
    case Slot::TensorList:
      return convertList<at::Tensor>(env, value, [env](napi_value v) { return tensorOf(env, v); });
    case Slot::OptionalTensorList:
      return convertList<c10::optional<at::Tensor>>(env, value, [env](napi_value v) -> c10::optional<at::Tensor> {
        if (isNullish(env, v)) return c10::nullopt;
        return tensorOf(env, v);
      });
    case Slot::Int: return integerOf(env, value);
    case Slot::IntList: {
      napi_valuetype type;
      check(env, napi_typeof(env, value, &type));
      if (type == napi_number) {
        c10::List<int64_t> list;
        for (int32_t i = 0; i < std::max(1, parameter.expand); ++i) list.push_back(integerOf(env, value));
        return list;
      }
      return convertList<int64_t>(env, value, [env](napi_value v) { return integerOf(env, v); });
    }
    case Slot::Float: return numberOf(env, value);
    case Slot::FloatList: return convertList<double>(env, value, [env](napi_value v) { return numberOf(env, v); });
    case Slot::Bool: return booleanOf(env, value);
    case Slot::BoolList: return convertList<bool>(env, value, [env](napi_value v) { return booleanOf(env, v); });
    case Slot::Scalar: return scalarOf(env, value);
    case Slot::ScalarList: {
      c10::impl::GenericList list(c10::NumberType::get());
      eachItem(env, value, [&](napi_value item) { list.push_back(scalarOf(env, item)); });
      return list;
    }
    case Slot::String: return stringOf(env, value);
    case Slot::Device: return c10::Device(stringOf(env, value));
    case Slot::Generator: return generatorOf(env, value);
    case Slot::Unsupported: throw Misuse("its type is not supported by the bridge");
  }
  throw Misuse("unreachable");
}

napi_value back(napi_env env, const c10::IValue& value) {
  if (value.isTensor()) return wrap(env, value.toTensor());
  if (value.isInt()) return toNumber(env, static_cast<double>(value.toInt()));
  if (value.isDouble()) return toNumber(env, value.toDouble());
  if (value.isBool()) return toBoolean(env, value.toBool());
  if (value.isString()) return toText(env, value.toStringRef());
  if (value.isList()) {
    std::vector<napi_value> items;
    for (const c10::IValue& item : value.toListRef()) items.push_back(back(env, item));
    return array(env, items);
  }
  if (value.isNone()) {
    napi_value null;
    check(env, napi_get_null(env, &null));
    return null;
  }
  throw Misuse("its result type " + value.tagKind() + " is not supported by the bridge");
}

/** `(float32[2, 3], [float32[4], ...])`: the tensors of a failed call, for its message. */
std::string shapesOf(const torch::jit::Stack& stack) {
  std::string text;
  for (const auto& value : stack) {
    std::string one;
    if (value.isTensor() && value.toTensor().defined()) one = describe(value.toTensor());
    else if (value.isTensorList()) {
      for (const at::Tensor& item : value.toTensorVector()) one += (one.empty() ? "[" : ", ") + describe(item);
      if (!one.empty()) one += "]";
    }
    if (!one.empty()) text += (text.empty() ? "" : ", ") + one;
  }
  return text.empty() ? "" : " (" + text + ")";
}

/** findOperator("aten::add.Tensor") -> id; throws when there is none. */
napi_value findOperator(napi_env env, Arguments& a) {
  const std::string name = stringOf(env, a[0]);
  std::lock_guard<std::mutex> lock(registryLock);
  const auto known = ids.find(name);
  if (known != ids.end()) return toNumber(env, static_cast<double>(known->second));
  const auto dot = name.find('.');
  const std::string base = name.substr(0, dot), overload = dot == std::string::npos ? "" : name.substr(dot + 1);
  const auto handle = c10::Dispatcher::singleton().findSchema({base, overload});
  if (!handle.has_value()) throw Misuse("libtorch has no operator \"" + name + "\"");
  auto found = std::make_unique<Operator>(Operator{name, *handle, {}});
  for (const auto& argument : handle->schema().arguments()) found->parameters.push_back(parameterOf(argument));
  const size_t id = ids.size();
  if (id >= MostOperators) throw Misuse("more than 4096 operators in use");
  operators[id] = std::move(found);
  ids.emplace(name, id);
  return toNumber(env, static_cast<double>(id));
}

napi_value schemaOf(napi_env env, Arguments& a) {
  return toText(env, c10::toString(operatorAt(env, a[0]).handle.schema()));
}

/** Where the arguments of an operator start among those of `call`: behind its id and the spare handle. */
constexpr size_t First = 2;

/** Appends the arguments of a call to the stack. */
void pushArguments(napi_env env, const Operator& op, const Arguments& a, torch::jit::Stack& stack) {
  if (a.count > op.parameters.size() + First)
    throw Misuse(op.name + ": takes " + std::to_string(op.parameters.size()) + " arguments, got " + std::to_string(a.count - First));
  for (size_t i = 0; i < op.parameters.size(); ++i) {
    const Parameter& parameter = op.parameters[i];
    const bool given = i + First < a.count;
    try {
      if (given && parameter.slot == Slot::Tensor && handleOf(env, a[i + First])) {
        stack.emplace_back(tensorOf(env, a[i + First]));
      } else if (!given || isNullish(env, a[i + First])) {
        if (!parameter.fallback.has_value()) throw Misuse("is missing");
        stack.push_back(*parameter.fallback);
      } else {
        stack.push_back(convert(env, a[i + First], parameter));
      }
    } catch (const Misuse& e) {
      throw Misuse(op.name + ": argument \"" + parameter.name + "\": " + e.what());
    } catch (const c10::Error& e) {
      throw Misuse(op.name + ": argument \"" + parameter.name + "\": " + firstLine(e.what_without_backtrace()));
    }
  }
}

/** The memory of one call's stack serves the next. */
class Borrowed {
 public:
  torch::jit::Stack stack = std::move(spare);
  ~Borrowed() {
    stack.clear();
    spare = std::move(stack);
  }

 private:
  static thread_local torch::jit::Stack spare;
};
thread_local torch::jit::Stack Borrowed::spare;

/** What libtorch says, with the operator's name and the shapes; the call has consumed its stack, so they are read again. */
void raiseFor(napi_env env, const Operator& op, const Arguments& a, const char* message) {
  torch::jit::Stack stack;
  pushArguments(env, op, a, stack);
  raise(env, "ERR_LIBTORCH", op.name + ": " + firstLine(message) + shapesOf(stack));
}

/** call(id, spare, ...arguments): undefined takes the schema's default; a single tensor comes back in the spare handle. */
napi_value callOperator(napi_env env, Arguments& a) {
  const Operator& op = operatorAt(env, a[0]);
  Borrowed borrowed;
  torch::jit::Stack& stack = borrowed.stack;
  pushArguments(env, op, a, stack);
  try {
    op.handle.callBoxed(&stack);
    if (stack.size() == 1) return stack[0].isTensor() ? wrap(env, std::move(stack[0]).toTensor(), a[1]) : back(env, stack[0]);
    if (stack.empty()) return undefined(env);
    std::vector<napi_value> results;
    results.reserve(stack.size());
    for (const auto& value : stack) results.push_back(back(env, value));
    return array(env, results);
  } catch (const c10::Error& e) {
    raiseFor(env, op, a, e.what_without_backtrace());
  } catch (const Misuse& e) {
    throw Misuse(op.name + ": " + e.what());
  } catch (const std::exception& e) {
    raiseFor(env, op, a, e.what());
  }
  return nullptr;
}

}  // namespace

void defineDispatch(napi_env env, napi_value exports) {
  define<findOperator>(env, exports, "findOperator");
  define<schemaOf>(env, exports, "schemaOf");
  define<callOperator>(env, exports, "call");
}

}  // namespace varidiff
