/** A training step of VDM. */
import { bitsPerDim, FixedLinear, totalBound } from "varidiff/diffusion";
import { type AttentionPlace, VdmUnet } from "varidiff/networks";
import { VDM } from "varidiff/systems";
import { type FloatDtype, rand, randn, type Tensor } from "varidiff/torch";
import { knownImages, StepProblem } from "./step-problem.js";

export interface ProblemSize {
  /** `[C, H, W]` */
  readonly shape: readonly [number, number, number];
  readonly batch: number;
  readonly channels: number;
  readonly depth: number;
  readonly attention: AttentionPlace;
}

const small = { channels: 64, depth: 4, attention: "middle" } as const;
const published = { shape: [3, 32, 32], channels: 128, attention: "middle" } as const;

export const fashion: ProblemSize = { ...small, shape: [1, 28, 28], batch: 64 };
export const cifar: ProblemSize = { ...small, shape: [3, 32, 32], batch: 32 };
/** The network of configs/quickstart.yaml. */
export const quickstart: ProblemSize = { ...fashion, batch: 32, depth: 2, attention: "none" };
/** DiffEnc's, configs/diffenc/cifar10-vdm-8.yaml. */
export const vdm8: ProblemSize = { ...published, depth: 8, batch: 32 };
/** VDM's, configs/vdm/cifar10.yaml. */
export const vdm32: ProblemSize = { ...published, depth: 32, batch: 16 };

const ends = { gammaMin: -13.3, gammaMax: 5 };

/** bench/python/vdm.py is the other side. */
export class TrainingProblem extends StepProblem<VDM> {
  readonly draws: { readonly t: Tensor; readonly eps: Tensor; readonly eps0: Tensor };

  /** Without dropout: ATen's is serial, which would flatter ours. */
  constructor({ shape, batch, channels, depth, attention }: ProblemSize, device = "cpu") {
    const denoiser = new VdmUnet({
      imageChannels: shape[0],
      ...{ channels, depth, attention },
      fourierExponents: [6, 7],
      dropout: 0,
      ...ends,
    });
    super(new VDM({ shape, schedule: new FixedLinear(ends), denoiser }), batch, { device });
    const images = [knownImages, ...shape];
    this.draws = {
      t: this.placed(rand([knownImages], this.generator, { dtype: "float64" })),
      eps: this.placed(randn(images, this.generator)),
      eps0: this.placed(randn(images, this.generator)),
    };
  }

  protected knownLoss(pixels: Tensor, precision: FloatDtype): Tensor {
    const { bound } = this.system.evaluate(pixels.to("float32"), this.draws, { pass: { precision } });
    return bitsPerDim(totalBound(bound), this.system.dimensions).mean();
  }
}
