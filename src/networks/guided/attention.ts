/** The attention block of the guided-diffusion U-Net: several heads over all positions. */
import { fanInUniform, GroupNorm, type Initialiser, Module, Parameter, zero } from "../../nn/index.js";
import { cat, linear, operatorMany, scaledSoftmax, scope, type Tensor } from "../../torch/index.js";
import { type Cost, checkMultiple, type Layer, positions, type Size } from "./layer.js";

const unbind = operatorMany("aten::unbind.int");

/** Where the channels of q, k and v lie: `legacy`, those of a head together; `new`, those of all heads together. */
export type AttentionOrder = "legacy" | "new";

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

/**
 * Scores of about as many numbers are worked on at a time. With 784 positions this halves the time of the block: the
 * allocator gives pieces the same pages again, and some stay in the cache from one product to the next.
 */
const scoresAtATime = 2 ** 20;

/** `softmax(q k^T / sqrt(d)) v` of `[N, L, d]`, in pieces along N. */
function attended(q: Tensor, k: Tensor, v: Tensor): Tensor {
  const [, length, features] = q.shape as [number, number, number];
  const pieces = (x: Tensor) => x.split(Math.max(1, Math.floor(scoresAtATime / length ** 2)), 0);
  const [keys, values] = [pieces(k), pieces(v)];
  const parts = pieces(q).map((query, i) =>
    scope(() => {
      const scores = query.matmul((keys[i] as Tensor).transpose(1, 2));
      return scaledSoftmax(scores, features ** -0.5).matmul(values[i] as Tensor);
    }),
  );
  return parts.length === 1 ? (parts[0] as Tensor) : cat(parts, 0);
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
    const length = height * width;
    const features = channels / heads;
    const [normed, past] = this.norm.fork(x);
    const qkv = this.qkv.forward(normed.permute([0, 2, 3, 1]).reshape([batch, length, channels])); // a view
    const byPart =
      order === "legacy"
        ? qkv.reshape([batch, length, heads, 3, features]).permute([3, 0, 2, 1, 4])
        : qkv.reshape([batch, length, 3, heads, features]).permute([2, 0, 3, 1, 4]);
    const [q, k, v] = unbind(byPart.reshape([3, batch * heads, length, features])) as [
      Tensor,
      Tensor,
      Tensor,
    ];
    const joined = attended(q, k, v)
      .reshape([batch, heads, length, features])
      .transpose(1, 2)
      .reshape([batch, height, width, channels]);
    return past.add(this.proj_out.forward(joined).permute([0, 3, 1, 2]));
  }

  cost(size: Size): Cost {
    const { channels, heads } = this.#options;
    const length = positions(size);
    return {
      flops: 2 * 4 * channels * channels * length + 2 * 2 * length * length * channels,
      // Input, normed, q, k, v and their weighted sum; the scores before and behind the softmax.
      activations: 6 * channels * length + 2 * heads * length * length,
      left: channels * length,
      size,
    };
  }
}
