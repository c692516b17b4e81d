/** The options of `varidiff sample`: what they ask of a run, and what does not go together. */
import { InvalidArgumentError } from "commander";
import type { Split } from "../data/index.js";
import { respacedCount } from "../diffusion/chain/respacing.js";
import { levelsVisited } from "../diffusion/cold/cold-samplers.js";
import { flowSampler } from "../diffusion/sampler/index.js";
import type { SharedBySamples } from "../diffusion/system.js";
import { UserError } from "../errors.js";
import { checkCount } from "../experiment/drawing.js";
import { type Sampling, samplingOf } from "../experiment/sampling.js";
import type { Trained } from "../experiment/trained.js";
import { ChainDiffusion } from "../systems/chain.js";
import { ColdWalk } from "../systems/cold-walk.js";
import { VariationalColdDiffusion } from "../systems/vcd.js";

export interface SampleCommandOptions {
  readonly count?: number;
  readonly steps?: number;
  readonly sampler?: string;
  readonly respacing?: string;
  readonly eta?: number;
  readonly jump?: number;
  readonly shared?: keyof typeof sharedBy;
  readonly latents?: string;
  readonly keepLatents?: boolean;
  readonly reconstruct?: Split;
  readonly seed: number;
  readonly class?: number;
  readonly grid?: boolean;
  readonly threshold?: number;
  readonly npz?: boolean;
  readonly pngDir?: string;
  readonly trajectories?: number;
  readonly sequence?: number;
  readonly out?: string;
  readonly weights: "ema" | "raw";
  readonly checkpoint?: number;
  readonly set: readonly string[];
  readonly profile?: boolean;
  readonly json?: boolean;
}

/** What the values of `--shared` mean. */
export const sharedBy = {
  start: ["start"],
  noise: ["noise"],
  both: ["start", "noise"],
} as const satisfies Readonly<Record<string, readonly SharedBySamples[]>>;

/** How many images are made how. */
export interface SampleSettings {
  readonly count: number;
  readonly steps: number;
  readonly sampler: string;
  readonly seed: number;
  readonly respacing?: string;
  readonly eta?: number;
  readonly jump?: number;
  readonly shared?: keyof typeof sharedBy;
}

export function percentile(text: string): number {
  const value = Number(text);
  if (value > 0 && value < 1)
    throw new InvalidArgumentError(
      `expected a percentile in percent, 1 to 100: ${Number((100 * value).toPrecision(12))} is meant, not ${text}`,
    );
  if (!(value >= 1 && value <= 100))
    throw new InvalidArgumentError("expected a percentile in percent, 1 to 100");
  return value;
}

export function eta(text: string): number {
  const value = Number(text);
  if (!(value >= 0 && value <= 1)) throw new InvalidArgumentError("expected a number from 0 to 1");
  return value;
}

/**
 * What the options ask of a run. The latents of a file have a number of their own.
 * @throws UserError for options that do not go together, or not with this run
 */
export function settingsOf(trained: Trained, options: SampleCommandOptions): SampleSettings {
  const { system, config } = trained;
  const levelByLevel = options.reconstruct !== undefined && system instanceof VariationalColdDiffusion;
  const usual = samplingOf(config, system, levelByLevel ? "ancestral" : options.sampler);
  const { sampler } = usual;
  checkAlone(options, sampler);
  checkReconstruction(trained, options);
  const cold = coldSettings(trained, options);
  const settings = {
    count: options.count ?? usual.count,
    steps: levelByLevel ? system.levels : stepsOf(trained, options, usual),
    sampler,
    seed: options.seed,
    ...chainSettings(trained, options, sampler),
    ...cold,
  };
  checkCount(settings.count, system.shape);
  system.checkSampling?.(settings);
  return settings;
}

/** What does not go together, whatever the run. */
function checkAlone(options: SampleCommandOptions, sampler: string): void {
  const { steps, respacing, jump, latents, count, trajectories, sequence } = options;
  const apart = (one: string, other: string) =>
    new UserError(`expected one of ${one} and ${other}, got both: leave one out`);
  if (respacing !== undefined && steps !== undefined) throw apart("--steps", "--respacing");
  if (jump !== undefined && steps !== undefined) throw apart("--steps", "--jump");
  if (latents !== undefined && count !== undefined) throw apart("--count", "--latents");
  const states = trajectories === undefined ? sequence && "--sequence" : "--trajectories";
  if (sampler === flowSampler && states)
    throw new UserError(
      `expected a sampler of steps with ${states}, got ${flowSampler}: leave one of the two out`,
    );
}

/** How a discrete chain is walked back. @throws UserError where that was asked of something else */
function chainSettings(
  { system, config }: Trained,
  { respacing, eta }: SampleCommandOptions,
  sampler: string,
): Pick<SampleSettings, "respacing" | "eta"> {
  if (respacing === undefined && eta === undefined) return {};
  const option = respacing === undefined ? "--eta" : "--respacing";
  if (!(system instanceof ChainDiffusion))
    throw new UserError(`expected a model of discrete steps for ${option}, got ${config.system}`);
  if (eta !== undefined && !sampler.startsWith("ddim"))
    throw new UserError(`expected sampler ddim or ddim-clipped with --eta, got ${sampler}`);
  return { ...(respacing === undefined ? {} : { respacing }), ...(eta === undefined ? {} : { eta }) };
}

/** How degradations are led back. @throws UserError where that was asked of something else */
function coldSettings(
  { system, config }: Trained,
  { jump, shared, reconstruct, latents, keepLatents, threshold }: SampleCommandOptions,
): Pick<SampleSettings, "jump" | "shared"> {
  const ofLevels = Object.entries({ jump, shared, reconstruct }).find(([, value]) => value !== undefined);
  if (ofLevels && !(system instanceof ColdWalk))
    throw new UserError(
      `expected a model of degradations (cold, vcd) for --${ofLevels[0]}, got ${config.system}: leave it out`,
    );
  const ofLatents = latents === undefined ? keepLatents && "--keep-latents" : "--latents";
  if (ofLatents && !(system instanceof VariationalColdDiffusion))
    throw new UserError(
      `expected a model with latents (vcd) for ${ofLatents}, got ${config.system}: leave it out`,
    );
  if (jump !== undefined && system instanceof ColdWalk && jump > system.levels)
    throw new UserError(
      `expected --jump of at most ${system.levels}, the levels of its degradation, got ${jump}: lower it`,
    );
  if (threshold !== undefined && system instanceof ColdWalk)
    throw new UserError(
      `expected a model of noise for --threshold, got ${config.system}, one of degradations: leave it out`,
    );
  return { ...(jump === undefined ? {} : { jump }), ...(shared === undefined ? {} : { shared }) };
}

/** What has no meaning for images that are led back. */
function checkReconstruction({ system }: Trained, options: SampleCommandOptions): void {
  if (options.reconstruct === undefined) return;
  const senseless = ["latents", "shared", "class", "threshold", "trajectories"] as const;
  const given = senseless.find((name) => options[name] !== undefined);
  if (given !== undefined)
    throw new UserError(
      `expected no --${given} with --reconstruct${given === "trajectories" ? " (its states are --sequence)" : ""}: leave one of the two out`,
    );
  const walk = (["jump", "steps", "sampler"] as const).find((name) => options[name] !== undefined);
  if (walk !== undefined && system instanceof VariationalColdDiffusion)
    throw new UserError(
      `expected no --${walk} with --reconstruct of a model with latents, which goes level by level: leave it out`,
    );
}

function stepsOf(
  { system }: Trained,
  { steps, respacing, jump }: SampleCommandOptions,
  usual: Sampling,
): number {
  if (respacing !== undefined) return respacedCount(respacing);
  if (steps !== undefined) return steps;
  if (system instanceof ColdWalk && jump !== undefined)
    return levelsVisited(system.levels, { sampler: usual.sampler, jump }).length;
  return usual.steps;
}
