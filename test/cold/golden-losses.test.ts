/** Training losses of cold diffusion against golden/vcd/losses, at its README's tolerance: 2e-5 relative. */
import { expect, test } from "vitest";
import { klWeight, teacherStates } from "../../src/diffusion/index.js";
import { type Tensor, zerosLike } from "../../src/torch/index.js";
import { close, GoldenFile } from "../golden.js";
import { goldenMetadata } from "./hash-weights.js";
import { coldOf, degradationNamed, LatentStub, levelsOf, Stub, vcdOf } from "./stub.js";

const file = new GoldenFile("vcd", "losses");
const metadata = goldenMetadata("losses");
const levels = Number(metadata.T);
const stub = (kind: string) => ({ ...JSON.parse(metadata[`stub.${kind}`] as string), levels });

const x0 = file.tensor("x0");
const drawn = levelsOf(file.tensor("t"));
const noiseScale = Number(metadata.noise_scale);
const beta = Number(metadata.beta);
/** `0.3` of `d=0.3, ...` */
const d = Number(/d=([\d.]+)/.exec(metadata.stub_vae as string)?.[1]);
const images = (key: string) => file.tensor(key).reshape(x0.shape);

const cases = [
  { name: "x0_L1.blur", prediction: "x0", loss: "l1", inputNoise: 0 },
  { name: "x0_L2_ris.blur", prediction: "x0", loss: "l2", inputNoise: noiseScale },
  { name: "x0_L1.noise", prediction: "x0", loss: "l1", inputNoise: 0 },
  { name: "eps.noise", prediction: "eps", loss: "l2", inputNoise: 0 },
  { name: "xt.black_blur", prediction: "previous", loss: "l2", inputNoise: 0 },
  { name: "vxt.black_pixelation", prediction: "previous", loss: "l2", inputNoise: 0 },
  { name: "xt_ris.blur", prediction: "previous", loss: "l2", inputNoise: noiseScale },
] as const;

test.each(cases)("$name", ({ name, prediction, loss, inputNoise }) => {
  const network = new Stub(stub({ x0: "x0", eps: "eps", previous: "residual" }[prediction]));
  const degradation = degradationNamed(name.split(".")[1] as string, levels);
  const system = coldOf(network, {
    ...{ degradation, prediction, inputNoise },
    loss: { distance: loss, reduction: "sum" },
  });
  const noise = file.has(`${name}.noise`) ? images(`${name}.noise`) : zerosLike(x0);
  const objective = system.objectiveAt({ x0, ...drawn, noise, overlooked: zerosLike(x0) }, { pass: {} });
  close(objective.loss, file.tensor(name).reshape([]), 2e-5, name);
  close(network.seen[0], file.tensor(`${name}.net_in`), 2e-5, `${name}: input`, { absolute: 2e-6 });
});

/** Only the reconstruction comes of the stub: its divergence, `10 mean(cond^2)`, is no divergence of a latent. */
test.each([
  { name: "vae_vxt", prediction: "previous", lossWeighting: "none" },
  { name: "vae_vxt_weighted", prediction: "previous", lossWeighting: "brightness" },
  { name: "vae_x0", prediction: "x0", lossWeighting: "none" },
] as const)("$name", ({ name, prediction, lossWeighting }) => {
  const o = stub(prediction === "x0" ? "x0" : "residual");
  const network = new LatentStub({ ...o, d, e: 0, latentSize: 144 });
  const system = vcdOf(network, {
    ...{ degradation: degradationNamed("black_blur", levels), prediction, lossWeighting, beta },
    loss: { distance: "l2", reduction: prediction === "x0" ? "mean" : "sum" },
  });
  const zero = zerosLike(x0);
  const draw = { x0, ...drawn, noise: zero, overlooked: zero, epsilon: zero.flatten(1) };
  const { terms } = system.objectiveAt(draw, { pass: {}, step: 0 });
  const [loss, reconstruction, kl] = file.numbers(name) as [number, number, number];
  close(terms.reconstruction?.mean(), reconstruction, 2e-5, name);
  close(loss, reconstruction + beta * kl, 2e-5, "what the loss is made of");
  close(network.seen[0], file.tensor(`${name}.net_in`), 2e-5, `${name}: input`, { absolute: 2e-6 });
});

test.each(["black", "plain"])("the weight of the divergence, annealer %s", (kind) => {
  const expected = file.numbers(`anneal.${kind}.N30`);
  const weights = expected.map((_, step) => klWeight(step, 30));
  // The original reads the betas of another schedule where nothing fades; the weight is meant to be the same.
  if (kind === "black") close(weights, expected, 2e-5, "weights", { absolute: 1e-7 });
  else expect(weights).not.toEqual(expected);
});

test.each(["july", "head"] as const)("the teacher's path, %s", (version) => {
  const network = new LatentStub({ ...stub("residual"), d, e: 0, latentSize: 144 });
  const degradation = degradationNamed("black_blur", levels);
  const system = vcdOf(network, { degradation, beta, perturbation: "vcd" });
  const draws = file.numbers("vcd.rand");
  const teacherIn = file.tensor(`vcd.${version}.teacher_in`);
  const told: { level: number; rows: readonly number[]; x: Tensor }[] = [];
  const wanted = version === "july" ? drawn.fromLevels : drawn.toLevels;
  const input = teacherStates({
    ...{ degradation, x0, levels: wanted },
    reset: (level) => (draws[levels - level] as number) < Number(metadata.vcd_p),
    teacher({ x, level, target, rows }) {
      told.push({ level, rows, x: x.clone() });
      const { from, to } = levelsOf(
        file
          .tensor("t")
          .mul(0)
          .add(level - 1)
          .narrow(0, 0, 1),
      );
      const times = { t: from.sub(1).expand([x.dim(0)]), t2: to.sub(1).expand([x.dim(0)]) };
      const { mean } = network.encode(x, target);
      return x.add(network.forward(x, times, mean));
    },
  });
  close(input, file.tensor(`vcd.${version}.net_in`), 2e-5, "input", { absolute: 2e-6 });
  // The original leads all images all the way; of ours each leaves at its own level.
  for (const { level, rows, x } of told)
    for (const [i, row] of rows.entries())
      close(x.select(0, i), teacherIn.select(0, levels - level).select(0, row), 2e-5, `level ${level}`, {
        absolute: 2e-6,
      });
  expect(told.length).toBeGreaterThan(0);
  const zero = zerosLike(x0);
  const draw = { x0, ...drawn, noise: zero, overlooked: zero, epsilon: zero.flatten(1), input };
  const { terms } = system.objectiveAt(draw, { pass: {}, step: 0 });
  close(terms.reconstruction?.mean(), file.numbers(`vcd.${version}.loss`)[1] as number, 2e-5, "loss");
});
