/** How degraded images are led back, level by level. A new sampler is a function and a line in `samplers`. */
import { UserError } from "../../errors.js";
import { didYouMean } from "../../nearest.js";
import { full, type Tensor } from "../../torch/index.js";
import { type Degradation, degraded, degradedFurther } from "../degradation/degradation.js";
import { AddedNoise } from "../degradation/noise.js";

/** What a network of cold diffusion predicts: the noise, the clean image, or the cleaner state less its input. */
export const levelPredictions = ["eps", "x0", "previous"] as const;
export type LevelPrediction = (typeof levelPredictions)[number];

/** A step from level `from` down to level `to`, the same for all images of a batch. */
export interface ColdStep {
  readonly degradation: Degradation;
  readonly prediction: LevelPrediction;
  readonly x: Tensor;
  readonly from: number;
  readonly to: number;
  /** Levels that the network is asked to go at once, where that is not from `from` to `to`. */
  readonly jump: number;
  /** What the network says of `x`, asked for level `to`. */
  output(to: number): Tensor;
  /** Standard deviation of the noise that is added to states on the way. */
  readonly stepNoise: number;
  /** Between which values images are kept that are predicted from noise, by `ancestral`. */
  readonly clamp: readonly [low: number, high: number];
  /** The state that the walk began with. */
  readonly start: Tensor;
  /** A fresh standard normal draw of x's shape. */
  noise(): Tensor;
}

/** Where a step leads, and the clean image that it goes by, where it goes by one. */
export interface ColdStepped {
  readonly next: Tensor;
  readonly xHat?: Tensor;
}

export type ColdSampler = (step: ColdStep) => ColdStepped;

/** The images of `x` at one level. */
function at(degradation: Degradation, x: Tensor, level: number): Tensor {
  return degradation.degrade(x, full([x.dim(0)], level, { dtype: "int64", device: x.device }));
}

function signalAndNoise(degradation: Degradation, level: number): { signal: number; noise: number } {
  if (!(degradation instanceof AddedNoise))
    throw new UserError(
      "expected the degradation noise for a network that predicts noise, got another: set model.prediction to x0 or previous",
    );
  const abar = degradation.alphasCumprod[level] as number;
  return { signal: Math.sqrt(abar), noise: Math.sqrt(1 - abar) };
}

/** The clean image that the network predicts: `f`, `x + f` of a jump over all levels, or `(x - s f) / a`. */
export function cleanImage({
  degradation,
  prediction,
  x,
  from,
  to,
  output,
}: Pick<ColdStep, "degradation" | "prediction" | "x" | "from" | "to" | "output">): Tensor {
  if (prediction === "x0") return output(to);
  if (prediction === "previous") return x.add(output(0));
  const { signal, noise } = signalAndNoise(degradation, from);
  return x.sub(output(to).mul(noise)).div(signal);
}

/**
 * The sampler that goes with what is predicted. `previous`: `x_to = x + f`, and noise but at the end. Of added noise: the
 * posterior of x_to by the clean image, which is clamped (Ho et al., 2020, eq. 6, 7). Else Algorithm 2.
 */
const ancestral: ColdSampler = (step) => {
  const { degradation, prediction, x, from, to, output, stepNoise, clamp, noise } = step;
  if (prediction === "previous") {
    const next = x.add(output(to));
    return { next: stepNoise > 0 && to > 0 ? next.add(noise().mul(stepNoise)) : next };
  }
  if (!(degradation instanceof AddedNoise)) return algorithm2(step);
  const xHat = cleanImage(step).clamp(...clamp);
  const [abar, before] = [from, to].map((level) => degradation.alphasCumprod[level] as number) as [
    number,
    number,
  ];
  const alpha = abar / before;
  const mean = xHat
    .mul(((1 - alpha) * Math.sqrt(before)) / (1 - abar))
    .add(x.mul(((1 - before) * Math.sqrt(alpha)) / (1 - abar)));
  if (to === 0) return { next: mean, xHat };
  const deviation = Math.sqrt(((1 - alpha) * (1 - before)) / (1 - abar));
  return { next: mean.add(noise().mul(deviation)), xHat };
};

/** `D(xHat, to)`: the naive Algorithm 1 of Bansal et al. (2022). */
const algorithm1: ColdSampler = (step) => {
  const xHat = cleanImage(step);
  return { next: at(step.degradation, xHat, step.to), xHat };
};

/** `x - D(xHat, from) + D(xHat, to)`: Algorithm 2 of Bansal et al. (2022); noise is estimated from `x` as DDIM does. */
const algorithm2: ColdSampler = (step) => {
  const { degradation, x, from } = step;
  const xHat = cleanImage(step);
  if (!degradation.noiseDeviation) return renewed(step, { xHat, noise: x });
  const { signal, noise } = signalAndNoise(degradation, from);
  return renewed(step, { xHat, noise: x.sub(xHat.mul(signal)).div(noise) });
};

/** Algorithm 2 of added noise, the noise taken to be the walk's first state all the way (Bansal et al., 2022). */
const fixedNoise: ColdSampler = (step) => renewed(step, { xHat: cleanImage(step), noise: step.start });

/** `x - D(xHat, from) + D(xHat, to)` with one noise in both; at level 0 what is left of the image is xHat itself. */
function renewed(
  { degradation, x, from, to }: ColdStep,
  { xHat, noise }: { readonly xHat: Tensor; readonly noise: Tensor },
): ColdStepped {
  const state = (level: number) =>
    degraded(degradation, xHat, full([x.dim(0)], level, { dtype: "int64", device: x.device }), noise);
  return { next: x.sub(state(from)).add(to === 0 ? xHat : state(to)), xHat };
}

/**
 * Algorithm 2 by a state in between instead of the clean image: y, which the network sees `jump` levels further down, is
 * degraded anew to the levels `from` and `to`, `x - D(y, from) + D(y, to)`.
 */
const redegrade: ColdSampler = ({ degradation, x, from, to, jump, output }) => {
  const seen = Math.max(from - jump, 0);
  const y = x.add(output(seen));
  return {
    next: x.sub(degradedFurther(degradation, y, seen, from)).add(degradedFurther(degradation, y, seen, to)),
    ...(seen === 0 ? { xHat: y } : {}),
  };
};

const samplers: Readonly<Record<string, ColdSampler>> = {
  ancestral,
  "algorithm-1": algorithm1,
  "algorithm-2": algorithm2,
  "fixed-noise": fixedNoise,
  redegrade,
};

export const coldSamplerNames: readonly string[] = Object.keys(samplers);

/** @throws UserError with the nearest name */
export function coldSamplerNamed(name: string): ColdSampler {
  const sampler = Object.hasOwn(samplers, name) ? samplers[name] : undefined;
  if (sampler) return sampler;
  throw new UserError(
    `expected a sampler of cold diffusion, got "${name}"${didYouMean(name, coldSamplerNames)}`,
  );
}

/** @throws UserError for a sampler that there is not, or that the model cannot be led back by */
export function checkColdSampler(
  name: string,
  { degradation, prediction }: Pick<ColdStep, "degradation" | "prediction">,
): void {
  coldSamplerNamed(name);
  const isNoisy = degradation.noiseDeviation !== undefined;
  if (name === "algorithm-1" && isNoisy)
    throw new UserError(
      `expected a degradation without noise for the sampler "${name}", got one with it: take ancestral or algorithm-2`,
    );
  if (name === "fixed-noise" && !isNoisy)
    throw new UserError(
      `expected a degradation with noise for the sampler "${name}", got one without: take algorithm-2`,
    );
  if (name === "redegrade" && prediction !== "previous")
    throw new UserError(
      `expected model.prediction previous for the sampler "${name}", got ${prediction}: take algorithm-2`,
    );
}

/**
 * Between which levels a walk goes, from level T to 0, `jump` levels at a time; of `redegrade` one at a time, whose network
 * looks `jump` levels ahead.
 */
export function levelsVisited(
  levels: number,
  o: { readonly sampler: string; readonly jump: number },
): readonly { readonly from: number; readonly to: number }[] {
  const stride = o.sampler === "redegrade" ? 1 : o.jump;
  return Array.from({ length: Math.ceil(levels / stride) }, (_, i) => {
    const from = levels - i * stride;
    return { from, to: Math.max(from - stride, 0) };
  });
}
