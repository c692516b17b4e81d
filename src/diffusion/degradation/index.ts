/** Degradations by name. A new one is a file and a line here. */
import { z } from "zod";
import { choiceOf, createPart, partsOf } from "../../parts.js";
import type { Degradation } from "./degradation.js";
import { Fading, fadingCurves } from "./fading.js";
import { GaussianBlur, gaussianWidthRules } from "./gaussian-blur.js";
import { HeatBlur } from "./heat-blur.js";
import { AddedNoise, noiseScheduleNames } from "./noise.js";
import { Pixelation } from "./pixelation.js";

export { dct2, dctMatrix, inverseDct2 } from "./dct.js";
export { type Degradation, degraded, degradedFurther, type EndState } from "./degradation.js";
export { Fading, type FadingCurve, type FadingOptions, fadingCoefficients } from "./fading.js";
export {
  type BlurPadding,
  GaussianBlur,
  type GaussianBlurOptions,
  type GaussianWidths,
  gaussianKernel,
  gaussianWidths,
} from "./gaussian-blur.js";
export {
  HeatBlur,
  type HeatBlurOptions,
  type HeatWidths,
  heatMatrix,
  heatWidths,
  spreadHeat,
} from "./heat-blur.js";
export { LevelTables } from "./level-tables.js";
export { AddedNoise, type AddedNoiseOptions, type NoiseScheduleName, noiseBetas } from "./noise.js";
export { Pixelation, type PixelationOptions, pixelFactors, pixelIndices } from "./pixelation.js";
export { SeparableDegradation } from "./separable.js";

const levels = { levels: z.number().int().positive().max(10_000).default(6) };
const fading = { fading: z.enum(fadingCurves).default("cosine") };
const pixels = z.number().positive();
/** The widths of variational cold diffusion; Rissanen et al. go from 0.5 to 20 or more pixels, reached once. */
const heat = {
  ...levels,
  firstWidth: pixels.default(1),
  lastWidth: pixels.optional(),
  lastReached: z.enum(["once", "twice"]).default("twice"),
};
/** The kernels that Bansal et al. take for MNIST. */
const kernels = {
  ...levels,
  size: z
    .number()
    .int()
    .positive()
    .refine((size) => size % 2 === 1, { message: "expected an odd number of pixels" })
    .default(5),
  widths: z.enum(gaussianWidthRules).default("constant"),
  scale: pixels.optional(),
  padding: z.enum(["circular", "reflect"]).default("circular"),
  last: z.enum(["mean", "blurred"]).default("mean"),
};

const degradation = partsOf<undefined, Degradation>();

const degradations = [
  degradation(
    "noise",
    { ...levels, schedule: z.enum(noiseScheduleNames).default("cosine") },
    (o) => new AddedNoise(o),
  ),
  degradation("blur", heat, (o) => new HeatBlur(o)),
  degradation("gaussian-blur", kernels, (o) => new GaussianBlur(o)),
  degradation("pixelation", levels, (o) => new Pixelation(o)),
  degradation("black", { ...levels, ...fading }, (o) => new Fading(o.levels, { curve: o.fading })),
  degradation("black-blur", { ...heat, ...fading }, (o) => new Fading(new HeatBlur(o), { curve: o.fading })),
  degradation(
    "black-gaussian-blur",
    { ...kernels, ...fading },
    (o) => new Fading(new GaussianBlur(o), { curve: o.fading }),
  ),
  degradation(
    "black-pixelation",
    { ...levels, ...fading },
    (o) => new Fading(new Pixelation(o), { curve: o.fading }),
  ),
] as const;

/** Which degradation, with its options, as a config says it. */
export const degradationSchema = choiceOf(degradations);

export type DegradationConfig = z.output<typeof degradationSchema>;

/** The degradation `D(x, k)`, k = 0 .. T, that a config names; `degradationSchema.parse({ kind: "blur" })` fills in its options. */
export function createDegradation(config: DegradationConfig): Degradation {
  return createPart(degradations, config, undefined);
}
