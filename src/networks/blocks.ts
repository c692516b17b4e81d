/** The blocks the U-Nets are built of: residual and attention, on feature maps of constant size. */
import { Convolution, GroupNorm, Linear, Module, type Parameter, zero } from "../nn/index.js";
import { attention, cat, type DropoutKeys, linear, type Tensor } from "../torch/index.js";

export interface ResidualBlockOptions {
  readonly channelsIn: number;
  readonly channelsOut: number;
  /** Width F of the condition. */
  readonly conditionFeatures: number;
  readonly dropout: number;
  /** Groups of both normalisations. Default 32. */
  readonly groups?: number;
}

/** `x + conv2(drop(swish(GN(conv1(swish(GN(x))) + Dense(c)))))`, with a 1x1 shortcut where the channels change. */
export class ResidualBlock extends Module {
  readonly norm1: GroupNorm;
  readonly conv1: Convolution;
  readonly conditionProjection: Linear;
  readonly norm2: GroupNorm;
  readonly conv2: Convolution;
  readonly shortcut: Convolution | undefined;
  readonly #rate: number;

  constructor(options: ResidualBlockOptions) {
    super();
    const { channelsIn, channelsOut, conditionFeatures, groups = 32 } = options;
    this.norm1 = new GroupNorm(channelsIn, { activation: "silu", groups });
    this.conv1 = new Convolution(channelsIn, channelsOut);
    this.conditionProjection = new Linear(conditionFeatures, channelsOut, { law: zero, bias: "without" });
    this.norm2 = new GroupNorm(channelsOut, { activation: "silu", groups });
    this.conv2 = new Convolution(channelsOut, channelsOut, { law: zero });
    this.shortcut =
      channelsIn === channelsOut ? undefined : new Convolution(channelsIn, channelsOut, { kernel: 1 });
    this.#rate = options.dropout;
  }

  /** `x` `[B, in, H, W]`, `condition` `[B, F]` or, for every position, `[B, H, W, F]` -> `[B, out, H, W]` */
  forward(x: Tensor, condition: Tensor, keys: DropoutKeys | undefined): Tensor {
    const [normed, past] = this.norm1.fork(x);
    let h = this.conv1.forward(normed);
    const shift = this.conditionProjection.forward(condition); // added before the statistics are taken
    const dropout = { rate: this.#rate, keys };
    h =
      shift.rank === 2
        ? this.norm2.forward(h, { shift, dropout })
        : this.norm2.forward(h.add(shift.permute([0, 3, 1, 2])), { dropout });
    return this.conv2.forward(h, this.shortcut ? this.shortcut.forward(past) : past);
  }
}

/** Single-head self-attention over all positions, added to its input: `x + Dense(softmax(q k^T / sqrt(E)) v)`. */
export class AttentionBlock extends Module {
  readonly norm: GroupNorm;
  readonly q: Linear;
  readonly k: Linear;
  readonly v: Linear;
  readonly out: Linear;

  constructor(channels: number, options: { readonly groups?: number } = {}) {
    super();
    this.norm = new GroupNorm(channels, { activation: "none", groups: options.groups ?? 32 });
    this.q = new Linear(channels, channels);
    this.k = new Linear(channels, channels);
    this.v = new Linear(channels, channels);
    this.out = new Linear(channels, channels, { law: zero });
  }

  /** `x` `[B, E, H, W]`; the softmax is taken in float32 or better. */
  forward(x: Tensor): Tensor {
    const [batch, channels, height, width] = x.shape as [number, number, number, number];
    const [normed, past] = this.norm.fork(x);
    const tokens = normed.permute([0, 2, 3, 1]).reshape([batch, height * width, channels]); // a view: channels lie fastest
    const parts = [this.q, this.k, this.v];
    const weight = cat(parts.map((part) => part.weight.value)); // one product in the place of three
    const bias = cat(parts.map((part) => (part.bias as Parameter).value));
    const attended = attention(linear(tokens, weight, bias));
    return past.add(
      this.out.forward(attended).reshape([batch, height, width, channels]).permute([0, 3, 1, 2]),
    );
  }
}
