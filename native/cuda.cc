// CUDA devices: their work waited for, their names, the memory that tensors took there.
#include "core.h"

#include <ATen/Context.h>
#include <ATen/detail/CUDAHooksInterface.h>

#ifdef VARIDIFF_CUDA
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAException.h>
#endif

namespace varidiff {

namespace {

c10::DeviceIndex indexOf(napi_env env, napi_value value) {
  const int64_t index = integerOf(env, value);
  const int64_t count = at::hasCUDA() ? at::detail::getCUDAHooks().getNumGPUs() : 0;
  if (index < 0 || index >= count) throw Misuse("expected a CUDA device below " + std::to_string(count) + ", got " + std::to_string(index));
  return static_cast<c10::DeviceIndex>(index);
}

/** synchronise(device): returns when all its work is done. */
napi_value synchronise(napi_env env, Arguments& a) {
  at::detail::getCUDAHooks().deviceSynchronize(indexOf(env, a[0]));
  return undefined(env);
}

#ifdef VARIDIFF_CUDA

napi_value deviceName(napi_env env, Arguments& a) {
  cudaDeviceProp properties;
  C10_CUDA_CHECK(cudaGetDeviceProperties(&properties, indexOf(env, a[0])));
  return toText(env, properties.name);
}

/** The first of the statistics is the sum over both kinds of blocks, as in `torch.cuda.max_memory_allocated`. */
napi_value peakDeviceBytes(napi_env env, Arguments& a) {
  return toNumber(env, static_cast<double>(c10::cuda::CUDACachingAllocator::getDeviceStats(indexOf(env, a[0])).allocated_bytes[0].peak));
}

/** From now on: the peak becomes what is taken at present. */
napi_value resetPeakDeviceBytes(napi_env env, Arguments& a) {
  c10::cuda::CUDACachingAllocator::resetPeakStats(indexOf(env, a[0]));
  return undefined(env);
}

#endif

}  // namespace

void defineCuda(napi_env env, napi_value exports) {
  define<synchronise>(env, exports, "synchronise");
#ifdef VARIDIFF_CUDA
  define<deviceName>(env, exports, "deviceName");
  define<peakDeviceBytes>(env, exports, "peakDeviceBytes");
  define<resetPeakDeviceBytes>(env, exports, "resetPeakDeviceBytes");
#endif
}

}  // namespace varidiff
