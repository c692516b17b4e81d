// What the kernels need to know of autocast, whose interface libtorch changed.
#pragma once

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>

#include "../torch-at-least.h"

namespace varidiff {

/** The type that convolutions and matrix products of x are computed in where autocast is on for its device. */
inline c10::optional<at::ScalarType> autocastType(const at::Tensor& x) {
#if VARIDIFF_TORCH_AT_LEAST(2, 4)
  const auto device = x.device().type();
  if (at::autocast::is_autocast_enabled(device)) return at::autocast::get_autocast_dtype(device);
#else
  if (x.device().is_cpu() && at::autocast::is_cpu_enabled()) return at::autocast::get_autocast_cpu_dtype();
  if (x.device().is_cuda() && at::autocast::is_enabled()) return at::autocast::get_autocast_gpu_dtype();
#endif
  return c10::nullopt;
}

}  // namespace varidiff
