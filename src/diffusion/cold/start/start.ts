/** Where walking back begins: what is known of images that are degraded in full. */
import type { FloatDtype, Generator, Tensor } from "../../../torch/index.js";
import type { Degradation } from "../../degradation/degradation.js";

export interface StartContext {
  readonly degradation: Degradation;
  /** `[C, H, W]` */
  readonly shape: readonly [channels: number, height: number, width: number];
}

export interface StartRequest {
  readonly count: number;
  readonly generator: Generator;
  readonly dtype: FloatDtype;
  readonly device: string;
}

/** A law of the last state x_T. */
export interface Start {
  /** `[count, C, H, W]`. @throws UserError where it has to be fitted first and is not */
  draw(request: StartRequest): Tensor;
  /** Present where the law is fitted to training images. */
  readonly fitting?: StartFitting;
}

/** Training images in the model's own range, `[B, C, H, W]` each, every image once. */
export interface TrainingImages {
  /** How many there are. */
  readonly count: number;
  /** The tensors live until the next one is asked for. */
  batches(): Iterable<Tensor>;
}

/** What is fitted once, kept beside the weights, and needed again. */
export interface StartFitting {
  readonly fitted: boolean;
  fit(images: TrainingImages): Promise<void>;
  /** What `restore` takes. @throws Error where nothing is fitted */
  state(): Record<string, Tensor>;
  restore(state: ReadonlyMap<string, Tensor>): void;
}
