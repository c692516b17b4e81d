/** VDM's networks, and a training step of them. */
import { bitsPerDim, FixedLinear, totalBound } from "varidiff/diffusion";
import { type AttentionPlace, VdmUnet } from "varidiff/networks";
import { VDM } from "varidiff/systems";
import { type FloatDtype, rand, randn, type Tensor } from "varidiff/torch";
import { knownImages } from "./problem.js";
import { StepProblem } from "./step-problem.js";

export interface VdmSize {
  /** `[C, H, W]` */
  readonly shape: readonly [number, number, number];
  readonly batch: number;
  readonly channels: number;
  readonly depth: number;
  readonly attention: AttentionPlace;
}

const small = { channels: 64, depth: 4, attention: "middle" } as const;
const published = { shape: [3, 32, 32], channels: 128, attention: "middle" } as const;

export const fashion: VdmSize = { ...small, shape: [1, 28, 28], batch: 64 };
export const cifar: VdmSize = { ...small, shape: [3, 32, 32], batch: 32 };
/** The network of configs/quickstart.yaml. */
export const quickstart: VdmSize = { ...fashion, batch: 32, depth: 2, attention: "none" };
/** DiffEnc's, configs/diffenc/cifar10-vdm-8.yaml. */
export const vdm8: VdmSize = { ...published, depth: 8, batch: 32 };
/** VDM's, configs/vdm/cifar10.yaml. */
export const vdm32: VdmSize = { ...published, depth: 32, batch: 16 };

const ends = { gammaMin: -13.3, gammaMax: 5 };

/** Without dropout: ATen's is serial, which would flatter ours. */
export function vdmOf({ shape, channels, depth, attention }: VdmSize): VDM {
  const denoiser = new VdmUnet({
    imageChannels: shape[0],
    ...{ channels, depth, attention },
    fourierExponents: [6, 7],
    dropout: 0,
    ...ends,
  });
  return new VDM({ shape, schedule: new FixedLinear(ends), denoiser });
}

/** bench/python/vdm.py is the other side. */
export class VdmProblem extends StepProblem<VDM> {
  readonly otherSide = { script: "train_step.py" };
  readonly draws: { readonly t: Tensor; readonly eps: Tensor; readonly eps0: Tensor };

  constructor(size: VdmSize, device = "cpu") {
    super(vdmOf(size), size.batch, { device });
    const images = [knownImages, ...size.shape];
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
