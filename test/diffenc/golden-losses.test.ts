/** The terms of the bound and their gradients for four models and two schedules, against golden/diffenc/losses. */
import { describe, test } from "vitest";
import {
  bitsPerDim,
  convertPrediction,
  type Encoding,
  FixedLinear,
  Identity,
  LearnedLinear,
  NoiseLevel,
  NonTrainable,
  perImage,
  Trainable,
  totalBound,
} from "../../src/diffusion/index.js";
import { DiffEnc } from "../../src/systems/diffenc.js";
import { VDM } from "../../src/systems/vdm.js";
import { clearGradients, stack, type Tensor } from "../../src/torch/index.js";
import { close, GoldenFile } from "../golden.js";
import { readmeEnds, storedParameters, ToyEncoder, ToyNetwork } from "../vdm/toy.js";

const file = new GoldenFile("diffenc", "losses");
const x = file.image("x");
const draws = { t: file.tensor("t"), eps: file.image("eps"), eps0: file.image("eps_0") };
const options = { pass: {}, condition: file.tensor("cond") };
const shape = x.shape.slice(1);

const schedules = {
  fixed: () => new FixedLinear(readmeEnds),
  scalar: () => new LearnedLinear(readmeEnds).load(storedParameters(file, "scalar.param.")),
};

/** The models by their official names; VDM2_V both as VDM and as DiffEnc with the identity for an encoding. */
const models: Record<string, (schedule: keyof typeof schedules) => VDM | DiffEnc> = {
  VDM2: (schedule) =>
    new VDM({ shape, schedule: schedules[schedule](), denoiser: new ToyNetwork(file), prediction: "eps" }),
  VDM2_V: (schedule) =>
    new VDM({ shape, schedule: schedules[schedule](), denoiser: new ToyNetwork(file), prediction: "v" }),
  "VDM2_V encoded by the identity": (schedule) => diffEnc(schedule, new Identity(), "none"),
  S3VA: (schedule) => diffEnc(schedule, new Trainable({ network: new ToyEncoder(file) }), "sigma2"),
  S4V_NT: (schedule) => diffEnc(schedule, new NonTrainable(), "sigma2"),
};

function diffEnc(
  schedule: keyof typeof schedules,
  encoding: Encoding,
  counterTerm: "sigma2" | "none",
): DiffEnc {
  const denoiser = new ToyNetwork(file);
  return new DiffEnc({
    shape,
    schedule: schedules[schedule](),
    denoiser,
    encoding,
    counterTerm,
    prediction: "v",
  });
}

describe.each(Object.keys(schedules) as (keyof typeof schedules)[])("schedule %s", (schedule) => {
  test.each(Object.keys(models))("%s", (name) => {
    const model = models[name]?.(schedule) as VDM | DiffEnc;
    const key = (rest: string) => `${schedule}.${name.split(" ")[0]}.${rest}`;
    clearGradients(model.parameters().map(({ value }) => value));
    const evaluation = model.evaluate(x, draws, options);
    const { bound, zt, out, gamma } = evaluation;
    close(bound.diffusion, file.tensor(key("loss_diff")), 1e-9, key("loss_diff"));
    close(bound.reconstruction, file.tensor(key("loss_recon")), 1e-9, key("loss_recon"));
    close(bound.prior, file.tensor(key("loss_klz")), 1e-9, key("loss_klz"));
    const stored = (rest: string, actual: Tensor) => {
      if (file.has(key(rest))) close(actual, file.image(key(rest)), 1e-10, key(rest));
    };
    const level = new NoiseLevel(perImage(gamma));
    stored("z", zt);
    stored("out", out);
    if ("xt" in evaluation) {
      stored("xt", evaluation.xt);
      stored("v", level.alpha.mul(draws.eps).sub(level.sigma.mul(evaluation.xt)));
      stored("xh", convertPrediction(out, "v", "x", zt, level));
    }

    const bits = (nats: Tensor) => bitsPerDim(nats, model.dimensions).mean();
    const total = bits(totalBound(bound));
    const parts = [total, bits(bound.prior), bits(bound.reconstruction), bits(bound.diffusion)];
    close(stack(parts), file.tensor(key("bpd")), 1e-9, key("bpd"));

    total.backward();
    const compare = (values: readonly [string, Tensor][], prefix: string) => {
      for (const [parameter, value] of values)
        close(value.grad, file.tensor(prefix + parameter), 1e-8, prefix + parameter);
    };
    compare(model.denoiser.values(), key("grad_net."));
    compare(model.schedule.values(), key("grad_sched."));
    if (model instanceof DiffEnc)
      compare(
        model.encoding.values().map(([n, v]) => [n.replace("network.", ""), v]),
        key("grad_enc."),
      );
  });
});
