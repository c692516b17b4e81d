/** A classifier of images: not a diffusion model, but trained like one, so that its features can judge what one draws. */
import type { Pass } from "../diffusion/denoiser.js";
import type { Batch, ImageModel, Objective, StepContext } from "../diffusion/system.js";
import type { Classified, ClassifierNetwork } from "../networks/classifier-network.js";
import { Module } from "../nn/index.js";
import type { Tensor } from "../torch/index.js";

export interface ClassifierOptions {
  /** `[C, H, W]` */
  readonly shape: readonly [channels: number, height: number, width: number];
  readonly network: ClassifierNetwork;
}

/** How well images are told apart, `[B]` each. */
export interface Classification {
  /** `-log p(label | image)`, nats. */
  readonly crossEntropy: Tensor;
  /** 1 where the most likely class is the label's, else 0. */
  readonly accuracy: Tensor;
}

/** Minimises the cross-entropy of the images' classes. */
export class Classifier extends Module implements ImageModel {
  readonly shape: readonly [number, number, number];
  readonly lossUnit = "nats (cross-entropy)";
  readonly network: ClassifierNetwork;

  constructor({ shape, network }: ClassifierOptions) {
    super();
    this.shape = shape;
    this.network = network;
  }

  /** What the network sees in uint8 `pixels` `[B, C, H, W]`, which it is given as 2 v / 255 - 1. */
  see(pixels: Tensor, pass: Pass): Classified {
    return this.network.forward(
      pixels
        .to("float32")
        .mul(2 / 255)
        .sub(1),
      pass,
    );
  }

  /** @throws Error for a batch without classes. */
  judge({ pixels, condition }: Batch, pass: Pass): Classification {
    if (!condition) throw new Error("expected the class of each image as the condition of the batch");
    const labels = condition.to("int64").unsqueeze(1);
    const logProbabilities = this.see(pixels, pass).logits.to("float32").logSoftmax(1);
    return {
      crossEntropy: logProbabilities.gather(1, labels).squeeze(1).neg(),
      accuracy: logProbabilities.argmax(1).eq(labels.squeeze(1)).to("float32"),
    };
  }

  objective(batch: Batch, { pass }: StepContext): Objective {
    const { crossEntropy, accuracy } = this.judge(batch, pass);
    return {
      loss: crossEntropy.mean(),
      perExample: crossEntropy,
      t: accuracy.mul(0),
      terms: { accuracy },
    };
  }
}
