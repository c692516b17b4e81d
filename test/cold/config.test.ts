/** What configs of cold diffusion mean: presets in one word, what goes together, and what is refused by name. */
import { describe, expect, test } from "vitest";
import { configSchema } from "../../src/experiment/config.js";
import { buildSystem } from "../../src/experiment/experiment.js";
import { loadConfig } from "../../src/experiment/load-config.js";
import { ColdDiffusion, HeatDissipation, VariationalColdDiffusion } from "../../src/systems/index.js";

const load = (text: string) => loadConfig(configSchema, { text, file: "a.yaml", overrides: [] });
const build = (text: string, shape: readonly [number, number, number] = [1, 28, 28]) =>
  buildSystem(load(text), shape).system;

/** A model's config, of any kind. */
function modelOf(text: string): Record<string, unknown> {
  return load(text).model as unknown as Record<string, unknown>;
}

describe("baselines in one word", () => {
  // Overrides of the original's baselines.
  test.each([
    [
      "cold",
      "ddpm",
      { prediction: "eps", inputNoise: 0, startNoise: null },
      { kind: "noise", levels: 6 },
      "one",
    ],
    ["cold", "ihdm", { prediction: "previous", inputNoise: 0.01 }, { kind: "blur", levels: 200 }, "two"],
    [
      "cold",
      "bansal",
      { prediction: "x0", inputNoise: 0, startNoise: 0.002 },
      { kind: "blur", levels: 6 },
      "one",
    ],
    ["vcd", "vae-xt", { prediction: "previous" }, { kind: "black-blur", levels: 6 }, "two"],
    ["vcd", "vae-x0", { prediction: "x0" }, { kind: "black-blur", levels: 6 }, "one"],
  ])("%s: %s", (system, baseline, model, degradation, times) => {
    const found = modelOf(`{ system: ${system}, model: { baseline: ${baseline} } }`);
    expect(found).toMatchObject({ ...model, degradation, network: { times } });
  });

  test("what is said besides stands", () => {
    const found = modelOf(
      "{ system: cold, model: { baseline: ihdm, degradation: { kind: black-blur }, inputNoise: 0.02, network: { times: one } } }",
    );
    // The preset's operator stands for one that nobody named; its number of levels stays.
    expect(found).toMatchObject({
      degradation: { kind: "black-blur", levels: 200 },
      inputNoise: 0.02,
      network: { times: "one" },
    });
  });

  test("are what they say", () => {
    expect(build("{ system: cold, model: { baseline: ddpm } }")).toBeInstanceOf(ColdDiffusion);
    const heat = "{ system: cold, model: { baseline: ihdm, start: { kind: images } } }";
    expect(build(heat)).toBeInstanceOf(HeatDissipation);
    expect(build("{ system: cold, model: { baseline: ihdm } }")).not.toBeInstanceOf(HeatDissipation);
    expect(build("{ system: vcd }")).toBeInstanceOf(VariationalColdDiffusion);
  });
});

test("an own network keeps what it is told by what is predicted", () => {
  const found = modelOf("{ system: cold, model: { prediction: x0, network: { channels: 32, groups: 8 } } }");
  expect(found.network).toMatchObject({ kind: "cold-unet", channels: 32, groups: 8, times: "one" });
});

describe("refused with the reason", () => {
  test.each([
    ["autoencoder", "true", /"model\.autoencoder" must be left out: .* cannot sample; found true/],
    ["multiscaleVae", "true", /"model\.multiscaleVae" must be left out: .* never trained; found true/],
    ["minT2Step", "2", /"model\.minT2Step" must be left out: .* set jump and trainedJumps; found 2/],
    ["perturbaton", "vcd", /unknown key "model\.perturbaton": did you mean "model\.perturbation"\?/],
    [
      "degradation",
      "{ kind: black-noise }",
      /"model\.degradation\.kind" must be one of .*; found "black-noise"/,
    ],
    ["baseline", "vae-tx", /"model\.baseline" must be one of .*did you mean "vae-xt"/],
  ])("%s", (key, value, message) => {
    expect(() => load(`{ system: vcd, model: { ${key}: ${value} } }`)).toThrow(message);
  });

  test.each([
    ["prediction: eps", /expected model\.degradation\.kind noise with model\.prediction eps, got black-blur/],
    [
      "degradation: { kind: noise }",
      /expected model\.prediction eps or x0 with model\.degradation\.kind noise/,
    ],
    [
      "baseline: ddpm, inputNoise: 0.1",
      /expected model\.inputNoise 0 with model\.degradation\.kind noise, .* got 0\.1/,
    ],
    [
      "degradation: { levels: 1 }, trainedLevels: without-last",
      /expected model\.trainedLevels all for a degradation of one level, got without-last/,
    ],
    ["jump: 7", /expected model\.jump of at most 6, the levels of the degradation, got 7/],
    [
      "prediction: x0, trainedJumps: multiples",
      /expected model\.prediction previous with model\.trainedJumps/,
    ],
    [
      "trainedJumps: multiples, jump: 2, network: { times: one }",
      /expected model\.network\.times two with model\.trainedJumps multiples, got one/,
    ],
    ["start: { kind: noise }", /expected model\.start\.kind noise with .*, got noise with black-blur/],
    [
      "baseline: ddpm, start: { kind: black }",
      /expected model\.start\.kind noise with .*, got black with noise/,
    ],
    ["baseline: ddpm, stepNoise: 0.1", /expected model\.stepNoise 0 with model\.degradation\.kind noise/],
    // Images of 28 x 28, seen before the first batch.
    [
      "degradation: { kind: black-pixelation, levels: 29 }",
      /expected at most as many levels of pixelation as pixels a side, 28, got 29/,
    ],
    ["degradation: { kind: blur, firstWidth: 29 }", /expected blur from a width .*, got 29 to 28 pixels/],
    [
      "degradation: { kind: gaussian-blur, size: 57 }",
      /expected images of more than 28 pixels a side for a kernel of 57, got 28/,
    ],
  ])("{ %s }", (model, message) => {
    expect(() => build(`{ system: cold, model: { ${model} } }`)).toThrow(message);
  });

  test.each([
    ["perturbation: vcd, prediction: x0", /expected model\.prediction previous with model\.perturbation vcd/],
    [
      "perturbation: both, jump: 2, trainedJumps: multiples",
      /expected model\.jump 1 with model\.perturbation both, .* multiples of 2/,
    ],
  ])("of a teacher: { %s }", (model, message) => {
    expect(() => build(`{ system: vcd, model: { ${model} } }`)).toThrow(message);
  });

  test.each([
    ["clamp: [1, 0]", '"model.clamp" must be the lower of the two first; found a list of 2'],
    [
      "degradation: { kind: gaussian-blur, size: 4 }",
      '"model.degradation.size" must be an odd number of pixels; found 4',
    ],
  ])("as a key: { %s }", (model, message) => {
    expect(() => load(`{ system: cold, model: { ${model} } }`)).toThrow(message);
  });
});
