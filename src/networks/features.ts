/** Features of time and of fine detail that networks are fed. */
import { arange, cat, full, stack, type Tensor, zeros } from "../torch/index.js";

/**
 * Sinusoidal embedding of `tau` `[...]`, `[..., dim]`: `arg_j = 1000 tau exp(-j ln(10000) / (half - 1))`, all sines first,
 * then all cosines, a zero last where dim is odd.
 */
export function timestepEmbedding(tau: Tensor, dim: number): Tensor {
  const { dtype, device } = tau;
  const half = Math.floor(dim / 2);
  const frequencies = arange(0, half, 1, { dtype, device })
    .mul(-Math.log(10000) / (half - 1))
    .exp();
  const args = tau.mul(1000).unsqueeze(-1).mul(frequencies);
  const parts = [args.sin(), args.cos()];
  if (dim % 2 === 1) parts.push(zeros([...tau.shape, 1], { dtype, device }));
  return cat(parts, -1);
}

/**
 * Sinusoidal embedding of step numbers `t` `[B]`, float64 `[B, dim]`: `arg_i = t exp(-i ln(10000) / half)`, all cosines
 * first, then all sines, a zero last where dim is odd (guided-diffusion, `timestep_embedding`).
 */
export function stepEmbedding(t: Tensor, dim: number): Tensor {
  const options = { dtype: "float64", device: t.device } as const;
  const half = Math.floor(dim / 2);
  const frequencies = arange(0, half, 1, options)
    .mul(-Math.log(10000) / half)
    .exp();
  const args = t.to("float64").unsqueeze(1).mul(frequencies);
  const parts = [args.cos(), args.sin()];
  if (dim % 2 === 1) parts.push(zeros([t.dim(0), 1], options));
  return cat(parts, 1);
}

/**
 * Fourier features of `z` `[B, C, ...]` along the channels, `[B, 2 K C, ...]`: angular frequencies `2 pi 2^n`, each channel
 * with every exponent in turn, all sines, then all cosines (VDM, appendix C). Arguments reach thousands of radians:
 * never in half precision.
 */
export function fourierFeatures(z: Tensor, exponents: readonly number[]): Tensor {
  const count = exponents.length;
  const [batch, channels, ...rest] = z.shape as [number, number, ...number[]];
  // Filled in one by one on the device: numbers brought there would be waited for.
  const options = { dtype: "float64", device: z.device } as const;
  const w = stack(exponents.map((n) => full([], 2 * Math.PI * 2 ** n, options))).to(z.dtype);
  const args = z
    .unsqueeze(2)
    .mul(w.reshape([1, 1, count, ...rest.map(() => 1)]))
    .reshape([batch, channels * count, ...rest]);
  return cat([args.sin(), args.cos()], 1);
}

/** `z` and its Fourier features behind it along the channels, `[B, C (1 + 2 K), ...]`; `z` itself without exponents. */
export function withFourierFeatures(z: Tensor, exponents: readonly number[]): Tensor {
  return exponents.length > 0 ? cat([z, fourierFeatures(z, exponents)], 1) : z;
}
