/** Inception V3 as FID is defined with it: the graph of 2015 under torchvision's names, for inference alone. */
import { Module, one, Parameter, zero } from "../nn/index.js";
import { cat, linear, operator, relu, type Tensor } from "../torch/index.js";
import { type Classified, spatialChannels } from "./classifier-network.js";

const convolve = operator("aten::conv2d");
const averagePool = operator("aten::avg_pool2d");
const maximumPool = operator("aten::max_pool2d");

const epsilon = 1e-3;
/** Classes of the graph's last layer: the 1000 of ImageNet and eight without images. */
const inceptionClasses = 1008;

class Kernel extends Module {
  readonly weight: Parameter;

  constructor(shape: readonly number[]) {
    super();
    this.weight = new Parameter(shape, zero, { format: "channelsLast" });
  }
}

/** The names are those of the files. */
class BatchNorm extends Module {
  readonly weight: Parameter;
  readonly bias: Parameter;
  readonly running_mean: Parameter;
  readonly running_var: Parameter;

  constructor(channels: number) {
    super();
    this.weight = new Parameter([channels], one);
    this.bias = new Parameter([channels], zero);
    this.running_mean = new Parameter([channels], zero);
    this.running_var = new Parameter([channels], one);
  }
}

interface BasicOptions {
  /** Height and width; default 1 x 1. */
  readonly kernel?: readonly [number, number];
  readonly stride?: number;
  /** Default none. */
  readonly padding?: readonly [number, number];
}

/** `relu(BN(conv(x)))` with the statistics of the training, no bias. */
class Basic extends Module {
  readonly conv: Kernel;
  readonly bn: BatchNorm;
  readonly #stride: number;
  readonly #padding: readonly [number, number];

  constructor(channelsIn: number, channelsOut: number, options: BasicOptions = {}) {
    super();
    const { kernel = [1, 1], stride = 1, padding = [0, 0] } = options;
    this.conv = new Kernel([channelsOut, channelsIn, ...kernel]);
    this.bn = new BatchNorm(channelsOut);
    this.#stride = stride;
    this.#padding = padding;
  }

  forward(x: Tensor): Tensor {
    const { weight, bias, running_mean, running_var } = this.bn;
    const scale = weight.value.mul(running_var.value.add(epsilon).rsqrt());
    const shift = bias.value.sub(running_mean.value.mul(scale));
    const kernel = this.conv.weight.value.mul(scale.reshape([-1, 1, 1, 1]));
    return relu(convolve(x, kernel, shift, [this.#stride, this.#stride], this.#padding));
  }
}

const wide = { kernel: [3, 3], padding: [1, 1] } as const;
const halving = { kernel: [3, 3], stride: 2 } as const;
const row = { kernel: [1, 7], padding: [0, 3] } as const;
const column = { kernel: [7, 1], padding: [3, 0] } as const;

function through(x: Tensor, ...layers: readonly Basic[]): Tensor {
  return layers.reduce((h, layer) => layer.forward(h), x);
}

/** 3x3 means around every position; what lies outside the image does not count. */
function means(x: Tensor): Tensor {
  return averagePool(x, [3, 3], [1, 1], [1, 1], false, false, null);
}

function maxima(x: Tensor, stride: number, padding: number): Tensor {
  return maximumPool(x, [3, 3], [stride, stride], [padding, padding]);
}

/** Mixed_5b, 5c, 5d. */
class BlockA extends Module {
  readonly branch1x1: Basic;
  readonly branch5x5_1: Basic;
  readonly branch5x5_2: Basic;
  readonly branch3x3dbl_1: Basic;
  readonly branch3x3dbl_2: Basic;
  readonly branch3x3dbl_3: Basic;
  readonly branch_pool: Basic;

  constructor(channels: number, pooled: number) {
    super();
    this.branch1x1 = new Basic(channels, 64);
    this.branch5x5_1 = new Basic(channels, 48);
    this.branch5x5_2 = new Basic(48, 64, { kernel: [5, 5], padding: [2, 2] });
    this.branch3x3dbl_1 = new Basic(channels, 64);
    this.branch3x3dbl_2 = new Basic(64, 96, wide);
    this.branch3x3dbl_3 = new Basic(96, 96, wide);
    this.branch_pool = new Basic(channels, pooled);
  }

  forward(x: Tensor): Tensor {
    const parts = [
      this.branch1x1.forward(x),
      through(x, this.branch5x5_1, this.branch5x5_2),
      through(x, this.branch3x3dbl_1, this.branch3x3dbl_2, this.branch3x3dbl_3),
      this.branch_pool.forward(means(x)),
    ];
    return cat(parts, 1);
  }
}

/** Mixed_6a. */
class BlockB extends Module {
  readonly branch3x3 = new Basic(288, 384, halving);
  readonly branch3x3dbl_1 = new Basic(288, 64);
  readonly branch3x3dbl_2 = new Basic(64, 96, wide);
  readonly branch3x3dbl_3 = new Basic(96, 96, halving);

  forward(x: Tensor): Tensor {
    const double = through(x, this.branch3x3dbl_1, this.branch3x3dbl_2, this.branch3x3dbl_3);
    return cat([this.branch3x3.forward(x), double, maxima(x, 2, 0)], 1);
  }
}

/** Mixed_6b to 6e, of `width` channels inside. */
class BlockC extends Module {
  readonly branch1x1: Basic;
  readonly branch7x7_1: Basic;
  readonly branch7x7_2: Basic;
  readonly branch7x7_3: Basic;
  readonly branch7x7dbl_1: Basic;
  readonly branch7x7dbl_2: Basic;
  readonly branch7x7dbl_3: Basic;
  readonly branch7x7dbl_4: Basic;
  readonly branch7x7dbl_5: Basic;
  readonly branch_pool: Basic;

  constructor(width: number) {
    super();
    this.branch1x1 = new Basic(768, 192);
    this.branch7x7_1 = new Basic(768, width);
    this.branch7x7_2 = new Basic(width, width, row);
    this.branch7x7_3 = new Basic(width, 192, column);
    this.branch7x7dbl_1 = new Basic(768, width);
    this.branch7x7dbl_2 = new Basic(width, width, column);
    this.branch7x7dbl_3 = new Basic(width, width, row);
    this.branch7x7dbl_4 = new Basic(width, width, column);
    this.branch7x7dbl_5 = new Basic(width, 192, row);
    this.branch_pool = new Basic(768, 192);
  }

  forward(x: Tensor): Tensor {
    const double = [this.branch7x7dbl_1, this.branch7x7dbl_2, this.branch7x7dbl_3, this.branch7x7dbl_4];
    const parts = [
      this.branch1x1.forward(x),
      through(x, this.branch7x7_1, this.branch7x7_2, this.branch7x7_3),
      through(x, ...double, this.branch7x7dbl_5),
      this.branch_pool.forward(means(x)),
    ];
    return cat(parts, 1);
  }
}

/** Mixed_7a. */
class BlockD extends Module {
  readonly branch3x3_1 = new Basic(768, 192);
  readonly branch3x3_2 = new Basic(192, 320, halving);
  readonly branch7x7x3_1 = new Basic(768, 192);
  readonly branch7x7x3_2 = new Basic(192, 192, row);
  readonly branch7x7x3_3 = new Basic(192, 192, column);
  readonly branch7x7x3_4 = new Basic(192, 192, halving);

  forward(x: Tensor): Tensor {
    const long = [this.branch7x7x3_1, this.branch7x7x3_2, this.branch7x7x3_3, this.branch7x7x3_4];
    return cat([through(x, this.branch3x3_1, this.branch3x3_2), through(x, ...long), maxima(x, 2, 0)], 1);
  }
}

/** Mixed_7b, 7c, which differ in what they pool by. */
class BlockE extends Module {
  readonly branch1x1: Basic;
  readonly branch3x3_1: Basic;
  readonly branch3x3_2a = new Basic(384, 384, { kernel: [1, 3], padding: [0, 1] });
  readonly branch3x3_2b = new Basic(384, 384, { kernel: [3, 1], padding: [1, 0] });
  readonly branch3x3dbl_1: Basic;
  readonly branch3x3dbl_2 = new Basic(448, 384, wide);
  readonly branch3x3dbl_3a = new Basic(384, 384, { kernel: [1, 3], padding: [0, 1] });
  readonly branch3x3dbl_3b = new Basic(384, 384, { kernel: [3, 1], padding: [1, 0] });
  readonly branch_pool: Basic;
  readonly #pool: "mean" | "maximum";

  constructor(channels: number, pool: "mean" | "maximum") {
    super();
    this.branch1x1 = new Basic(channels, 320);
    this.branch3x3_1 = new Basic(channels, 384);
    this.branch3x3dbl_1 = new Basic(channels, 448);
    this.branch_pool = new Basic(channels, 192);
    this.#pool = pool;
  }

  forward(x: Tensor): Tensor {
    const single = this.branch3x3_1.forward(x);
    const double = through(x, this.branch3x3dbl_1, this.branch3x3dbl_2);
    const parts = [
      this.branch1x1.forward(x),
      this.branch3x3_2a.forward(single),
      this.branch3x3_2b.forward(single),
      this.branch3x3dbl_3a.forward(double),
      this.branch3x3dbl_3b.forward(double),
      this.branch_pool.forward(this.#pool === "mean" ? means(x) : maxima(x, 1, 1)),
    ];
    return cat(parts, 1);
  }
}

class Classes extends Module {
  readonly weight = new Parameter([inceptionClasses, 2048], zero);
  readonly bias = new Parameter([inceptionClasses], zero);
}

/**
 * The port of the TensorFlow graph inception-2015-12-05 that pytorch-fid publishes. Features are the 2048 means of the
 * last map; spatial features the first 7 channels of Mixed_6d's 1x1 branch, 17 x 17 of each, in the order `[H, W, C]` (the
 * graph's mixed_6/conv); logits are without bias, as in the Inception score's code.
 */
export class Inception extends Module {
  readonly Conv2d_1a_3x3 = new Basic(3, 32, halving);
  readonly Conv2d_2a_3x3 = new Basic(32, 32, { kernel: [3, 3] });
  readonly Conv2d_2b_3x3 = new Basic(32, 64, wide);
  readonly Conv2d_3b_1x1 = new Basic(64, 80);
  readonly Conv2d_4a_3x3 = new Basic(80, 192, { kernel: [3, 3] });
  readonly Mixed_5b = new BlockA(192, 32);
  readonly Mixed_5c = new BlockA(256, 64);
  readonly Mixed_5d = new BlockA(288, 64);
  readonly Mixed_6a = new BlockB();
  readonly Mixed_6b = new BlockC(128);
  readonly Mixed_6c = new BlockC(160);
  readonly Mixed_6d = new BlockC(160);
  readonly Mixed_6e = new BlockC(192);
  readonly Mixed_7a = new BlockD();
  readonly Mixed_7b = new BlockE(1280, "mean");
  readonly Mixed_7c = new BlockE(2048, "maximum");
  readonly fc = new Classes();

  /** `x` `[B, 3, 299, 299]` in [-1, 1). */
  forward(x: Tensor): Classified {
    let h = through(x.clone("channelsLast"), this.Conv2d_1a_3x3, this.Conv2d_2a_3x3, this.Conv2d_2b_3x3);
    h = through(maxima(h, 2, 0), this.Conv2d_3b_1x1, this.Conv2d_4a_3x3);
    h = maxima(h, 2, 0);
    for (const block of [this.Mixed_5b, this.Mixed_5c, this.Mixed_5d]) h = block.forward(h);
    h = this.Mixed_6a.forward(h);
    for (const block of [this.Mixed_6b, this.Mixed_6c, this.Mixed_6d]) h = block.forward(h);
    const spatial = h.narrow(1, 0, spatialChannels).permute([0, 2, 3, 1]).contiguous().flatten(1);
    h = this.Mixed_7a.forward(this.Mixed_6e.forward(h));
    const features = this.Mixed_7c.forward(this.Mixed_7b.forward(h)).mean([2, 3]);
    return { features, spatial, logits: linear(features, this.fc.weight.value, null) };
  }
}
