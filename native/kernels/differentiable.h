// What backward of a kernel is made of where its gradient has to be differentiated again: libtorch's own operators.
#pragma once

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/variable.h>

namespace varidiff {

/** Views to differentiate by: a gradient that stops at them does not go on into an input that another one was made of. */
inline torch::autograd::variable_list aliases(const torch::autograd::variable_list& inputs) {
  torch::autograd::variable_list views;
  for (const at::Tensor& input : inputs) views.push_back(input.defined() ? input.view_as(input) : input);
  return views;
}

/** Those of `inputs` that want them, undefined for the others; a graph goes with them. */
inline torch::autograd::variable_list gradients(const at::Tensor& y, const torch::autograd::variable_list& inputs, const at::Tensor& dy) {
  torch::autograd::variable_list wanted, result(inputs.size());
  for (const at::Tensor& input : inputs)
    if (input.defined() && input.requires_grad()) wanted.push_back(input);
  if (wanted.empty()) return result;
  const auto found = torch::autograd::grad({y}, wanted, {dy}, true, true, true);
  size_t next = 0;
  for (size_t i = 0; i < inputs.size(); ++i)
    if (inputs[i].defined() && inputs[i].requires_grad()) result[i] = found[next++];
  return result;
}

}  // namespace varidiff
