/** The guided-diffusion U-Net against golden/daed/unet_io, and the embedding of steps against golden/daed/schedules. */
import { afterEach, describe, expect, test, vi } from "vitest";
import { routed } from "../../src/diffusion/chain/routing.js";
import { stepEmbedding } from "../../src/networks/index.js";
import type { Module } from "../../src/nn/index.js";
import { grad, type Tensor } from "../../src/torch/index.js";
import { close, GoldenFile } from "../golden.js";
import { storedUnet, storedWeights } from "./stored-unet.js";

const file = new GoldenFile("daed", "unet_io");
const schedules = new GoldenFile("daed", "schedules");

afterEach(() => {
  vi.restoreAllMocks();
});

test.each(schedules.matching(/^timestep_embedding\/dim(\d+)$/))("timestep_embedding/dim%s", (dim) => {
  const t = schedules.tensor("timestep_embedding/t");
  const expected = schedules.tensor(`timestep_embedding/dim${dim}`);
  const actual = stepEmbedding(t, Number(dim));
  for (const [i, time] of t.toArray().entries())
    close(actual.select(0, i), expected.select(0, i), 0, `t = ${time}`, { absolute: 1e-6 + 6e-8 * time });
});

const cases = { learn_sigma0: {}, learn_sigma1: { "out.2.weight": true, "out.2.bias": true } };

describe.each(Object.entries(cases))("%s", (name, changed) => {
  const weights = storedWeights(
    Object.fromEntries(Object.keys(changed).map((key) => [key, file.tensor(`${name}/${key}`)])),
  );
  const t = file.tensor("t").to("int64");

  test("has exactly the official parameters, in their order", () => {
    const network = storedUnet(weights, { dtype: "float32" });
    expect([...network.namedParameters()].map(([key]) => key)).toEqual([...storedWeights().keys()]);
  });

  // The float64 run of the reference rounds the embedding's frequencies to float32: an angle error of 4e-8 t, t < 50.
  test.each([
    ["float32", "f32", 2e-5],
    ["float64", "f64", 1e-6],
  ] as const)("output in %s", (dtype, suffix, absolute) => {
    const network = storedUnet(weights, { dtype });
    const out = network.forward(file.tensor("x").to(dtype), t, undefined, {});
    expect(out.dtype).toBe(dtype);
    close(out.to("float64"), file.tensor(`${name}/out_${suffix}`), 0, "out", { absolute });
  });

  test("every block on the way", () => {
    const network = storedUnet(weights, { dtype: "float64" });
    const last: Record<string, Module & { forward(...of: never[]): Tensor }> = {
      time_embed: network.time_embed[2],
    };
    const blocks = {
      ...Object.fromEntries(network.input_blocks.map((layers, i) => [`input_blocks.${i}`, layers])),
      middle_block: network.middle_block,
      ...Object.fromEntries(network.output_blocks.map((layers, i) => [`output_blocks.${i}`, layers])),
    };
    for (const [key, layers] of Object.entries(blocks)) last[key] = layers[layers.length - 1] as never;
    const traces = new Map<string, number[]>();
    for (const [key, layer] of Object.entries(last)) {
      const forward = layer.forward.bind(layer);
      vi.spyOn(layer, "forward").mockImplementation((...given) => {
        const output = forward(...given);
        const mean = output.mean();
        const deviation = output.sub(mean).square().mean().sqrt();
        const first = output.select(0, 0).toArray().slice(0, 14);
        traces.set(key, [mean.item(), deviation.item(), ...first]);
        return output;
      });
    }
    network.forward(file.tensor("x"), t, undefined, {});

    const traced = file.matching(new RegExp(`^${name}/trace/(.+)$`));
    expect([...traces.keys()].sort()).toEqual([...traced].sort());
    for (const [key, trace] of traces)
      close(trace, file.numbers(`${name}/trace/${key}`), 0, key, { absolute: 2e-5 });
  });

  test("gradients of the sum", () => {
    const network = storedUnet(weights, { dtype: "float32" });
    const x = file.tensor("x").to("float32").requireGrad();
    const inputs = new Map([["x", x], ...network.values()]);
    const keys = file.matching(new RegExp(`^${name}/grad_sum/(.+)$`));
    const out = network.forward(x, t, undefined, {});
    const gradients = grad(
      [out.sum()],
      keys.map((key) => inputs.get(key) as Tensor),
    );
    for (const [i, key] of keys.entries())
      close(gradients[i]?.to("float64"), file.tensor(`${name}/grad_sum/${key}`), 0, key, { absolute: 1e-4 });
  });

  test("norms of all gradients of the squared error", () => {
    const network = storedUnet(weights, { dtype: "float64" });
    const out = network.forward(file.tensor("x"), t, undefined, {});
    const target = file.tensor("target").narrow(1, 0, out.dim(1));
    const gradients = grad(
      [out.sub(target).square().mean()],
      network.parameters().map(({ value }) => value),
    );
    const norms = gradients.map((gradient) => gradient?.square().sum().sqrt().item() ?? Number.NaN);
    const expected = file.tensor(`${name}/grad_mse_l2norm_all_params`);
    close(norms, expected, 1e-4, "norms", { rule: "relative", absolute: 1e-7 });
  });
});

test("two_parts: images of t = 0 go to the first network, the others to the second", () => {
  const weights = storedWeights();
  const of = (key: string) => (weights.get(key) as Tensor).to("float32");
  const first = storedUnet(weights, { dtype: "float32" });
  const rest = storedUnet(
    storedWeights({
      "out.2.weight": of("out.2.weight").neg(),
      "time_embed.0.bias": of("time_embed.0.bias").add(0.5),
    }),
    { dtype: "float32" },
  );
  const x = file.tensor("two_parts/x").to("float32");
  const out = routed(first, rest, x, file.tensor("two_parts/t"), undefined, {});
  close(out.to("float64"), file.tensor("two_parts/out_f32"), 0, "out", { absolute: 2e-5 });
});
