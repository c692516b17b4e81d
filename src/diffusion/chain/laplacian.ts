/** The Laplacian-pyramid distance of images, an optional part of DAED's denoising loss. */
import { conv2d, operator, type Tensor, tensor } from "../../torch/index.js";

const reflectionPad = operator("aten::reflection_pad2d");
const LEVELS = 3;
const BINOMIAL = [1, 4, 6, 4, 1];

/** `[1, 4, 6, 4, 1]^T [1, 4, 6, 4, 1] / 256` on every channel by itself, the borders mirrored. */
function smooth(x: Tensor): Tensor {
  const [batch, channels, height, width] = x.shape as [number, number, number, number];
  const kernel = tensor(
    BINOMIAL.flatMap((a) => BINOMIAL.map((b) => (a * b) / 256)),
    { dtype: "float64" },
  )
    .toDevice(x.device, x.dtype)
    .reshape([1, 1, 5, 5]);
  const planes = reflectionPad(x.reshape([batch * channels, 1, height, width]), [2, 2, 2, 2]) as Tensor;
  return conv2d(planes, kernel, null).reshape([batch, channels, height, width]);
}

/** Zeros between the pixels, smoothed, times four. */
function widened(x: Tensor): Tensor {
  const [batch, channels, height, width] = x.shape as [number, number, number, number];
  const columns = x.unsqueeze(-1);
  const apart = catZeros(columns, -1).reshape([batch, channels, height, 2 * width]);
  const rows = catZeros(apart.unsqueeze(3), 3).reshape([batch, channels, 2 * height, 2 * width]);
  return smooth(rows).mul(4);
}

const cat = operator("aten::cat");
function catZeros(x: Tensor, dim: number): Tensor {
  return cat([x, x.mul(0)], dim) as Tensor;
}

const everySecond = operator("aten::slice.Tensor");

/** The differences of each level from the next, and nothing of the last. */
function pyramid(x: Tensor): readonly Tensor[] {
  const levels: Tensor[] = [];
  let current = x;
  for (let level = 0; level < LEVELS; level++) {
    const rows = everySecond(smooth(current), 2, 0, null, 2) as Tensor;
    const smaller = everySecond(rows, 3, 0, null, 2) as Tensor;
    levels.push(current.sub(widened(smaller)));
    current = smaller;
  }
  return levels;
}

/**
 * Sum over three levels of the mean absolute difference: a scalar for the batch.
 * @param a, b `[B, C, H, W]` with sides divisible by 8, 16 at least
 */
export function laplacianDistance(a: Tensor, b: Tensor): Tensor {
  const [ofA, ofB] = [pyramid(a), pyramid(b)];
  return ofA
    .map((level, i) =>
      level
        .sub(ofB[i] as Tensor)
        .abs()
        .mean(),
    )
    .reduce((sum, each) => sum.add(each));
}
