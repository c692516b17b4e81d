/** The guided-diffusion U-Net without what it is told: the way down, the middle, the way up and the last convolution. */
import type { Pass, Recompute } from "../../diffusion/denoiser.js";
import { UserError } from "../../errors.js";
import { Convolution, GroupNorm, zero } from "../../nn/index.js";
import type { Tensor } from "../../torch/index.js";
import { ascend } from "../ascent.js";
import {
  behindStem,
  costOf,
  type DescentOptions,
  deeper,
  descend,
  endFlops,
  type InputBlocks,
  inputBlocks,
  layerMakers,
  through,
} from "./descent.js";
import { type Layer, positions, type Size } from "./layer.js";

/** @throws UserError when height and width do not halve `levels - 1` times. */
export function checkHalvings(height: number, width: number, levels: number): void {
  const unit = 2 ** (levels - 1);
  if (height % unit !== 0 || width % unit !== 0)
    throw new UserError(
      `expected images whose height and width are multiples of ${unit} (${levels} levels), got ${height} x ${width}: set data.size, or fewer channelMultipliers`,
    );
}

export interface TrunkOptions extends DescentOptions {
  /** Channels of the result. */
  readonly channelsOut: number;
  /** Heads on the way up. Default as on the way down. */
  readonly headsUp?: (channels: number) => number;
  /** Channels that are laid behind those of the middle before the way up. Default 0. */
  readonly bottleneckChannels?: number;
}

/** Fields carry the names, and arrays the positions, of the official state dict; null is a layer without parameters. */
export interface Trunk {
  readonly input_blocks: InputBlocks;
  readonly middle_block: readonly Layer[];
  readonly output_blocks: readonly (readonly Layer[])[];
  readonly out: readonly [GroupNorm, null, Convolution];
}

/**
 * The way up has one residual block a level more than the way down; attention stands in the middle always; the last
 * convolution starts at zero.
 * @throws UserError when channels do not divide into groups or heads.
 */
export function trunkOf(options: TrunkOptions): Trunk {
  const { widths, residualBlocks, heads, headsUp = heads, groups, bottleneckChannels = 0 } = options;
  const { residual, attention, up } = layerMakers(options);
  const { blocks, skips } = inputBlocks(options);

  let width = skips.at(-1) as number;
  const middle = [residual(width, width), attention(width, heads(width)), residual(width, width)];
  width += bottleneckChannels;

  const waiting = [...skips];
  const outputs: Layer[][] = [];
  for (const [level, levelWidth] of [...widths.entries()].reverse())
    for (let i = 0; i <= residualBlocks; i++) {
      const layers: Layer[] = [residual(width + (waiting.pop() as number), levelWidth)];
      width = levelWidth;
      if (options.hasAttention(level)) layers.push(attention(width, headsUp(width)));
      if (level > 0 && i === residualBlocks) layers.push(up(width));
      outputs.push(layers);
    }
  return {
    input_blocks: blocks,
    middle_block: middle,
    output_blocks: outputs,
    out: [
      new GroupNorm(width, { groups, epsilon: 1e-5, activation: "silu" }),
      null,
      new Convolution(width, options.channelsOut, { law: zero }),
    ],
  };
}

/**
 * `x` `[B, in, H, W]`, `embedding` `[B, E]`, activated -> `[B, out, H, W]` in x's dtype. `bottleneck` changes what the middle
 * leaves, in the precision of the pass.
 */
export function runTrunk(
  trunk: Trunk,
  x: Tensor,
  embedding: Tensor,
  pass: Pass,
  bottleneck: (h: Tensor) => Tensor = (h) => h,
): Tensor {
  const [norm, , last] = trunk.out;
  // The ends keep x's own precision; what lies between runs in that of the pass.
  const h = behindStem(trunk.input_blocks, x, pass, (first) => {
    const middle = deeper(trunk.middle_block, descend(trunk.input_blocks, first, embedding, pass), pass);
    const descended = { ...middle, h: bottleneck(middle.h) };
    return norm.forward(ascend(trunk.output_blocks, descended, pass, through));
  });
  return last.forward(h);
}

/** Of one image. */
export function trunkCost(
  trunk: Trunk,
  size: Size,
  recompute: Recompute = "none",
): { readonly flops: number; readonly activations: number } {
  const [stem, ...inputs] = trunk.input_blocks;
  const last = trunk.out[2];
  const body = costOf([stem, ...inputs, trunk.middle_block, ...trunk.output_blocks], size, recompute);
  return {
    flops: body.flops + endFlops(last, size),
    // The inputs of the last norm and of the last convolution.
    activations: body.activations + 2 * (last.weight.shape[1] as number) * positions(size),
  };
}
