/** The feature network that a measurement uses: the one asked for, or the best of those that are there. */
import fs from "node:fs";
import path from "node:path";
import type { ImageSource } from "../data/index.js";
import { UserError } from "../errors.js";
import {
  classifierFeatures,
  type FeatureNetwork,
  openFeatureFile,
  openInception,
  registeredInception,
} from "../metrics/features/index.js";
import { didYouMean } from "../nearest.js";
import { Classifier } from "../systems/index.js";
import { newestWholeCheckpoint } from "./checkpoint-files.js";
import type { Config } from "./config.js";
import type { Machine } from "./experiment.js";
import { listRuns, openRun } from "./run-folder.js";
import { openAnyTrained } from "./trained.js";

export interface FeatureRequest {
  /** `inception`, a classifier's run or a file; what is there where absent. */
  readonly asked: string | undefined;
  /** Images that a classifier was trained on, if one is looked for. */
  readonly data: Pick<ImageSource, "name" | "fingerprint">;
  /** Folders of runs, in which it is looked for. */
  readonly roots: readonly string[];
  readonly machine: Pick<Machine, "device" | "threads">;
}

/**
 * Opens the network that was asked for; else Inception, where it is registered; else the newest classifier of the same
 * data among the runs.
 * @throws UserError where there is none, saying how to get one
 */
export async function openFeatureNetwork(request: FeatureRequest): Promise<FeatureNetwork> {
  const { asked, machine } = request;
  const { device } = machine;
  if (asked === undefined) {
    if (registeredInception()?.known !== undefined) return openInception({ device });
    return classifierRun(newestClassifier(request), machine);
  }
  if (asked === "inception") return openInception({ device });
  if (!fs.existsSync(asked))
    throw new UserError(
      `expected inception, a classifier's run or a file for --features, got "${asked}", which does not exist${didYouMean(asked, ["inception", ...classifierFolders(request.roots)])}`,
    );
  return fs.statSync(asked).isDirectory()
    ? classifierRun(asked, machine)
    : openFeatureFile(asked, { device });
}

/** The classifier in `dir`, with averaged weights. */
function classifierRun(dir: string, { device, threads }: FeatureRequest["machine"]): FeatureNetwork {
  const overrides = [`device=${device}`, `threads=${threads}`];
  const { system, config } = openAnyTrained(dir, { weights: "ema", overrides });
  if (!(system instanceof Classifier) || config.system !== "classifier")
    throw new UserError(`expected the run of a classifier for --features, got ${dir}, a ${config.system}`);
  return classifierFeatures(system, { name: `${config.model.network.kind} ${dataName(config)}`, device });
}

/** As in `cifar10`, `cats-64`. */
function dataName({ data }: Config): string {
  const { name, size, variant } = data;
  return [name, ...(size === undefined ? [] : [size]), ...(variant === "none" ? [] : [variant])].join("-");
}

/** The runs of classifiers in `roots`. One that cannot be read is passed over: nobody asked for it. */
function classifierFolders(roots: readonly string[]): readonly string[] {
  const folders = [...new Set(roots.map((root) => path.resolve(root)))];
  const isClassifier = (config: string) => /^system: classifier$/m.test(fs.readFileSync(config, "utf8"));
  return folders
    .flatMap(listRuns)
    .filter(({ paths }) => orElse(false, () => isClassifier(paths.config)))
    .map(({ dir }) => dir);
}

function orElse<T>(otherwise: T, run: () => T): T {
  try {
    return run();
  } catch {
    return otherwise;
  }
}

function newestClassifier({ data, roots }: FeatureRequest): string {
  const fits = (dir: string) => {
    const { checkpoint } = newestWholeCheckpoint(openRun(dir));
    return checkpoint !== undefined && checkpoint.step > 0 && checkpoint.state.data === data.fingerprint;
  };
  const fitting = classifierFolders(roots).filter((dir) => orElse(false, () => fits(dir)));
  const age = (dir: string) => fs.statSync(path.join(dir, "config.yaml")).mtimeMs;
  const [newest] = [...fitting].sort((a, b) => age(b) - age(a));
  if (newest) return newest;
  const looked = [...new Set(roots.map((root) => path.resolve(root)))].join(", ");
  throw new UserError(
    `expected a feature network: Inception is not registered (varidiff data add inception FILE), and there is no classifier of ${data.name} in ${looked}; train one with varidiff train configs/features/${data.name}.yaml, or give --features`,
  );
}
