// Comparing libtorch's version in the preprocessor.
#pragma once

#include <torch/csrc/api/include/torch/version.h>

#define VARIDIFF_TORCH_AT_LEAST(MAJOR, MINOR) \
  (TORCH_VERSION_MAJOR > (MAJOR) || (TORCH_VERSION_MAJOR == (MAJOR) && TORCH_VERSION_MINOR >= (MINOR)))
