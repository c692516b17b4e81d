/**
 * Weights as OpenAI's guided-diffusion, improved-diffusion before it, and DAED's code after it save them: networks by
 * their own parameters' names; a model in two parts as two files, or as one whose names say which part.
 */
import path from "node:path";
import { UserError } from "../errors.js";
import type { StoredTensor } from "../io/index.js";
import type { Config } from "./config.js";
import type { ForeignFiles, ForeignTensors, ImportSource } from "./import-source.js";

type Tensors = Map<string, StoredTensor>;
type Part = "denoiser" | "generator";

/** The parts in the order of their numbers: `unet_1.`, `..._part_1.pt`. */
const parts: readonly Part[] = ["denoiser", "generator"];

export const guidedDiffusion: ImportSource = {
  name: "guided-diffusion",
  summary: "state dicts of guided-diffusion, improved-diffusion and DAED",
  stepOf(file) {
    const digits = /^(?:model|ema_[\d.]+_)(\d+)/.exec(path.basename(file))?.[1];
    return digits === undefined ? undefined : Number(digits);
  },
  ownNames(files, config) {
    if (config.system === "daed") return daedNames(files, config.model.parts);
    if (config.system !== "ddgm")
      throw new UserError(
        `expected a config of system ddgm or daed for weights of guided-diffusion, got ${config.system}`,
      );
    if (files.denoiser)
      throw new UserError("expected a denoiser's file with a config of system daed only, got it with ddgm");
    return prefixed("network", files.model);
  },
};

/** The state dicts that a model is saved as, each with the end of its file's name; undefined for other systems. */
export function officialFiles(
  { system }: Pick<Config, "system">,
  values: ForeignTensors,
): readonly { readonly ending: string; readonly tensors: Tensors }[] | undefined {
  const isOneNetwork = system === "ddgm" || system === "cold" || system === "vcd";
  if (isOneNetwork) return [{ ending: "", tensors: within("network.", values) }];
  if (system !== "daed") return undefined;
  return parts.flatMap((part, i) => {
    const tensors = within(`${part}.`, values);
    return tensors.size === 0 ? [] : [{ ending: `_part_${i + 1}`, tensors }];
  });
}

function daedNames({ model, denoiser }: ForeignFiles, wanted: Part | "both"): Tensors {
  const has = (part: Part) => wanted === "both" || wanted === part;
  const bare = withoutModule(model);
  const both = parts.map((part, i) => ({ part, tensors: within(`unet_${i + 1}.`, bare) }));
  const numbered = both.some(({ tensors }) => tensors.size > 0);
  if (denoiser && (numbered || wanted !== "both"))
    throw new UserError(
      numbered
        ? "expected no file of the denoiser's beside one with both parts, unet_1 and unet_2: leave it out"
        : `expected no file of the denoiser's with model.parts=${wanted}: the first file is the ${wanted}'s`,
    );
  if (numbered)
    return merged(both.filter(({ part }) => has(part)).map(({ part, tensors }) => prefixed(part, tensors)));
  if (wanted !== "both") return prefixed(wanted, model);
  if (!denoiser)
    throw new UserError(
      "expected a file with both parts, unet_1 and unet_2, or the denoiser's beside the generator's (--denoiser FILE): give it, or set model.parts=generator",
    );
  return merged([prefixed("denoiser", denoiser), prefixed("generator", model)]);
}

/** What the official EDSR holds and never applies: shifts of the mean, and the last convolution of its body. */
const unused = /^(?:(?:sub|add)_mean\.|body\.\d+\.(?:weight|bias)$)/;

function prefixed(part: "network" | Part, tensors: ForeignTensors): Tensors {
  const own = [...withoutModule(tensors)].filter(([name]) => !unused.test(name));
  return new Map(own.map(([name, tensor]) => [`${part}.${name}`, tensor]));
}

/** DataParallel puts `module.` before every name. */
function withoutModule(tensors: ForeignTensors): ForeignTensors {
  const bare = within("module.", tensors);
  return bare.size === tensors.size ? bare : tensors;
}

/** Those whose names begin with `prefix`, without it. */
function within(prefix: string, tensors: ForeignTensors): Tensors {
  const found = [...tensors].filter(([name]) => name.startsWith(prefix));
  return new Map(found.map(([name, tensor]) => [name.slice(prefix.length), tensor]));
}

function merged(all: readonly Tensors[]): Tensors {
  return new Map(all.flatMap((tensors) => [...tensors]));
}
