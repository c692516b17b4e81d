/** The swirl experiment (VDM's notebook): 1,024 points, the networks they are learned with, and how the result is measured. */
import { expect } from "vitest";
import { bitsPerDim, totalBound } from "../src/diffusion/index.js";
import { Mlp, type MlpOptions } from "../src/networks/index.js";
import { AdamW } from "../src/nn/index.js";
import type { GaussianDiffusion } from "../src/systems/gaussian.js";
import { liveTensors, noGrad, Streams, scope } from "../src/torch/index.js";
import { GoldenFile, ownFolder } from "./golden.js";
import { readmeEnds } from "./vdm/toy.js";

// The reference numbers are of these very points.
const own = new GoldenFile("vdm", "swirl", ownFolder);
const pixels = own.tensor("x").to("uint8");

/** What every network of the experiment shares. */
export const swirlMlp: Omit<MlpOptions, "hidden"> = {
  dimensions: 2,
  fourierExponents: [0, 1, 2, 3, 4, 5, 6, 7],
  ...readmeEnds,
};

/** The entropy of the points' own distribution, bits per dimension: no bound on them can be below. */
export const swirlEntropy = own.number("entropy_bits_per_dim");

export function swirlDenoiser(): Mlp {
  return new Mlp({ ...swirlMlp, hidden: 512 });
}

/** Full batches, float32, AdamW at a constant rate; initial weights from `seed`. */
export function trainOnSwirl<S extends GaussianDiffusion>(system: S, steps: number, seed: number): S {
  system.initialise(new Streams(seed));
  const optimiser = new AdamW(system.parameters(), {
    learningRate: 3e-3,
    betas: [0.9, 0.999],
    epsilon: 1e-8,
    weightDecay: 1e-4,
    warmupSteps: 0,
    decay: "constant",
    totalSteps: steps,
    clipNorm: null,
    emaRate: 0.9999,
  });
  const streams = new Streams(2);
  const step = (k: number) =>
    scope(() => {
      const context = { step: k, streams: streams.at(k), pass: {}, averaged: <R>(run: () => R) => run() };
      system.objective({ pixels }, context).loss.backward();
      optimiser.step();
    });
  step(0);
  const live = liveTensors();
  for (let k = 1; k < steps; k++) step(k);
  expect(liveTensors()).toBeLessThanOrEqual(live);
  return system;
}

/** Mean bits/dim of the points over `passes` evaluations of the bound. */
export function swirlBits(system: GaussianDiffusion, passes: number): number {
  let sum = 0;
  for (let pass = 0; pass < passes; pass++)
    sum += noGrad(() =>
      scope(() => {
        const bound = system.bound({ pixels }, { streams: new Streams(3).at(pass), pass: {} });
        return bitsPerDim(totalBound(bound), system.dimensions).mean().item();
      }),
    );
  return sum / passes;
}
