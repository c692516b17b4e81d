/** A Gaussian of the colours of training images, for degradations that leave one colour of an image. */
import {
  fromTypedArray,
  noGrad,
  operator,
  randn,
  type Shape,
  scope,
  type Tensor,
} from "../../../torch/index.js";
import { eachBatch, keptTensor, notFitted } from "./fitting.js";
import type { Start, StartContext, StartFitting, StartRequest, TrainingImages } from "./start.js";

const cholesky = operator("aten::linalg_cholesky");

/** Variance added to every channel: grey images in three channels have a covariance without a root. */
const EXTRA_VARIANCE = 1e-6;

/** The colour that is left of each image, `[B, C, H, W] -> [B, C]`. */
export type ColourOf = (x: Tensor) => Tensor;

/** What blur leaves (Bansal et al., 2022). */
export const meanColour: ColourOf = (x) => x.mean([2, 3]);

/** What pixelation leaves. */
export const firstPixel: ColourOf = (x) => x.select(3, 0).select(2, 0);

interface ColourLaw {
  /** `[C]`, float64. */
  readonly mean: Tensor;
  /** `[C, C]`, float64. */
  readonly covariance: Tensor;
}

/**
 * Images of one colour each, `mean + chol(covariance) n` with n standard normal: the Gaussian of largest likelihood for the
 * colours of the training images (covariance with divisor N), 1e-6 added to its variances.
 */
export class ColourStart implements Start, StartFitting {
  readonly #shape: StartContext["shape"];
  readonly #colourOf: ColourOf;
  #law: ColourLaw | undefined;

  constructor({ shape }: StartContext, colourOf: ColourOf) {
    this.#shape = shape;
    this.#colourOf = colourOf;
  }

  get fitting(): StartFitting {
    return this;
  }

  get fitted(): boolean {
    return this.#law !== undefined;
  }

  draw({ count, generator, dtype, device }: StartRequest): Tensor {
    const { mean, covariance } = this.#found();
    return scope(() =>
      noGrad(() => {
        const n = randn([count, mean.dim(0)], generator, { dtype: "float64" });
        const colours = mean.add(n.matmul(cholesky(covariance).transpose(0, 1)));
        return colours
          .toDevice(device, dtype)
          .reshape([count, mean.dim(0), 1, 1])
          .expand([count, ...this.#shape])
          .contiguous();
      }),
    );
  }

  async fit(images: TrainingImages): Promise<void> {
    const [channels] = this.#shape;
    const colours = new Float64Array(images.count * channels);
    let filled = 0;
    await eachBatch(images, (x) => {
      const some = this.#colourOf(x).toTypedArray() as Float64Array;
      colours.set(some, filled);
      filled += some.length;
    });
    this.#keep(scope(() => colourLaw(fromTypedArray(colours, [images.count, channels]))));
  }

  state(): Record<string, Tensor> {
    return { ...this.#found() };
  }

  restore(state: ReadonlyMap<string, Tensor>): void {
    const [channels] = this.#shape;
    const taken = (name: string, shape: Shape) => keptTensor(state, name, shape).to("float64").clone();
    this.#keep(
      scope(() => ({
        mean: taken("mean", [channels]),
        covariance: taken("covariance", [channels, channels]),
      })),
    );
  }

  #found(): ColourLaw {
    if (!this.#law) throw notFitted("the colours of training images");
    return this.#law;
  }

  #keep(law: ColourLaw): void {
    for (const tensor of Object.values({ ...this.#law })) tensor.dispose();
    this.#law = { mean: law.mean.keep(), covariance: law.covariance.keep() };
  }
}

/** Of colours `[N, C]` in float64. */
function colourLaw(colours: Tensor): ColourLaw {
  const mean = colours.mean([0]);
  const apart = colours.sub(mean);
  const [count, channels] = [colours.dim(0), colours.dim(1)];
  const extra = fromTypedArray(
    Float64Array.from({ length: channels ** 2 }, (_, i) => (i % (channels + 1) === 0 ? EXTRA_VARIANCE : 0)),
    [channels, channels],
  );
  return { mean, covariance: apart.transpose(0, 1).matmul(apart).div(count).add(extra) };
}
