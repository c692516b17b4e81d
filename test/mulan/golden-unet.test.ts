/** MuLAN's denoiser in both modes, and its network of the latent, against golden/mulan/unet_tiny. */
import { describe, expect, test } from "vitest";
import { fourierFeatures, LatentUnet, timestepEmbedding, VdmUnet } from "../../src/networks/index.js";
import type { Module, Parameter } from "../../src/nn/index.js";
import { grad, type Tensor } from "../../src/torch/index.js";
import { close, GoldenFile } from "../golden.js";
import { readmeEnds } from "../vdm/toy.js";

const file = new GoldenFile("mulan", "unet_tiny");
const x = file.image("x");
const z = file.tensor("z");
const [, imageChannels, height, width] = x.shape as [number, number, number, number];
const channels = file.tensor("temb").dim(1);
/** The README's rule, in float64. */
const agree = (actual: Tensor | null | undefined, key: string, expected = file.image(key)) =>
  close(actual, expected, 1e-9, key, { rule: "largest" });

/** What the README calls the parameters that we name so. */
const theirs: readonly (readonly [RegExp, string])[] = [
  [/^(down|up)\.(\d)\.block/, "$1$2"],
  [/^middle\.block(\d)/, "mid$1"],
  [/^middle\.attention/, "mid_attn"],
  [/^convIn/, "conv_in"],
  [/^convOut/, "conv_out"],
  [/^heads\.0/, "final"],
  [/^normOut/, "gn_out"],
  [/\.norm/, ".gn"],
  [/\.conditionProjection/, ".cond_proj"],
  [/\.shortcut/, ".nin"],
  [/\.out\b/, ".proj"],
  [/(gn\w*)\.weight$/, "$1.scale"],
  [/(?<!gn\w*)\.(\w)\w*$/, ".$1"], // .w and .b, but .scale and .bias of a normalisation
];

/** `[kh, kw, in, out]` and `[in, out]` there, `[out, in, kh, kw]` and `[out, in]` here; their 1x1 kernels are dense. */
function weight(name: string, { shape }: Parameter, prefix: string): Tensor {
  const base = theirs.reduce((text, [pattern, to]) => text.replace(pattern, to), name);
  const kernel = file.tensor(file.has(`w.${prefix}${base}`) ? `w.${prefix}${base}` : `w.${base}`);
  if (kernel.rank === 1) return kernel;
  return (kernel.rank === 4 ? kernel.permute([3, 2, 0, 1]) : kernel.permute([1, 0])).reshape(shape);
}

/** The file's weights; `prefix` marks the layers that this network has for itself. */
function loadStored<M extends Module>(network: M, prefix: string): M {
  const named = [...network.namedParameters()];
  return network.load(new Map(named.map(([name, parameter]) => [name, weight(name, parameter, prefix)])));
}

const size = { channels, depth: 1, attention: "middle", fourierExponents: [6, 7], dropout: 0 } as const;

describe("denoiser", () => {
  const unet = (noiseLevel: "mean" | "map") =>
    new VdmUnet({ ...size, imageChannels, conditionFeatures: z.dim(1), noiseLevel, ...readmeEnds });

  test("mean of the noise levels: output and input gradient", () => {
    const network = loadStored(unet("mean"), "");
    const input = x.clone().requireGrad();
    const out = network.forward(input, file.image("gamma"), z, {});
    agree(out, "out_vdm");
    const [gradient] = grad([out.mul(file.image("cot")).sum()], [input]);
    agree(gradient, "grad_x_vdm");
    agree(network.forward(x, file.tensor("gamma_mean"), z, {}), "out_vdm");
  });

  test("map of the noise levels", () => {
    const network = loadStored(unet("map"), "ldm_");
    agree(network.forward(x, file.image("gamma"), z, {}), "out_ldm");
  });

  test("its inputs", () => {
    const { gammaMin, gammaMax } = readmeEnds;
    const mean = file.image("gamma").mean([1, 2, 3]);
    agree(mean, "gamma_mean", file.tensor("gamma_mean"));
    const tau = mean.sub(gammaMin).div(gammaMax - gammaMin);
    agree(timestepEmbedding(tau, channels), "temb", file.tensor("temb"));
    agree(fourierFeatures(x, [6, 7]), "fourier");
  });
});

test("logits of the latent", () => {
  const options = { ...size, imageChannels, height, width, outputs: z.dim(1), heads: 1 } as const;
  const logits = loadStored(new LatentUnet(options), "enc_").forward(x, {});
  expect(logits).toHaveLength(1);
  agree(logits[0], "encoder_logits", file.tensor("encoder_logits"));
});
