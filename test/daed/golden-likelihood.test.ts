/** The quantised normal likelihood and the divergence against golden/daed/likelihood. */
import { test } from "vitest";
import {
  approximateNormalCdf,
  normalDivergence,
  quantisedNormalLogLikelihood,
} from "../../src/diffusion/index.js";
import { close, GoldenFile } from "../golden.js";

const file = new GoldenFile("daed", "likelihood");
const t = (key: string) => file.tensor(key);
const absolute = (tolerance: number) => ({ rule: "relative", absolute: tolerance }) as const;

test("the approximate normal distribution function, within 1e-12", () => {
  close(approximateNormalCdf(t("cdf/x")), t("cdf/value"), 0, "cdf", absolute(1e-12));
});

test("the log-likelihood of a level, within 1e-9 of float64", () => {
  const logp = quantisedNormalLogLikelihood(t("dgl/x"), t("dgl/mean"), t("dgl/log_scale"));
  close(logp, t("dgl/logp_f64"), 0, "logp", absolute(1e-9));
});

test("the same from float32 inputs: the official float32 agrees where nothing cancels (above -10 nats)", () => {
  const logp = quantisedNormalLogLikelihood(t("dgl/x"), t("dgl/mean"), t("dgl/log_scale")).toArray();
  const truth = file.numbers("dgl/logp_f64");
  const kept = truth.flatMap((value, i) => (value > -10 ? [i] : []));
  const official = file.numbers("dgl/logp_f32");
  const at = (values: readonly number[]) => kept.map((i) => values[i] as number);
  close(at(logp), at(official), 0, "logp_f32", absolute(5e-4));
});

test("the divergence of two normal distributions, and from the standard one", () => {
  const [m1, l1, m2, l2] = ["mean1", "logvar1", "mean2", "logvar2"].map((key) => t(`kl/${key}`)) as [
    ReturnType<typeof t>,
    ReturnType<typeof t>,
    ReturnType<typeof t>,
    ReturnType<typeof t>,
  ];
  close(normalDivergence(m1, l1, m2, l2), t("kl/kl"), 1e-12, "kl", { rule: "relative" });
  const zero = m1.mul(0);
  close(normalDivergence(m1, l1, zero, zero), t("kl/kl_to_standard"), 1e-12, "kl_to_standard", {
    rule: "relative",
  });
});
