/** What the processor can do at most: the yardstick of a profile. */
import { type FloatDtype, grad, noGrad, ones, operator, scope, type Tensor } from "../torch/index.js";

/** libtorch's own: every product is made, at the limit of the processor's arithmetic. Convolutions that leave products out pass it. */
const conv2d = operator("aten::conv2d");
const direct = (x: Tensor, weight: Tensor): Tensor => conv2d(x, weight, null, 1, 1);

/** Floating-point operations a second, a multiplication and an addition counting as two. */
export interface Peak {
  /** Forward alone, or forward with both gradients, as the work that it is compared with. */
  readonly convolution: number;
  readonly matrixProduct: number;
  /** What was measured, in words. */
  readonly words: { readonly convolution: string; readonly matrixProduct: string };
}

const channels = 128;
const side = 32;
const images = 8;
const matrixSide = 1024;

/** Seconds that each of the two measurements goes on for. */
const patience = 0.2;

/** Seconds of the fastest of several runs, after one that does not count. */
function fastest(run: () => void): number {
  run();
  let least = Number.POSITIVE_INFINITY;
  const end = performance.now() + patience * 1000;
  do {
    const start = performance.now();
    run();
    least = Math.min(least, performance.now() - start);
  } while (performance.now() < end);
  return least / 1000;
}

/** Measures on as many threads as are set, in less than a second where the processor is no slower than 50 GFLOP/s. */
export function measurePeak(precision: FloatDtype, passes: "forward" | "forward-and-backward"): Peak {
  return {
    convolution: convolutionPeak(precision, passes),
    matrixProduct: matrixPeak(precision),
    words: {
      convolution: `direct, ${passes === "forward" ? "" : "forward and backward, "}3 x 3, ${channels} to ${channels} channels, ${images} images of ${side} x ${side}`,
      matrixProduct: `${matrixSide} x ${matrixSide}`,
    },
  };
}

function convolutionPeak(dtype: FloatDtype, passes: "forward" | "forward-and-backward"): number {
  const once = 2 * 9 * channels * channels * images * side * side;
  return scope(() => {
    const x = ones([images, channels, side, side], { dtype }).clone("channelsLast");
    const weight = ones([channels, channels, 3, 3], { dtype }).clone("channelsLast");
    if (passes === "forward") return once / fastest(() => scope(() => noGrad(() => void direct(x, weight))));
    const gradient = x.clone("channelsLast");
    const inputs = [x.requireGrad(), weight.requireGrad()];
    const both = () => void grad([direct(x, weight)], inputs, { gradients: [gradient] });
    return (3 * once) / fastest(() => scope(both));
  });
}

function matrixPeak(dtype: FloatDtype): number {
  return scope(() => {
    const a = ones([matrixSide, matrixSide], { dtype });
    return (2 * matrixSide ** 3) / fastest(() => scope(() => void a.matmul(a)));
  });
}
