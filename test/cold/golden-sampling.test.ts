/** Samplers of cold diffusion against golden/vcd/sampling, cold_bansal and ihdm, at their README's tolerances. */
import { describe, expect, test } from "vitest";
import {
  AddedNoise,
  createDegradation,
  type Degradation,
  degradationSchema,
  GaussianBlur,
  HeatBlur,
} from "../../src/diffusion/index.js";
import { Streams, stack, type Tensor, zerosLike } from "../../src/torch/index.js";
import { close, GoldenFile } from "../golden.js";
import { goldenMetadata } from "./hash-weights.js";
import { coldOf, degradationNamed, LatentStub, levelsOf, Stub, vcdOf } from "./stub.js";

const within = (actual: Tensor, expected: Tensor, absolute: number, what: string) =>
  close(actual, expected, 0, what, { absolute });

const none = () => {
  throw new Error("expected no noise to be drawn");
};

describe("sampling", () => {
  const file = new GoldenFile("vcd", "sampling");
  const metadata = goldenMetadata("sampling");
  const levels = Number(metadata.T);
  const stub = (kind: string) => ({ ...JSON.parse(metadata[`stub.${kind}`] as string), levels });
  const d = Number(/d=([\d.]+)/.exec(metadata.note as string)?.[1]);
  const e = Number(/,e=([\d.]+)/.exec(metadata.note as string)?.[1]);
  const x0 = file.tensor("x0");
  const trajectory = (name: string) => file.tensor(`${name}.traj`);
  const black = degradationNamed("black_blur", levels);

  test("a chain with one latent", () => {
    const system = vcdOf(new LatentStub({ ...stub("residual"), d, e, latentSize: 4 }), {
      degradation: black,
    });
    const expected = trajectory("seq_generate");
    const states = [
      ...system.walk(expected.select(0, 0), {
        ...{ sampler: "ancestral", pass: {}, noise: none, latents: file.tensor("prior") },
      }),
    ];
    within(stack(states), expected, 5e-6, "states");
  });

  test("a reconstruction", () => {
    const system = vcdOf(new LatentStub({ ...stub("residual"), d, e, latentSize: 144 }), {
      degradation: black,
    });
    const states = [...system.reconstruction(x0, { pass: {}, streams: new Streams(0) })];
    within(stack(states.map(({ x }) => x)), trajectory("seq_reconstruct"), 5e-6, "states");
  });

  const operators = file.matching(/^alg2\.(\w+)\.traj$/);
  test.each(operators.flatMap((name) => [1, 2].map((algorithm) => ({ name, algorithm }))))(
    "Algorithm $algorithm of $name",
    ({ name, algorithm }) => {
      const degradation = degradationNamed(name, levels);
      const system = coldOf(new Stub(stub("x0")), { degradation, prediction: "x0" });
      const start = degradation.degrade(
        x0,
        levelsOf(
          zerosLike(x0)
            .select(1, 0)
            .select(1, 0)
            .select(1, 0)
            .add(levels - 1),
        ).from,
      );
      const states = [...system.walk(start, { sampler: `algorithm-${algorithm}`, pass: {}, noise: none })];
      within(stack(states), trajectory(`alg${algorithm}.${name}`), 5e-6, name);
    },
  );

  test("inverse heat dissipation", () => {
    const unit = file.tensor("ihdm.noise");
    const system = coldOf(new Stub(stub("residual")), {
      ...{ degradation: degradationNamed("blur", levels), stepNoise: 0.0125 },
    });
    const noise = (i: number) => unit.select(0, i);
    const states = [...system.walk(file.tensor("ihdm.x_T"), { sampler: "ancestral", pass: {}, noise })];
    within(stack(states), trajectory("ihdm"), 5e-6, "states");
  });

  test("a chain without latents keeps its input", () => {
    const system = coldOf(new Stub(stub("residual")), { degradation: black });
    const states = [...system.walk(x0.mul(0.3), { sampler: "ancestral", pass: {}, noise: none })];
    within(stack(states), trajectory("plain_xt_fixed"), 5e-6, "states");
    expect(() => within(stack(states), trajectory("plain_xt_official_bug"), 5e-6, "bug")).toThrow();
  });

  test("DDPM", () => {
    const steps = Number(metadata.T_ddpm);
    const degradation = new AddedNoise({ levels: steps });
    const system = coldOf(new Stub({ ...stub("eps"), levels: steps }), { degradation, prediction: "eps" });
    const noise = (i: number) => file.tensor("ddpm.z").select(0, i);
    const states = [...system.walk(file.tensor("ddpm.x_T"), { sampler: "ancestral", pass: {}, noise })];
    within(stack(states.slice(1)), trajectory("ddpm"), 2e-5, "states");
  });

  const jumps = file.matching(/^redegrade\.step(\d+)\.final$/).map(Number);
  test.each(jumps)("re-degradation by a jump of %i", (jump) => {
    const system = vcdOf(new LatentStub({ ...stub("residual"), d, e: 0.05, latentSize: 4 }), {
      degradation: black,
    });
    const states = [
      ...system.walk(zerosLike(x0), {
        ...{ sampler: "redegrade", jump, pass: {}, noise: none, latents: file.tensor("prior") },
      }),
    ];
    const last = states.at(-1) as Tensor;
    within(last, file.tensor(`redegrade.step${jump}.final`), 5e-6, "image");
  });
});

describe("cold_bansal", () => {
  const file = new GoldenFile("vcd", "cold_bansal");
  const [a, b, c] = JSON.parse(goldenMetadata("cold_bansal").stub as string) as [number, number, number];
  /** Parameters of the README: size, deviation, T, discrete. */
  const routines: Readonly<Record<string, Degradation>> = {
    Constant: blur(5, "constant", 2, "circular", "blurred"),
    Incremental: blur(3, "incremental", 0.2, "circular", "blurred"),
    Exponential_reflect: blur(7, "exponential", 0.05, "reflect", "blurred"),
    Special_6_routine: blur(11, "linear", 0.01, "reflect", "blurred"),
    Exponential: blur(9, "exponential", 0.05, "circular", "mean", 6),
  };
  function blur(
    size: number,
    widths: "constant" | "incremental" | "exponential" | "linear",
    scale: number,
    padding: "circular" | "reflect",
    last: "blurred" | "mean",
    levels = 5,
  ): Degradation {
    return new GaussianBlur({ levels, size, widths, scale, padding, last });
  }
  const x = file.tensor("x");

  test.each(Object.keys(routines).flatMap((name) => [1, 2].map((algorithm) => ({ name, algorithm }))))(
    "Algorithm $algorithm of $name",
    ({ name, algorithm }) => {
      const degradation = routines[name] as Degradation;
      const { levels } = degradation;
      const system = coldOf(new Stub({ a, b, c, levels }), {
        ...{ degradation, prediction: "x0", shape: [1, 16, 16] },
      });
      const all = levelsOf(
        zerosLike(x)
          .flatten(1)
          .select(1, 0)
          .add(levels - 1),
      );
      const start = degradation.degrade(x, all.from);
      const direct = system.stepDown(start, {
        ...{
          from: levels,
          to: levels - 1,
          sampler: `algorithm-${algorithm}`,
          jump: 1,
          start,
          pass: {},
          noise: none,
        },
      });
      within(direct.xHat as Tensor, file.tensor(`${name}.alg${algorithm}.direct`), 5e-6, "direct");
      const states = [...system.walk(start, { sampler: `algorithm-${algorithm}`, pass: {}, noise: none })];
      within(states.at(-1) as Tensor, file.tensor(`${name}.alg${algorithm}.final`), 5e-6, "sampled");
    },
  );

  test.each([
    ["ddim", "algorithm-2"],
    ["x0_step_down", "fixed-noise"],
  ])("hot diffusion, %s", (name, sampler) => {
    const degradation = createDegradation(
      degradationSchema.parse({ kind: "noise", levels: 6 }),
    ) as AddedNoise;
    close([...degradation.alphasCumprod].slice(1), file.tensor("hot.alphas_cumprod"), 5e-6, "abar");
    const system = coldOf(new Stub({ a, b, c, levels: 6 }), {
      degradation,
      prediction: "x0",
      shape: [1, 16, 16],
    });
    const states = [...system.walk(file.tensor("hot.x_T"), { sampler, pass: {}, noise: none })];
    within(states.at(-1) as Tensor, file.tensor(`hot.${name}.final`), 5e-6, name);
  });
});

describe("ihdm", () => {
  const file = new GoldenFile("vcd", "ihdm");
  const metadata = goldenMetadata("ihdm");
  const levels = Number(metadata.K);
  const [sigma, delta] = [Number(metadata.sigma), Number(metadata.delta)];
  const [a, b, c] = JSON.parse(metadata.stub as string) as [number, number, number];
  const widths = file.numbers("small.blur_schedule");
  const degradation = new HeatBlur({
    ...{ levels, firstWidth: widths[1] as number, lastWidth: widths.at(-1) as number, lastReached: "once" },
  });
  const network = () => new Stub({ a, b, c: c, levels });
  // c k / K of the stub is c (t + 1) / T: networks are told levels from 0.
  const system = () => coldOf(network(), { degradation, inputNoise: sigma, stepNoise: delta });
  const x = file.tensor("x");

  test("training", () => {
    const k = file.tensor("train.k").toArray();
    const drawn = levelsOf(file.tensor("train.k").sub(1));
    expect(drawn.fromLevels).toEqual(k);
    const noise = file.tensor("train.noise");
    const objective = system().objectiveAt(
      { x0: x, ...drawn, noise, overlooked: zerosLike(x) },
      { pass: {} },
    );
    close(objective.perExample, file.tensor("train.losses"), 2e-5, "losses");
    close(objective.loss, file.tensor("train.loss").reshape([]), 2e-5, "loss");
  });

  test("sampling", () => {
    const unit = file.tensor("sample.noise");
    const noise = (i: number) => unit.select(0, i);
    const states = [...system().walk(file.tensor("sample.u_K"), { sampler: "ancestral", pass: {}, noise })];
    within(states.at(-1) as Tensor, file.tensor("sample.mean_final"), 2e-6, "mean");
    const last = file.tensor("sample.traj_last3");
    within(states.at(-3) as Tensor, last.select(0, 0), 2e-6, "u_2");
    within(states.at(-2) as Tensor, last.select(0, 1), 2e-6, "u_1");
    const noisy = (states.at(-1) as Tensor).add(unit.select(0, levels - 1).mul(delta));
    within(noisy, last.select(0, 2), 2e-6, "u_0 with noise");
  });
});
