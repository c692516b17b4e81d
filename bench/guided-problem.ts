/** DDGM with the guided-diffusion U-Net in the size of Fashion-MNIST's preset, and a training step of it. */
import { GaussianChain, linearBetas } from "varidiff/diffusion";
import { GuidedUnet } from "varidiff/networks";
import { DDGM } from "varidiff/systems";
import { type FloatDtype, randint, randn, type Tensor } from "varidiff/torch";
import { knownImages } from "./problem.js";
import { StepProblem } from "./step-problem.js";

export interface GuidedSize {
  /** As in `GuidedUnetOptions`: attention where maps are `floor(28 / r)` times smaller than the image. */
  readonly attentionResolutions: readonly number[];
  readonly batch: number;
}

const shape = [1, 28, 28] as const;
const steps = 500;

export function ddgmOf({ attentionResolutions }: Pick<GuidedSize, "attentionResolutions">): DDGM {
  const network = new GuidedUnet({
    imageChannels: shape[0],
    outChannels: shape[0],
    imageSize: shape[1],
    channels: 64,
    channelMultipliers: [1, 2, 2],
    residualBlocks: 3,
    attentionResolutions,
    heads: 4,
    scaleShift: "scale-shift",
    resampling: "convolution",
    attentionOrder: "legacy",
    dropout: 0,
  });
  return new DDGM({
    shape,
    chain: new GaussianChain(linearBetas(steps)),
    network,
    type: { mean: "eps", variance: "fixed-large" },
    loss: "simple",
    sampling: "uniform",
  });
}

/** bench/python/guided.py is the other side. */
export class GuidedProblem extends StepProblem<DDGM> {
  readonly otherSide = { script: "guided_step.py" };
  readonly draws: { readonly t: Tensor; readonly noise: Tensor };

  constructor(size: GuidedSize, device = "cpu") {
    super(ddgmOf(size), size.batch, { device });
    this.draws = {
      t: this.placed(randint(0, steps, [knownImages], this.generator)),
      noise: this.placed(randn([knownImages, ...shape], this.generator)),
    };
  }

  protected knownLoss(pixels: Tensor, precision: FloatDtype): Tensor {
    const x0 = this.system.encode(pixels);
    return this.system.objectiveAt({ x0, ...this.draws }, { pass: { precision } }).loss;
  }
}
