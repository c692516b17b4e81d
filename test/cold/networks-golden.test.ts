/** The U-Nets of cold diffusion against golden/vcd: small networks with their gradients, and the embedding of levels. */
import { describe, expect, test } from "vitest";
import type { LevelTimes } from "../../src/diffusion/cold/level-network.js";
import {
  ColdUnet,
  type LatentLocation,
  stepEmbedding,
  VariationalUnet,
  type VariationalUnetOptions,
} from "../../src/networks/index.js";
import type { Module } from "../../src/nn/index.js";
import { type FloatDtype, grad, noGrad, type Tensor } from "../../src/torch/index.js";
import { close, GoldenFile, same } from "../golden.js";
import { goldenMetadata, hashWeight, loadHashWeights } from "./hash-weights.js";

/** The README's tolerances: of results, and of gradients as a part of the tensor's largest. */
const absolute = 3e-5;
const gradientError = 5e-5;
const dtypes: readonly FloatDtype[] = ["float32", "float64"];

/** How the files name a network's options. */
interface StoredOptions {
  readonly image_size: number;
  readonly in_channels: number;
  readonly dim: number;
  readonly num_res_blocks: number;
  readonly attention_levels: readonly number[];
  readonly dropout: number;
  readonly ch_mult: readonly number[];
  readonly norm_groups: number;
  readonly t2?: boolean;
  readonly var_timestep?: boolean;
  readonly latent_dim: number;
  readonly vae_loc: LatentLocation;
  readonly vae_inject: "concat" | "add";
  readonly noise_scale: number;
  readonly beta: number;
}

function described(name: string) {
  const { config = "", param_order = "", weights = "" } = goldenMetadata(name);
  const stored = JSON.parse(config) as StoredOptions;
  const options: VariationalUnetOptions = {
    imageChannels: stored.in_channels,
    imageSize: [stored.image_size, stored.image_size],
    channels: stored.dim,
    channelMultipliers: stored.ch_mult,
    residualBlocks: stored.num_res_blocks,
    attentionLevels: stored.attention_levels,
    dropout: stored.dropout,
    groups: stored.norm_groups,
    times: (stored.t2 ?? stored.var_timestep) ? "two" : "one",
    latentSize: stored.latent_dim,
    location: stored.vae_loc,
    injection: stored.vae_inject,
  };
  const salt = /salt "(.*)"/.exec(weights)?.[1] ?? "";
  return { stored, options, order: JSON.parse(param_order) as string[], salt };
}

/** Networks of one time have no t2 in their file, and do not look at it. */
function timesOf(file: GoldenFile): LevelTimes {
  const t = file.tensor("in.t").to("int64");
  return { t, t2: file.has("in.t2") ? file.tensor("in.t2").to("int64") : t };
}

const squaredError = (a: Tensor, b: Tensor) => a.sub(b).square().sum().div(a.dim(0));

/** The README's measure. */
function closeGradient(actual: Tensor | null | undefined, expected: Tensor, what: string): void {
  close(actual?.to("float64"), expected, 0, what, { absolute: gradientError * expected.abs().max().item() });
}

/** `out.grad_norms` of all parameters, every `out.grad.*`, and `out.grad_x` where it is stored. */
function checkGradients(loss: Tensor, network: Module, x: Tensor, file: GoldenFile): void {
  const named = new Map([["x", x], ...network.values()]);
  const gradients = grad([loss], [...named.values()]);
  const found = new Map([...named.keys()].map((name, i) => [name, gradients[i]]));
  const norms = network.values().map(([name]) => found.get(name)?.square().sum().sqrt().item() ?? Number.NaN);
  const expected = file.tensor("out.grad_norms");
  close(norms, expected, 0, "norms", { absolute: gradientError * expected.max().item() });
  if (file.has("out.grad_x")) closeGradient(found.get("x"), file.tensor("out.grad_x"), "x");
  for (const key of file.keys.filter((key) => key.startsWith("out.grad.")))
    closeGradient(found.get(key.slice("out.grad.".length)), file.tensor(key), key);
}

test.each([16, 17, 64])("timestep_embedding: %i numbers of a time", (dim) => {
  const file = new GoldenFile("vcd", "timestep_embedding");
  const t = file.tensor("temb.t");
  const actual = stepEmbedding(t, dim);
  const expected = file.tensor(`temb.dim${dim}`);
  for (const [i, time] of t.toArray().entries()) {
    // The README's; at t = 199 its 5e-6 are less than the reference's own rounding, 6e-8 of each angle in float32.
    const absolute = time === 199 ? 6e-8 * time : 2e-6;
    close(actual.select(0, i), expected.select(0, i), 0, `t = ${time}`, { absolute });
  }
});

test.each(["unet_small_t2", "vae_unet_small_emb_concat_t2"])("%s: hashed weights bit for bit", (name) => {
  const file = new GoldenFile("vcd", name);
  const { salt, order } = described(name);
  expect(file.matching(/^state\.(.+)$/)).toEqual(order);
  for (const parameter of order) {
    const stored = file.tensor(`state.${parameter}`);
    same(hashWeight(parameter, stored.shape, salt).to("float64"), stored, parameter);
  }
});

describe.each(["unet_small_t2", "unet_small_plain"])("%s", (name) => {
  const file = new GoldenFile("vcd", name);
  const { options, order, salt } = described(name);

  test.each(dtypes)("output, loss and gradients in %s", (dtype) => {
    const network = loadHashWeights(new ColdUnet(options), salt, { dtype });
    expect([...network.namedParameters()].map(([key]) => key)).toEqual(order);
    const x = file.tensor("in.x").to(dtype).requireGrad();
    const y = network.forward(x, timesOf(file), {});
    expect(y.dtype).toBe(dtype);
    close(y.to("float64"), file.tensor("out.y"), 0, "y", { absolute });
    const loss = squaredError(y, file.tensor("in.target").to(dtype));
    close(loss.item(), file.number("out.loss"), 1e-6, "loss"); // 192 squares in float32
    checkGradients(loss, network, x, file);
  });
});

describe.each([
  "vae_unet_small_emb_concat_t2",
  "vae_unet_small_emb_add_t2",
  "vae_unet_small_bottleneck_add_t2",
  "vae_unet_small_start_concat",
])("%s", (name) => {
  const file = new GoldenFile("vcd", name);
  const { options, order, salt, stored } = described(name);
  const times = timesOf(file);

  test.each(dtypes)("encoder, outputs, loss and gradients in %s", (dtype) => {
    const network = loadHashWeights(new VariationalUnet(options), salt, { dtype });
    expect([...network.namedParameters()].map(([key]) => key)).toEqual(order);
    const input = (key: string) => file.tensor(key).to(dtype);
    const agrees = (actual: Tensor, key: string) =>
      close(actual.to("float64"), file.tensor(key), 0, key, { absolute });
    const x = input("in.x").requireGrad();

    agrees(network.embedding(times, dtype), "out.emb");
    const { mean, logVariance } = network.encode(x, input("in.cond"), times, {});
    agrees(mean, "out.mu");
    agrees(logVariance, "out.logvar");
    const drawn = (eps: Tensor) => logVariance.mul(0.5).exp().mul(eps).add(mean);
    const z = drawn(input("in.eps"));
    agrees(z, "out.z");
    const y = network.forward(x, times, z, {});
    agrees(y, "out.y_cond");
    noGrad(() => {
      agrees(network.forward(x, times, input("in.prior"), {}), "out.y_prior");
      const disturbed = x.add(input("vwd.noise").mul(stored.noise_scale));
      agrees(network.forward(disturbed, times, drawn(input("vwd.eps")), {}), "vwd.y");
    });

    const kl = mean.square().add(logVariance.exp()).sub(1).sub(logVariance).mul(0.5).sum().div(x.dim(0));
    const rec = squaredError(x.add(y), input("in.target"));
    const loss = rec.add(kl.mul(stored.beta));
    // Sums of 128 numbers in float32.
    close(kl.item(), file.number("out.kl"), 1e-5, "kl");
    close(rec.item(), file.number("out.rec"), 1e-5, "rec");
    close(loss.item(), file.number("out.loss"), 1e-5, "loss");
    checkGradients(loss, network, x, file);
  });
});
