/** What MuLAN does with its latent: which schedules it gives, what stands in for them, and where training starts from. */
import { describe, expect, test } from "vitest";
import type { LatentEncoder } from "../../src/diffusion/encoder.js";
import { NoiseLevel, perPixel } from "../../src/diffusion/index.js";
import { GaussianLatent, KHotLatent, type Latent, logSubsets } from "../../src/diffusion/latent/index.js";
import {
  ConditionalSchedule,
  MonotoneNetworkSchedule,
  PolynomialSchedule,
} from "../../src/diffusion/schedule/conditional/index.js";
import { FixedLinear, type NoiseCurve } from "../../src/diffusion/schedule/index.js";
import { UserError } from "../../src/errors.js";
import { LatentCnn } from "../../src/networks/index.js";
import { createSystem, systems, VDM } from "../../src/systems/index.js";
import { MuLAN, type MulanOptions } from "../../src/systems/mulan.js";
import {
  Generator,
  noGrad,
  randint,
  randn,
  Streams,
  type Tensor,
  tensor,
  zeros,
} from "../../src/torch/index.js";
import { disturb } from "../disturb.js";
import { close, same } from "../golden.js";
import { ends, FixedMatrix, float64 } from "./points.js";

const [m, k] = [6, 2];
const shape = [1, 2, 3];
const D = 6;
const count = 4;
const draw = (shape: readonly number[], seed: number) => randn(shape, new Generator({ seed }), float64);
const pixels = randint(0, 256, [count, ...shape], new Generator({ seed: 1 })).to("uint8");
const sizes = { latentSize: m, dimensions: D };

/** A polynomial that remembers the latents it was asked for. */
class Remembering extends ConditionalSchedule {
  readonly inner = new PolynomialSchedule({ ...ends, ...sizes, hidden: 8 });
  readonly #seen: Tensor[] = [];

  get last(): Tensor {
    return this.#seen.at(-1) as Tensor;
  }

  given(z: Tensor): NoiseCurve {
    this.#seen.push(z);
    return this.inner.given(z);
  }
}

/** eps_hat = W x of all pixels, which sees no latent. */
class Pixels extends FixedMatrix {
  override forward(z: Tensor): Tensor {
    return super.forward(z.flatten(1)).reshape(z.shape);
  }
}

function encoder(heads: 1 | 2 = 1): LatentEncoder {
  const network = new LatentCnn({ imageChannels: 1, height: 2, width: 3, outputs: m, heads });
  return disturb(network.initialise(new Streams(1), float64), 2, 0.3);
}

const kHotOptions = { size: m, k, noise: "gumbel", gammaScale: "official" } as const;
const kHot = new KHotLatent({ ...kHotOptions, kl: "categorical" });

function make(options: Partial<MulanOptions> & { readonly latent?: Latent } = {}) {
  const schedule = new Remembering();
  disturb(schedule.initialise(new Streams(1), float64), 3, 0.5);
  const { latent = kHot } = options;
  const auxiliary = { latent, encoder: encoder(latent.heads), divergence: "as named" };
  const denoiser = new Pixels(draw([D, D], 4));
  const system = new MuLAN({ shape, schedule, denoiser, auxiliary, latentSize: m, ends, ...options });
  return { system, schedule, denoiser };
}

const context = (seed: number) => ({ streams: new Streams(seed), pass: {}, latent: "sample" }) as const;

/** The k largest of each row as 1, by sorting. */
function largest(rows: Tensor): number[] {
  return Array.from({ length: rows.dim(0) }, (_, i) => rows.select(0, i).toArray()).flatMap((row) => {
    const order = row.map((_, j) => j).sort((p, q) => (row[q] as number) - (row[p] as number));
    return row.map((_, j) => (order.indexOf(j) < k ? 1 : 0));
  });
}

describe("which latent", () => {
  const { system, schedule } = make();
  const logits = (system.encoder as LatentEncoder).forward(system.encode(pixels), {})[0] as Tensor;
  const ones = () => schedule.last.sum([1]).toArray();

  test("the schedule of an image is that of its k largest logits", () => {
    const curve = system.curveOf({ pixels });
    expect(schedule.last.toArray()).toEqual(largest(logits));
    const t = tensor([0.1, 0.4, 0.6, 0.9], float64);
    const { gamma } = curve.at(t);
    expect(gamma.shape).toEqual([count, D]);
    const z = tensor(largest(logits), float64).reshape([count, m]);
    same(gamma, schedule.inner.given(z).at(t).gamma, "gamma");
  });

  test("so is that by which it is noised", () => {
    const t = tensor([0.1, 0.4, 0.6, 0.9], float64);
    const noised = system.noised({ pixels }, t, new Streams(2));
    expect(schedule.last.toArray()).toEqual(largest(logits));
    const gamma = perPixel(system.curveOf({ pixels }).at(t).gamma, shape);
    const eps = randn(pixels.shape, new Streams(2).generator("noise"), float64);
    same(noised, new NoiseLevel(gamma).diffuse(system.encode(pixels), eps), "z_t");
  });

  test("schedules of the prior are those of any k ones, each number of them as often", () => {
    system.priorCurve(600, new Streams(3));
    expect(schedule.last.shape).toEqual([600, m]);
    expect(new Set(ones())).toEqual(new Set([k]));
    // 600 draws, probability k/m = 1/3: 200 +- 11.5
    for (const times of schedule.last.sum([0]).toArray()) expect(Math.abs(times - 200)).toBeLessThan(60);
  });

  test("the bound draws from the posterior, and charges its divergence", () => {
    const draws = Array.from({ length: 20 }, (_, seed) => {
      const { latent } = system.bound({ pixels }, context(seed));
      close(latent, kHot.mode([logits]).kl, 1e-12, "latent");
      expect(new Set(ones())).toEqual(new Set([k]));
      return schedule.last.toArray().join();
    });
    expect(new Set(draws).size).toBeGreaterThan(1);
  });

  test("the flow is given the most likely one or a draw, with its divergence and what it is called", () => {
    const mode = system.flow({ pixels }, { ...context(1), latent: "mode" });
    expect(schedule.last.toArray()).toEqual(largest(logits));
    expect([mode.klKind, mode.gamma0.toArray()]).toEqual(["as named", [-13.3]]);
    close(mode.kl, kHot.mode([logits]).kl, 1e-12, "kl");
    const seen = new Set(
      Array.from({ length: 20 }, (_, seed) => {
        system.flow({ pixels }, context(seed));
        return schedule.last.toArray().join();
      }),
    );
    expect(seen.size).toBeGreaterThan(1);
  });

  test("where the account is exact, a single subset costs log C(m, k), a draw less", () => {
    const { system } = make({ latent: new KHotLatent({ ...kHotOptions, kl: "plackett-luce" }) });
    const kl = (latent: "mode" | "sample") =>
      system.flow({ pixels }, { ...context(1), latent }).kl?.toArray() ?? [];
    for (const nats of kl("mode")) expect(nats).toBeCloseTo(logSubsets(m, k), 12);
    for (const nats of kl("sample")) expect(nats).toBeLessThan(logSubsets(m, k));
  });

  test("a Gaussian latent's most likely value is its mean", () => {
    const { system, schedule } = make({ latent: new GaussianLatent({ size: m }) });
    system.curveOf({ pixels });
    const [mean] = (system.encoder as LatentEncoder).forward(system.encode(pixels), {});
    same(schedule.last, mean as Tensor, "z");
  });

  test("without a latent it is z = 0 for all", () => {
    const { system, schedule } = make({ auxiliary: undefined });
    for (const curve of [system.curveOf({ pixels }), system.priorCurve(3, new Streams(1))]) {
      expect([schedule.last.shape, schedule.last.toArray()]).toEqual([[1, m], Array(m).fill(0)]);
      expect(curve.at(tensor([0.5], float64)).gamma.shape).toEqual([1, D]);
    }
    expect(Object.keys(system.bound({ pixels }, context(1)))).not.toContain("latent");
    expect(system.flow({ pixels }, context(1)).kl).toBeUndefined();
  });
});

test("free ends have no one level from which the flow could start: one line says so", () => {
  const schedule = new MonotoneNetworkSchedule({ ...ends, ...sizes, hidden: 8 });
  schedule.initialise(new Streams(1), float64);
  const { system } = make({ schedule: disturb(schedule, 3, 0.5) });
  expect(() => system.flow({ pixels }, context(1))).toThrow(
    new UserError(
      "expected a schedule whose pixels all start at one noise level for nll, got one whose ends are free or learned: use bpd",
    ),
  );
});

describe("a schedule replaced after training", () => {
  const x = pixels.to("float64");
  const t = tensor([0.1, 0.4, 0.6, 0.9], float64);
  const noise = { t, eps: draw(x.shape, 5), eps0: draw(x.shape, 6) };
  const latent = { z: draw([count, m], 7), kl: zeros([count], float64) };
  const evaluate = (system: MuLAN) => system.evaluate(x, { ...noise, latent }, { pass: {} });

  test("mean: every pixel has the mean of all, at every time", () => {
    const { system } = make();
    const own = evaluate(system);
    const mean = (values: Tensor) => values.mean([1, 2, 3], { keepDims: true });
    system.replaceSchedule("mean");
    const replaced = evaluate(system);
    close(replaced.gamma, mean(own.gamma), 1e-12, "gamma");
    close(replaced.dGamma, mean(own.dGamma), 1e-12, "gamma'");
    for (const term of ["reconstruction", "prior"]) // between the same ends
      close(replaced.bound[term], own.bound[term] as Tensor, 1e-10, term);
    expect(replaced.bound.diffusion.toArray()).not.toEqual(own.bound.diffusion.toArray());
    const { gamma } = system.curveOf({ pixels }).at(t);
    expect(gamma.shape).toEqual([count, 1]);
    system.replaceSchedule(undefined);
    same(evaluate(system).bound.diffusion, own.bound.diffusion, "its own again");
  });

  test("linear: VDM with a line between the same ends", () => {
    const { system, denoiser } = make();
    system.replaceSchedule("linear");
    const vdm = new VDM({ shape, schedule: new FixedLinear(ends), denoiser });
    const { bound } = evaluate(system);
    const expected = vdm.evaluate(x, noise, { pass: {} }).bound;
    for (const [term, nats] of Object.entries(expected)) close(bound[term], nats, 1e-11, term);
    close(system.flow({ pixels }, context(1)).gamma0, [-13.3], 1e-15, "gamma0 of the flow");
  });
});

test("a denoiser may be kept from the latent", () => {
  const seen: number[][] = [];
  class Listening extends Pixels {
    override forward(z: Tensor, ...[, condition]: [Tensor?, Tensor?]): Tensor {
      seen.push([...(condition?.shape ?? [])]);
      return super.forward(z);
    }
  }
  for (const denoiserCondition of ["with-latent", "without-latent"] as const)
    make({ denoiser: new Listening(draw([D, D], 4)), denoiserCondition }).system.bound(
      { pixels },
      context(1),
    );
  expect(seen).toEqual([[count, m], [count]]);
});

test("at first the network returns its input, all logits are 0, a is 0 and nothing is charged", () =>
  noGrad(() => {
    const model = systems.mulan.model.parse({
      schedule: { kind: "polynomial", hidden: 16 },
      latent: { kind: "k-hot", size: m, k },
      encoder: { kind: "unet", channels: 64, depth: 1, attention: "none", dropout: 0 },
      network: { kind: "vdm-unet", channels: 64, depth: 1, attention: "none", dropout: 0 },
    });
    const { system } = createSystem({ system: "mulan", model }, { shape: [1, 4, 4] });
    if (!(system instanceof MuLAN)) throw new Error("expected MuLAN");
    system.initialise(new Streams(1), float64);
    const x = randint(0, 256, [count, 1, 4, 4], new Generator({ seed: 2 })).to("float64");
    const [logits] = system.encoder?.forward(system.encode(x), {}) ?? [];
    close(logits, zeros([count, m], float64), 0, "logits");
    const schedule = system.schedule as PolynomialSchedule;
    // Equal logits tie at the threshold: without noise all are ones. With noise there are k of them.
    const mode = schedule.coefficients(zeros([1, m], float64).add(1));
    close(mode.a, zeros([1, 16], float64), 0, "a");
    const curve = system.curveOf({ pixels: x.to("uint8") });
    const t = tensor([0.2, 0.4, 0.6, 0.8], float64);
    const all = schedule.given(zeros([1, m], float64).add(1)).at(t).gamma;
    close(curve.at(t).gamma, all, 1e-12, "the curve of all ones");
    const z = tensor([[0, 1, 0, 0, 1, 0]], float64).expand([count, m]);
    const draws = { t, eps: draw(x.shape, 3), eps0: draw(x.shape, 4) };
    const { bound, gamma, dGamma, zt, out } = system.evaluate(
      x,
      { ...draws, latent: { z, kl: zeros([count], float64) } },
      { pass: {} },
    );
    same(out, zt, "output");
    // v_hat = x_t: 1/2 sum alpha^2 gamma' (alpha eps - sigma f - x_t)^2
    const { alpha, sigma, alpha2 } = new NoiseLevel(gamma);
    const error = alpha
      .mul(draws.eps)
      .sub(sigma.mul(system.encode(x)))
      .sub(zt);
    const expected = error.square().mul(alpha2).mul(dGamma).sum([1, 2, 3]).div(2);
    close(bound.diffusion, expected, 1e-12, "diffusion");
    const charged = system.bound({ pixels: x }, context(1)).latent?.toArray() ?? [];
    for (const nats of charged) expect(Math.abs(nats)).toBeLessThan(1e-12);
    expect(charged).toHaveLength(count);
  }));
