/** Per-pixel schedules against golden/mulan/schedule_poly and schedule_other. */
import { describe, test } from "vitest";
import {
  conditionalScheduleSchema,
  createConditionalSchedule,
  MonotoneNetworkSchedule,
  meanCurve,
  PolynomialSchedule,
  polynomialCurve,
  SharedByPixels,
  sigmoidCoefficients,
  sigmoidCurve,
  squaredIntegral,
} from "../../src/diffusion/schedule/conditional/index.js";
import { MonotoneCode } from "../../src/diffusion/schedule/index.js";
import { discretiseTimes, lowDiscrepancyTimes } from "../../src/diffusion/times.js";
import { grad, type Tensor } from "../../src/torch/index.js";
import { close, GoldenFile } from "../golden.js";

const largest = { rule: "largest" } as const;

function endsIn(file: GoldenFile) {
  const [gammaMin, gammaMax] = [file.number("gamma_min"), file.number("gamma_max")];
  return { gammaMin, gammaMax, fixed: { gamma0: gammaMin, range: gammaMax - gammaMin } };
}

describe("schedule_poly", () => {
  const file = new GoldenFile("mulan", "schedule_poly");
  const { gammaMin, gammaMax, fixed } = endsIn(file);
  const coefficients = () => ({ a: file.tensor("a"), b: file.tensor("b"), d: file.tensor("d") });

  test("gamma, gamma' and the normaliser", () => {
    const { gamma, dGamma } = polynomialCurve(coefficients(), fixed).at(file.tensor("t"));
    close(gamma, file.tensor("gamma"), 1e-10, "gamma", largest);
    close(dGamma, file.tensor("dgamma_dt"), 1e-10, "gamma'", largest);
    close(squaredIntegral(coefficients()), file.tensor("scale"), 1e-10, "S", largest);
  });

  test("on a grid of times", () => {
    const curve = polynomialCurve(coefficients(), fixed);
    const [rows] = file.tensor("a").shape;
    const [gammas, dGammas] = [file.tensor("gamma_grid"), file.tensor("dgamma_grid")];
    for (const [i, t] of file.tensor("t_grid").split(1, 0).entries()) {
      const { gamma, dGamma } = curve.at(t.expand([rows ?? 0]));
      close(gamma, gammas.select(1, i), 1e-10, `gamma at ${t.item()}`, largest);
      close(dGamma, dGammas.select(1, i), 1e-10, `gamma' at ${t.item()}`, largest);
    }
  });

  test("gradients in the coefficients and in time", () => {
    const [a, b, d, t] = ["a", "b", "d", "t"].map((key) => file.tensor(key).requireGrad()) as [
      Tensor,
      Tensor,
      Tensor,
      Tensor,
    ];
    const { gamma, dGamma } = polynomialCurve({ a, b, d }, fixed).at(t);
    const loss = gamma
      .mul(file.tensor("cot_gamma"))
      .add(dGamma.mul(file.tensor("cot_dgamma")))
      .sum();
    const gradients = grad([loss], [a, b, d, t]);
    for (const [i, name] of ["a", "b", "d", "t"].entries())
      close(gradients[i], file.tensor(`grad_${name}`), 1e-8, `gradient in ${name}`, largest);
  });

  test.each(file.matching(/^disc_t_(\d+)$/))("differences of neighbouring levels, T = %s", (T) => {
    const t = file.tensor(`disc_t_${T}`);
    const curve = polynomialCurve(coefficients(), fixed);
    const difference = curve.at(t).gamma.sub(curve.at(t.sub(1 / Number(T))).gamma);
    close(difference, file.tensor(`disc_diff_${T}`), 0, "difference", { rule: "relative", absolute: 1e-11 });
  });

  test("the coefficient network and its schedule", () => {
    const [latentSize, hidden] = file.tensor("net_W1").shape as [number, number];
    const dimensions = file.tensor("net_Wa").dim(1);
    const schedule = new PolynomialSchedule({ gammaMin, gammaMax, latentSize, dimensions, hidden });
    const layers = { "network.dense1": "1", "network.dense2": "2", a: "a", b: "b", d: "d" };
    schedule.load(
      new Map(
        Object.entries(layers).flatMap(([layer, name]) => [
          [`${layer}.weight`, file.tensor(`net_W${name}`).transpose(0, 1)],
          [`${layer}.bias`, file.tensor(`net_b${name}`)],
        ]),
      ),
    );
    const z = file.tensor("net_z");
    const { a, b, d } = schedule.coefficients(z);
    close(a, file.tensor("net_out_a"), 1e-10, "a", largest);
    close(b, file.tensor("net_out_b"), 1e-10, "b", largest);
    close(d, file.tensor("net_out_d"), 1e-10, "d", largest);
    const { gamma, dGamma } = schedule.given(z).at(file.tensor("net_t"));
    close(gamma, file.tensor("net_gamma"), 1e-10, "gamma", largest);
    close(dGamma, file.tensor("net_dgamma_dt"), 1e-10, "gamma'", largest);
  });
});

describe("schedule_other", () => {
  const file = new GoldenFile("mulan", "schedule_other");
  const { gammaMin, gammaMax, fixed } = endsIn(file);
  const t = file.tensor("t");

  test("linear", () => {
    const config = conditionalScheduleSchema.parse({ kind: "linear", gammaMin, gammaMax });
    const schedule = createConditionalSchedule(config, { latentSize: 6, dimensions: 4 });
    const { gamma, dGamma } = schedule.given(file.tensor("z")).at(t);
    close(gamma, file.tensor("linear_gamma").reshape([-1, 1]), 1e-9, "gamma", largest);
    close(dGamma, new Array(t.size).fill(gammaMax - gammaMin), 1e-15, "gamma'");
  });

  test("VDM's monotone network, shared by all pixels", () => {
    const hidden = file.tensor("vdm_nnet_l2_b").size;
    const network = new MonotoneCode({ gammaMin, gammaMax, hidden }).load(
      new Map([
        ["l1Kernel", file.tensor("vdm_nnet_l1_w")],
        ["l1Bias", file.tensor("vdm_nnet_l1_b")],
        ["l2Kernel", file.tensor("vdm_nnet_l2_w")],
        ["l2Bias", file.tensor("vdm_nnet_l2_b")],
        ["l3Kernel", file.tensor("vdm_nnet_l3_w")],
      ]),
    );
    const { gamma, dGamma } = new SharedByPixels(network).given(file.tensor("z")).at(t);
    close(gamma, file.tensor("vdm_nnet_gamma"), 1e-9, "gamma", largest);
    close(dGamma, file.tensor("vdm_nnet_dgamma_dt"), 1e-9, "gamma'", largest);
  });

  test("MuLAN's monotone network", () => {
    const hidden = file.tensor("mulan_nnet_l2_b").size;
    const dimensions = file.tensor("mulan_nnet_l3_w").dim(1);
    const z = file.tensor("z");
    const options = { gammaMin, gammaMax, latentSize: z.dim(1), dimensions, hidden };
    const schedule = new MonotoneNetworkSchedule(options).load(
      new Map([
        ["line.kernel", file.tensor("mulan_nnet_l1_w")],
        ["line.bias", file.tensor("mulan_nnet_l1_b")],
        ["dense1.kernel", file.tensor("mulan_nnet_l2_w")],
        ["dense1.bias", file.tensor("mulan_nnet_l2_b")],
        ["dense2.kernel", file.tensor("mulan_nnet_lint_w")],
        ["dense2.bias", file.tensor("mulan_nnet_lint_b")],
        ["out.kernel", file.tensor("mulan_nnet_l3_w")],
      ]),
    );
    const { gamma, dGamma } = schedule.given(z).at(t);
    close(gamma, file.tensor("mulan_nnet_gamma"), 1e-9, "gamma", largest);
    close(dGamma, file.tensor("mulan_nnet_dgamma_dt"), 1e-9, "gamma'", largest);
  });

  test("sigmoid between end points of every pixel", () => {
    const { w, b } = sigmoidCoefficients(file.tensor("sigmoid_w_raw"), file.tensor("sigmoid_b_raw"));
    const ends = { gamma0: file.tensor("sigmoid_gamma_min"), range: file.tensor("sigmoid_gamma_range") };
    const { gamma, dGamma } = sigmoidCurve(w, b, ends).at(t);
    close(gamma, file.tensor("sigmoid_gamma"), 1e-9, "gamma", largest);
    close(dGamma, file.tensor("sigmoid_dgamma_dt"), 1e-9, "gamma'", largest);
  });

  test("polynomials averaged over pixels", () => {
    const [a, b, d] = ["a", "b", "d"].map((name) => file.tensor(`scalarpoly_${name}`)) as [
      Tensor,
      Tensor,
      Tensor,
    ];
    const { gamma, dGamma } = meanCurve(polynomialCurve({ a, b, d }, fixed)).at(t);
    close(gamma, file.tensor("scalarpoly_gamma").reshape([-1, 1]), 1e-9, "gamma", largest);
    close(dGamma, file.tensor("scalarpoly_dgamma_dt").reshape([-1, 1]), 1e-9, "gamma'", largest);
  });

  test.each(file.matching(/^lowdisc_t_(\d+)$/))("%s times of low discrepancy", (n) => {
    const times = lowDiscrepancyTimes(file.tensor(`lowdisc_t0_${n}`), Number(n));
    close(times, file.tensor(`lowdisc_t_${n}`), 1e-15, "t", largest);
    close(discretiseTimes(times, 10).t, file.tensor(`lowdisc_t_T10_${n}`), 1e-15, "t of 10 steps", largest);
  });
});
