/** Inverse heat dissipation (Rissanen et al., 2023): blurred images are sharpened, with a bound of the likelihood. */
import {
  type HeatNoise,
  heatPriorTerm,
  heatReconstructionTerm,
  heatStepTerm,
} from "../diffusion/cold/heat-terms.js";
import { DegradedImages } from "../diffusion/cold/start/index.js";
import type { Bound } from "../diffusion/likelihood/bound.js";
import type { Batch, BoundContext, BoundedLikelihood, PerTimeLoss } from "../diffusion/system.js";
import { sampleTimes } from "../diffusion/times.js";
import { UserError } from "../errors.js";
import { full, rand, type Tensor } from "../torch/index.js";
import { ColdDiffusion, type ColdOptions } from "./cold.js";
import type { ColdPass } from "./cold-walk.js";

export interface HeatOptions extends ColdOptions {
  readonly start: DegradedImages;
}

/** Whether it is noise that is added at every level and taken away again, from images of the training set on. */
export function isHeat(options: ColdOptions): options is HeatOptions {
  const { start, prediction, inputNoise, stepNoise, degradation } = options;
  return (
    start instanceof DegradedImages &&
    prediction === "previous" &&
    inputNoise > 0 &&
    stepNoise > 0 &&
    !degradation.noiseDeviation
  );
}

/**
 * The combination of cold diffusion that has a bound: images `[B, C, H, W]`, levels k = 0 .. K.
 * `q(u_k | u_0) = N(A_k u_0, sigma^2)`, `p(u_{k-1} | u_k) = N(u_k + f(u_k, k), delta^2)`, `p(u_K)` the mean over training images.
 */
export class HeatDissipation extends ColdDiffusion implements BoundedLikelihood, PerTimeLoss {
  override readonly noBound = undefined;
  readonly dequantisation = "uniform";
  /** Errors are divided by 2 delta^2, small as it is: those of bfloat16 would be 0.02 bits/dim. */
  readonly boundPrecision = "float32";
  readonly #start: DegradedImages;

  constructor(options: HeatOptions) {
    super(options);
    this.#start = options.start;
  }

  /** K */
  get steps(): number {
    return this.levels;
  }

  get #noise(): HeatNoise {
    const dimensions = this.shape.reduce((product, n) => product * n, 1);
    return { forward: this.inputNoise, reverse: this.stepNoise, dimensions };
  }

  /**
   * One draw of the bound of bytes that are dequantised, `(v + U) / 256`: L_0 with `d ln 256` on top, L_K, and K - 1 times the
   * term of one of the other steps, each as likely, together evenly spread over a batch.
   */
  bound(batch: Batch, context: BoundContext): Bound {
    this.#check(context);
    const { streams } = context;
    const u0 = this.#dequantised(batch, context);
    const time = streams.drawn("times", u0.dim(0), (n, generator) =>
      sampleTimes("low-discrepancy", n, generator, "cpu"),
    );
    const { dimensions } = this.#noise;
    const first = this.reconstructionTerm(u0, this.noise(u0, streams, "reconstruction"), context);
    return {
      reconstruction: first.add(dimensions * Math.log(256)),
      prior: this.priorTerm(u0),
      diffusion: this.#diffusion(u0, time, context),
    };
  }

  diffusionAt(batch: Batch, time: Tensor, context: BoundContext): Tensor {
    this.#check(context);
    return this.#diffusion(this.#dequantised(batch, context), time, context);
  }

  #diffusion(u0: Tensor, time: Tensor, context: BoundContext): Tensor {
    const others = this.levels - 1;
    const level = time
      .mul(others)
      .floor()
      .clamp(0, others - 1)
      .add(2)
      .to("int64")
      .toDevice(u0.device);
    return this.stepTerm(u0, level, this.noise(u0, context.streams, "noise"), context).mul(others);
  }

  /** L_K of images `[B, C, H, W]`, nats `[B]`. @throws UserError where no training images are there to compare with */
  priorTerm(u0: Tensor): Tensor {
    const last = this.degradation.degrade(u0, this.#all(u0, this.levels));
    return heatPriorTerm(this.#start.squaredDistances(last), this.#noise);
  }

  /** L_0 of images in [0, 1], a density, nats `[B]`. @param noise of u_1, standard normal in the shape of `u0` */
  reconstructionTerm(u0: Tensor, noise: Tensor, how: ColdPass): Tensor {
    return heatReconstructionTerm(this.#squaredError(u0, this.#all(u0, 1), noise, how), this.#noise);
  }

  /** L_{k-1} of images, each at its level k = 2 .. K `[B]`, nats `[B]`. @param noise of u_k */
  stepTerm(u0: Tensor, level: Tensor, noise: Tensor, how: ColdPass): Tensor {
    return heatStepTerm(this.#squaredError(u0, level, noise, how), this.#noise);
  }

  /** `||A_{k-1} u_0 - mu(u_k, k)||^2` of each image, float64 `[B]`. */
  #squaredError(u0: Tensor, level: Tensor, noise: Tensor, { pass }: ColdPass): Tensor {
    const levels = { from: level, to: level.sub(1) };
    const x = this.stateAt(u0, level, noise);
    const told = this.told(levels);
    const mean = x.add(this.outputAt(x, told, { pass: { ...pass, precision: this.boundPrecision } }));
    return this.degradation.degrade(u0, levels.to).sub(mean).to("float64").square().flatten(1).sum([1]);
  }

  #dequantised({ pixels }: Batch, { streams }: BoundContext): Tensor {
    const { dtype, device } = this.parameterLike();
    const [count, ...shape] = pixels.shape as [number, ...number[]];
    const within = streams.drawn("dequantisation", count, (n, generator) =>
      rand([n, ...shape], generator, { dtype }),
    );
    return pixels.to(dtype).add(within.toDevice(device)).div(256);
  }

  #all(like: Tensor, level: number): Tensor {
    return full([like.dim(0)], level, { dtype: "int64", device: like.device });
  }

  #check({ steps = this.levels }: BoundContext): void {
    if (steps !== this.levels)
      throw new UserError(
        `expected the bound of all ${this.levels} levels of degradation, got ${steps} steps: ask for none but these`,
      );
  }
}
