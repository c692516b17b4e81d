// Generators: made, seeded, and their states taken and given back. The global generator is never used.
#include "core.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/core/MT19937RNGEngine.h>

#include <array>

namespace varidiff {

namespace {

/** A generator for "cpu" or "cuda[:i]". */
napi_value makeGenerator(napi_env env, Arguments& a) {
  const c10::Device device(stringOf(env, a[0]));
  if (device.is_cpu()) return wrap(env, at::make_generator<at::CPUGeneratorImpl>());
  return wrap(env, at::globalContext().defaultGenerator(device).clone());
}

/** seed(generator, n): the stream that Python's manual_seed(n) gives. */
napi_value seed(napi_env env, Arguments& a) {
  generatorOf(env, a[0]).set_current_seed(static_cast<uint64_t>(integerOf(env, a[1])));
  return undefined(env);
}

uint64_t splitmix(uint64_t& state) {
  uint64_t z = (state += 0x9e3779b97f4a7c15ull);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

/**
 * seedWide(generator, key: bigint): all 64 bits of the key count. ATen's CPU generator seeds its Mersenne twister with
 * the lower 32 bits only, too few for one stream a step; here the whole state of 624 words is filled from the key.
 */
napi_value seedWide(napi_env env, Arguments& a) {
  uint64_t key;
  bool lossless;
  if (napi_get_value_bigint_uint64(env, a[1], &key, &lossless) != napi_ok) throw Misuse("expected a bigint");
  at::Generator& generator = generatorOf(env, a[0]);
  if (generator.device().type() != at::kCPU) {
    generator.set_current_seed(key);
    return undefined(env);
  }
  at::mt19937_data_pod data;
  data.seed_ = key;
  data.left_ = 1;
  data.next_ = 0;
  data.seeded_ = true;
  uint64_t state = key;
  for (auto& word : data.state_) word = static_cast<uint32_t>(splitmix(state) >> 32);
  data.state_[0] |= 0x80000000u;  // never the all-zero state
  at::mt19937 engine;
  engine.set_data(data);
  auto* cpu = at::check_generator<at::CPUGeneratorImpl>(generator);
  cpu->set_engine(engine);
  cpu->set_next_float_normal_sample(c10::nullopt);
  cpu->set_next_double_normal_sample(c10::nullopt);
  return undefined(env);
}

napi_value generatorState(napi_env env, Arguments& a) { return wrap(env, generatorOf(env, a[0]).get_state()); }

napi_value setGeneratorState(napi_env env, Arguments& a) {
  generatorOf(env, a[0]).set_state(tensorOf(env, a[1]));
  return undefined(env);
}

}  // namespace

void defineRandom(napi_env env, napi_value exports) {
  define<makeGenerator>(env, exports, "makeGenerator");
  define<seed>(env, exports, "seed");
  define<seedWide>(env, exports, "seedWide");
  define<generatorState>(env, exports, "generatorState");
  define<setGeneratorState>(env, exports, "setGeneratorState");
}

}  // namespace varidiff
