/** `varidiff evaluate`: what a run is worth, in numbers with error bars. */
import { Command, InvalidArgumentError, Option } from "commander";
import type { Split } from "../data/index.js";
import { dequantisations } from "../diffusion/likelihood/dequantise.js";
import { UserError } from "../errors.js";
import { evaluateShard, type ShardOutcome } from "../experiment/evaluate-shard.js";
import { defaultFlowSettings, divergences, type FlowSettings, latents } from "../experiment/flow-settings.js";
import type { Shard } from "../experiment/ledger.js";
import type { Measurement } from "../experiment/metric.js";
import { metricNamed, metricNames } from "../experiment/metrics.js";
import { openTrained } from "../experiment/trained.js";
import { collect, exitCodeOf, interruptible, wholeNumber } from "./options.js";
import { emit } from "./output.js";
import { createProgress } from "./progress.js";

interface EvaluateOptions extends Partial<FlowSettings> {
  readonly metrics: string;
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
  readonly set: readonly string[];
  readonly json?: boolean;
}

const EXAMPLES = `
Examples:
  varidiff evaluate runs/0001-quickstart
  varidiff evaluate runs/0001-quickstart --images 1000 --passes 4
  varidiff evaluate runs/0001-quickstart --steps 1000 --json
  varidiff evaluate runs/0001-quickstart --split train --set precision=float32
  varidiff evaluate runs/0001-quickstart --metrics nll --images 256
  varidiff evaluate runs/0001-quickstart --shard 2/4          one of four, anywhere; the last one writes the result

An evaluation that was interrupted goes on where it was when the same command is given again.
`;

export function evaluateCommand(): Command {
  return new Command("evaluate")
    .description("Measure a run: bits per dimension with its parts and standard errors.")
    .argument("<RUN>", "a run folder")
    .option("--metrics <NAMES>", `what to measure, comma-separated: ${metricNames.join(", ")}`, "bpd")
    .option("--images <N>", "the first N images of the split; default all, or the config's", wholeNumber(1))
    .option("--passes <K>", "independent draws of every image", wholeNumber(1))
    .option(
      "--steps <T>",
      "the bound of a chain of T steps; 0 for continuous time; default as trained",
      wholeNumber(0),
    )
    .addOption(new Option("--split <SPLIT>", "which images").choices(["train", "validation", "test"]))
    .option("--batch-size <N>", "images at a time", wholeNumber(1))
    .option("--shard <I/N>", "measure every Nth batch, from the Ith on", shard, { index: 1, of: 1 })
    .addOption(
      new Option("--weights <KIND>", "averaged or raw weights").choices(["ema", "raw"]).default("ema"),
    )
    .option("--checkpoint <STEP>", "a checkpoint other than the newest", wholeNumber(0))
    .option("--seed <S>", "seed of the Monte-Carlo draws", wholeNumber(0), 0)
    .addOption(
      new Option(
        "--schedule <KIND>",
        "in the place of a schedule per pixel: its mean over pixels, or a line",
      ).choices(["mean", "linear"]),
    )
    .option(
      "--importance <K>",
      `nll: importance samples of every image; ${standard("importance")}`,
      wholeNumber(1),
    )
    .addOption(
      new Option(
        "--dequantisation <KIND>",
        `nll: noise inside a pixel's bin; ${standard("dequantisation")}`,
      ).choices(dequantisations),
    )
    .addOption(
      new Option("--divergence <KIND>", `nll: probes of the divergence; ${standard("divergence")}`).choices(
        divergences,
      ),
    )
    .option("--rtol <R>", `nll: relative tolerance of the ODE's solver; ${standard("rtol")}`, tolerance)
    .option("--atol <A>", `nll: absolute tolerance of the ODE's solver; ${standard("atol")}`, tolerance)
    .addOption(
      new Option(
        "--latent <KIND>",
        `nll: what the flow is conditioned on, if it is; ${standard("latent")}`,
      ).choices(latents),
    )
    .option("--set <KEY=VALUE>", "precision, device, threads or data.path for this measurement", collect, [])
    .option("--json", "print one JSON document")
    .addHelpText("after", EXAMPLES)
    .action(evaluate);
}

function standard(key: keyof FlowSettings): string {
  return `default ${defaultFlowSettings[key]}`;
}

function shard(text: string): Shard {
  const [, index, of] = (/^(\d+)\/(\d+)$/.exec(text) ?? []).map(Number);
  if (index === undefined || of === undefined || index < 1 || index > of)
    throw new InvalidArgumentError("expected a shard such as 2/4, from 1/4 to 4/4");
  return { index, of };
}

function tolerance(text: string): number {
  const value = Number(text);
  if (!(value > 0 && value < 1)) throw new InvalidArgumentError("expected a number between 0 and 1");
  return value;
}

async function evaluate(dir: string, options: EvaluateOptions): Promise<void> {
  const names = options.metrics.split(",").map((name) => name.trim());
  const metrics = names.map((name) => ({ name, plan: metricNamed(name) }));
  const flow = flowSettings(options);
  if (Object.keys(flow).length > 0 && !names.includes("nll"))
    throw new UserError(`--${Object.keys(flow)[0]} is for the metric nll: add --metrics nll`);
  const trained = openTrained(dir, {
    weights: options.weights,
    step: options.checkpoint,
    overrides: options.set,
  });
  for (const warning of trained.warnings) process.stderr.write(`${warning}\n`);
  const stop = interruptible();
  const outcomes: (readonly [name: string, outcome: ShardOutcome])[] = [];
  try {
    for (const { name, plan } of metrics) {
      const measurement = await plan(trained, { ...options, flow });
      const { shard } = options;
      const folder = trained.run.paths.evaluation;
      outcomes.push([name, await withProgress(name, measurement, { folder, shard, signal: stop.signal })]);
    }
  } catch (error) {
    const caught = stop.caught();
    if (!caught) throw error;
    throw new UserError("interrupted: what is measured is kept, and the same command goes on from there", {
      exitCode: exitCodeOf(caught),
    });
  } finally {
    stop.release();
  }
  const documents = outcomes.map(([name, outcome]) => [name, documentOf(outcome)] as const);
  emit(documents.length === 1 ? documents[0]?.[1] : Object.fromEntries(documents), {
    json: options.json,
    text: () => outcomes.map(([name, outcome]) => textOf(name, outcome)).join("\n"),
  });
}

/** What was asked of the metric `nll`. */
function flowSettings(options: Partial<FlowSettings>): Partial<FlowSettings> {
  const keys = Object.keys(defaultFlowSettings) as (keyof FlowSettings)[];
  return Object.fromEntries(keys.flatMap((key) => (options[key] === undefined ? [] : [[key, options[key]]])));
}

async function withProgress(
  label: string,
  measurement: Measurement,
  o: { readonly folder: string; readonly shard: Shard; readonly signal: AbortSignal },
): Promise<ShardOutcome> {
  let progress: ReturnType<typeof createProgress> | undefined;
  try {
    return await evaluateShard(measurement, {
      ...o,
      log: (line) => process.stderr.write(`${line}\n`),
      onProgress(done, total) {
        progress ??= createProgress({ total, unit: "images", label });
        progress.update(done);
      },
    });
  } finally {
    progress?.done();
  }
}

function documentOf(outcome: ShardOutcome): object {
  if (outcome.kind === "complete") return outcome.document;
  const { missing, batchesDone, batches } = outcome;
  return { complete: false, missing, batchesDone, batches };
}

function textOf(name: string, outcome: ShardOutcome): string {
  if (outcome.kind === "complete") return outcome.summary;
  const { missing, batchesDone, batches } = outcome;
  return `${name}: ${batchesDone} of ${batches} batches are done; shards still missing: ${missing.join(", ")}`;
}
