/** The residual block of the guided-diffusion U-Net, modulated by the step. */
import { Convolution, GroupNorm, type Linear, Module, zero } from "../../nn/index.js";
import type { DropoutKeys, DropoutOptions, Tensor } from "../../torch/index.js";
import {
  type Cost,
  checkMultiple,
  convolution,
  convolutionFlops,
  dense,
  type Layer,
  positions,
  type Size,
} from "./layer.js";
import { doubled, halfOf, halved, twice } from "./resampling.js";

/** `scale-shift`: `GN(h) (1 + s) + b`. `shift`: `GN(h + b)`. */
export type Modulation = "scale-shift" | "shift";

export interface GuidedResidualBlockOptions {
  readonly channelsIn: number;
  readonly channelsOut: number;
  /** Width E of the step's embedding. */
  readonly embeddingFeatures: number;
  readonly scaleShift: Modulation;
  readonly dropout: number;
  readonly groups: number;
  /** Whether the block halves or doubles its maps before the first convolution, and how its input goes past. */
  readonly resample?: "none" | "down" | "up";
}

/** `skip(x) + conv(drop(silu(modulated GN(conv(silu(GN(x)))))))`; the last convolution starts at zero. */
export class GuidedResidualBlock extends Module implements Layer {
  // Fields carry the names, and arrays the positions, of the official state dict; null is a layer without parameters.
  readonly in_layers: readonly [GroupNorm, null, Convolution];
  readonly emb_layers: readonly [null, Linear];
  readonly out_layers: readonly [GroupNorm, null, null, Convolution];
  readonly skip_connection: Convolution | undefined;
  readonly #options: GuidedResidualBlockOptions;

  /** @throws UserError when either number of channels does not divide into the groups. */
  constructor(options: GuidedResidualBlockOptions) {
    super();
    const { channelsIn, channelsOut, embeddingFeatures, scaleShift, groups } = options;
    for (const channels of [channelsIn, channelsOut]) checkMultiple(channels, groups, "groups");
    this.#options = options;
    const norm = { groups, epsilon: 1e-5 };
    this.in_layers = [
      new GroupNorm(channelsIn, { ...norm, activation: "silu" }),
      null,
      convolution(channelsIn, channelsOut),
    ];
    const numbers = scaleShift === "scale-shift" ? 2 : 1;
    this.emb_layers = [null, dense(embeddingFeatures, numbers * channelsOut)];
    this.out_layers = [
      new GroupNorm(channelsOut, { ...norm, activation: "silu" }),
      null,
      null,
      new Convolution(channelsOut, channelsOut, { law: zero }),
    ];
    this.skip_connection =
      channelsIn === channelsOut ? undefined : convolution(channelsIn, channelsOut, { kernel: 1 });
  }

  /** `x` `[B, in, H, W]`, `embedding` `[B, E]`, activated -> `[B, out, H', W']` */
  forward(x: Tensor, embedding: Tensor, keys: DropoutKeys | undefined): Tensor {
    const [normIn, , convIn] = this.in_layers;
    const [, , , convOut] = this.out_layers;
    const [normed, past] = normIn.fork(x);
    const h = convIn.forward(this.#resampled(normed));
    const dropout = { rate: this.#options.dropout, keys };
    const branch = this.#modulated(h, this.emb_layers[1].forward(embedding), dropout);
    const skip = this.#resampled(past);
    return convOut.forward(branch, this.skip_connection ? this.skip_connection.forward(skip) : skip);
  }

  /** `silu(GN(h) (1 + s) + b)` or `silu(GN(h + b))`, dropped; `e` is `[B, 2 out]`, s before b, or `[B, out]`. */
  #modulated(h: Tensor, e: Tensor, dropout: DropoutOptions): Tensor {
    const [norm] = this.out_layers;
    if (this.#options.scaleShift === "shift") return norm.forward(h, { shift: e, dropout });
    const [scale, shift] = e.split(this.#options.channelsOut, 1) as [Tensor, Tensor];
    return norm.modulated(h, scale, shift, { dropout });
  }

  #resampled(x: Tensor): Tensor {
    const { resample = "none" } = this.#options;
    if (resample === "none") return x;
    return resample === "down" ? halved(x) : doubled(x);
  }

  cost(before: Size): Cost {
    const { channelsIn, channelsOut, embeddingFeatures, scaleShift, resample = "none" } = this.#options;
    const size = { none: before, down: halfOf(before), up: twice(before) }[resample];
    const features = scaleShift === "scale-shift" ? 2 * channelsOut : channelsOut;
    const flops =
      convolutionFlops(channelsIn, channelsOut, size) +
      convolutionFlops(channelsOut, channelsOut, size) +
      (this.skip_connection ? convolutionFlops(channelsIn, channelsOut, size, 1) : 0) +
      2 * embeddingFeatures * features;
    // The inputs of both norms and of both convolutions.
    const activations =
      channelsIn * (positions(before) + positions(size)) + 2 * channelsOut * positions(size);
    return { flops, activations, left: channelsOut * positions(size), size };
  }
}
