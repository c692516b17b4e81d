/** Weights that were trained elsewhere, as a run. */
import path from "node:path";
import type { StateDictOptions } from "../io/pytorch/index.js";
import { readStateDict } from "../io/pytorch/index.js";
import { hashOfFile } from "../metrics/features/layout.js";
import type { Config } from "./config.js";
import { buildModel } from "./experiment.js";
import { checkParameters, type GivenTensors, writeGivenRun } from "./given-run.js";
import type { ForeignTensors } from "./import-source.js";
import { importSourceNamed } from "./import-sources.js";
import { imageShape } from "./plan.js";
import type { NewRun, Run } from "./run-folder.js";

/** A file, and where in it the state dict is. */
export interface StateDictFile extends StateDictOptions {
  readonly file: string;
}

/** The files of a model; the denoiser's where a model in two parts has a file for each. */
export interface ModelFiles {
  readonly model: StateDictFile;
  readonly denoiser?: StateDictFile | undefined;
}

export interface ImportRequest {
  /** The name of the format: `guided-diffusion`. */
  readonly source: string;
  readonly config: Config;
  readonly weights: ModelFiles;
  /** The moving average; the weights themselves where absent. */
  readonly ema?: ModelFiles | undefined;
  /** Training steps that made them; where absent what the file's name tells, else 0. */
  readonly step?: number | undefined;
  readonly to: NewRun;
}

export interface ImportResult {
  readonly run: Run;
  readonly step: number;
  readonly parameters: number;
  /** What was no tensor in the state dicts, and was left, by file. */
  readonly others: Readonly<Record<string, readonly string[]>>;
}

/**
 * Makes a run of foreign weights.
 * @throws UserError where a file cannot be read, or parameters are missing, unknown or misshapen, all of them named;
 *   no run is left behind then
 */
export async function importRun(request: ImportRequest): Promise<ImportResult> {
  const { config, weights, ema } = request;
  const source = importSourceNamed(request.source);
  const { system } = buildModel(config, await imageShape(config));
  const parameters = Array.from(system.namedParameters(), ([name]) => name);
  const read = async (files: ModelFiles): Promise<[GivenTensors, ReadFile[]]> => {
    const model = await readFile(files.model);
    const denoiser = files.denoiser && (await readFile(files.denoiser));
    const all = denoiser ? [model, denoiser] : [model];
    const named = source.ownNames({ model: model.tensors, denoiser: denoiser?.tensors, parameters }, config);
    const where = all.map(({ file }) => file).join(" and ");
    checkParameters(system, named, { where, remedy: "set the keys of model to match, network first" });
    return [named, all];
  };
  const [given, files] = await read(weights);
  const [average, averageFiles] = ema ? await read(ema) : [given, []];
  const step = request.step ?? source.stepOf(weights.model.file) ?? 0;
  const run = writeGivenRun(request.to, {
    ...{ config, system, step, weights: given, ema: average },
    origin: {
      imported: {
        source: source.name,
        weights: files.map(describe),
        ...(ema ? { ema: averageFiles.map(describe) } : {}),
      },
    },
  });
  const others = [...files, ...averageFiles].filter((each) => each.others.length > 0);
  return {
    run,
    step,
    parameters: system.parameterCount(),
    others: Object.fromEntries(others.map((each) => [each.file, each.others])),
  };
}

interface ReadFile extends StateDictFile {
  readonly tensors: ForeignTensors;
  readonly others: readonly string[];
}

async function readFile({ file, key }: StateDictFile): Promise<ReadFile> {
  return { file, key, ...(await readStateDict(file, { key })) };
}

function describe({ file, key }: StateDictFile) {
  return { file: path.resolve(file), sha256: hashOfFile(file), ...(key === undefined ? {} : { key }) };
}
