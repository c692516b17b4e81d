/** Steps with a noise level per pixel, and the guessed context's divergence, against golden/mulan/ode_sampling. */
import { describe, test } from "vitest";
import {
  ancestral,
  convertPrediction,
  NoiseLevel,
  type PredictionKind,
  reverseSde,
  Transition,
} from "../../src/diffusion/index.js";
import { gaussianStepDivergence, stepLaw } from "../../src/diffusion/likelihood/step-divergence.js";
import { fixedEnds, polynomialCurve } from "../../src/diffusion/schedule/conditional/index.js";
import { full, noGrad, stack, type Tensor } from "../../src/torch/index.js";
import { close, GoldenFile } from "../golden.js";

const file = new GoldenFile("mulan", "ode_sampling");
const largest = { rule: "largest" } as const;
const [a, b, d] = ["a", "b", "d"].map((name) => file.tensor(name)) as [Tensor, Tensor, Tensor];
const curve = polynomialCurve({ a, b, d }, fixedEnds({ gammaMin: -13.3, gammaMax: 5 }));
const level = (gamma: Tensor) => new NoiseLevel(gamma);
const gamma = file.tensor("gamma");

/** `y = tanh(x M + c)` (README), whatever it predicts. */
const standIn = (x: Tensor): Tensor => x.matmul(file.tensor("model_M")).add(file.tensor("model_c")).tanh();

const predictions = (out: Tensor, kind: PredictionKind, z: Tensor, at: NoiseLevel) => ({
  x: convertPrediction(out, kind, "x", z, at),
  eps: convertPrediction(out, kind, "eps", z, at),
});

describe.each(["eps", "v"] as const)("prediction %s", (kind) => {
  test("ancestral sampling, every step", () =>
    noGrad(() => {
      const steps = file.number("anc_T");
      let z = file.tensor("anc_x1");
      const at = (t: number) => level(curve.at(full([z.dim(0)], t, { dtype: "float64" })).gamma);
      const states = Array.from({ length: steps }, (_, i) => {
        const [from, to] = [at((steps - i) / steps), at((steps - i - 1) / steps)];
        const noise = () => file.tensor("anc_noise").select(0, i);
        z = ancestral({ z, prediction: predictions(standIn(z), kind, z, from), from, to, noise });
        return z;
      });
      close(stack(states), file.tensor(`anc_traj_${kind}`), 1e-9, "trajectory", largest);
    }));

  test("a step of the reverse equation", () =>
    noGrad(() => {
      const x = file.tensor("x");
      const from = level(gamma);
      const h = file.tensor("rsde_h");
      const to = level(gamma.sub(file.tensor("dgamma_dt").mul(h)));
      const prediction = predictions(standIn(x), kind, x, from);
      const next = reverseSde({ z: x, prediction, from, to, noise: () => file.tensor("rsde_noise") });
      close(next, file.tensor(`rsde_next_${kind}`), 1e-9, "next", largest);
    }));
});

test("the posterior of a step", () => {
  const s = curve.at(file.tensor("post_s")).gamma;
  close(s, file.tensor("post_gamma_s"), 1e-9, "gamma_s", largest);
  const step = new Transition(level(s), level(gamma));
  const law = stepLaw(step, file.tensor("x"), file.tensor("post_x0"));
  close(law.mean, file.tensor("post_mean"), 1e-9, "mean", largest);
  close(law.logVariance.exp(), file.tensor("post_var"), 1e-9, "variance", largest);
  close(step.posteriorVariance, file.tensor("post_var"), 1e-9, "variance", largest);
});

test("a step whose levels and image are guessed", () => {
  const x = file.tensor("x");
  const q = stepLaw(
    new Transition(level(file.tensor("post_gamma_s")), level(gamma)),
    x,
    file.tensor("post_x0"),
  );
  const guess = new Transition(level(file.tensor("ctx_gamma_s_p")), level(file.tensor("ctx_gamma_t_p")));
  const p = stepLaw(guess, x, file.tensor("ctx_x_pred"));
  close(q.mean, file.tensor("ctx_mu_q"), 1e-9, "mu_q", largest);
  close(p.mean, file.tensor("ctx_mu_p"), 1e-9, "mu_p", largest);
  close(q.logVariance.exp(), file.tensor("ctx_var_q"), 1e-9, "var_q", largest);
  close(p.logVariance.exp(), file.tensor("ctx_var_p"), 1e-9, "var_p", largest);
  const divergence = gaussianStepDivergence(q, p).sum([1]);
  close(divergence, file.tensor("ctx_kl"), 1e-9, "divergence", { rule: "relative" });
});
