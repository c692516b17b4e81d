/** The way down of the guided-diffusion U-Net: residual blocks and attention, maps halved from level to level. */
import type { Pass, Recompute } from "../../diffusion/denoiser.js";
import type { Convolution } from "../../nn/index.js";
import { type AttentionOrder, type DropoutKeys, scope, type Tensor } from "../../torch/index.js";
import type { Descended } from "../ascent.js";
import { inPrecision } from "../precision.js";
import { segment } from "../segment.js";
import { GuidedAttention } from "./attention.js";
import { type Cost, convolution, convolutionFlops, type Layer, positions, type Size } from "./layer.js";
import { Downsample, type Resampling, Upsample } from "./resampling.js";
import { GuidedResidualBlock, type Modulation } from "./residual-block.js";

/** What all blocks of a network have in common. */
export interface BlockOptions {
  /** Width E of the embedding. */
  readonly embeddingFeatures: number;
  readonly scaleShift: Modulation;
  readonly resampling: Resampling;
  readonly attentionOrder: AttentionOrder;
  readonly dropout: number;
  readonly groups: number;
}

/** Makers of the layers that blocks consist of. */
export function layerMakers(options: BlockOptions) {
  const { resampling } = options;
  const residual = (channelsIn: number, channelsOut: number, resample: "none" | "down" | "up" = "none") =>
    new GuidedResidualBlock({ ...options, channelsIn, channelsOut, resample });
  return {
    residual,
    attention: (channels: number, heads: number) =>
      new GuidedAttention({ channels, heads, order: options.attentionOrder, groups: options.groups }),
    down: (width: number): Layer =>
      resampling === "blocks" ? residual(width, width, "down") : new Downsample(width, resampling),
    up: (width: number): Layer =>
      resampling === "blocks" ? residual(width, width, "up") : new Upsample(width, resampling),
  };
}

export interface DescentOptions extends BlockOptions {
  /** Channels of the input. */
  readonly channelsIn: number;
  /** Channels of each level, the first at full resolution. */
  readonly widths: readonly number[];
  /** Residual blocks a level. */
  readonly residualBlocks: number;
  /** Whether attention follows the residual blocks of a level; 0 is full resolution. */
  readonly hasAttention: (level: number) => boolean;
  /** Heads of attention over so many channels. */
  readonly heads: (channels: number) => number;
}

/** The first convolution, and what comes behind it: places of the official state dict. */
export type InputBlocks = readonly [readonly [Convolution], ...(readonly Layer[])[]];

/** The blocks of the way down, and the channels that each leaves. */
export function inputBlocks(options: DescentOptions): {
  readonly blocks: InputBlocks;
  readonly skips: readonly number[];
} {
  const { widths, residualBlocks, heads } = options;
  const { residual, attention, down } = layerMakers(options);
  let width = widths[0] as number;
  const skips = [width];
  const blocks: Layer[][] = [];
  for (const [level, levelWidth] of widths.entries()) {
    for (let i = 0; i < residualBlocks; i++) {
      const layers: Layer[] = [residual(width, levelWidth)];
      width = levelWidth;
      if (options.hasAttention(level)) layers.push(attention(width, heads(width)));
      blocks.push(layers);
      skips.push(width);
    }
    if (level === widths.length - 1) continue;
    blocks.push([down(width)]);
    skips.push(width);
  }
  return { blocks: [[convolution(options.channelsIn, widths[0] as number)], ...blocks], skips };
}

/** One layer after the other. */
export function through(
  layers: readonly Layer[],
  x: Tensor,
  embedding: Tensor,
  keys: DropoutKeys | undefined,
): Tensor {
  return layers.reduce((h, layer) => scope(() => layer.forward(h, embedding, keys)), x);
}

/** Through a block further down, or the middle, whose input becomes a skip. */
export function deeper(layers: readonly Layer[], before: Descended, pass: Pass): Descended {
  const [h, embedding, skip] = segment(pass, [before.h, before.embedding], ([x, e], keys) => [
    through(layers, x, e, keys),
    e,
    x,
  ]);
  return { h, embedding, skips: [...before.skips, skip] };
}

/** All the way down from `first`, which the first convolution left. */
export function descend([, ...blocks]: InputBlocks, first: Tensor, embedding: Tensor, pass: Pass): Descended {
  const start: Descended = { h: first, embedding, skips: [] };
  return blocks.reduce((state, layers) => deeper(layers, state, pass), start);
}

/** `body` of the first convolution's maps of `x`, in the precision of the pass; the convolution in that of `x`. */
export function behindStem(
  [[stem]]: InputBlocks,
  x: Tensor,
  pass: Pass,
  body: (first: Tensor) => Tensor,
): Tensor {
  return inPrecision(pass, stem.forward(x.clone("channelsLast")), body);
}

/** Of layers one after the other. */
function costOfBlock(layers: readonly Layer[], before: Size): Cost {
  const start: Cost = { flops: 0, activations: 0, left: 0, size: before };
  return layers.reduce((sum, layer) => {
    const { flops, activations, left, size } = layer.cost(sum.size);
    return { flops: sum.flops + flops, activations: sum.activations + activations, left, size };
  }, start);
}

/**
 * Of the first convolution and blocks one after the other, up to the last one's result. Where they are computed again, the
 * input of each is kept and one of them held whole.
 */
export function costOf(
  [[stem], ...blocks]: InputBlocks,
  before: Size,
  recompute: Recompute = "none",
): Pick<Cost, "flops" | "activations"> {
  let [flops, size] = [endFlops(stem, before), before];
  let [all, largest] = [0, 0];
  let inputs = 0;
  let left = (stem.weight.shape[0] as number) * positions(before);
  for (const layers of blocks) {
    const cost = costOfBlock(layers, size);
    flops += cost.flops;
    all += cost.activations;
    largest = Math.max(largest, cost.activations);
    inputs += left;
    left = cost.left;
    size = cost.size;
  }
  return { flops, activations: recompute === "levels" ? inputs + largest : all };
}

/** Two for each multiply-accumulate of a convolution at one of the ends. */
export function endFlops({ weight }: Convolution, size: Size): number {
  const [channelsOut, channelsIn] = weight.shape as [number, number];
  return convolutionFlops(channelsIn, channelsOut, size);
}
