/** The terms of MuLAN's bound, and their gradients through latent, schedule and denoiser, against golden/mulan/loss. */
import { describe, test } from "vitest";
import type { Denoiser } from "../../src/diffusion/denoiser.js";
import {
  bitsPerDim,
  convertPrediction,
  encodePixels,
  lowDiscrepancyTimes,
  NoiseLevel,
  NoiseSchedule,
  perPixel,
  predictionTarget,
  type ScheduleValue,
  totalBound,
} from "../../src/diffusion/index.js";
import { categoricalDivergence, projectedTopK } from "../../src/diffusion/latent/index.js";
import {
  fixedEnds,
  PolynomialSchedule,
  polynomialCurve,
} from "../../src/diffusion/schedule/conditional/index.js";
import { Module, Parameter, zero } from "../../src/nn/index.js";
import { MuLAN } from "../../src/systems/mulan.js";
import { VDM } from "../../src/systems/vdm.js";
import { type Tensor, tensor } from "../../src/torch/index.js";
import { close, GoldenFile } from "../golden.js";

const file = new GoldenFile("mulan", "loss");
const ends = { gammaMin: -13.3, gammaMax: 5 };
const x = file.image("images");
const shape = x.shape.slice(1);
const dimensions = x.size / x.dim(0);
const eps = file.image("eps");
const eps0 = file.image("eps0");
const t = file.tensor("t");
const largest = { rule: "largest" } as const;

/** `raw = w1 x + w2 + w3 u + z w4`, u = (mean gamma - gammaMin) / (gammaMax - gammaMin) (README); pixels flat and channels-last. */
class StandIn extends Module implements Denoiser {
  readonly w1 = new Parameter([dimensions], zero);
  readonly w2 = new Parameter([dimensions], zero);
  readonly w3 = new Parameter([dimensions], zero);
  readonly w4 = new Parameter([file.tensor("logits").dim(1), dimensions], zero);

  constructor() {
    super();
    this.load(new Map(["w1", "w2", "w3", "w4"].map((name) => [name, file.tensor(`model_${name}`)])));
  }

  forward(z: Tensor, gamma: Tensor, condition: Tensor): Tensor {
    const mean = gamma.rank === 1 ? gamma : gamma.flatten(1).mean([1]);
    const u = mean.sub(ends.gammaMin).div(ends.gammaMax - ends.gammaMin);
    const shift = this.w2.value.add(u.unsqueeze(1).mul(this.w3.value));
    // The scalar case has no latent: its condition is one number, and w4 is left out.
    const given = condition.rank === 2 ? shift.add(condition.matmul(this.w4.value)) : shift;
    return perPixel(this.w1.value.unsqueeze(0), shape).mul(z).add(perPixel(given, shape));
  }
}

/** The polynomial's coefficient network with the stored weights; ours are `[out, in]`. */
const stored = {
  "network.dense1": ["W1", "b1"],
  "network.dense2": ["W2", "b2"],
  a: ["Wa", "ba"],
  b: ["Wb", "bb"],
  d: ["Wd", "bd"],
} as const;

function storedSchedule(): PolynomialSchedule {
  const [latentSize = 0, hidden = 0] = file.tensor("net_W1").shape;
  const schedule = new PolynomialSchedule({ ...ends, latentSize, dimensions, hidden });
  return schedule.load(
    new Map(
      Object.entries(stored).flatMap(([name, [weight, bias]]) => [
        [`${name}.weight`, file.tensor(`net_${weight}`).transpose(0, 1)],
        [`${name}.bias`, file.tensor(`net_${bias}`)],
      ]),
    ),
  );
}

/** Logits to z and its divergence, the noise given. */
function latentOf(logits: Tensor) {
  const { z } = projectedTopK(logits.add(file.tensor("gumbel")), file.number("k"));
  return { z, kl: categoricalDivergence(logits) };
}

function model(prediction: "eps" | "v") {
  const schedule = storedSchedule();
  const denoiser = new StandIn();
  const latentSize = file.tensor("logits").dim(1);
  return new MuLAN({ shape, schedule, denoiser, latentSize, ends, prediction });
}

test("times, data and latent", () => {
  close(lowDiscrepancyTimes(file.tensor("t0").reshape([]), t.size), t, 1e-9, "t", largest);
  close(encodePixels(x, 256), file.image("x0"), 1e-9, "x0", largest);
  const { z, kl } = latentOf(file.tensor("logits"));
  close(z, file.tensor("z"), 1e-9, "z", largest);
  close(kl, file.tensor("kl_z"), 1e-9, "kl_z", largest);
});

describe.each(["eps", "v"] as const)("prediction %s", (prediction) => {
  const mulan = model(prediction);
  const logits = file.tensor("logits").requireGrad();
  const latent = latentOf(logits);
  const evaluation = mulan.evaluate(x, { t, eps, eps0, latent }, { pass: {} });
  const { bound, gamma, dGamma, zt, out } = evaluation;

  test("levels, latent image and output", () => {
    const level = new NoiseLevel(gamma);
    close(gamma, file.image("gamma_t"), 1e-9, "gamma_t", largest);
    close(dGamma, file.image("dgamma_dt"), 1e-9, "dgamma_dt", largest);
    close(level.alpha, file.image("alpha_t"), 1e-9, "alpha_t", largest);
    close(level.sigma, file.image("sigma_t"), 1e-9, "sigma_t", largest);
    close(zt, file.image("x_t"), 1e-9, "x_t", largest);
    close(out, file.image("model_raw"), 1e-9, "model_raw", largest);
    const f = encodePixels(x, 256);
    close(predictionTarget("v", f, eps, level), file.image("v_target"), 1e-9, "v_target", largest);
    close(
      convertPrediction(out, "eps", "v", zt, level),
      file.image("v_from_eps"),
      1e-9,
      "v_from_eps",
      largest,
    );
    close(
      convertPrediction(out, "v", "eps", zt, level),
      file.image("eps_from_v"),
      1e-9,
      "eps_from_v",
      largest,
    );
    const { a, b, d } =
      mulan.schedule instanceof PolynomialSchedule ? mulan.schedule.coefficients(latent.z) : {};
    for (const [name, values] of Object.entries({ a, b, d }))
      close(values, file.tensor(`coef_${name}`), 1e-9, `coef_${name}`, largest);
  });

  test("the terms of the bound", () => {
    close(bound.diffusion, file.tensor(`loss_diff_${prediction}`), 1e-9, "diffusion", largest);
    close(bound.reconstruction, file.tensor("loss_recon"), 1e-9, "reconstruction", largest);
    close(bound.prior, file.tensor("loss_prior"), 1e-9, "prior", largest);
    close(bound.latent, file.tensor("kl_z"), 1e-9, "latent", largest);
  });

  test("both ends of the schedule", () => {
    const curve = mulan.schedule.given(latent.z);
    for (const [key, end] of Object.entries({ gamma_0: 0, gamma_1: 1 })) {
      const at = tensor([end], { dtype: "float64" }).expand([x.dim(0)]);
      close(perPixel(curve.at(at).gamma, shape), file.image(key), 1e-9, key, largest);
    }
  });

  test("bits per dimension and every gradient", () => {
    const bits = bitsPerDim(totalBound(bound), mulan.dimensions).mean();
    close(bits, file.number(`bpd_${prediction}`), 1e-9, "bits per dimension", largest);
    bits.backward();
    const key = (name: string) => `grad_${prediction}_${name}`;
    close(logits.grad, file.tensor(key("logits")), 1e-8, key("logits"), largest);
    for (const [name, value] of mulan.denoiser.values())
      close(value.grad, file.tensor(key(`model_${name}`)), 1e-8, key(name), largest);
    const gradients = new Map(mulan.schedule.values());
    for (const [name, [weight, bias]] of Object.entries(stored)) {
      const of = (part: string) => gradients.get(`${name}.${part}`)?.grad;
      close(of("weight")?.transpose(0, 1), file.tensor(key(`net_${weight}`)), 1e-8, key(weight), largest);
      close(of("bias"), file.tensor(key(`net_${bias}`)), 1e-8, key(bias), largest);
    }
  });
});

test.each(file.matching(/^loss_diff_disc_T(\d+)$/).map(Number))("a chain of %i steps", (steps) => {
  const latent = latentOf(file.tensor("logits"));
  const { bound } = model("eps").evaluate(x, { t, eps, eps0, latent }, { pass: {}, steps });
  close(bound.diffusion, file.tensor(`loss_diff_disc_T${steps}`), 1e-9, `T = ${steps}`, largest);
});

/** One polynomial for all pixels, as VDM's schedule. */
class ScalarPolynomial extends NoiseSchedule {
  at(times: Tensor): ScheduleValue {
    const [a, b, d] = file.tensor("scalar_coef").reshape([3, 1, 1]).split(1, 0) as [Tensor, Tensor, Tensor];
    const at = polynomialCurve({ a: a.squeeze(0), b: b.squeeze(0), d: d.squeeze(0) }, fixedEnds(ends)).at(
      times,
    );
    return { gamma: at.gamma.reshape(times.shape), dGamma: at.dGamma.reshape(times.shape) };
  }
}

test("one polynomial for all pixels is VDM", () => {
  const schedule = new ScalarPolynomial();
  close(schedule.at(t).gamma, file.tensor("scalar_gamma_t"), 1e-9, "gamma", largest);
  close(schedule.at(t).dGamma, file.tensor("scalar_dgamma_dt"), 1e-9, "dGamma", largest);
  const vdm = new VDM({ shape, schedule, denoiser: new StandIn(), prediction: "eps" });
  const { bound } = vdm.evaluate(x, { t, eps, eps0 }, { pass: {} });
  close(bound.diffusion, file.tensor("scalar_loss_diff"), 1e-9, "scalar_loss_diff", largest);
});
