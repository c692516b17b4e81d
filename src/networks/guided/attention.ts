/** The attention block of the guided-diffusion U-Net: several heads over all positions. */
import { fanInUniform, GroupNorm, type Initialiser, Module, Parameter, zero } from "../../nn/index.js";
import { type AttentionOrder, attention, linear, type Tensor } from "../../torch/index.js";
import { type Cost, checkMultiple, type Layer, positions, type Size } from "./layer.js";

/** A convolution over a sequence with a window of one, as a matrix product: `[B, L, in] -> [B, L, out]`. */
class TokenConvolution extends Module {
  readonly weight: Parameter;
  readonly bias: Parameter;

  constructor(featuresIn: number, featuresOut: number, law: Initialiser) {
    super();
    this.weight = new Parameter([featuresOut, featuresIn, 1], law);
    this.bias = new Parameter([featuresOut], law, { decay: false });
  }

  forward(tokens: Tensor): Tensor {
    return linear(tokens, this.weight.value.squeeze(2), this.bias.value);
  }
}

export interface GuidedAttentionOptions {
  readonly channels: number;
  readonly heads: number;
  readonly order: AttentionOrder;
  readonly groups: number;
}

/** `x + proj(softmax(q k^T / sqrt(d)) v)` with `[q k v] = W GN(x)`; the projection starts at zero. */
export class GuidedAttention extends Module implements Layer {
  // Names and shapes of the official state dict.
  readonly norm: GroupNorm;
  readonly qkv: TokenConvolution;
  readonly proj_out: TokenConvolution;
  readonly #options: GuidedAttentionOptions;

  /** @throws UserError when the channels do not divide into the heads or the groups. */
  constructor(options: GuidedAttentionOptions) {
    super();
    const { channels, heads, groups } = options;
    checkMultiple(channels, groups, "groups");
    checkMultiple(channels, heads, "heads");
    this.#options = options;
    this.norm = new GroupNorm(channels, { groups, epsilon: 1e-5, activation: "none" });
    this.qkv = new TokenConvolution(channels, 3 * channels, fanInUniform(channels));
    this.proj_out = new TokenConvolution(channels, channels, zero);
  }

  /** `x` `[B, C, H, W]`; the softmax is taken in float32 or better. */
  forward(x: Tensor): Tensor {
    const [batch, channels, height, width] = x.shape as [number, number, number, number];
    const { heads, order } = this.#options;
    const [normed, past] = this.norm.fork(x);
    const tokens = normed.permute([0, 2, 3, 1]).reshape([batch, height * width, channels]); // a view
    const joined = attention(this.qkv.forward(tokens), { heads, order });
    return past.add(
      this.proj_out.forward(joined).reshape([batch, height, width, channels]).permute([0, 3, 1, 2]),
    );
  }

  cost(size: Size): Cost {
    const { channels } = this.#options;
    const length = positions(size);
    return {
      flops: 2 * 4 * channels * channels * length + 2 * 2 * length * length * channels,
      activations: 6 * channels * length, // input, normed, q, k, v and their weighted sum
      left: channels * length,
      size,
    };
  }
}
