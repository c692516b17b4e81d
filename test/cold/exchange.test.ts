/** Latent exchange: golden/vcd/latent_exchange through the real network, and check 19 of its specification. */
import { describe, expect, test } from "vitest";
import {
  exchangedLatents,
  levelsBetween,
  singleExchanges,
  windowedExchanges,
} from "../../src/diffusion/cold/exchange.js";
import { blackStart } from "../../src/diffusion/cold/start/index.js";
import { Fading, HeatBlur } from "../../src/diffusion/degradation/index.js";
import { VariationalUnet } from "../../src/networks/index.js";
import { VariationalColdDiffusion } from "../../src/systems/index.js";
import { type FloatDtype, noGrad, type Tensor, tensor, zeros } from "../../src/torch/index.js";
import { close, GoldenFile, same } from "../golden.js";
import { goldenMetadata, loadHashWeights } from "./hash-weights.js";

const metadata = goldenMetadata("latent_exchange");
const levels = Number(metadata.T);
const stored = JSON.parse(metadata.config ?? "") as {
  readonly image_size: number;
  readonly in_channels: number;
  readonly dim: number;
  readonly num_res_blocks: number;
  readonly attention_levels: readonly number[];
  readonly ch_mult: readonly number[];
};
const shape = [stored.in_channels, stored.image_size, stored.image_size] as const;
const file = new GoldenFile("vcd", "latent_exchange");

/** The network of the file; groups and size of the latent are those of train_steps. */
function goldenSystem(dtype: FloatDtype): VariationalColdDiffusion {
  const train = goldenMetadata("train_steps");
  const network = new VariationalUnet({
    imageChannels: stored.in_channels,
    imageSize: [stored.image_size, stored.image_size],
    channels: stored.dim,
    channelMultipliers: stored.ch_mult,
    residualBlocks: stored.num_res_blocks,
    attentionLevels: stored.attention_levels,
    dropout: 0,
    groups: Number(train.norm_groups),
    times: "two",
    latentSize: Number(train.latent_dim),
    location: "emb",
    injection: "concat",
  });
  loadHashWeights(network, metadata.salt ?? "", { dtype });
  noGrad(() => {
    for (const { weight } of network.vae_projection) weight.value.mul_(2);
  });
  const degradation = new Fading(new HeatBlur({ levels }));
  return new VariationalColdDiffusion({
    ...{ shape, degradation, network, start: blackStart({ degradation, shape }) },
    ...{ startNoise: 0, inputNoise: 0, stepNoise: 0, overlookedNoise: 0, inputDropout: 0 },
    ...{ prediction: "previous", numbering: "from-zero", clamp: [-1, 1], jump: 1, trainedJumps: "one" },
    ...{ loss: { distance: "l2", reduction: "sum" }, lossWeighting: "none", beta: 0.004, klAnnealing: 0 },
    ...{ perturbation: "none", latentMode: "shared" },
    teacher: { level: "input", resetProbability: 0, warmResetProbability: 0, warmup: 0, counter: "official" },
  });
}

const windows = file.matching(/^window\.(.+)\.final$/).map((name) => {
  const [upper, lower] = name.split("_").map(Number) as [number, number];
  return { name, upper, lower };
});

describe.each(["float32", "float64"] as const)("latent_exchange in %s", (dtype) => {
  const system = goldenSystem(dtype);
  const target = file.tensor("z_target").to(dtype);
  const source = file.tensor("z_source").to(dtype);
  /** States x_T .. x_0, `[T + 1, 1, H, W]` of one image each. */
  const walked = (latents: Tensor): readonly Tensor[] =>
    noGrad(() => [
      ...system.walk(zeros([latents.dim(0), ...shape], { dtype }), {
        ...{ pass: {}, sampler: "ancestral", latents },
        noise: () => {
          throw new Error("expected a walk without noise");
        },
      }),
    ]);
  const exchanged = (these: readonly number[]) =>
    walked(exchangedLatents({ target, source }, { levels, exchanged: these }));
  const agrees = (actual: Tensor | undefined, expected: Tensor, what: string) =>
    close(actual?.to("float64"), expected, 0, what, { absolute: 5e-5 });

  test.each(["target", "source"])("%s: all its states", (name) => {
    const states = walked(name === "target" ? target : source);
    for (const [step, expected] of [...states.keys()].map((i) => [i, file.tensor(`${name}.traj`)] as const))
      agrees(states[step], expected.narrow(0, step, 1), `${name} after ${step} steps`);
    expect(states).toHaveLength(levels + 1);
  });

  test("the source at one level: all states", () => {
    const names = file.matching(/^single\.t(\d+)\.traj$/);
    expect(names).toHaveLength(levels);
    for (const t of names.map(Number))
      for (const [step, state] of exchanged([t + 1]).entries())
        agrees(state, file.tensor(`single.t${t}.traj`).narrow(0, step, 1), `t = ${t} after ${step} steps`);
  });

  test.each(windows)("the source between the borders $name: the image", ({ name, upper, lower }) => {
    const image = exchanged(levelsBetween({ upper, lower })).at(-1);
    agrees(image, file.tensor(`window.${name}.final`), name);
  });

  test("a source that is the target changes nothing; at all levels it is the source's image", () => {
    const every = Array.from({ length: levels }, (_, i) => levels - i);
    const own = walked(target);
    const unchanged = walked(
      exchangedLatents({ target, source: target }, { levels, exchanged: [levels, 1] }),
    );
    const others = walked(source);
    for (const [step, state] of unchanged.entries()) same(state, own[step] as Tensor, `own, step ${step}`);
    for (const [step, state] of exchanged(every).entries())
      same(state, others[step] as Tensor, `source, step ${step}`);
  });

  test("at one level, states before it are the target's, and those after it are not", () => {
    const own = walked(target);
    for (let level = levels; level > 0; level--)
      for (const [step, state] of exchanged([level]).entries()) {
        const away = state
          .sub(own[step] as Tensor)
          .abs()
          .max()
          .item();
        if (step <= levels - level) expect(away).toBe(0);
        else expect(away).toBeGreaterThan(1e-3);
      }
  });
});

describe("exchangedLatents", () => {
  const levels = 3;
  const numbers = (latents: Tensor) => latents.flatten().toArray();

  test("one latent an image is that of all its levels", () => {
    const pair = { target: tensor([[1], [2]]), source: tensor([[10], [20]]) };
    const latents = exchangedLatents(pair, { levels, exchanged: [2] });
    expect(latents.shape).toEqual([2, 3, 1]);
    expect(numbers(latents)).toEqual([1, 10, 1, 2, 20, 2]);
  });

  test("latents of every level, from T down, stay at their own", () => {
    const pair = { target: tensor([[[1], [2], [3]]]), source: tensor([[[10], [20], [30]]]) };
    expect(numbers(exchangedLatents(pair, { levels, exchanged: [3, 1] }))).toEqual([10, 2, 30]);
    const one = { ...pair, source: tensor([[7]]) };
    expect(numbers(exchangedLatents(one, { levels, exchanged: [1] }))).toEqual([1, 2, 7]);
  });
});

describe("which levels", () => {
  test("one by one", () => {
    expect(singleExchanges([2, 1])).toEqual([
      { name: "k = 2", levels: [2] },
      { name: "k = 1", levels: [1] },
    ]);
  });

  test("between borders of t = k - 1, which belong to no window", () => {
    expect(levelsBetween({ upper: 4, lower: 2 })).toEqual([4]);
    expect(levelsBetween({ upper: 2, lower: -1 })).toEqual([2, 1]);
    expect(levelsBetween({ upper: 2, lower: 1 })).toEqual([]);
  });

  test("the borders of the authors' code for T = 200: 200, 150, 100, 50, -1", () => {
    const found = windowedExchanges(200, 4);
    // k = t + 1 of t = 151 .. 199, 101 .. 149, 51 .. 99 and 0 .. 49.
    const ends = found.map(({ levels }) => [levels[0], levels.at(-1), levels.length]);
    expect(ends).toEqual([
      [200, 152, 49],
      [150, 102, 49],
      [100, 52, 49],
      [50, 1, 50],
    ]);
    expect(found.map(({ name }) => name)[0]).toBe("k = 200 .. 152");
  });

  test("as many windows as there can be, and one more", () => {
    // Borders 7, round(14/3) = 5, round(7/3) = 2, -1.
    expect(windowedExchanges(7, 3).map(({ levels }) => levels)).toEqual([[7], [5, 4], [2, 1]]);
    expect(windowedExchanges(1, 1)).toEqual([{ name: "k = 1", levels: [1] }]);
    expect(() => windowedExchanges(7, 4)).toThrow(
      "expected at most 3 windows over 7 levels, whose borders belong to none of them, got 4: ask for fewer",
    );
  });
});
