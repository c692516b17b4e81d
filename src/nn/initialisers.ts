/** The laws parameters are drawn from. */
import {
  full,
  type Generator,
  ones,
  rand,
  randn,
  type Shape,
  scope,
  type Tensor,
  zeros,
} from "../torch/index.js";

/** Draws a float64 tensor. */
export type Initialiser = (shape: Shape, generator: Generator) => Tensor;

const float64 = { dtype: "float64" } as const;

export const zero: Initialiser = (shape) => zeros(shape, float64);
export const one: Initialiser = (shape) => ones(shape, float64);

export function constant(value: number): Initialiser {
  return (shape) => full(shape, value, float64);
}

export function normal(deviation: number): Initialiser {
  return (shape, generator) => scope(() => randn(shape, generator, float64).mul(deviation));
}

/** Standard deviation of a standard normal cut at +-2. */
const truncatedDeviation = 0.87962566103423978;
/** Probability below -2 of a standard normal. */
const belowMinusTwo = 0.022750131948179195;

/**
 * Flax's default, "lecun normal": a normal cut at +-2 standard deviations, scaled to variance 1 / fanIn after the cut.
 * Drawn by inverting the distribution function, `x = sqrt(2) erfinv(2u - 1)`, u uniform between its values at -2 and 2.
 */
export function lecunNormal(fanIn: number): Initialiser {
  const deviation = Math.sqrt(1 / fanIn) / truncatedDeviation;
  return (shape, generator) =>
    scope(() => {
      const u = rand(shape, generator, float64)
        .mul(1 - 2 * belowMinusTwo)
        .add(belowMinusTwo);
      return u
        .mul(2)
        .sub(1)
        .erfinv()
        .mul(Math.SQRT2 * deviation);
    });
}

/** PyTorch's default of convolutions and linear maps, for weight and bias alike: uniform between `-+1 / sqrt(fanIn)`. */
export function fanInUniform(fanIn: number): Initialiser {
  const bound = 1 / Math.sqrt(fanIn);
  return (shape, generator) =>
    scope(() =>
      rand(shape, generator, float64)
        .mul(2 * bound)
        .sub(bound),
    );
}
