/** What the layers of the guided-diffusion U-Net have in common: their signature, cost, initial law and limits. */
import { UserError } from "../../errors.js";
import { Convolution, fanInUniform, Linear, type Module } from "../../nn/index.js";
import type { DropoutKeys, Tensor } from "../../torch/index.js";

/** Height and width of a feature map. */
export interface Size {
  readonly height: number;
  readonly width: number;
}

/** What a layer costs for one image, and the size it leaves. */
export interface Cost {
  /** Two for each multiply-accumulate of convolutions and matrix products. */
  readonly flops: number;
  /** Elements kept for the backward pass. */
  readonly activations: number;
  /** Elements of the maps that it leaves. */
  readonly left: number;
  readonly size: Size;
}

/** One place of a block: `[B, in, H, W] -> [B, out, H', W']`. `embedding` `[B, E]` is the step's, already activated. */
export interface Layer extends Module {
  forward(x: Tensor, embedding: Tensor, keys: DropoutKeys | undefined): Tensor;
  cost(size: Size): Cost;
}

export function positions({ height, width }: Size): number {
  return height * width;
}

/** A convolution with PyTorch's default law. */
export function convolution(
  channelsIn: number,
  channelsOut: number,
  options: { readonly kernel?: number; readonly stride?: number } = {},
): Convolution {
  const { kernel = 3 } = options;
  const law = fanInUniform(kernel * kernel * channelsIn);
  return new Convolution(channelsIn, channelsOut, { ...options, law, biasLaw: law });
}

/** A linear map with PyTorch's default law. */
export function dense(featuresIn: number, featuresOut: number): Linear {
  const law = fanInUniform(featuresIn);
  return new Linear(featuresIn, featuresOut, { law, biasLaw: law });
}

/** Two for each multiply-accumulate of a convolution that leaves maps of `size`. */
export function convolutionFlops(channelsIn: number, channelsOut: number, size: Size, kernel = 3): number {
  return 2 * kernel * kernel * channelsIn * channelsOut * positions(size);
}

/** @throws UserError unless `channels` are a multiple of `unit`, the value of `option`. */
export function checkMultiple(channels: number, unit: number, option: string): void {
  if (channels < 1 || channels % unit !== 0)
    throw new UserError(
      `expected numbers of channels that are multiples of ${unit} (${option}), got ${channels}: change channels, channelMultipliers or ${option}`,
    );
}
