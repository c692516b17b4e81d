/** Dequantisation and its bits per dimension against golden/mulan/bpd; tolerance of its README. */
import { describe, test } from "vitest";
import {
  dequantiser,
  flowBitsPerDim,
  importanceBound,
  type TruncatedNormal,
  truncatedNormal,
  truncatedNormalDraws,
  truncatedNormalLogDensity,
} from "../../src/diffusion/likelihood/dequantise.js";
import { stack, type Tensor, zeros } from "../../src/torch/index.js";
import { close, GoldenFile } from "../golden.js";

const file = new GoldenFile("mulan", "bpd");
const levels = 256;
const largest = { rule: "largest" } as const;
const gamma0 = file.tensor("gamma0");
const logP = file.tensor("log_p");
const kl = file.tensor("kl_z");
const uniform = file.tensor("tn_uniform");
const dimensions = uniform.dim(2);
const logSigma0 = file.number("log_sigma0");

/** A function of one draw `[B, D]` for each of the K draws, `[K, ...]`. */
const perDraw = (draws: Tensor, f: (draw: Tensor) => Tensor) =>
  stack(Array.from({ length: draws.dim(0) }, (_, k) => f(draws.select(0, k))));

test("the truncated normal: its mass, entropy, draws and density", () => {
  const bin = truncatedNormal(file.number("tn_tau_bin"));
  const three = truncatedNormal(file.number("tn_tau_three"));
  close(bin.mass, file.number("tn_Z_bin"), 1e-9, "Z of the bin");
  close(bin.entropy, file.number("tn_entropy_unit_bin"), 1e-9, "entropy of the bin");
  close(three.mass, file.number("tn_Z_three"), 1e-9, "Z of 3");
  close(three.entropy, file.number("tn_entropy_unit_three"), 1e-9, "entropy of 3");
  const e = truncatedNormalDraws(uniform, bin);
  close(e, file.tensor("tn_eps"), 1e-9, "draws", largest);
  const logQ = perDraw(e, (draw) => truncatedNormalLogDensity(draw, bin));
  close(logQ, file.tensor("log_q_unit"), 1e-9, "log density", largest);
});

describe("the truncated normal of gamma_0", () => {
  const chosen = dequantiser("truncated-normal", { gamma0, levels });
  const { entropy } = chosen;
  const x0 = zeros(uniform.shape.slice(1), { dtype: "float64" });
  const logQ = perDraw(uniform, (draw) => chosen.dequantise(x0, draw).logQ);

  test("the start of the ODE and its density", () => {
    // sigma_0 = alpha_0 e^{gamma_0 / 2}: the file's scale is that of the noise beside an image that is not shrunk.
    const sigma0 = Math.exp(logSigma0);
    const starts = perDraw(uniform, (draw) => chosen.dequantise(x0, draw).start);
    const alpha0 = sigma0 / file.number("noise_scale");
    close(starts, file.tensor("tn_eps").mul(sigma0), 1e-9, "noise of a black image");
    const shifted = perDraw(uniform, (draw) => chosen.dequantise(x0.add(0.5), draw).start);
    close(
      shifted,
      file
        .tensor("tn_eps")
        .mul(sigma0)
        .add(alpha0 / 2),
      1e-9,
      "noise of a grey image",
      largest,
    );
    close(logQ, file.tensor("log_q_unit").sub(dimensions * logSigma0), 1e-9, "log q", largest);
    close(entropy, file.number("tn_entropy_unit_bin") + logSigma0, 1e-9, "entropy");
  });

  test("bits per dimension of K draws and of the first alone", () => {
    const many = flowBitsPerDim({ logP, logQ, entropy, dimensions, kl });
    close(many, file.tensor("bpd_iw"), 1e-9, "bpd_iw", largest);
    const logWeights = logP.sub(file.tensor("log_q_unit"));
    close(importanceBound(logWeights, logP.mul(0)).neg(), file.tensor("log_iw"), 1e-9, "log_iw", largest);
    const first = { logP: logP.narrow(0, 0, 1), logQ: logQ.narrow(0, 0, 1) };
    const one = flowBitsPerDim({ ...first, entropy, dimensions, kl });
    close(one, file.tensor("bpd_k1_entropy"), 1e-9, "bpd_k1_entropy", largest);
  });

  test("with the rounded constants of the official code", () => {
    const rounded: TruncatedNormal = {
      tau: 3,
      mass: 0.9974613,
      entropy: (1 + Math.log(2 * Math.PI)) / 2 - 0.01522,
    };
    const entropy = rounded.entropy + logSigma0;
    const draws = file.tensor("tn_eps");
    const logQ = perDraw(draws, (e) => truncatedNormalLogDensity(e, rounded).sub(dimensions * logSigma0));
    const many = flowBitsPerDim({ logP, logQ, entropy, dimensions, kl });
    close(many, file.tensor("bpd_iw_official_constants"), 1e-9, "bpd_iw", largest);
    const first = { logP: logP.narrow(0, 0, 1), logQ: logQ.narrow(0, 0, 1) };
    const one = flowBitsPerDim({ ...first, entropy, dimensions, kl });
    close(one, file.tensor("bpd_k1_official_constants"), 1e-9, "bpd_k1", largest);
  });
});

test("uniform noise", () => {
  const { entropy, dequantise } = dequantiser("uniform", { gamma0, levels });
  const x0 = zeros(uniform.shape.slice(1), { dtype: "float64" });
  const { start, logQ } = dequantise(x0, uniform.select(0, 0));
  close(
    start,
    uniform
      .select(0, 0)
      .sub(0.5)
      .mul(2 / levels),
    1e-12,
    "noise",
  );
  const first = { logP: logP.narrow(0, 0, 1), logQ: logQ.unsqueeze(0) };
  const bits = flowBitsPerDim({ ...first, entropy, dimensions, kl });
  close(bits, file.tensor("bpd_uniform"), 1e-9, "bpd_uniform", largest);
});
