/** The one-hot latent: a categorical draw, with the gradient of its Gumbel-softmax relaxation. */
import { type Generator, operator, randint, type Tensor, zeros } from "../../torch/index.js";
import { categoricalDivergence } from "./divergence.js";
import {
  type Latent,
  type LatentDraw,
  type LatentTensorOptions,
  onlyHead,
  straightThrough,
} from "./latent.js";
import { drawGumbel } from "./noise.js";

const oneHotOf = operator("aten::one_hot");

/** The lowest temperature of the relaxation. */
const floor = 0.5;

/** `max(1/2, exp(-step / 100000))`: the temperature at a training step; the lowest where there is none. */
export function gumbelTemperature(step: number | undefined): number {
  return step === undefined ? floor : Math.max(floor, Math.exp(-1e-5 * step));
}

/** `soft = softmax(x / temperature)` of noisy logits `x` `[B, m]`; z is 1 at its largest entry, with soft's gradient. */
export function gumbelSoftmax(
  x: Tensor,
  temperature: number,
): { readonly soft: Tensor; readonly hard: Tensor; readonly z: Tensor } {
  const soft = x.div(temperature).softmax(-1);
  const hard = oneHotOf(x.detach().argmax(-1), x.dim(-1)).to(x.dtype);
  return { soft, hard, z: straightThrough(hard, soft) };
}

/** z in {0, 1}^m with a single one; p(z) uniform. */
export class OneHotLatent implements Latent {
  readonly size: number;
  readonly heads = 1;

  constructor({ size }: { readonly size: number }) {
    this.size = size;
  }

  draw(encoded: readonly Tensor[], generator: Generator, step: number | undefined): LatentDraw {
    const logits = onlyHead(encoded);
    const gumbel = drawGumbel(logits.shape, generator).toDevice(logits.device, logits.dtype);
    const { z } = gumbelSoftmax(logits.add(gumbel), gumbelTemperature(step));
    return { z, kl: categoricalDivergence(logits) };
  }

  mode(encoded: readonly Tensor[]): LatentDraw {
    const logits = onlyHead(encoded);
    const { z } = gumbelSoftmax(logits, gumbelTemperature(undefined));
    return { z, kl: categoricalDivergence(logits) };
  }

  prior(count: number, generator: Generator, { dtype, device = "cpu" }: LatentTensorOptions): Tensor {
    return oneHotOf(randint(0, this.size, [count], generator), this.size).toDevice(device, dtype);
  }

  /** Entry 1, counted from 0, is 1. */
  fixed(count: number, { dtype, device = "cpu" }: LatentTensorOptions): Tensor {
    return oneHotOf(zeros([count], { dtype: "int64" }).add(1), this.size).toDevice(device, dtype);
  }
}
