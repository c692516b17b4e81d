/** The k-hot latent: the k largest of perturbed logits, with the gradient of their projection on the sphere. */
import { full, type Generator, operatorMany, randn, type Tensor, tensor, zeros } from "../../torch/index.js";
import { categoricalDivergence, logSubsets } from "./divergence.js";
import {
  type Latent,
  type LatentDraw,
  type LatentTensorOptions,
  onlyHead,
  straightThrough,
} from "./latent.js";
import { drawGumbel, drawSumOfGamma, type GammaScale } from "./noise.js";
import { plackettLuceDivergence } from "./plackett-luce.js";

const largest = operatorMany("aten::topk");

/**
 * 1 where an entry of `x` `[B, m]` is at least the k-th largest of its row, else 0, in `x`'s dtype. Ties at the
 * threshold are all 1: more than k of them, as in the official code; with continuous noise they have probability 0.
 */
export function topK(x: Tensor, k: number): Tensor {
  const threshold = largest(x.detach(), k, -1, true, true)[0]?.narrow(-1, k - 1, 1);
  if (!threshold) throw new Error("expected aten::topk to return values and indices");
  return x.detach().ge(threshold).to(x.dtype);
}

/** What the k-hot latent is made of. */
export interface Projection {
  /** `x` less its mean. */
  readonly centred: Tensor;
  /** `centred / |centred|`; 0, with gradient 0, where all entries of `x` are equal. */
  readonly soft: Tensor;
  /** The k largest as 1. */
  readonly hard: Tensor;
  /** `hard` with the gradient of `soft`. */
  readonly z: Tensor;
}

/**
 * The k largest of noisy logits `x` `[B, m]` with the identity-with-projection gradient (Sahoo et al. 2022,
 * arXiv 2205.15213): with s = soft and a cotangent g, `P(g - s (s . g)) / |centred|`, P the projection on mean 0.
 */
export function projectedTopK(x: Tensor, k: number): Projection {
  // Less the largest first, so that equal entries become exactly 0 rather than a rounding error of any direction.
  const shifted = x.sub(x.detach().max([-1]).unsqueeze(-1));
  const centred = shifted.sub(shifted.mean([-1], { keepDims: true }));
  const squared = centred.square().sum([-1], { keepDims: true });
  const flat = squared.eq(0);
  const zero = zeros([], { dtype: x.dtype, device: x.device });
  const soft = flat.where(zero, centred.div(flat.where(zero.add(1), squared).sqrt()));
  const hard = topK(centred, k);
  return { centred, soft, hard, z: straightThrough(hard, soft) };
}

export interface KHotOptions {
  /** m, entries of z. */
  readonly size: number;
  /** Entries that are 1. */
  readonly k: number;
  /** `gamma`: the sum of gamma variables. `gumbel`: z is then a Plackett-Luce draw of k out of m without replacement. */
  readonly noise: "gamma" | "gumbel";
  readonly gammaScale: GammaScale;
  /**
   * What the bound is charged for z. `categorical`: KL of softmax(logits), as official; below the true divergence.
   * `subset-upper`: `log C(m, k)`, above it whatever the law of z. `plackett-luce`: exact, for Gumbel noise and small m.
   */
  readonly kl: "categorical" | "subset-upper" | "plackett-luce";
}

/** z in {0, 1}^m with k ones; p(z) uniform over all of them. */
export class KHotLatent implements Latent {
  readonly size: number;
  readonly heads = 1;
  readonly #options: KHotOptions;

  constructor(options: KHotOptions) {
    this.size = options.size;
    this.#options = options;
  }

  draw(encoded: readonly Tensor[], generator: Generator): LatentDraw {
    const { k, noise, gammaScale } = this.#options;
    const logits = onlyHead(encoded);
    const drawn =
      noise === "gumbel"
        ? drawGumbel(logits.shape, generator)
        : drawSumOfGamma(logits.shape, generator, k, gammaScale);
    const { z } = projectedTopK(logits.add(drawn.toDevice(logits.device, logits.dtype)), k);
    return { z, kl: this.#divergence(logits) };
  }

  /** A single subset costs `log C(m, k)` in an exact account; under `categorical` it is charged like a draw. */
  mode(encoded: readonly Tensor[]): LatentDraw {
    const logits = onlyHead(encoded);
    const { z } = projectedTopK(logits, this.#options.k);
    return {
      z,
      kl: this.#options.kl === "categorical" ? categoricalDivergence(logits) : this.#upperBound(logits),
    };
  }

  prior(count: number, generator: Generator, { dtype, device = "cpu" }: LatentTensorOptions): Tensor {
    const normal = randn([count, this.size], generator, { dtype: "float64" });
    return topK(normal, this.#options.k).toDevice(device, dtype);
  }

  /** The first k entries are 1. */
  fixed(count: number, { dtype, device = "cpu" }: LatentTensorOptions): Tensor {
    const { k } = this.#options;
    const entries = Array.from({ length: this.size }, (_, i) => (i < k ? 1 : 0));
    return tensor([entries], { dtype, device }).expand([count, this.size]);
  }

  #divergence(logits: Tensor): Tensor {
    const { kl, k } = this.#options;
    switch (kl) {
      case "categorical":
        return categoricalDivergence(logits);
      case "subset-upper":
        return this.#upperBound(logits);
      case "plackett-luce":
        return plackettLuceDivergence(logits, k);
      default:
        return kl satisfies never;
    }
  }

  #upperBound(logits: Tensor): Tensor {
    const value = logSubsets(this.size, this.#options.k);
    return full([logits.dim(0)], value, { dtype: "float64", device: logits.device });
  }
}
