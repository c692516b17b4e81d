/** Schedules that are monotone networks: kernels act through their absolute value. */
import { constant, normal, Parameter, zero } from "../../nn/index.js";
import { type Tensor, tensor } from "../../torch/index.js";
import { NoiseSchedule, type ScheduleEnds, type ScheduleValue } from "./schedule.js";

export interface MonotoneOptions extends ScheduleEnds {
  /** Hidden width n. */
  readonly hidden: number;
}

const column = (t: Tensor): Tensor => t.reshape([-1, 1]);

/**
 * The form of VDM's code (`learnable_nnet`); its end points move with every parameter.
 *
 *   gamma(t) = t |k1| + b1 + (1/n) sum_j |k3_j| (2 sigmoid(a_j) - 1),  a_j = 2 (t - 1/2) |k2_j| + b2_j
 */
export class MonotoneCode extends NoiseSchedule {
  readonly l1Kernel: Parameter;
  readonly l1Bias: Parameter;
  readonly l2Kernel: Parameter;
  readonly l2Bias: Parameter;
  readonly l3Kernel: Parameter;
  readonly #hidden: number;

  constructor({ gammaMin, gammaMax, hidden }: MonotoneOptions) {
    super();
    this.#hidden = hidden;
    this.l1Kernel = new Parameter([1, 1], constant(gammaMax - gammaMin));
    this.l1Bias = new Parameter([1], constant(gammaMin), { decay: false });
    this.l2Kernel = new Parameter([1, hidden], normal(0.01));
    this.l2Bias = new Parameter([hidden], zero, { decay: false });
    this.l3Kernel = new Parameter([hidden, 1], normal(0.01));
  }

  at(t: Tensor): ScheduleValue {
    const k1 = this.l1Kernel.value.to(t.dtype).abs();
    const k2 = this.l2Kernel.value.to(t.dtype).abs();
    const k3 = this.l3Kernel.value.to(t.dtype).abs();
    const s = column(t).sub(0.5).mul(2).mul(k2).add(this.l2Bias.value.to(t.dtype)).sigmoid(); // [N, n]
    const gamma = column(t)
      .mul(k1)
      .add(this.l1Bias.value.to(t.dtype))
      .add(s.mul(2).sub(1).matmul(k3).div(this.#hidden));
    // d(2 sigmoid(a) - 1)/dt = 2 s (1 - s) * 2 |k2|
    const dGamma = k1.add(s.mul(s.rsub(1)).mul(k2.mul(4)).matmul(k3).div(this.#hidden));
    return { gamma: gamma.reshape(t.shape), dGamma: dGamma.reshape(t.shape) };
  }
}

/**
 * The form of the paper (VDM, appendix H and eq. 59), with end points of their own:
 *
 *   g(t) = l1(t) + l3(sigmoid(l2(l1(t)))),  gamma(t) = gamma0 + (gamma1 - gamma0) (g(t) - g(0)) / (g(1) - g(0))
 */
export class MonotonePaper extends NoiseSchedule {
  readonly l1Kernel: Parameter;
  readonly l1Bias: Parameter;
  readonly l2Kernel: Parameter;
  readonly l2Bias: Parameter;
  readonly l3Kernel: Parameter;
  readonly l3Bias: Parameter;
  readonly gamma0: Parameter;
  readonly gamma1: Parameter;

  constructor({ gammaMin, gammaMax, hidden }: MonotoneOptions) {
    super();
    this.l1Kernel = new Parameter([1, 1], constant(gammaMax - gammaMin));
    this.l1Bias = new Parameter([1], constant(gammaMin), { decay: false });
    this.l2Kernel = new Parameter([1, hidden], normal(0.01));
    this.l2Bias = new Parameter([hidden], zero, { decay: false });
    this.l3Kernel = new Parameter([hidden, 1], normal(0.01));
    this.l3Bias = new Parameter([1], zero, { decay: false });
    this.gamma0 = new Parameter([1], constant(gammaMin));
    this.gamma1 = new Parameter([1], constant(gammaMax));
  }

  override split() {
    const { l1Kernel, l1Bias, l2Kernel, l2Bias, l3Kernel, l3Bias, gamma0, gamma1 } = this;
    return { interior: [l1Kernel, l1Bias, l2Kernel, l2Bias, l3Kernel, l3Bias], ends: [gamma0, gamma1] };
  }

  /** g(t) and g'(t) of times `[N, 1]`. */
  #inner(t: Tensor): { g: Tensor; dg: Tensor } {
    const k1 = this.l1Kernel.value.to(t.dtype).abs();
    const k2 = this.l2Kernel.value.to(t.dtype).abs();
    const k3 = this.l3Kernel.value.to(t.dtype).abs();
    const h = t.mul(k1).add(this.l1Bias.value.to(t.dtype)); // [N, 1]
    const s = h.mul(k2).add(this.l2Bias.value.to(t.dtype)).sigmoid(); // [N, n]
    return {
      g: h.add(s.matmul(k3)).add(this.l3Bias.value.to(t.dtype)),
      dg: k1.add(s.mul(s.rsub(1)).mul(k2).matmul(k3).mul(k1)),
    };
  }

  at(t: Tensor): ScheduleValue {
    const { g, dg } = this.#inner(column(t));
    const ends = this.#inner(tensor([[0], [1]], { dtype: t.dtype, device: t.device })).g;
    const g0 = ends.narrow(0, 0, 1);
    const g1 = ends.narrow(0, 1, 1);
    // Positive by construction; the floor matters only where |k1| has shrunk to nothing.
    const scale = this.gamma1.value
      .to(t.dtype)
      .sub(this.gamma0.value.to(t.dtype))
      .div(g1.sub(g0).clamp(1e-6));
    return {
      gamma: this.gamma0.value
        .to(t.dtype)
        .add(scale.mul(g.sub(g0)))
        .reshape(t.shape),
      dGamma: scale.mul(dg).reshape(t.shape),
    };
  }
}
