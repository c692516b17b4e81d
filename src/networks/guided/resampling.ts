/** How the guided-diffusion U-Net halves and doubles its feature maps. */
import { type Convolution, Module } from "../../nn/index.js";
import { operator, type Tensor } from "../../torch/index.js";
import { type Cost, convolution, convolutionFlops, type Layer, positions, type Size } from "./layer.js";

const averagePool = operator("aten::avg_pool2d");
const nearest = operator("aten::upsample_nearest2d");

/** `convolution`: learned with both. `pooling`: averages and repetition alone. `blocks`: inside residual blocks. */
export type Resampling = "convolution" | "pooling" | "blocks";

/** The mean of every 2 x 2 positions. */
export function halved(x: Tensor): Tensor {
  return averagePool(x, 2, 2);
}

/** Every position four times. */
export function doubled(x: Tensor): Tensor {
  return nearest(x, [2 * x.dim(2), 2 * x.dim(3)], 2, 2);
}

export function halfOf({ height, width }: Size): Size {
  return { height: height / 2, width: width / 2 };
}

export function twice({ height, width }: Size): Size {
  return { height: 2 * height, width: 2 * width };
}

/** `[B, C, H, W] -> [B, C, H/2, W/2]`: a convolution of stride 2, or averages. */
export class Downsample extends Module implements Layer {
  readonly op: Convolution | undefined;
  readonly #channels: number;

  constructor(channels: number, resampling: Exclude<Resampling, "blocks">) {
    super();
    this.op = resampling === "convolution" ? convolution(channels, channels, { stride: 2 }) : undefined;
    this.#channels = channels;
  }

  forward(x: Tensor): Tensor {
    return this.op ? this.op.forward(x) : halved(x);
  }

  cost(size: Size): Cost {
    const c = this.#channels;
    const small = halfOf(size);
    const flops = this.op ? convolutionFlops(c, c, small) : 0;
    return { flops, activations: c * positions(size), left: c * positions(small), size: small };
  }
}

/** `[B, C, H, W] -> [B, C, 2H, 2W]`: repetition, and a convolution behind it unless `pooling`. */
export class Upsample extends Module implements Layer {
  readonly conv: Convolution | undefined;
  readonly #channels: number;

  constructor(channels: number, resampling: Exclude<Resampling, "blocks">) {
    super();
    this.conv = resampling === "convolution" ? convolution(channels, channels) : undefined;
    this.#channels = channels;
  }

  forward(x: Tensor): Tensor {
    const wide = doubled(x);
    return this.conv ? this.conv.forward(wide) : wide;
  }

  cost(size: Size): Cost {
    const c = this.#channels;
    const wide = twice(size);
    const left = c * positions(wide);
    return this.conv
      ? { flops: convolutionFlops(c, c, wide), activations: left, left, size: wide }
      : { flops: 0, activations: 0, left, size: wide };
  }
}
