/** The Gaussian latent, its mean and variance from two heads of the encoder. */
import { type Generator, randn, type Tensor, zeros } from "../../torch/index.js";
import { gaussianDivergence } from "./divergence.js";
import type { Latent, LatentDraw, LatentTensorOptions } from "./latent.js";

/** `z = mean + sqrt(variance) eps`, `variance = softplus(raw)`, of `[B, m]` each. */
export function gaussianDraw(
  mean: Tensor,
  raw: Tensor,
  eps: Tensor,
): { readonly variance: Tensor; readonly z: Tensor } {
  const variance = raw.softplus();
  return { variance, z: mean.add(variance.sqrt().mul(eps)) };
}

/** z in R^m; p(z) standard normal. */
export class GaussianLatent implements Latent {
  readonly size: number;
  readonly heads = 2;

  constructor({ size }: { readonly size: number }) {
    this.size = size;
  }

  draw(encoded: readonly Tensor[], generator: Generator): LatentDraw {
    const { mean, raw } = heads(encoded);
    const eps = randn(mean.shape, generator, { dtype: "float64" }).toDevice(mean.device, mean.dtype);
    const { variance, z } = gaussianDraw(mean, raw, eps);
    return { z, kl: gaussianDivergence(mean, variance) };
  }

  mode(encoded: readonly Tensor[]): LatentDraw {
    const { mean, raw } = heads(encoded);
    return { z: mean, kl: gaussianDivergence(mean, raw.softplus()) };
  }

  prior(count: number, generator: Generator, { dtype, device = "cpu" }: LatentTensorOptions): Tensor {
    return randn([count, this.size], generator, { dtype: "float64" }).toDevice(device, dtype);
  }

  /** The mean of the prior. */
  fixed(count: number, { dtype, device = "cpu" }: LatentTensorOptions): Tensor {
    return zeros([count, this.size], { dtype, device });
  }
}

function heads(encoded: readonly Tensor[]): { readonly mean: Tensor; readonly raw: Tensor } {
  const [mean, raw] = encoded;
  if (!mean || !raw || encoded.length > 2)
    throw new Error(`expected an encoder with 2 outputs, mean and raw variance, got ${encoded.length}`);
  return { mean, raw };
}
