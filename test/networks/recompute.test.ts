/** Networks whose blocks are computed again for the gradient: the same bits in every family, precision and layout. */
import { describe, expect, test } from "vitest";
import type { Pass, Recompute } from "../../src/diffusion/index.js";
import {
  ColdUnet,
  GuidedUnet,
  type GuidedUnetOptions,
  type LatentLocation,
  LatentUnet,
  VariationalUnet,
  VdmUnet,
  type VdmUnetOptions,
} from "../../src/networks/index.js";
import type { Module } from "../../src/nn/index.js";
import {
  clearGradients,
  type FloatDtype,
  Generator,
  grad,
  randn,
  Streams,
  scope,
  setThreads,
  type Tensor,
  tensor,
} from "../../src/torch/index.js";
import { disturb } from "../disturb.js";
import { same } from "../golden.js";

setThreads(1);
const generator = new Generator({ seed: 1 });
const [x, target] = [randn([3, 2, 8, 8], generator), randn([3, 2, 8, 8], generator)];
const gamma = tensor([1, -2, 3]);
const map = randn([3, 2, 8, 8], generator);
const steps = tensor([0, 3, 5], { dtype: "int64" });
const times = { t: steps, t2: steps.sub(1) };
const latent = randn([3, 3], generator);
const [dropout, groups] = [0.3, 4];

const vdm: VdmUnetOptions = {
  ...{ imageChannels: 2, channels: 64, depth: 2, attention: "middle", fourierExponents: [6], dropout },
  ...{ gammaMin: -10, gammaMax: 5 },
};
const guided: GuidedUnetOptions = {
  ...{ imageChannels: 2, outChannels: 2, imageSize: 8, channels: 8, channelMultipliers: [1, 2] },
  ...{ residualBlocks: 1, attentionResolutions: [4], heads: 2, scaleShift: "scale-shift" },
  ...{ resampling: "convolution", attentionOrder: "legacy", dropout, groups },
};
const cold = {
  ...{ imageChannels: 2, channels: 8, channelMultipliers: [1, 2], residualBlocks: 1, attentionLevels: [1] },
  ...{ dropout, groups, times: "two" as const },
};
const variational = {
  ...cold,
  ...{ latentSize: 3, imageSize: [8, 8] as const, encoderGroups: 2, injection: "concat" as const },
};

/** A network, and all that it leaves of an input. */
interface Family {
  readonly network: Module;
  readonly run: (z: Tensor, pass: Pass) => Tensor[];
}

function family<M extends Module>(network: M, run: (n: M, z: Tensor, pass: Pass) => Tensor[]): Family {
  disturb(network.initialise(new Streams(1)), 2, 0.2);
  return { network, run: (z, pass) => run(network, z, pass) };
}

const vdmUnet = (options: Partial<VdmUnetOptions>, level = gamma) =>
  family(new VdmUnet({ ...vdm, ...options }), (n, z, pass) => [n.forward(z, level, gamma, pass)]);
const guidedUnet = (options: Partial<GuidedUnetOptions>) =>
  family(new GuidedUnet({ ...guided, ...options }), (n, z, pass) => [n.forward(z, steps, undefined, pass)]);
const variationalUnet = (location: LatentLocation) =>
  family(new VariationalUnet({ ...variational, location }), (n, z, pass) => {
    const { mean, logVariance } = n.encode(z, target, times, pass);
    return [n.forward(z, times, latent.mul(logVariance.exp()).add(mean), pass), mean, logVariance];
  });

const families: Readonly<Record<string, () => Family>> = {
  vdm: () => vdmUnet({}),
  "vdm, attention everywhere": () => vdmUnet({ attention: "everywhere" }),
  "vdm, told a level per pixel": () => vdmUnet({ noiseLevel: "map" }, map),
  guided: () => guidedUnet({}),
  "guided, resampled by blocks": () => guidedUnet({ resampling: "blocks", scaleShift: "shift" }),
  "guided, resampled by averages": () => guidedUnet({ resampling: "pooling" }),
  cold: () => family(new ColdUnet(cold), (n, z, pass) => [n.forward(z, times, pass)]),
  "with a latent beside the embedding": () => variationalUnet("emb"),
  "with a latent in the middle": () => variationalUnet("bottleneck"),
  "MuLAN's encoder": () =>
    family(new LatentUnet({ ...vdm, height: 8, width: 8, outputs: 3, heads: 2 }), (n, z, pass) =>
      n.forward(z, pass),
    ),
};

describe.each(Object.entries(families))("%s", (_, make) => {
  const { network, run } = make();
  const input = x.clone().requireGrad();
  const learned = [input, ...network.parameters().map(({ value }) => value)];

  const lossOf = (pass: Pass) =>
    run(input, pass)
      .map((result) => result.square().mul(result.sigmoid()).mean())
      .reduce((sum, part) => sum.add(part));

  /** The loss and the gradients of the image and all parameters. */
  const measured = (precision: FloatDtype, recompute: Recompute) => {
    clearGradients(learned);
    return scope(() => {
      const loss = lossOf({ precision, recompute, dropout: new Streams(3).dropoutKeys() });
      loss.backward();
      return [loss.detach(), ...learned.map((value) => (value.grad as Tensor).clone())];
    });
  };

  test.each(["float32", "bfloat16"] as const)("the same bits in %s, with dropout", (precision) => {
    const expected = measured(precision, "none");
    const found = measured(precision, "levels");
    for (const [i, values] of found.entries()) same(values, expected[i] as Tensor, `${i}`);
    // A gradient of zeros would be the same whatever came of it.
    expect(expected.filter((values) => values.abs().max().item() === 0)).toEqual([]);
  });

  test("is computed again, which takes backward()", () => {
    expect(() => grad([lossOf({ recompute: "levels" })], [input])).toThrow("expected backward()");
  });
});
