/** Multi-scale structural similarity, in a form that images of 28 pixels allow. */
import { cat, operator, scope, stack, type Tensor, tensor } from "../torch/index.js";
import { type SsimOptions, similarity } from "./ssim.js";
import { overImagePairs } from "./tiles.js";

const averagePool = operator("aten::avg_pool2d");

/** The weight of each scale, from the finest on (Wang, Simoncelli and Bovik, 2003, section 3.2). */
const weights = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333] as const;

/** The means over pixels and channels of each image, at each scale from the finest on: `[N, 5]`, float64. */
export interface SimilarityPerScale {
  /** Luminance, contrast and structure. */
  readonly ssim: Tensor;
  /** Contrast and structure alone. */
  readonly cs: Tensor;
}

/**
 * `prod_{j=1..4} cs_j^{w_j} ssim_5^{w_5}` of each pair of images, factors below 0 taken as 0: `[N, C, H, W]` twice to
 * `[N]`, float64, 1 for equal images. Values are compared as they are: clamp them to the range first.
 *
 * Wang, Simoncelli and Bovik (2003), "Multiscale structural similarity for image quality assessment", with the window
 * cut to the image and no scale below one pixel.
 *
 * @throws Error where the shapes differ
 */
export function msSsim(first: Tensor, second: Tensor, options: SsimOptions = {}): Tensor {
  return scope(() => {
    const { ssim, cs } = similarityPerScale(first, second, options);
    const coarsest = weights.length - 1;
    const factors = cat([cs.narrow(1, 0, coarsest), ssim.narrow(1, coarsest, 1)], 1).clamp(0);
    const exponents = tensor([...weights], { dtype: "float64", device: first.device });
    return factors.log().mul(exponents).sum([1]).exp();
  });
}

/**
 * What `msSsim` is made of: the similarities of `ssim` at each scale, which halves the one before by means of 2 x 2
 * pixels, a last odd row or column dropped.
 */
export function similarityPerScale(
  first: Tensor,
  second: Tensor,
  options: SsimOptions = {},
): SimilarityPerScale {
  return scope(() => {
    const both = overImagePairs(first, second, (x, y) => {
      let pair = [x, y] as const;
      const scales = weights.map((_, scale) => {
        if (scale > 0) pair = [halved(pair[0]), halved(pair[1])];
        return similarity(...pair, options);
      });
      return stack(scales, 2);
    });
    return { ssim: both.select(1, 0), cs: both.select(1, 1) };
  });
}

/** Means of 2 x 2 pixels; a side of one pixel stays as it is. */
function halved(images: Tensor): Tensor {
  const kernel = [Math.min(2, images.dim(2)), Math.min(2, images.dim(3))];
  return averagePool(images, kernel, kernel);
}
