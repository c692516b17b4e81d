/** MuLAN as a whole: what it has in common with VDM, and the terms of its bound. */
import { describe, expect, test } from "vitest";
import type { Denoiser } from "../../src/diffusion/denoiser.js";
import {
  convertPrediction,
  FixedLinear,
  LearnedLinear,
  MonotoneCode,
  NoiseLevel,
  type NoiseSchedule,
  Polynomial10,
  type PredictionKind,
  predictionKinds,
  totalBound,
} from "../../src/diffusion/index.js";
import {
  AffineSigmoidSchedule,
  type ConditionalSchedule,
  MonotoneNetworkSchedule,
  PolynomialSchedule,
  SharedByPixels,
  SigmoidSchedule,
} from "../../src/diffusion/schedule/conditional/index.js";
import { Linear, Module } from "../../src/nn/index.js";
import { MuLAN, type MulanOptions } from "../../src/systems/mulan.js";
import { VDM } from "../../src/systems/vdm.js";
import {
  full,
  Generator,
  grad,
  linspace,
  randint,
  randn,
  Streams,
  type Tensor,
  tensor,
  zeros,
} from "../../src/torch/index.js";
import { disturb } from "../disturb.js";
import { close, same } from "../golden.js";
import { ends, float64, polynomialOf } from "./points.js";

const shape = [3, 2, 2];
const D = 12;
const m = 4;
const count = 5;
const draw = (shape: readonly number[], seed: number) => randn(shape, new Generator({ seed }), float64);
const x = randint(0, 256, [count, ...shape], new Generator({ seed: 1 })).to("float64");
const t = tensor([0, 0.2, 0.41, 0.77, 0.999], float64);
const noise = { t, eps: draw(x.shape, 2), eps0: draw(x.shape, 3) };

/** A map of z, the mean of gamma over pixels, and the condition: all that a denoiser may use. */
class Net extends Module implements Denoiser {
  readonly image = new Linear(D, D);
  readonly level = new Linear(1, D);
  readonly condition: Linear;

  constructor(conditions: number) {
    super();
    this.condition = new Linear(conditions, D);
  }

  forward(z: Tensor, gamma: Tensor, condition: Tensor): Tensor {
    const mean = gamma.rank === 1 ? gamma : gamma.flatten(1).mean([1]);
    const told = condition.rank === 1 ? condition.unsqueeze(1) : condition;
    const h = this.image
      .forward(z.flatten(1))
      .add(this.level.forward(mean.div(10).unsqueeze(1)))
      .add(this.condition.forward(told));
    return h.tanh().reshape(z.shape);
  }
}

const net = (conditions = 1) => disturb(new Net(conditions).initialise(new Streams(1), float64), 4, 0.5);

function mulan(schedule: ConditionalSchedule, options: Partial<MulanOptions> = {}): MuLAN {
  return new MuLAN({ shape, schedule, denoiser: net(), latentSize: m, ends, ...options });
}

/** Every weight of a schedule drawn anew, except for the ends. */
function shaken<S extends Module>(schedule: S): S {
  schedule.initialise(new Streams(1), float64);
  const kept = new Map(schedule.values().filter(([name]) => /^(ends|line)\b/.test(name)));
  const before = new Map([...kept].map(([name, value]) => [name, value.detach().clone()]));
  disturb(schedule, 5, 0.5);
  return schedule.load(new Map([...schedule.values(), ...before]));
}

describe("with a schedule that pixels share and no latent it is VDM", () => {
  const monotone = new MonotoneCode({ ...ends, hidden: 8 });
  const learned = new LearnedLinear(ends).initialise(new Streams(1), float64);
  const schedules: Record<string, NoiseSchedule> = {
    fixed: new FixedLinear(ends),
    "a polynomial": new Polynomial10(ends),
    learned,
    "a monotone network": monotone.initialise(new Streams(1), float64),
  };

  describe.each(Object.keys(schedules))("%s", (name) => {
    const schedule = schedules[name] as NoiseSchedule;
    test.each(predictionKinds)("every term and every gradient, prediction %s", (prediction) => {
      const denoiser = net();
      const pixels = mulan(new SharedByPixels(schedule), { denoiser, prediction });
      const vdm = new VDM({ shape, schedule, denoiser, prediction });
      const weights = [...denoiser.values(), ...schedule.values()];
      for (const steps of [0, 7]) {
        const bound = pixels.evaluate(x, noise, { pass: {}, steps }).bound;
        const expected = vdm.evaluate(x, noise, { pass: {}, steps }).bound;
        expect(Object.keys(bound)).toEqual(["reconstruction", "prior", "diffusion"]);
        for (const [term, nats] of Object.entries(expected))
          close(bound[term], nats, 1e-12, `${term}, T = ${steps}`);
        const [own, other] = [bound, expected].map((terms) =>
          grad(
            [totalBound(terms).sum()],
            weights.map(([, value]) => value),
          ),
        );
        for (const [i, [weight]] of weights.entries())
          close(own?.[i], other?.[i] as Tensor, 1e-9, `gradient of ${weight}`);
      }
    });
  });

  test("its draws are VDM's as well, and its flow", () => {
    const denoiser = net();
    const schedule = new FixedLinear(ends);
    const pixels = mulan(new SharedByPixels(schedule), { denoiser });
    const vdm = new VDM({ shape, schedule, denoiser });
    const context = () => ({ streams: new Streams(3), pass: {}, latent: "mode" }) as const;
    const batch = { pixels: x };
    const [one, other] = [pixels.bound(batch, context()), vdm.bound(batch, context())];
    close(totalBound(one), totalBound(other), 1e-12, "bound");
    const flows = [pixels.flow(batch, context()), vdm.flow(batch, context())];
    const drifts = flows.map(({ flow }) => flow.drift(noise.eps, 0.3));
    close(drifts[0], drifts[1] as Tensor, 1e-12, "drift");
    close(flows[0]?.gamma0, flows[1]?.gamma0 as Tensor, 1e-12, "gamma0");
  });

  test("a polynomial of every pixel, all alike, is one curve; a latent the same for all is a condition", () => {
    const of = (size: number) => ({
      a: full([size], 2, float64),
      b: full([size], -3, float64),
      d: full([size], 1.5, float64),
    });
    const z = full([count, m], 0.5, float64);
    const kl = full([count], 0.25, float64);
    const denoiser = net(m);
    const scalar = polynomialOf(of(1)).given(zeros([1, 1], float64));
    class Curve extends FixedLinear {
      override at(times: Tensor) {
        const { gamma, dGamma } = scalar.at(times.reshape([-1]));
        return { gamma: gamma.reshape(times.shape), dGamma: dGamma.reshape(times.shape) };
      }
    }
    const vdm = new VDM({ shape, schedule: new Curve(ends), denoiser });
    const pixels = mulan(polynomialOf(of(D), { latentSize: m }), { denoiser });
    const { bound } = pixels.evaluate(x, { ...noise, latent: { z, kl } }, { pass: {} });
    const { bound: expected } = vdm.evaluate(x, noise, { pass: {}, condition: z });
    for (const [term, nats] of Object.entries(expected)) close(bound[term], nats, 1e-11, term);
    same(bound.latent as Tensor, kl, "latent");
  });
});

/** A network of one kind read as another's. */
class Converted extends Module implements Denoiser {
  readonly network: Net;
  readonly #kinds: readonly [from: PredictionKind, to: PredictionKind];

  constructor(network: Net, from: PredictionKind, to: PredictionKind) {
    super();
    this.network = network;
    this.#kinds = [from, to];
  }

  forward(z: Tensor, gamma: Tensor, condition: Tensor): Tensor {
    const [from, to] = this.#kinds;
    const out = this.network.forward(z, gamma, condition);
    return convertPrediction(out, from, to, z, new NoiseLevel(gamma));
  }
}

test.each([
  ["v", "eps"],
  ["eps", "v"],
  ["x", "v"],
] as const)("a %s network read as one of %s has the same bound", (from, to) => {
  const schedule = shaken(new PolynomialSchedule({ ...ends, latentSize: m, dimensions: D, hidden: 6 }));
  const z = tensor([[1, 0, 1, 0]], float64).expand([count, m]);
  const draws = { ...noise, latent: { z, kl: zeros([count], float64) } };
  const network = net(m);
  const own = mulan(schedule, { denoiser: network, prediction: from });
  const converted = mulan(schedule, { denoiser: new Converted(network, from, to), prediction: to });
  for (const steps of [0, 50]) {
    const [one, other] = [own, converted].map(
      (each) => each.evaluate(x, draws, { pass: {}, steps }).bound.diffusion,
    );
    close(one, other as Tensor, 1e-9, `T = ${steps}`);
  }
});

describe("reconstruction and prior", () => {
  const polynomial = shaken(new PolynomialSchedule({ ...ends, latentSize: m, dimensions: D, hidden: 6 }));
  const z = draw([count, m], 6);
  const latent = { z, kl: zeros([count], float64) };

  test("of a polynomial between fixed ends are those of -13.3 and 5, whatever its coefficients", () => {
    // 361 points of noise with weights of a standard normal law: a trapezoid sum, exact to far more digits than compared.
    const grid = linspace(-9, 9, 361, float64);
    const weights = grid
      .square()
      .div(-2)
      .exp()
      .mul(0.05 / Math.sqrt(2 * Math.PI));
    const inner = full([361, ...shape], 77, float64);
    const eps0 = grid.reshape([361, 1, 1, 1]).expand(inner.shape);
    const draws = { t: full([361], 0.5, float64), eps: inner.mul(0), eps0 };
    const some = { z: z.narrow(0, 0, 1).expand([361, m]), kl: zeros([361], float64) };
    const system = mulan(polynomial, { denoiser: net(m) });
    const { bound } = system.evaluate(inner, { ...draws, latent: some }, { pass: {} });
    const reconstruction = bound.reconstruction.mul(weights).sum().item() / D;
    expect(reconstruction).toBeCloseTo(0.007246, 6); // nats/dim of a value that has neighbours (specification)
    const prior = (bound.prior.toArray()[0] ?? Number.NaN) / D;
    expect(prior).toBeCloseTo(0.0033464 * ((2 * 77.5) / 256 - 1) ** 2 + 1.125e-5, 7);
  });

  const schedules: Record<string, ConditionalSchedule> = {
    "monotone network": new MonotoneNetworkSchedule({ ...ends, latentSize: m, dimensions: D, hidden: 6 }),
    sigmoid: new SigmoidSchedule({ ...ends, latentSize: m, dimensions: D, hidden: 6, ends: "learned" }),
    "line and sigmoid": new AffineSigmoidSchedule({ ...ends, latentSize: m, dimensions: D, hidden: 6 }),
  };
  test.each(Object.keys(schedules))("of a %s, whose ends are free, go pixel by pixel", (name) => {
    const schedule = shaken(schedules[name] as ConditionalSchedule);
    // Every pixel starts and ends somewhere else; the monotone network's do so by themselves.
    for (const [end, value] of schedule.values())
      if (/gamma0|range/.test(end)) value.detach().add_(draw(value.shape, 7));
    const { bound } = mulan(schedule, { denoiser: net(m) }).evaluate(x, { ...noise, latent }, { pass: {} });
    const curve = schedule.given(z);
    const at = (time: number) => curve.at(full([count], time, float64)).gamma.toArray();
    const [start, end] = [at(0), at(1)];
    const [pixels, eps0] = [x, noise.eps0].map((image) => image.permute([0, 2, 3, 1]).toArray());
    const sums = Array.from({ length: count }, (_, i) => {
      let [reconstruction, prior] = [0, 0];
      for (let j = i * D; j < (i + 1) * D; j++) {
        const [gamma0, gamma1] = [start[j] as number, end[j] as number];
        const value = pixels?.[j] as number;
        const f = (2 * (value + 0.5)) / 256 - 1;
        const y = f + Math.exp(gamma0 / 2) * (eps0?.[j] as number);
        const logits = Array.from(
          { length: 256 },
          (_, k) => -0.5 * (y - (2 * (k + 0.5)) / 256 + 1) ** 2 * Math.exp(-gamma0),
        );
        const top = Math.max(...logits);
        const logSum = top + Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - top), 0));
        reconstruction += logSum - (logits[value] as number);
        const sigma2 = 1 / (1 + Math.exp(-gamma1));
        prior += 0.5 * ((1 - sigma2) * f * f + sigma2 - Math.log(sigma2) - 1);
      }
      return { reconstruction, prior };
    });
    close(
      bound.reconstruction,
      sums.map(({ reconstruction }) => reconstruction),
      1e-9,
      "reconstruction",
    );
    close(
      bound.prior,
      sums.map(({ prior }) => prior),
      1e-9,
      "prior",
    );
    expect(new Set(start.map((gamma) => gamma.toFixed(6))).size).toBeGreaterThan(D - 1);
  });
});
