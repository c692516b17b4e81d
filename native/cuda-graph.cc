// CUDA graphs: the work of a stream recorded once and launched whole. Exported only where CUDA's headers were there.
#include "core.h"

#ifdef VARIDIFF_CUDA

// First: members of at::cuda::CUDAGraph depend on CUDA_VERSION, which is defined here alone.
#include <cuda.h>

#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAStream.h>

namespace varidiff {

namespace {

struct GraphHandle : Handle {
  at::cuda::CUDAGraph graph;
  c10::cuda::CUDAStream stream;  // that the graph is warmed up and recorded on: the default stream cannot be recorded
  c10::cuda::CUDAStream outside;
  c10::DeviceIndex outsideDevice = 0;
  explicit GraphHandle(c10::DeviceIndex device)
      : Handle(Kind::Graph), stream(c10::cuda::getStreamFromPool(false, device)), outside(c10::cuda::getCurrentCUDAStream(device)) {}
};

void finalizeGraph(node_api_basic_env, void* data, void*) { delete static_cast<GraphHandle*>(data); }

GraphHandle& graphOf(napi_env env, napi_value value) {
  Handle* handle = handleOf(env, value);
  if (handle == nullptr || handle->kind != Kind::Graph) throw Misuse("expected a CUDA graph");
  return *static_cast<GraphHandle*>(handle);
}

/** makeGraph(device index) */
napi_value makeGraph(napi_env env, Arguments& a) {
  auto* handle = new GraphHandle(static_cast<c10::DeviceIndex>(integerOf(env, a[0])));
  napi_value value;
  check(env, napi_create_external(env, handle, finalizeGraph, nullptr, &value));
  return value;
}

/** enterGraphStream(graph): what follows runs on its stream, behind everything before. */
napi_value enterGraphStream(napi_env env, Arguments& a) {
  GraphHandle& handle = graphOf(env, a[0]);
  handle.outsideDevice = c10::cuda::current_device();
  c10::cuda::set_device(handle.stream.device_index());
  c10::cuda::device_synchronize();
  handle.outside = c10::cuda::getCurrentCUDAStream();
  c10::cuda::setCurrentCUDAStream(handle.stream);
  return undefined(env);
}

/** leaveGraphStream(graph): back to the stream before, behind everything on this one. */
napi_value leaveGraphStream(napi_env env, Arguments& a) {
  GraphHandle& handle = graphOf(env, a[0]);
  c10::cuda::setCurrentCUDAStream(handle.outside);
  c10::cuda::device_synchronize();
  c10::cuda::set_device(handle.outsideDevice);
  return undefined(env);
}

/** beginCapture(graph): what follows is recorded and does not run. On the graph's stream alone. */
napi_value beginCapture(napi_env env, Arguments& a) {
  graphOf(env, a[0]).graph.capture_begin();
  return undefined(env);
}

/** endCapture(graph) */
napi_value endCapture(napi_env env, Arguments& a) {
  graphOf(env, a[0]).graph.capture_end();
  return undefined(env);
}

/** replayGraph(graph): on the current stream; returns before it is done. */
napi_value replayGraph(napi_env env, Arguments& a) {
  graphOf(env, a[0]).graph.replay();
  return undefined(env);
}

/** resetGraph(graph): frees the recording and its memory; tensors made in it are no longer to be used. */
napi_value resetGraph(napi_env env, Arguments& a) {
  graphOf(env, a[0]).graph.reset();
  return undefined(env);
}

}  // namespace

void defineCudaGraph(napi_env env, napi_value exports) {
  define<makeGraph>(env, exports, "makeGraph");
  define<enterGraphStream>(env, exports, "enterGraphStream");
  define<leaveGraphStream>(env, exports, "leaveGraphStream");
  define<beginCapture>(env, exports, "beginCapture");
  define<endCapture>(env, exports, "endCapture");
  define<replayGraph>(env, exports, "replayGraph");
  define<resetGraph>(env, exports, "resetGraph");
}

}  // namespace varidiff

#endif
