// The addon: registers every function, and sets the allocator up for tensors that come and go each step.
#include "core.h"
#include "kernels/winograd.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <malloc.h>
#include <torch/csrc/api/include/torch/version.h>

namespace varidiff {

static napi_value version(napi_env env, Arguments&) {
  napi_value object;
  check(env, napi_create_object(env, &object));
  setProperty(env, object, "torch", toText(env, TORCH_VERSION));
  setProperty(env, object, "cuda", toBoolean(env, at::hasCUDA()));
  setProperty(env, object, "cudaDevices", toNumber(env, at::hasCUDA() ? static_cast<double>(at::detail::getCUDAHooks().getNumGPUs()) : 0));
  setProperty(env, object, "threads", toNumber(env, at::get_num_threads()));
  setProperty(env, object, "configuration", toText(env, at::show_config()));
  std::vector<napi_value> formats;
  if (winograd::supported<float>()) formats.push_back(toText(env, "float32"));
  if (winograd::supported<c10::BFloat16>()) formats.push_back(toText(env, "bfloat16"));
  setProperty(env, object, "winograd", array(env, formats));
  return object;
}

}  // namespace varidiff

NAPI_MODULE_INIT() {
  // Tensors of a step are returned to the heap, not to the kernel: measured 5 to 20 % of a step. Both are needed.
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 0x7fffffff);
  using namespace varidiff;
  define<version>(env, exports, "version");
  defineTensor(env, exports);
  defineDispatch(env, exports);
  defineAutograd(env, exports);
  defineCheckpoint(env, exports);
  defineRandom(env, exports);
  defineScript(env, exports);
  defineProfile(env, exports);
  defineCuda(env, exports);
#ifdef VARIDIFF_CUDA
  defineCudaGraph(env, exports);
#endif
  return exports;
}
