/** `varidiff compose`: the generator of one run and the denoiser of another, as one DAED. */
import fs from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { composeCommand } from "../../src/cli/compose.js";
import { sampleCommand } from "../../src/cli/sample.js";
import { UserError } from "../../src/errors.js";
import { drawImages } from "../../src/experiment/drawing.js";
import { buildModel } from "../../src/experiment/experiment.js";
import { writeGivenRun } from "../../src/experiment/given-run.js";
import { readMetrics } from "../../src/experiment/journal.js";
import { openRun } from "../../src/experiment/run-folder.js";
import { openTrained } from "../../src/experiment/trained.js";
import { DAED } from "../../src/systems/index.js";
import { randn, Streams } from "../../src/torch/index.js";
import { temporaryFolder, writeTiny } from "../experiment/tiny.js";
import { close } from "../golden.js";
import {
  checkpointOf,
  perform,
  readConfig,
  renamed,
  sums,
  tinyShape,
  type Weights,
  weightsOf,
  writeConfig,
} from "./chain.js";

let folder: string;
beforeAll(() => {
  folder = temporaryFolder();
  writeTiny(folder);
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const at = (name: string) => path.join(folder, name);

interface Made {
  readonly shape?: readonly [number, number, number];
  /** In the place of its own. */
  readonly weights?: Weights;
  readonly seed?: number;
}

/** A run of step 30 with weights of its own. */
function makeRun(
  name: string,
  system: string,
  model: string,
  { shape = tinyShape, weights, seed = 1 }: Made = {},
): Weights {
  const config = readConfig(writeConfig(folder, name, system, model));
  const own = weights ?? weightsOf(config, { prefix: "", seed, shape });
  const ema = renamed(own, (before) => before);
  const built = buildModel(config, shape).system;
  writeGivenRun({ out: at(name) }, { config, system: built, weights: own, ema, step: 30, origin: {} });
  return own;
}

async function composed(name: string, generator: string, denoiser: string, ...args: string[]) {
  const runs = ["--generator", at(generator), "--denoiser", at(denoiser), "--out", at(name)];
  const { stdout, stderr } = await perform(composeCommand(), ...runs, ...args, "--json");
  return { ...JSON.parse(stdout), stderr };
}

/** Images of a run before they are rounded, with the same draws. */
function lastState(name: string, steps: number): number[] {
  const { system } = openTrained(at(name), { weights: "ema", overrides: [] });
  const request = { count: 2, steps, sampler: "ancestral", streams: new Streams(5), pass: {} };
  let state = system.start(request);
  for (let i = 0; i < steps; i++) state = system.step(state, i);
  return state.z.toArray();
}

describe("a generator that is a DDGM", () => {
  let ddgm: Weights;
  let dae: Weights;
  beforeAll(async () => {
    ddgm = makeRun(
      "ddgm",
      "ddgm",
      "schedule: { kind: linear, steps: 500 }, variance: learned-range, loss: vlb",
    );
    const denoiser = "schedule: { kind: linear-combine, steps: 500, firstBeta: 0.1 }, parts: denoiser";
    dae = makeRun("dae", "daed", denoiser, { seed: 7000 });
    await composed("clean", "ddgm", "dae");
  });

  test("both networks are in the run, and may differ in their variances", () => {
    const expected = sums(
      new Map([...dae, ...renamed(ddgm, (name) => name.replace("network.", "generator."))]),
    );
    for (const stem of ["weights", "ema"] as const)
      expect(sums(checkpointOf(at("clean"), 30, stem))).toEqual(expected);
  });

  test("the config is the generator's with the split", () => {
    const config = parse(fs.readFileSync(path.join(at("clean"), "config.yaml"), "utf8"));
    const generator = parse(fs.readFileSync(path.join(at("ddgm"), "config.yaml"), "utf8"));
    const { system, model, ...rest } = config;
    expect(system).toBe("daed");
    expect(rest).toEqual({ ...generator, system: undefined, model: undefined, sample: rest.sample });
    expect(model).toMatchObject({
      schedule: generator.model.schedule,
      variance: "learned-range",
      split: { firstBeta: 0.1, composition: "clean" },
      denoiser: { variance: "fixed-large", network: { kind: "guided-unet", channels: 8 } },
      parts: "both",
    });
  });

  test("the journal says of what it is made", () => {
    const [first] = readMetrics(openRun(at("clean")));
    expect(first).toMatchObject({
      ...{ event: "start", step: 30 },
      composed: {
        generator: { run: at("ddgm"), step: 30, weights: "ema" },
        denoiser: { run: at("dae"), step: 30, weights: "ema" },
      },
    });
  });

  // DAED, table 5 and its rule: of linear(500), 467 of the generator's steps remain at 0.1, 489 at 0.025, 499 at 0.001.
  // The denoiser is one step more; the official script takes two more of the generator's where more than one is replaced.
  test.each([
    ["clean", 0.1, 468],
    ["official", 0.1, 470],
    ["clean", 0.025, 490],
    ["official", 0.025, 492],
    ["clean", 0.001, 500],
    ["official", 0.001, 501],
  ])("%s at %f takes %i steps", async (composition, firstBeta, steps) => {
    const name = `${composition}-${firstBeta}`;
    const args = ["--composition", composition, "--first-beta", String(firstBeta)];
    const { stderr, ...document } = await composed(name, "ddgm", "dae", ...args);
    expect(document).toMatchObject({ run: at(name), composition, steps, firstBeta });
    expect(stderr).toBe(
      firstBeta === 0.1 ? "" : `the denoiser was trained for noise of variance 0.1, not ${firstBeta}\n`,
    );
    const { sample } = parse(fs.readFileSync(path.join(at(name), "config.yaml"), "utf8"));
    expect(sample.steps).toBe(composition === "official" ? steps : 5);
  });

  test("it samples, and denoises with the denoiser's own network", async () => {
    const { stdout } = await perform(sampleCommand(), at("clean"), "-n", "1", "--json");
    expect(JSON.parse(stdout)).toMatchObject({ count: 1, steps: 5, step: 30 });
    const open = (name: string) => {
      const { system } = openTrained(at(name), { weights: "ema", overrides: [] });
      if (!(system instanceof DAED)) throw new Error("expected a DAED");
      return system;
    };
    const x = randn([2, ...tinyShape], new Streams(3).generator("x"));
    const alone = open("dae").denoise(x, { pass: {} });
    close(open("clean").denoise(x, { pass: {} }), alone, 0, "denoised", { absolute: 1e-6 });
  });
});

describe("compositions that are something else too", () => {
  test("where the denoiser is the generator and owns its first step, it is the ordinary chain", async () => {
    // beta_0 of linear(25) is 0.001 * 1000 / 25 = 0.04.
    const network = makeRun("small", "ddgm", "schedule: { kind: linear, steps: 25 }");
    const model = "schedule: { kind: linear-combine, steps: 25, firstBeta: 0.04 }, parts: denoiser";
    const weights = renamed(network, (name) => name.replace("network.", "denoiser."));
    makeRun("same", "daed", model, { weights });
    await composed("chain", "small", "same");
    close(lastState("chain", 25), lastState("small", 25), 1e-5, "images", { absolute: 1e-5 });
  });

  test("the two parts of a DAED, taken apart and put together, are that DAED", async () => {
    const model = "schedule: { kind: linear-combine, steps: 25, firstBeta: 0.1 }";
    makeRun("joint", "daed", model);
    const { firstBeta, steps } = await composed("again", "joint", "joint", "--weights", "raw");
    expect({ firstBeta, steps }).toEqual({ firstBeta: 0.1, steps: 25 });
    expect(sums(checkpointOf(at("again"), 30, "weights"))).toEqual(
      sums(checkpointOf(at("joint"), 30, "weights")),
    );
    close(lastState("again", 25), lastState("joint", 25), 1e-5, "images", { absolute: 1e-5 });
    const drawn = await drawImages({
      ...{ system: openTrained(at("again"), { weights: "ema", overrides: [] }).system, count: 1, steps: 3 },
      ...{ sampler: "ddim", streams: new Streams(1), pass: {}, device: "cpu" },
    });
    expect(drawn.pixels).toMatchObject({ count: 1, channels: 1, height: 8, width: 8 });
  });
});

describe("what does not go together is refused in one line, and leaves nothing", () => {
  beforeAll(() => {
    const linear = "schedule: { kind: linear, steps: 25 }";
    const split = "schedule: { kind: linear-combine, steps: 25 }";
    makeRun("g", "ddgm", linear);
    makeRun("d", "daed", `${split}, parts: denoiser`);
    makeRun("lone-generator", "daed", `${split}, parts: generator`);
    makeRun("large", "daed", `${split}, parts: denoiser`, { shape: [1, 16, 16] });
    makeRun("x0", "daed", `${split}, parts: denoiser, mean: x0`);
    makeRun("classes", "daed", `${split}, parts: denoiser, condition: class, classes: 3`);
  });

  test.each([
    ["g", "g", "expected a denoiser in DIR/g, a run of daed, got system ddgm"],
    [
      "g",
      "lone-generator",
      "expected a denoiser in DIR/lone-generator, a run of daed, got a generator alone",
    ],
    ["d", "d", "expected a generator in DIR/d, a run of ddgm or daed, got a denoiser alone"],
    [
      "g",
      "large",
      "expected images of the same shape in both runs, got 1x8x8 in DIR/g and 1x16x16 in DIR/large",
    ],
    ["g", "x0", "expected the same model.mean in both runs, got eps in DIR/g and x0 in DIR/x0"],
    [
      "g",
      "classes",
      "expected the same model.condition in both runs, got none in DIR/g and 3 classes in DIR/classes",
    ],
    ["g", "nowhere", "DIR/nowhere does not exist"],
  ])("%s and %s", async (generator, denoiser, message) => {
    const attempt = composed("refused", generator, denoiser);
    await expect(attempt).rejects.toThrow(UserError);
    await expect(attempt).rejects.toThrow(message.replaceAll("DIR", folder));
    await expect(attempt).rejects.not.toThrow(/\n/);
    expect(fs.existsSync(at("refused"))).toBe(false);
  });

  test("a folder that holds a run, and a variance that is none", async () => {
    await expect(composed("g", "g", "d")).rejects.toThrow("already holds a run");
    await expect(composed("refused", "g", "d", "--first-beta", "1.5")).rejects.toThrow(
      "expected a number between 0 and 1",
    );
    expect(fs.existsSync(path.join(at("g"), "config.yaml"))).toBe(true);
  });
});
