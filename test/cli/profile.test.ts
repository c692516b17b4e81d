/** `--profile` of train, sample and evaluate: what it says, that its parts add up, and that it writes nothing. */
import type { Command } from "commander";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { evaluateCommand } from "../../src/cli/evaluate.js";
import { sampleCommand } from "../../src/cli/sample.js";
import { trainCommand } from "../../src/cli/train.js";
import { type Profile, profileWork } from "../../src/experiment/profile.js";
import { VDM } from "../../src/systems/index.js";
import { snapshot } from "../experiment/tiny.js";
import { perform } from "./chain.js";
import { ColdRuns } from "./cold-runs.js";

let runs: ColdRuns;
/** All that there is before anything is profiled. */
let before: Record<string, string>;
beforeAll(() => {
  runs = new ColdRuns();
  for (const name of ["vdm", "heat", "vcd"] as const) runs.run(name);
  before = snapshot(runs.folder);
});
afterAll(() => runs.remove());

async function profiled(command: Command, ...args: string[]): Promise<Profile> {
  const { stdout } = await perform(command, ...args, "--profile", "--json");
  expect(snapshot(runs.folder)).toEqual(before);
  return JSON.parse(stdout);
}

/** Throws where it is not the message of a mistake on one line. */
async function refused(command: Command, ...args: string[]): Promise<string> {
  const message = await perform(command, ...args, "--profile").then(
    () => "",
    ({ message }: Error) => message,
  );
  expect(message).toMatch(/^expected .+$/);
  expect(snapshot(runs.folder)).toEqual(before);
  return message;
}

/** What holds of every profile on one thread, where operators follow one another. */
function expectSums({ families, outsideOperators: outside, flops, peak, ...profile }: Profile): void {
  const sum = (each: readonly { readonly seconds: number }[]) =>
    each.reduce((all, { seconds }) => all + seconds, 0);
  expect((sum(families) + outside.seconds) / profile.profiledSecondsPerStep).toBeCloseTo(1, 6);
  for (const { seconds, operators } of families) expect(sum(operators) / seconds).toBeCloseTo(1, 6);
  expect((outside.data ?? 0) + outside.javascript).toBeCloseTo(outside.seconds, 9);
  for (const seconds of [outside.data ?? 0, outside.javascript]) expect(seconds).toBeGreaterThanOrEqual(0);
  expect(outside.shareAtLeast).toBeGreaterThanOrEqual(0);
  expect(outside.shareAtLeast).toBeLessThanOrEqual(outside.seconds / profile.profiledSecondsPerStep);
  expect(peak.convolution).toBeGreaterThan(0);
  expect(peak.matrixProduct).toBeGreaterThan(0);
  if (flops) expect(flops.utilisation * peak.convolution).toBeCloseTo(flops.achieved, 3);
}

/** Floating-point operations of a step over those of its images going forward once. */
function passes({ flops, secondsPerStep }: Profile, images: number): number {
  const network = flops?.networks[0]?.flops ?? Number.NaN;
  return ((flops?.achieved ?? Number.NaN) * secondsPerStep) / (images * network);
}

describe("a profile", () => {
  test("of training: three passes an image, with data told apart", async () => {
    const profile = await profiled(
      trainCommand(),
      runs.at("vdm.yaml"),
      "--set",
      "train.batchSize=8", // of 40 images: every batch is whole
    );
    expect(profile).toMatchObject({ unit: "images", step: "step", name: "training, batches of 8" });
    expect(profile.unitsPerSecond * profile.secondsPerStep).toBeCloseTo(8, 6);
    expect(passes(profile, 8)).toBeCloseTo(3, 6);
    expect(profile.flops).toMatchObject({
      networks: [{ name: "denoiser", kind: "VdmUnet" }],
      uncounted: [],
    });
    expectSums(profile);
    const names = profile.families.map(({ family }) => family);
    for (const family of ["convolution, forward", "convolution, backward", "normalisation", "optimiser"])
      expect(names).toContain(family);
  });

  test("of sampling: one pass an image and step", async () => {
    const profile = await profiled(sampleCommand(), runs.at("vdm"), "-n", "4", "--steps", "30");
    expect(profile).toMatchObject({ unit: "image steps", step: "step", outsideOperators: { data: null } });
    expect(profile.unitsPerSecond * profile.secondsPerStep).toBeCloseTo(4, 6);
    expect(passes(profile, 4)).toBeCloseTo(1, 6);
    expectSums(profile);
    expect(profile.families.map(({ family }) => family)).not.toContain("convolution, backward");
  });

  test("of evaluation: one pass an image", async () => {
    const profile = await profiled(evaluateCommand(), runs.at("vdm"), "--batch-size", "8");
    expect(profile).toMatchObject({ unit: "image passes", step: "batch" });
    expect(profile.unitsPerSecond * profile.secondsPerStep).toBeCloseTo(8, 6); // 24 images: every batch is whole
    expect(passes(profile, 8)).toBeCloseTo(1, 6);
    expectSums(profile);
  });

  test("for people: families with their largest operators, and the peak", async () => {
    const { stdout } = await perform(sampleCommand(), runs.at("vcd"), "-n", "2", "--profile");
    expect(stdout).toMatch(
      /^sampling by \S+, batches of 2, float32, 1 thread: [\d.]+ ms a step, [\d.]+ image steps\/s\n/,
    );
    expect(stdout).toMatch(/\n +[\d.]+ % +[\d.]+ ms {2}convolution, forward {2,}\S/);
    expect(stdout).toMatch(
      /\n +[\d.]+ % +[\d.]+ ms {2}outside operators {2,}without the profiler's own time at least [\d.]+ %\n/,
    );
    expect(stdout).toMatch(/\n[\d.]+ GFLOP\/s achieved, [\d.]+ % of the convolutions' peak\n/);
    expect(stdout).toMatch(/\nmeasured here in float32: [\d.,]+ GFLOP\/s with convolutions/);
    expect(stdout).toMatch(/\ncounted: passes through network \(VariationalUnet, [\d.e-]+ GFLOP an image/);
    expect(snapshot(runs.folder)).toEqual(before);
  });
});

describe("refused", () => {
  test("a sampler that chooses its own steps, and what is no drawing", async () => {
    expect(await refused(sampleCommand(), runs.at("vdm"), "--sampler", "ode")).toMatch(/got ode/);
    expect(await refused(sampleCommand(), runs.at("vcd"), "--reconstruct", "test")).toMatch(/--reconstruct/);
  });

  test("metrics that draw samples, more than one, and images without a run", async () => {
    const run = runs.at("vdm");
    expect(await refused(evaluateCommand(), run, "--metrics", "quality")).toMatch(/got quality/);
    expect(await refused(evaluateCommand(), run, "--metrics", "bpd,nll")).toMatch(/got bpd, nll/);
    expect(await refused(evaluateCommand(), "images.npz", "--data", "mnist")).toMatch(/got images.npz/);
  });

  test("a run whose start would have to be fitted and kept", async () => {
    const said = /"varidiff sample \S+heat -n 1"$/;
    expect(await refused(sampleCommand(), runs.at("heat"))).toMatch(said);
    expect(await refused(evaluateCommand(), runs.at("heat"))).toMatch(said);
  });

  test("devices whose operators go on after they return", async () => {
    const system = runs.opened("vdm").system;
    if (!(system instanceof VDM)) throw new Error("expected a VDM");
    const machine = { device: "cuda:0", precision: "float32", threads: 1 } as const;
    const work = { system, machine, kind: "inference", unit: "images", step: "step", warmUp: 0 } as const;
    const taken = profileWork({ ...work, name: "", take: () => ({ units: 1, steps: 1 }) });
    await expect(taken).rejects.toThrow(/^expected device cpu for --profile, got cuda:0/);
  });
});
