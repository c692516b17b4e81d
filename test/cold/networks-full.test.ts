/** The official networks of MNIST, CIFAR-10 and AFHQ: parameters in their order, and golden/vcd's full_nets. */
import fs from "node:fs";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import type { LevelTimes } from "../../src/diffusion/cold/level-network.js";
import {
  createLatentNetwork,
  createLevelNetwork,
  latentNetworkSchema,
  levelNetworkSchema,
  type VariationalUnet,
} from "../../src/networks/index.js";
import type { Module } from "../../src/nn/index.js";
import { noGrad, scope, tensor } from "../../src/torch/index.js";
import { close, GoldenFile, ownFolder } from "../golden.js";
import { goldenMetadata, loadHashWeights } from "./hash-weights.js";

/** Specification, 5.3 and 5.4; what the project takes by default is left out. */
const datasets = {
  mnist: { shape: [1, 28], unet: {}, latentSize: 128 },
  cifar10: { shape: [3, 32], unet: { residualBlocks: 4 }, latentSize: 256 },
  afhq: { shape: [3, 64], unet: { channels: 128, dropout: 0.2 }, latentSize: 512 },
} as const;
type Dataset = keyof typeof datasets;

function contextOf(name: Dataset) {
  const [imageChannels, side] = datasets[name].shape;
  return { imageChannels, height: side, width: side };
}

const coldUnet = (name: Dataset, options: object = {}) =>
  createLevelNetwork(
    levelNetworkSchema.parse({ kind: "cold-unet", ...datasets[name].unet, ...options }),
    contextOf(name),
  );

function variationalUnet(name: Dataset, options: object = {}) {
  const { unet, latentSize } = datasets[name];
  const config = latentNetworkSchema.parse({ kind: "variational-unet", latentSize, ...unet, ...options });
  return createLatentNetwork(config, contextOf(name)) as VariationalUnet;
}

interface ParameterList {
  readonly total: number;
  readonly params: readonly (readonly [name: string, shape: readonly number[]])[];
}

const folder = path.join(process.env.VARIDIFF_GOLDEN ?? ownFolder, "vcd");
const lists: Readonly<Record<string, ParameterList>> = JSON.parse(
  fs.readFileSync(path.join(folder, "parameter_lists.json"), "utf8"),
);

const sumOf = (modules: readonly Module[]) =>
  modules.reduce((sum, module) => sum + module.parameterCount(), 0);

describe("parameter_lists: names and shapes in the official order", () => {
  test.each(Object.keys(lists))("%s", (key) => {
    const [name, kind, variant] = key.split(".") as [Dataset, "unet" | "vae", "t2" | "plain"];
    const times = variant === "t2" ? "two" : "one";
    const network = kind === "vae" ? variationalUnet(name, { times }) : coldUnet(name, { times });
    const found = Array.from(network.namedParameters(), ([key, { shape }]) => [key, shape]);
    expect(found).toEqual(lists[key]?.params);
    expect(network.parameterCount()).toBe(lists[key]?.total);
  });
});

describe("numbers of parameters, from the specification's section 5.7", () => {
  test.each([
    ["mnist", 6_945_025, 6_469_889, 8_683_489, 7_651_041, 639_584, 148_608],
    ["cifar10", 16_391_043, 15_293_315, 19_934_147, 17_541_827, 887_104, 460_544],
    ["afhq", 92_018_307, 88_217_219, 112_539_715, 104_281_667, 11_080_640, 1_838_592],
  ] as const)("%s", (name, two, one, latentTwo, latentOne, encoder, projection) => {
    expect(coldUnet(name).parameterCount()).toBe(two);
    expect(coldUnet(name, { times: "one" }).parameterCount()).toBe(one);
    const network = variationalUnet(name);
    expect(network.parameterCount()).toBe(latentTwo);
    expect(variationalUnet(name, { times: "one" }).parameterCount()).toBe(latentOne);
    expect(network.vae_encoder.parameterCount()).toBe(encoder);
    expect(sumOf(network.vae_projection)).toBe(projection);
  });

  test.each([
    ["emb", "add", 7_733_217],
    ["start", "add", 7_768_305],
    ["start", "concat", 7_768_881],
    ["bottleneck", "add", 8_476_257],
    ["bottleneck", "concat", 8_640_353],
  ])("mnist, %s by %s", (location, injection, count) => {
    expect(variationalUnet("mnist", { location, injection }).parameterCount()).toBe(count);
  });
});

describe("full_nets", () => {
  const file = new GoldenFile("vcd", "full_nets");
  const salt = goldenMetadata("full_nets").salt as string;
  const input = (key: string) => file.tensor(key).to("float32");
  const times = (key: string): LevelTimes => ({
    t: file.tensor(`${key}.t`).to("int64"),
    t2: file.tensor(`${key}.t2`).to("int64"),
  });
  const loaded: Module[] = [];
  const hashed = <M extends Module>(network: M): M => {
    loaded.push(network);
    return loadHashWeights(network, salt);
  };
  afterAll(() => {
    for (const network of loaded) network.dispose();
  });
  const absolute = 5e-5; // the README's

  test("mnist.unet", () => {
    const network = hashed(coldUnet("mnist"));
    const y = noGrad(() => network.forward(input("mnist.unet.x"), times("mnist.unet"), {}));
    close(y.to("float64"), file.tensor("mnist.unet.y"), 0, "y", { absolute });
  });

  test.each(["mnist", "cifar10"] as const)("%s.vae", (name) => {
    const key = `${name}.vae`;
    const network = hashed(variationalUnet(name));
    noGrad(() =>
      scope(() => {
        const [x, cond] = [input(`${key}.x`), input(`${key}.cond`)];
        const y = network.forward(x, times(key), input(`${key}.prior`), {});
        close(y.to("float64"), file.tensor(`${key}.y`), 0, "y", { absolute });
        const { mean, logVariance } = network.encode(x, cond, times(key), {});
        close(mean.to("float64"), file.tensor(`${key}.mu`), 0, "mu", { absolute });
        close(logVariance.to("float64"), file.tensor(`${key}.logvar`), 0, "logvar", { absolute });
      }),
    );
  });

  test("mnist.vae: the encoder does not know the levels, to 5e-6 in float32 (specification, check 10)", () => {
    const network = hashed(variationalUnet("mnist"));
    noGrad(() =>
      scope(() => {
        const [x, cond] = [input("mnist.vae.x"), input("mnist.vae.cond")];
        const level = (t: number) => tensor([t], { dtype: "int64" });
        const run = (t: number) => network.encode(x, cond, { t: level(t), t2: level(t - 1) }, {});
        const [one, other] = [run(2), run(5)];
        close(one.mean, other.mean, 0, "mean", { absolute: 5e-6 });
        close(one.logVariance, other.logVariance, 0, "log-variance", { absolute: 5e-6 });
      }),
    );
  });
});
