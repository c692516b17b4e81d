/** Operators of networks that are functions rather than methods: convolution, pooling, linear maps, normalisation, dropout. */
import { operator, operatorMany } from "./operator.js";
import type { DropoutKeys } from "./random.js";
import { meetsHost } from "./seal.js";
import type { Tensor } from "./tensor.js";

const op = {
  conv2d: operator("aten::conv2d"),
  conv2d3x3: operator("varidiff::conv2d_3x3"),
  convTranspose2d: operator("aten::conv_transpose2d.input"),
  maxPool2d: operator("aten::max_pool2d"),
  linear: operator("aten::linear"),
  relu: operator("aten::relu"),
  groupNorm: operator("varidiff::group_norm"),
  groupNormReference: operator("varidiff::group_norm_reference"),
  groupNormFork: operatorMany("varidiff::group_norm_fork"),
  attention: operator("varidiff::attention"),
  attentionReference: operator("varidiff::attention_reference"),
  dropout: operator("varidiff::dropout"),
};

export interface Conv2dOptions {
  /** Positions from one window to the next; default 1. */
  readonly stride?: number;
  /** Zeros on every side; default 0. */
  readonly padding?: number;
  /** Of the result's shape, added to it: with a 3x3 kernel before the result is rounded, and in the same pass. */
  readonly residual?: Tensor | undefined;
}

/**
 * Cross-correlation of `x` `[B, C, H, W]` with `weight` `[O, C, kh, kw]`, plus `bias` `[O]` and `residual`. Kernels of 3x3 with
 * stride 1 and padding 1 take Winograd's way where the CPU and the numbers of channels allow it; under `autocast` they give a
 * float32 `x` a float32 result, of rounded products.
 */
export function conv2d(x: Tensor, weight: Tensor, bias: Tensor | null, options: Conv2dOptions = {}): Tensor {
  const { stride = 1, padding = 0, residual } = options;
  const [, , height, width] = weight.shape;
  if (height === 3 && width === 3 && stride === 1 && padding === 1)
    return op.conv2d3x3(x, weight, bias, residual);
  const y = op.conv2d(x, weight, bias, stride, padding);
  return residual ? residual.add(y) : y;
}

/**
 * The adjoint of `conv2d` in x: every element of `x` `[B, C, H, W]` paints `weight` `[C, O, kh, kw]` times itself, one
 * window a stride.
 */
export function transposedConv2d(
  x: Tensor,
  weight: Tensor,
  bias: Tensor | null,
  options: { readonly stride?: number } = {},
): Tensor {
  return op.convTranspose2d(x, weight, bias, options.stride ?? 1);
}

/** The largest of every `size` x `size` window of `x` `[B, C, H, W]`, windows side by side. */
export function maxPool2d(x: Tensor, size: number): Tensor {
  return op.maxPool2d(x, size, size);
}

/** `x weight^T + bias` on the last dimension; `weight` is `[out, in]`. */
export function linear(x: Tensor, weight: Tensor, bias: Tensor | null): Tensor {
  return op.linear(x, weight, bias);
}

/** `max(x, 0)` */
export function relu(x: Tensor): Tensor {
  return op.relu(x);
}

export interface GroupNormOptions {
  readonly groups: number;
  readonly epsilon: number;
  /** `[B, C]`, added to every position of `x` before its statistics are taken. */
  readonly shift?: Tensor | undefined;
  readonly activation: "silu" | "none";
  /** Of what comes out of the activation, by the mask that `dropout` has for the same key; none where `keys` is absent. */
  readonly dropout?: DropoutOptions | undefined;
  /** `reference` composes the same from libtorch's own operators (for tests and comparisons). */
  readonly implementation?: "fused" | "reference";
}

export interface DropoutOptions {
  /** In [0, 1). */
  readonly rate: number;
  readonly keys: DropoutKeys | undefined;
}

/**
 * `drop(act(GroupNorm(x + shift)))` of `x` `[B, C, H, W]` with population variance; fused, channels-last. `weight` and `bias`
 * are `[C]`, or each image's own, `[B, C]`.
 */
export function groupNorm(x: Tensor, weight: Tensor, bias: Tensor, options: GroupNormOptions): Tensor {
  const run = options.implementation === "reference" ? op.groupNormReference : op.groupNorm;
  return run(...groupNormArguments(x, weight, bias, options));
}

/**
 * What `groupNorm` gives, and x again for whatever goes past the normalisation: the two gradients of x are then added while
 * one is written, and not in a pass of their own. Use the x that is returned, not the one given.
 */
export function groupNormFork(
  x: Tensor,
  weight: Tensor,
  bias: Tensor,
  options: Omit<GroupNormOptions, "implementation">,
): readonly [normed: Tensor, past: Tensor] {
  return op.groupNormFork(...groupNormArguments(x, weight, bias, options)) as [Tensor, Tensor];
}

function groupNormArguments(x: Tensor, weight: Tensor, bias: Tensor, options: GroupNormOptions) {
  const { groups, epsilon, activation, shift, dropout: drop = { rate: 0, keys: undefined } } = options;
  const key = keyOf(drop);
  const [rate, bits] = key === undefined ? [0, 0] : [drop.rate, key];
  return [x, weight, bias, shift, groups, epsilon, activation === "silu", rate, bits] as const;
}

/** Where the channels of q, k and v lie: `legacy`, those of a head together; `new`, those of all heads together. */
export type AttentionOrder = "legacy" | "new";

export interface AttentionOptions {
  /** Default 1. */
  readonly heads?: number;
  /** `[B, L, heads, 3, d]` or `[B, L, 3, heads, d]`; the same for one head. Default `new`. */
  readonly order?: AttentionOrder;
  /** `reference` composes the same from libtorch's own operators (for tests and comparisons). */
  readonly implementation?: "fused" | "reference";
}

/**
 * `softmax(q k^T / sqrt(d)) v` of every head over all L tokens, heads joined: `[q k v]` `[B, L, 3 C]` -> `[B, L, C]`, `d = C / heads`.
 * The softmax is taken in float32 or better whatever `qkv` is stored in. The scores are never stored, forward or backward, where
 * d is a multiple of 16, the numbers are float32 or bfloat16 and the processor has AVX-512 (and AVX512-BF16).
 */
export function attention(qkv: Tensor, options: AttentionOptions = {}): Tensor {
  const { heads = 1, order = "new", implementation = "fused" } = options;
  return (implementation === "reference" ? op.attentionReference : op.attention)(
    qkv,
    heads,
    order === "legacy",
  );
}

/** Inverted dropout with a mask that is a function of the key alone; the identity where `keys` is absent. */
export function dropout(x: Tensor, rate: number, keys: DropoutKeys | undefined): Tensor {
  const key = keyOf({ rate, keys });
  return key === undefined ? x : op.dropout(x, rate, key);
}

/** The next key; none is drawn where nothing is dropped. */
function keyOf({ rate, keys }: DropoutOptions): number | undefined {
  if (!keys || rate === 0) return undefined;
  meetsHost("dropout");
  return keys.next();
}
