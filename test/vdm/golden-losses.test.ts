/** The three terms of the bound and their gradients against golden/vdm/losses. */
import { describe, test } from "vitest";
import { bitsPerDim, discretiseTimes, totalBound } from "../../src/diffusion/index.js";
import { VDM } from "../../src/systems/vdm.js";
import { clearGradients, stack, type Tensor } from "../../src/torch/index.js";
import { close, GoldenFile, same } from "../golden.js";
import { endsOfLine, readmeEnds, storedParameters, storedSchedule, ToyNetwork } from "./toy.js";

const file = new GoldenFile("vdm", "losses");
const x = file.image("x");
const draws = { t: file.tensor("t"), eps: file.image("eps"), eps0: file.image("eps_0") };

/** Compares where the file has the tensor: the later cases leave out what an earlier one shows. */
function closeIfStored(actual: Tensor, key: string, tolerance: number): void {
  if (!file.has(key)) return;
  close(actual, actual.rank === 4 ? file.image(key) : file.tensor(key), tolerance, key);
}

describe.each(file.matching(/^(\w+)\.loss_klz$/))("%s", (name) => {
  const continuous = `${name}.T0.gamma_t`;
  const ends = file.has(continuous) ? endsOfLine(file.numbers("t"), file.numbers(continuous)) : readmeEnds;
  const schedule = storedSchedule(file, name, `${name}.param.`, ends);
  const denoiser = new ToyNetwork(file);
  const vdm = new VDM({ shape: x.shape.slice(1), schedule, denoiser });

  test.each(file.matching(new RegExp(`^${name}\\.T(\\d+)\\.bpd$`)))("T = %s", (depth) => {
    const key = (rest: string) => `${name}.T${depth}.${rest}`;
    const steps = Number(depth);
    clearGradients(vdm.parameters().map(({ value }) => value));
    const condition = file.tensor("cond");
    const evaluation = vdm.evaluate(x, draws, { pass: {}, condition, steps });
    const { bound, gamma, zt, out, epsError } = evaluation;

    if (file.has(key("i"))) same(discretiseTimes(draws.t, steps).i, file.tensor(key("i")), key("i"));
    close(bound.prior, file.tensor(`${name}.loss_klz`), 1e-9, "prior");
    close(bound.reconstruction, file.tensor(`${name}.loss_recon`), 1e-9, "reconstruction");
    closeIfStored(gamma, key("gamma_t"), 1e-12);
    closeIfStored(zt, key("z_t"), 1e-12);
    closeIfStored(out, key("eps_hat"), 1e-11);
    closeIfStored(epsError, key("mse"), 1e-10);
    closeIfStored(bound.diffusion, key("loss_diff"), 1e-9);

    const bits = (nats: Tensor) => bitsPerDim(nats, vdm.dimensions).mean();
    const loss = bits(totalBound(bound));
    const parts = [loss, bits(bound.prior), bits(bound.reconstruction), bits(bound.diffusion)];
    close(stack(parts), file.tensor(key("bpd")), 1e-9, key("bpd"));

    loss.backward();
    const compare = (values: readonly [string, Tensor][], prefix: string) => {
      const expected = storedParameters(file, prefix);
      if (expected.size === 0) return;
      for (const [parameter, value] of values)
        close(value.grad, expected.get(parameter) ?? [], 1e-8, prefix + parameter);
    };
    compare(denoiser.values(), key("grad_net."));
    compare(schedule.values(), key("grad_sched."));
  });
});
