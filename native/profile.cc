// Where a step's time goes: self time of every operator, forward and backward, while switched on.
#include "core.h"

#include <ATen/record_function.h>

#include <chrono>
#include <mutex>
#include <unordered_map>

namespace varidiff {

namespace {

using Clock = std::chrono::steady_clock;

struct Row {
  int64_t calls = 0;
  int64_t nanoseconds = 0;
};

std::mutex lock;
std::unordered_map<std::string, Row> rows;
at::CallbackHandle handle = 0;
bool running = false;

struct Frame : at::ObserverContext {
  Clock::time_point start = Clock::now();
  int64_t inside = 0;  // time of the operators called by this one
  Frame* parent = nullptr;
};

thread_local Frame* current = nullptr;

std::unique_ptr<at::ObserverContext> enter(const at::RecordFunction&) {
  auto frame = std::make_unique<Frame>();
  frame->parent = current;
  current = frame.get();
  return frame;
}

void leave(const at::RecordFunction& function, at::ObserverContext* context) {
  auto* frame = static_cast<Frame*>(context);
  const int64_t total = std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - frame->start).count();
  current = frame->parent;
  if (current) current->inside += total;
  std::lock_guard<std::mutex> guard(lock);
  Row& row = rows[function.name()];
  row.calls += 1;
  row.nanoseconds += total - frame->inside;
}

napi_value startProfile(napi_env env, Arguments&) {
  if (running) throw Misuse("a profile is already being taken");
  rows.clear();
  running = true;
  handle = at::addGlobalCallback(
      at::RecordFunctionCallback(enter, leave).scopes({at::RecordScope::FUNCTION, at::RecordScope::BACKWARD_FUNCTION}));
  return undefined(env);
}

/** stopProfile() -> [name, calls, seconds][] */
napi_value stopProfile(napi_env env, Arguments&) {
  if (!running) throw Misuse("no profile is being taken");
  at::removeCallback(handle);
  running = false;
  std::vector<napi_value> result;
  for (const auto& [name, row] : rows)
    result.push_back(array(env, {toText(env, name), toNumber(env, static_cast<double>(row.calls)),
                                 toNumber(env, static_cast<double>(row.nanoseconds) * 1e-9)}));
  return array(env, result);
}

}  // namespace

void defineProfile(napi_env env, napi_value exports) {
  define<startProfile>(env, exports, "startProfile");
  define<stopProfile>(env, exports, "stopProfile");
}

}  // namespace varidiff
