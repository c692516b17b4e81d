// Segments of a graph that keep their inputs alone: what lies between is computed again when backward reaches them.
#include "core.h"

#include <ATen/autocast_mode.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/engine.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>

#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>

namespace varidiff {

namespace {

using torch::autograd::Node;
using torch::autograd::SavedVariable;
using torch::autograd::variable_list;

/** Nodes of a graph are shared in the standard library's way, and in newer versions of libtorch in its own. */
constexpr bool sharesByStandard = std::is_same_v<decltype(torch::autograd::Edge::function), std::shared_ptr<Node>>;
template <typename T>
using Shared = std::conditional_t<sharesByStandard, std::shared_ptr<T>, c10::intrusive_ptr<T>>;

template <typename T, typename... A>
Shared<T> makeNode(A&&... arguments) {
  if constexpr (sharesByStandard)
    return Shared<T>(new T(std::forward<A>(arguments)...), [](T* node) { deleteNode(node); });
  else
    return c10::make_intrusive<T>(std::forward<A>(arguments)...);
}

/** What passes on that a node was reached. On the CPU, wherever the gradients are: see `Recompute`. */
at::Tensor token() { return at::zeros({}, at::kFloat); }

/** Catches the gradients that reach it. */
struct Stash : Node {
  std::shared_ptr<variable_list> caught = std::make_shared<variable_list>();

  variable_list apply(variable_list&& gradients) override {
    *caught = std::move(gradients);
    return num_outputs() == 0 ? variable_list{} : variable_list{token()};
  }
  std::string name() const override { return "Stash"; }
};

// A graph may be freed on any thread and inside the collector, where no reference may be deleted: those of its nodes wait
// here for the next segment of their own thread.
struct Abandoned {
  std::mutex mutex;
  std::vector<napi_ref> references;
};

thread_local const auto abandoned = std::make_shared<Abandoned>();

void deleteAbandoned(napi_env env) {
  const std::lock_guard<std::mutex> lock(abandoned->mutex);
  for (napi_ref reference : abandoned->references) napi_delete_reference(env, reference);
  abandoned->references.clear();
}

/**
 * Runs a segment again with a graph, and that graph's backward: parameters inside accumulate their gradients there, those of
 * the inputs go on from here. What a `Stash` behind the segment caught comes in beside the graph: all that this node is
 * handed is a token on the CPU, by which libtorch runs it on the thread that called backward, the only one that may call
 * JavaScript, also where the gradients are on another device.
 */
struct Recompute : Node {
  std::vector<SavedVariable> inputs;
  std::shared_ptr<variable_list> gradients;

  Recompute(napi_env env, napi_value run) : env_(env) { check(env, napi_create_reference(env, run, 1, &run_)); }

  ~Recompute() override { abandon(); }

  variable_list apply(variable_list&&) override {
    if (c10::GradMode::is_enabled())
      throw std::runtime_error("a checkpointed segment has no second derivatives: compute it without checkpoint()");
    if (!torch::autograd::Engine::get_default_engine().is_checkpoint_valid())
      throw std::runtime_error("expected backward() of a checkpointed segment, got grad(): compute it without checkpoint()");
    if (std::this_thread::get_id() != thread_)
      throw std::runtime_error("expected backward() of a checkpointed segment on the thread that made it");

    if (run_ == nullptr) throw std::runtime_error("backward() has freed this checkpointed segment: give it retainGraph to come again");
    const variable_list reached = std::move(*gradients);
    const auto stash = makeNode<Stash>();
    variable_list entries;
    for (const SavedVariable& input : inputs) entries.push_back(entry(input.unpack(), stash));
    const variable_list outputs = run(entries);
    if (outputs.size() != reached.size())
      throw std::runtime_error("a checkpointed segment returned another number of tensors when it was computed again");

    variable_list roots, cotangents;
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (!reached[i].defined() || !outputs[i].requires_grad()) continue;
      roots.push_back(outputs[i]);
      cotangents.push_back(reached[i]);
    }
    if (!roots.empty()) torch::autograd::backward(roots, cotangents);
    variable_list result = std::move(*stash->caught);
    result.resize(inputs.size());
    return result;
  }

  void release_variables() override {
    for (SavedVariable& input : inputs) input.reset_data();
    abandon(); // what the segment closes over may be what this node hangs on
  }
  std::string name() const override { return "Recompute"; }

 private:
  /** An input cut from its past, with the gradient caught: no leaf, which autocast would take for a weight. */
  static at::Tensor entry(const at::Tensor& input, const Shared<Stash>& stash) {
    at::Tensor cut = input.detach();
    if (input.requires_grad())
      torch::autograd::set_history(cut, stash);
    else
      stash->add_input_metadata(Node::undefined_input());
    return cut;
  }

  variable_list run(const variable_list& entries) const {
    try {
      std::vector<napi_value> handles;
      for (const at::Tensor& tensor : entries) handles.push_back(wrap(env_, tensor));
      const napi_value argument = array(env_, handles);
      napi_value function, global, result;
      check(env_, napi_get_reference_value(env_, run_, &function));
      check(env_, napi_get_global(env_, &global));
      check(env_, napi_call_function(env_, global, function, 1, &argument, &result));
      const variable_list outputs = tensorsOf(env_, result);
      // Handles of their own, see checkpoint.ts: what they keep alive ends with this node.
      eachItem(env_, result, [&](napi_value item) { disposeHandle(env_, item); });
      return outputs;
    } catch (const Pending&) { // libtorch passes only exceptions of the standard library on to the caller of backward
      throw std::runtime_error("a checkpointed segment could not be computed again");
    }
  }

  /** Lets go of the segment. */
  void abandon() {
    const auto home = home_.lock();
    if (!home || run_ == nullptr) return;
    const std::lock_guard<std::mutex> lock(home->mutex);
    home->references.push_back(run_);
    run_ = nullptr;
  }

  napi_env env_;
  napi_ref run_ = nullptr;
  std::thread::id thread_ = std::this_thread::get_id();
  std::weak_ptr<Abandoned> home_ = abandoned;
};

/**
 * checkpoint([input], [output], run) -> outputs whose gradients are those of `run([input]) -> [output]`. The outputs given
 * were computed without a graph.
 */
napi_value checkpoint(napi_env env, Arguments& a) {
  deleteAbandoned(env);
  // Weights that autocast has cast without a graph would serve again where there is one, and get no gradient.
  at::autocast::clear_cache();
  const variable_list inputs = tensorsOf(env, a[0]);
  const auto recompute = makeNode<Recompute>(env, a[2]);
  for (const at::Tensor& input : inputs) recompute->inputs.emplace_back(input, /*is_output=*/false);
  recompute->set_next_edges(torch::autograd::collect_next_edges(inputs));
  recompute->add_input_metadata(token());
  const auto stash = makeNode<Stash>();
  recompute->gradients = stash->caught;
  stash->add_next_edge({recompute, 0});
  std::vector<napi_value> items;
  for (const at::Tensor& output : tensorsOf(env, a[1])) {
    at::Tensor result = output.detach();
    if (torch::autograd::isDifferentiableType(result.scalar_type())) torch::autograd::set_history(result, stash);
    else stash->add_input_metadata(Node::undefined_input());
    items.push_back(wrap(env, result));
  }
  return array(env, items);
}

}  // namespace

void defineCheckpoint(napi_env env, napi_value exports) { define<checkpoint>(env, exports, "checkpoint"); }

}  // namespace varidiff
