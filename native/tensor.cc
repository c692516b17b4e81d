// Tensors from and to JavaScript memory and files; what a tensor says of itself; threads.
#include "core.h"

#include <ATen/Parallel.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace varidiff {

namespace {

struct Bytes {
  void* data = nullptr;
  size_t length = 0;
};

Bytes bytesOf(napi_env env, napi_value value) {
  bool is = false;
  Bytes bytes;
  check(env, napi_is_typedarray(env, value, &is));
  if (!is) throw Misuse("expected a typed array");
  napi_typedarray_type type;
  size_t count;
  check(env, napi_get_typedarray_info(env, value, &type, &count, &bytes.data, nullptr, nullptr));
  size_t width = 1;
  switch (type) {
    case napi_int16_array: case napi_uint16_array: width = 2; break;
    case napi_int32_array: case napi_uint32_array: case napi_float32_array: width = 4; break;
    case napi_float64_array: case napi_bigint64_array: case napi_biguint64_array: width = 8; break;
    default: width = 1;
  }
  bytes.length = count * width;
  return bytes;
}

at::ScalarType dtypeOf(napi_env env, napi_value value) {
  const int64_t code = integerOf(env, value);
  if (code < 0 || code >= static_cast<int64_t>(at::ScalarType::NumOptions)) throw Misuse("no such dtype code");
  return static_cast<at::ScalarType>(code);
}

/** fromBytes(typedArray, dtype, shape): a copy of the bytes as a tensor in ordinary (row-major) order. */
napi_value fromBytes(napi_env env, Arguments& a) {
  const Bytes bytes = bytesOf(env, a[0]);
  const auto shape = integersOf(env, a[2]);
  at::Tensor tensor = at::empty(shape, at::TensorOptions().dtype(dtypeOf(env, a[1])));
  if (bytes.length != tensor.nbytes())
    throw Misuse("expected " + std::to_string(tensor.nbytes()) + " bytes for " + describe(tensor) + ", got " + std::to_string(bytes.length));
  if (bytes.length > 0) std::memcpy(tensor.data_ptr(), bytes.data, bytes.length);
  return wrap(env, tensor);
}

/** toBytes(tensor): its elements in row-major order, in a new ArrayBuffer. */
napi_value toBytes(napi_env env, Arguments& a) {
  const at::Tensor tensor = tensorOf(env, a[0]).detach().to(at::kCPU).contiguous();
  void* data = nullptr;
  napi_value buffer;
  check(env, napi_create_arraybuffer(env, tensor.nbytes(), &data, &buffer));
  if (tensor.nbytes() > 0) std::memcpy(data, tensor.data_ptr(), tensor.nbytes());
  return buffer;
}

napi_value item(napi_env env, Arguments& a) {
  const at::Tensor& tensor = tensorOf(env, a[0]);
  if (tensor.numel() != 1) throw Misuse("item() needs a tensor of one element, got " + describe(tensor));
  const at::Scalar scalar = tensor.item();
  return toNumber(env, scalar.isBoolean() ? (scalar.toBool() ? 1.0 : 0.0) : scalar.toDouble());
}

napi_value shape(napi_env env, Arguments& a) {
  const at::Tensor& tensor = tensorOf(env, a[0]);
  std::vector<napi_value> sizes;
  for (int64_t size : tensor.sizes()) sizes.push_back(toNumber(env, static_cast<double>(size)));
  return array(env, sizes);
}

napi_value strides(napi_env env, Arguments& a) {
  const at::Tensor& tensor = tensorOf(env, a[0]);
  std::vector<napi_value> steps;
  for (int64_t step : tensor.strides()) steps.push_back(toNumber(env, static_cast<double>(step)));
  return array(env, steps);
}

napi_value dtype(napi_env env, Arguments& a) { return toNumber(env, static_cast<double>(tensorOf(env, a[0]).scalar_type())); }
napi_value device(napi_env env, Arguments& a) { return toText(env, tensorOf(env, a[0]).device().str()); }
napi_value text(napi_env env, Arguments& a) { return toText(env, describe(tensorOf(env, a[0]))); }

/** dispose([tensor, ...]) */
napi_value dispose(napi_env env, Arguments& a) {
  eachItem(env, a[0], [env](napi_value tensor) { disposeHandle(env, tensor); });
  return undefined(env);
}

/** share(tensor): another handle of the same tensor. */
napi_value share(napi_env env, Arguments& a) { return wrap(env, tensorOf(env, a[0])); }

napi_value disposed(napi_env env, Arguments&) { return emptyHandle(env); }

/** countMemory(on): whether the collector is told of the memory of tensors made from here on. */
napi_value countMemory(napi_env env, Arguments& a) {
  setReporting(booleanOf(env, a[0]));
  return undefined(env);
}

napi_value live(napi_env env, Arguments&) { return toNumber(env, static_cast<double>(liveTensors())); }

/** mapFile(path): the whole file as uint8[bytes], mapped privately: nothing is read before it is used. */
napi_value mapFile(napi_env env, Arguments& a) {
  const std::string path = stringOf(env, a[0]);
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) throw Misuse(path + ": " + std::strerror(errno));
  struct stat status;
  if (fstat(fd, &status) != 0 || status.st_size == 0) {
    close(fd);
    throw Misuse(path + ": is empty or cannot be read");
  }
  const auto size = static_cast<size_t>(status.st_size);
  void* data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  const int problem = errno;
  close(fd);
  if (data == MAP_FAILED) throw Misuse(path + ": " + std::strerror(problem));
  return wrap(env, at::from_blob(data, {static_cast<int64_t>(size)}, [size](void* p) { munmap(p, size); }, at::kByte));
}

/** Also of OpenBLAS where that does the matrix products: it takes no orders from libtorch and would use every core. */
napi_value setThreads(napi_env env, Arguments& a) {
  const auto count = static_cast<int>(integerOf(env, a[0]));
  at::set_num_threads(count);
  if (void* blas = dlsym(RTLD_DEFAULT, "openblas_set_num_threads")) reinterpret_cast<void (*)(int)>(blas)(count);
  return undefined(env);
}

napi_value threads(napi_env env, Arguments&) { return toNumber(env, at::get_num_threads()); }

}  // namespace

void defineTensor(napi_env env, napi_value exports) {
  define<fromBytes>(env, exports, "fromBytes");
  define<toBytes>(env, exports, "toBytes");
  define<item>(env, exports, "item");
  define<shape>(env, exports, "shape");
  define<strides>(env, exports, "strides");
  define<dtype>(env, exports, "dtype");
  define<device>(env, exports, "device");
  define<text>(env, exports, "describe");
  define<dispose>(env, exports, "dispose");
  define<disposed>(env, exports, "disposedHandle");
  define<share>(env, exports, "share");
  define<countMemory>(env, exports, "countMemory");
  define<live>(env, exports, "liveTensors");
  define<mapFile>(env, exports, "mapFile");
  define<setThreads>(env, exports, "setThreads");
  define<threads>(env, exports, "threads");
}

}  // namespace varidiff
