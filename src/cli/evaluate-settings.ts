/** The options of `varidiff evaluate`, sorted by the metrics that they are for. */
import type { Split } from "../data/index.js";
import { UserError } from "../errors.js";
import { defaultFlowSettings, type FlowSettings } from "../experiment/flow-settings.js";
import type { Shard } from "../experiment/ledger.js";
import type { ReconstructionSettings } from "../experiment/measure-reconstruction.js";
import { isQualityPart, type QualitySettings } from "../experiment/quality-settings.js";

export interface EvaluateOptions extends Partial<FlowSettings> {
  readonly metrics?: string;
  readonly images?: number;
  readonly passes?: number;
  readonly steps?: number;
  readonly split?: Split;
  readonly batchSize?: number;
  readonly shard: Shard;
  readonly weights: "ema" | "raw";
  readonly checkpoint?: number;
  readonly seed: number;
  readonly schedule?: "mean" | "linear";
  readonly samples?: number;
  readonly sampler?: string;
  readonly reference?: Split;
  readonly referenceImages?: number;
  readonly features?: string;
  readonly floor?: boolean;
  readonly keepSamples?: boolean;
  readonly at?: number;
  readonly data?: string;
  readonly dataPath?: string;
  readonly set: readonly string[];
  readonly json?: boolean;
  readonly profile?: boolean;
}

/** What was asked of each metric. */
export interface Settings {
  readonly flow: Partial<FlowSettings>;
  readonly quality: Partial<QualitySettings>;
  readonly reconstruction: ReconstructionSettings;
}

/** What the metric `restoration` takes of what may be asked of the metrics of samples. */
const ofRestoration: readonly string[] = ["sampler", "features"] satisfies (keyof QualitySettings)[];

/** @throws UserError where something was asked of a metric that is not measured */
export function settingsOf(options: EvaluateOptions, asked: readonly string[]): Settings {
  const flow = flowSettings(options);
  const reconstruction = reconstructionSettings(options, asked);
  const quality = qualitySettings(options, asked);
  const [ofSamples] = Object.keys(quality).filter(
    (key) => !(asked.includes("restoration") && ofRestoration.includes(key)),
  );
  if (ofSamples !== undefined && !asked.some(isOfSamples))
    throw new UserError(`--${kebab(ofSamples)} is for the metrics of samples: add --metrics quality`);
  const [ofFlow] = Object.keys(flow);
  if (ofFlow !== undefined && !asked.includes("nll"))
    throw new UserError(`--${ofFlow} is for the metric nll: add --metrics nll`);
  return { flow, quality, reconstruction };
}

export function isOfSamples(name: string): boolean {
  return name === "quality" || isQualityPart(name);
}

/** What was asked of the metric `reconstruction`. @throws UserError where something was that others have not */
function reconstructionSettings(
  { at, data, dataPath, sampler }: EvaluateOptions,
  asked: readonly string[],
): ReconstructionSettings {
  const own = { at, data, dataPath };
  const [given] = Object.entries(own).flatMap(([name, value]) => (value === undefined ? [] : [name]));
  const others = asked.filter((name) => name !== "reconstruction");
  if (given !== undefined && others.length === asked.length)
    throw new UserError(`--${kebab(given)} is for the metric reconstruction: add --metrics reconstruction`);
  if (data !== undefined && others.length > 0)
    throw new UserError(
      `--data is for the metric reconstruction alone, got ${others.join(" and ")} too: measure apart`,
    );
  return { ...own, sampler };
}

/** What was asked of the metrics of samples. */
export function qualitySettings(
  options: EvaluateOptions,
  asked: readonly string[],
): Partial<QualitySettings> {
  const { samples, sampler, reference, referenceImages, features, floor, keepSamples } = options;
  const elsewhere = asked.includes("reconstruction") && !asked.some(isOfSamples);
  const given = {
    ...{ samples, reference, referenceImages, features },
    sampler: elsewhere ? undefined : sampler,
    floor: floor === false ? ("none" as const) : undefined,
    keepSamples: keepSamples ? ("kept" as const) : undefined,
  };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}

/** As an option is written. */
function kebab(name: string): string {
  return name === "floor" ? "no-floor" : name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** What was asked of the metric `nll`. */
function flowSettings(options: Partial<FlowSettings>): Partial<FlowSettings> {
  const keys = Object.keys(defaultFlowSettings) as (keyof FlowSettings)[];
  return Object.fromEntries(keys.flatMap((key) => (options[key] === undefined ? [] : [[key, options[key]]])));
}
