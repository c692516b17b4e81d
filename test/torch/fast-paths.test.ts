/** The kernels are taken where the processor, by its own account, has what they need: a fallback would pass all other tests. */
import fs from "node:fs";
import { describe, expect, test } from "vitest";
import { attention, conv2d, type FloatDtype, ones, profile, type Tensor } from "../../src/torch/index.js";

const flags = /^flags\s*:(.*)$/m.exec(fs.readFileSync("/proc/cpuinfo", "utf8"))?.[1]?.split(" ") ?? [];
const has = (...names: readonly string[]) => names.every((name) => flags.includes(name));
const wide = has("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "fma");

/** Names of the operators behind the gradient of `run` in x. */
function operators(x: Tensor, run: (x: Tensor) => Tensor): string {
  const leaf = x.detach().requireGrad();
  return profile(() => run(leaf).sum().backward())
    .rows.map(({ name }) => name)
    .join(" ");
}

describe.each([
  ["float32", wide, wide],
  ["bfloat16", wide && has("avx512_bf16") && !has("amx_bf16"), wide && has("avx512_bf16")],
] as const)("%s", (dtype: FloatDtype, winograd, fused) => {
  test("convolution", () => {
    const weight = ones([32, 32, 3, 3], { dtype });
    const found = operators(ones([2, 32, 8, 8], { dtype }).clone("channelsLast"), (x) =>
      conv2d(x, weight, null, { padding: 1 }),
    );
    expect(found.includes("Convolution3x3")).toBe(winograd);
  });

  test("attention", () => {
    const found = operators(ones([1, 9, 3 * 16], { dtype }), (qkv) => attention(qkv));
    expect(found.includes("bmm")).toBe(!fused);
  });
});
