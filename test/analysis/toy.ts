/** A VDM of one-pixel images whose denoiser and moments are known, and what a figure of it is drawn from. */
import type { FigureContext } from "../../src/analysis/figure.js";
import { memorySource } from "../../src/data/source.js";
import {
  FixedLinear,
  type NoiseSchedule,
  NonTrainable,
  type ScheduleEnds,
} from "../../src/diffusion/index.js";
import { DiffEnc } from "../../src/systems/diffenc.js";
import { VDM } from "../../src/systems/vdm.js";
import { fromTypedArray, Streams } from "../../src/torch/index.js";
import { GaussianDenoiser } from "../vdm/gaussian.js";

export const ends: ScheduleEnds = { gammaMin: -13.3, gammaMax: 5 };

/** Half of the images are of one value, half of the other, so that all moments are known. */
const VALUES = [64, 191] as const;
/** `f = 2 (x + 1/2) / 256 - 1` of the two: -127/256 and 127/256. */
export const mean = 0;
export const variance = (127 / 256) ** 2;

export const toySystem = (schedule: NoiseSchedule = new FixedLinear(ends)) =>
  new VDM({ shape: [1, 1, 1], schedule, denoiser: new GaussianDenoiser(mean, variance) });

/** The same with `x_t = alpha_t^2 x`. */
export const encodedToy = (denoiser = new GaussianDenoiser(mean, variance)) =>
  new DiffEnc({ shape: [1, 1, 1], schedule: new FixedLinear(ends), encoding: new NonTrainable(), denoiser });

/** A context for `count` images, with whatever else a test sets. */
export function toyContext(count: number, more: Partial<FigureContext> = {}): FigureContext {
  const system = more.system ?? toySystem();
  const pixels = Uint8Array.from({ length: count }, (_, i) => VALUES[i % 2] as number);
  const description = { name: "toy", split: "test", origin: "memory", length: count } as const;
  const source = memorySource({ ...description, shape: [1, 1, 1] }, pixels);
  return {
    name: "toy",
    path: "toy",
    label: "toy",
    system,
    initial: () => system,
    checkpoints: () => [],
    qualityResults: () => [],
    records: [],
    data: { name: "toy" },
    others: [],
    request: {},
    openImages: async () => ({
      source,
      read(indices) {
        const bytes = new Uint8Array(indices.length);
        source.read(indices, bytes);
        return { pixels: fromTypedArray(bytes, [indices.length, 1, 1, 1]) };
      },
    }),
    conditionOf: async () => undefined,
    sampling: { count: 4, steps: 3, sampler: "ancestral" },
    batchSize: 64,
    streams: new Streams(0),
    pass: {},
    device: "cpu",
    ...more,
  };
}

/** The numbers of a column. */
export function column(rows: readonly Readonly<Record<string, number | string>>[], name: string): number[] {
  return rows.map((row) => Number(row[name]));
}
