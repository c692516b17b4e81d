/** A generator and a denoiser that were trained apart, as one DAED. */
import { createBetas } from "../diffusion/chain/betas.js";
import { UserError } from "../errors.js";
import type { StoredTensor } from "../io/index.js";
import { type Composition, DAED } from "../systems/index.js";
import { toStored } from "../torch/index.js";
import { type Config, configSchema } from "./config.js";
import { buildModel } from "./experiment.js";
import { checkParameters, writeGivenRun } from "./given-run.js";
import type { NewRun, Run } from "./run-folder.js";
import { usualSteps } from "./sampling.js";
import { openTrained, type Trained } from "./trained.js";

export interface ComposeRequest {
  /** Run folders. */
  readonly generator: string;
  readonly denoiser: string;
  readonly composition: Composition;
  readonly weights: "ema" | "raw";
  /** Variance of the noise that the denoiser removes; that of its own training where absent. */
  readonly firstBeta?: number | undefined;
  readonly to: NewRun;
}

export interface ComposeResult {
  readonly run: Run;
  readonly firstBeta: number;
  /** Steps that sampling takes where it takes all, the denoiser's included. */
  readonly steps: number;
  readonly parameters: number;
  readonly warnings: readonly string[];
}

type ChainConfig = Extract<Config, { readonly system: "ddgm" | "daed" }>;
type DaedConfig = Extract<Config, { readonly system: "daed" }>;

/**
 * Makes a run of the generator of one run, a DDGM or a DAED, and the denoiser of another, a DAED. The generator's config
 * is the result's but for its model, where the denoiser stands in for the first steps.
 * @throws UserError where a run lacks the part, or the two do not go together; no run is left behind then
 */
export function composeRuns(request: ComposeRequest): ComposeResult {
  const open = (dir: string) => openTrained(dir, { weights: request.weights, overrides: [] });
  const generator = open(request.generator);
  const denoiser = open(request.denoiser);
  const [generatorConfig, denoiserConfig] = [chainConfig(generator), daedConfig(denoiser)];
  checkTogether(
    { trained: generator, config: generatorConfig },
    { trained: denoiser, config: denoiserConfig },
  );

  const trainedFirstBeta = firstBetaOf(denoiserConfig);
  const firstBeta = request.firstBeta ?? trainedFirstBeta;
  const composed = composedConfig(generatorConfig, denoiserConfig, { ...request, firstBeta });
  const { system } = buildModel(composed, generator.system.shape as [number, number, number]);
  if (!(system instanceof DAED)) throw new Error("expected a DAED of a config of system daed");
  const steps = system.samplingSteps;
  const config = { ...composed, sample: { ...composed.sample, steps: drawnSteps(composed, steps) } };

  const from = generatorConfig.system === "ddgm" ? "network." : "generator.";
  const weights = new Map([
    ...part(denoiser, { from: "denoiser.", to: "denoiser." }),
    ...part(generator, { from, to: "generator." }),
  ]);
  checkParameters(system, weights, { where: "the two runs", remedy: "compose runs of whole models" });
  const origin = ({ run, step }: Trained) => ({ run: run.dir, step, weights: request.weights });
  const run = writeGivenRun(request.to, {
    ...{ config, system, weights, ema: weights, step: generator.step },
    origin: { composed: { generator: origin(generator), denoiser: origin(denoiser) } },
  });
  const warnings = [...generator.warnings, ...denoiser.warnings];
  if (firstBeta !== trainedFirstBeta)
    warnings.push(`the denoiser was trained for noise of variance ${trainedFirstBeta}, not ${firstBeta}`);
  return { run, firstBeta, steps, parameters: system.parameterCount(), warnings };
}

function chainConfig({ config, run }: Trained): ChainConfig {
  if (config.system === "ddgm") return config;
  if (config.system === "daed" && config.model.parts !== "denoiser") return config;
  const what = config.system === "daed" ? "a denoiser alone" : `system ${config.system}`;
  throw new UserError(`expected a generator in ${run.dir}, a run of ddgm or daed, got ${what}`);
}

function daedConfig({ config, run }: Trained): DaedConfig {
  if (config.system === "daed" && config.model.parts !== "generator") return config;
  const what = config.system === "daed" ? "a generator alone" : `system ${config.system}`;
  throw new UserError(`expected a denoiser in ${run.dir}, a run of daed, got ${what}`);
}

interface Piece<C> {
  readonly trained: Trained;
  readonly config: C;
}

/** @throws UserError where the two saw other images, predict other things, or know other classes */
function checkTogether(generator: Piece<ChainConfig>, denoiser: Piece<DaedConfig>): void {
  const facts = ({ trained, config: { model } }: Piece<ChainConfig>) => ({
    "images of the same shape": trained.system.shape.join("x"),
    "the same model.mean": model.mean,
    "the same model.condition": model.condition === "class" ? `${model.classes} classes` : model.condition,
  });
  const theirs = Object.entries(facts(denoiser));
  for (const [i, [what, value]] of Object.entries(facts(generator)).entries()) {
    const other = theirs[i]?.[1];
    if (value !== other)
      throw new UserError(
        `expected ${what} in both runs, got ${value} in ${generator.trained.run.dir} and ${other} in ${denoiser.trained.run.dir}`,
      );
  }
}

/** Variance of the noise that a denoiser was trained to remove. */
function firstBetaOf({ model }: DaedConfig): number {
  return model.split?.firstBeta ?? (createBetas(model.schedule)[0] as number);
}

function composedConfig(
  generator: ChainConfig,
  denoiser: DaedConfig,
  { firstBeta, composition }: { readonly firstBeta: number; readonly composition: Composition },
): DaedConfig {
  const { schedule, network, mean, variance, loss, timesteps, condition, classes } = generator.model;
  const config = configSchema.parse({
    ...generator,
    system: "daed",
    model: {
      ...{ schedule, network, mean, variance, loss, timesteps, condition, classes },
      split: { firstBeta, composition },
      denoiser: {
        network: denoiser.model.denoiser.network ?? denoiser.model.network,
        variance: denoiser.model.denoiser.variance ?? denoiser.model.variance,
      },
    },
  });
  if (config.system !== "daed") throw new Error("expected a config of system daed");
  return config;
}

/** Of an official composition there is no part; else at most what the generator's config asks for. */
function drawnSteps({ model, sample }: DaedConfig, steps: number): number {
  return model.split?.composition === "official" ? steps : Math.min(sample.steps ?? usualSteps, steps);
}

function* part(
  { system }: Trained,
  { from, to }: { readonly from: string; readonly to: string },
): Generator<[string, StoredTensor]> {
  for (const [name, value] of system.values())
    if (name.startsWith(from)) yield [to + name.slice(from.length), toStored(value)];
}
