/** The layers of the networks: convolution and its transpose, linear map, group normalisation. */
import {
  conv2d,
  type DropoutOptions,
  groupNorm,
  groupNormFork,
  linear,
  type Tensor,
  transposedConv2d,
} from "../torch/index.js";
import { type Initialiser, lecunNormal, one, zero } from "./initialisers.js";
import { Module, Parameter } from "./module.js";

export interface ConvolutionOptions {
  /** Odd kernel width; zero padding keeps the image size. Default 3. */
  readonly kernel?: number;
  /** Positions from one window to the next; default 1. */
  readonly stride?: number;
  /** `valid` pads nothing: the image loses `kernel - 1` rows and columns. Default `same`. */
  readonly padding?: "same" | "valid";
  /** Law of the kernel; default lecun normal. */
  readonly law?: Initialiser;
  /** Default: the bias starts at 0. */
  readonly biasLaw?: Initialiser;
}

/** Cross-correlation with stride s, zero padding: `[B, in, H, W] -> [B, out, ceil(H / s), ceil(W / s)]` where that is "same". */
export class Convolution extends Module {
  readonly weight: Parameter;
  readonly bias: Parameter;
  readonly #stride: number;
  readonly #padding: number;

  constructor(channelsIn: number, channelsOut: number, options: ConvolutionOptions = {}) {
    super();
    const {
      kernel = 3,
      stride = 1,
      padding = "same",
      law = lecunNormal(kernel * kernel * channelsIn),
      biasLaw = zero,
    } = options;
    this.weight = new Parameter([channelsOut, channelsIn, kernel, kernel], law, { format: "channelsLast" });
    this.bias = new Parameter([channelsOut], biasLaw, { decay: false });
    this.#stride = stride;
    this.#padding = padding === "same" ? (kernel - 1) / 2 : 0;
  }

  /** With the `residual`, of the result's shape, added to it. */
  forward(x: Tensor, residual?: Tensor): Tensor {
    const options = { stride: this.#stride, padding: this.#padding, residual };
    return conv2d(x, this.weight.value, this.bias.value, options);
  }
}

/** Transposed convolution whose windows lie side by side: `[B, in, H, W] -> [B, out, s H, s W]` with an s x s kernel. */
export class TransposedConvolution extends Module {
  readonly weight: Parameter;
  readonly bias: Parameter;
  readonly #stride: number;

  constructor(channelsIn: number, channelsOut: number, options: { readonly stride?: number } = {}) {
    super();
    const { stride = 2 } = options;
    this.weight = new Parameter(
      [channelsIn, channelsOut, stride, stride],
      lecunNormal(stride * stride * channelsIn),
      { format: "channelsLast" },
    );
    this.bias = new Parameter([channelsOut], zero, { decay: false });
    this.#stride = stride;
  }

  forward(x: Tensor): Tensor {
    return transposedConv2d(x, this.weight.value, this.bias.value, { stride: this.#stride });
  }
}

export interface LinearOptions {
  readonly law?: Initialiser;
  readonly bias?: "with" | "without";
  /** Default: the bias starts at 0. */
  readonly biasLaw?: Initialiser;
}

/** `x W^T + b` on the last dimension. */
export class Linear extends Module {
  readonly weight: Parameter;
  readonly bias: Parameter | undefined;

  constructor(featuresIn: number, featuresOut: number, options: LinearOptions = {}) {
    super();
    this.weight = new Parameter([featuresOut, featuresIn], options.law ?? lecunNormal(featuresIn));
    const biasLaw = options.biasLaw ?? zero;
    this.bias =
      options.bias === "without" ? undefined : new Parameter([featuresOut], biasLaw, { decay: false });
  }

  forward(x: Tensor): Tensor {
    return linear(x, this.weight.value, this.bias ? this.bias.value : null);
  }
}

export interface NormPassOptions {
  /** `[B, C]`, added to every position before the statistics are taken. */
  readonly shift?: Tensor;
  /** Behind the activation. */
  readonly dropout?: DropoutOptions;
}

/** Group normalisation with population variance, and the activation and dropout that follow it, in one kernel. */
export class GroupNorm extends Module {
  readonly weight: Parameter;
  readonly bias: Parameter;
  readonly #options: {
    readonly groups: number;
    readonly epsilon: number;
    readonly activation: "silu" | "none";
  };

  /** @throws Error when the channels do not divide into the groups. */
  constructor(
    channels: number,
    options: { readonly groups?: number; readonly epsilon?: number; readonly activation: "silu" | "none" },
  ) {
    super();
    const { groups = 32, epsilon = 1e-6, activation } = options;
    if (channels % groups !== 0)
      throw new Error(`expected a number of channels divisible by ${groups} groups, got ${channels}`);
    this.#options = { groups, epsilon, activation };
    this.weight = new Parameter([channels], one);
    this.bias = new Parameter([channels], zero, { decay: false });
  }

  forward(x: Tensor, options: NormPassOptions = {}): Tensor {
    return groupNorm(x, this.weight.value, this.bias.value, { ...this.#options, ...options });
  }

  /** What `forward` gives, and x for what goes past the normalisation; see `groupNormFork`. */
  fork(x: Tensor): readonly [normed: Tensor, past: Tensor] {
    return groupNormFork(x, this.weight.value, this.bias.value, this.#options);
  }

  /** `drop(act(GN(x) (1 + scale) + shift))`, both `[B, C]`. */
  modulated(x: Tensor, scale: Tensor, shift: Tensor, options: Omit<NormPassOptions, "shift"> = {}): Tensor {
    const factor = scale.add(1);
    const weight = this.weight.value.mul(factor);
    const bias = this.bias.value.mul(factor).add(shift);
    return groupNorm(x, weight, bias, { ...this.#options, ...options });
  }
}
