/** The monotone network of MuLAN's code: increasing in t, and in every entry of z too; its ends are free. */
import { constant, type Initialiser, Module, normal, Parameter, zero } from "../../../nn/index.js";
import { cat, type Tensor, zerosLike } from "../../../torch/index.js";
import type { NoiseCurve, ScheduleEnds } from "../schedule.js";
import { curveOf } from "./curve.js";
import { type ConditionalContext, ConditionalSchedule } from "./schedule.js";

/** A linear map whose kernel `[in, out]` acts through its absolute value; the bias is free. */
export class MonotoneLinear extends Module {
  readonly kernel: Parameter;
  readonly bias: Parameter | undefined;

  constructor(
    featuresIn: number,
    featuresOut: number,
    options: { readonly kernel?: Initialiser; readonly bias?: Initialiser | "without" } = {},
  ) {
    super();
    const { kernel = normal(0.01), bias = zero } = options;
    this.kernel = new Parameter([featuresIn, featuresOut], kernel);
    this.bias = bias === "without" ? undefined : new Parameter([featuresOut], bias, { decay: false });
  }

  /** In float64: `x |kernel| + bias`, and the kernel's absolute value, which is its derivative in x. */
  get(): { readonly slope: Tensor; readonly forward: (x: Tensor) => Tensor } {
    const slope = this.kernel.value.to("float64").abs();
    const bias = this.bias?.value.to("float64");
    return {
      slope,
      forward: (x) => (bias ? x.matmul(slope).add(bias) : x.matmul(slope)),
    };
  }
}

/** `tau(x) = 2 (sigmoid(x) - 1/2)` and `tau'(x) = 2 s (1 - s)`. */
function squash(x: Tensor): { readonly value: Tensor; readonly slope: Tensor } {
  const s = x.sigmoid();
  return { value: s.sub(0.5).mul(2), slope: s.mul(s.rsub(1)).mul(2) };
}

export interface MonotoneNetworkOptions extends ScheduleEnds, ConditionalContext {
  /** F, width of both hidden layers. Default D, as in the official code. */
  readonly hidden?: number | undefined;
}

/**
 * `gamma(z, t) = M0(t) + M3(tau(M2(tau(M1(2 [z, t] - 1))))) / F`, every M monotone, M0 shared by all pixels
 * (MuLAN's code, `learnable_nnet`). The ends start near those of M0; they move with every parameter and with z.
 */
export class MonotoneNetworkSchedule extends ConditionalSchedule {
  readonly line: MonotoneLinear;
  readonly dense1: MonotoneLinear;
  readonly dense2: MonotoneLinear;
  readonly out: MonotoneLinear;
  readonly #latentSize: number;
  readonly #hidden: number;

  constructor({ gammaMin, gammaMax, latentSize, dimensions, hidden = dimensions }: MonotoneNetworkOptions) {
    super();
    this.#latentSize = latentSize;
    this.#hidden = hidden;
    this.line = new MonotoneLinear(1, 1, {
      kernel: constant(gammaMax - gammaMin),
      bias: constant(gammaMin),
    });
    this.dense1 = new MonotoneLinear(latentSize + 1, hidden);
    this.dense2 = new MonotoneLinear(hidden, hidden);
    this.out = new MonotoneLinear(hidden, dimensions, { bias: "without" });
  }

  given(z: Tensor): NoiseCurve {
    const line = this.line.get();
    const dense1 = this.dense1.get();
    const dense2 = this.dense2.get();
    const out = this.out.get();
    const ofTime = dense1.slope.narrow(0, this.#latentSize, 1); // [1, F]
    const centred = z.to("float64").mul(2).sub(1);
    const fromZ = dense1.forward(cat([centred, zerosLike(centred.narrow(1, 0, 1))], 1)); // [B, F], as at t = 1/2
    return curveOf((t) => {
      const h1 = squash(t.mul(2).sub(1).mul(ofTime).add(fromZ));
      const h2 = squash(dense2.forward(h1.value));
      const dh1 = h1.slope.mul(ofTime).mul(2);
      const dh2 = h2.slope.mul(dh1.matmul(dense2.slope));
      return {
        gamma: line.forward(t).add(out.forward(h2.value).div(this.#hidden)),
        dGamma: line.slope.add(dh2.matmul(out.slope).div(this.#hidden)),
      };
    });
  }
}
