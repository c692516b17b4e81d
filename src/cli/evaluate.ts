/** `varidiff evaluate`: what a run is worth, in numbers with error bars. */
import { Command, InvalidArgumentError, Option } from "commander";
import { dequantisations } from "../diffusion/likelihood/dequantise.js";
import { samplerNames } from "../diffusion/sampler/index.js";
import { UserError } from "../errors.js";
import { evaluateShard, type ShardOutcome } from "../experiment/evaluate-shard.js";
import { defaultFlowSettings, divergences, type FlowSettings, latents } from "../experiment/flow-settings.js";
import type { Shard } from "../experiment/ledger.js";
import type { Measurement } from "../experiment/metric.js";
import { defaultMetric, metricNamed, metricNames, metricsNamed } from "../experiment/metrics.js";
import { defaultQuality } from "../experiment/quality-settings.js";
import { usualWayBack } from "../experiment/reconstruction.js";
import { openAnyTrained } from "../experiment/trained.js";
import { evaluateSamples } from "./evaluate-samples.js";
import { type EvaluateOptions, settingsOf } from "./evaluate-settings.js";
import { collect, exitCodeOf, fraction, interruptible, wholeNumber } from "./options.js";
import { emit } from "./output.js";
import { createProgress } from "./progress.js";

const log = (line: string): void => void process.stderr.write(`${line}\n`);

const EXAMPLES = `
Examples:
  varidiff evaluate runs/0001-quickstart
  varidiff evaluate runs/0001-quickstart --images 1000 --passes 4
  varidiff evaluate runs/0001-quickstart --steps 1000 --json
  varidiff evaluate runs/0001-quickstart --split train --set precision=float32
  varidiff evaluate runs/0001-quickstart --metrics nll --images 256
  varidiff evaluate runs/0001-quickstart --metrics quality --samples 2000 --steps 100
  varidiff evaluate runs/0001-quickstart --metrics fid,is --features runs/0002-fashion-mnist
  varidiff evaluate runs/0003-daed --metrics reconstruction --images 256 --data mnist
  varidiff evaluate runs/0006-deblurring --metrics restoration --images 256 --features runs/0002-fashion-mnist
  varidiff evaluate samples.npz --data fashion-mnist --metrics fid
  varidiff evaluate runs/0001-quickstart --shard 2/4          one of four, anywhere; the last one writes the result

The result is printed, and written to RUN/evaluation as a JSON document named after what was measured; of an npz
file it is printed alone. An evaluation that was interrupted goes on where it was when the same command is given again.
`;

export function evaluateCommand(): Command {
  return new Command("evaluate")
    .description("Measure a run: bits per dimension with its parts and standard errors.")
    .argument("<RUN>", "a run folder; or samples as an npz file, with --data")
    .option(
      "--metrics <NAMES>",
      `what to measure, comma-separated: ${metricNames.join(", ")}; default bpd, of a classifier accuracy`,
    )
    .option(
      "--images <N>",
      "the first N images of the split, reconstruction and restoration: N evenly spread; default all, or the config's",
      wholeNumber(1),
    )
    .option(
      "--passes <K>",
      "independent draws of every image; default the config's evaluate.passes",
      wholeNumber(1),
    )
    .option(
      "--steps <T>",
      "the bound of a chain of T steps, 0 for continuous time, default as trained; quality: sampling steps, default the config's",
      wholeNumber(0),
    )
    .addOption(
      new Option("--split <SPLIT>", "which images; default the config's data.evaluationSplit").choices([
        "train",
        "validation",
        "test",
      ]),
    )
    .option(
      "--batch-size <N>",
      "images at a time; default the config's evaluate.batchSize, quality 64",
      wholeNumber(1),
    )
    .addOption(
      new Option("--shard <I/N>", "measure every Nth batch, from the Ith on")
        .argParser(shard)
        .default({ index: 1, of: 1 }, "1/1, all"),
    )
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
    .option("--rtol <R>", `nll: relative tolerance of the ODE's solver; ${standard("rtol")}`, fraction)
    .option("--atol <A>", `nll: absolute tolerance of the ODE's solver; ${standard("atol")}`, fraction)
    .addOption(
      new Option(
        "--latent <KIND>",
        `nll: what the flow is conditioned on, if it is; ${standard("latent")}`,
      ).choices(latents),
    )
    .option("--samples <N>", `quality: images drawn; default ${defaultQuality.samples}`, wholeNumber(1))
    .option(
      "--sampler <NAME>",
      `quality: ${samplerNames.join(", ")}; default the config's; restoration: likewise, of cold diffusion; reconstruction: ${usualWayBack}, or another of chains`,
    )
    .addOption(
      new Option(
        "--reference <SPLIT>",
        `quality: the real images; default ${defaultQuality.reference}`,
      ).choices(["train", "validation", "test"]),
    )
    .option("--reference-images <N>", "quality: so many of them, evenly spread; default all", wholeNumber(1))
    .option(
      "--features <NETWORK>",
      "quality, restoration: inception, a classifier's run, or a file with a layout beside it",
    )
    .option("--no-floor", "quality: leave out the same numbers of real images of the other split")
    .option("--keep-samples", "quality: keep the samples as an npz beside the result")
    .option("--at <BETA>", "reconstruction: variance of the noise; default the denoiser's, or 0.1", fraction)
    .option(
      "--data <NAME>",
      "reconstruction: the images of another data set, fitted to the model's shape; of an npz file: what it is compared with",
    )
    .option("--data-path <PATH>", "reconstruction: where that one lies")
    .option("--set <KEY=VALUE>", "precision, device, threads or data.path for this measurement", collect, [])
    .option("--profile", "measure a few batches and print where their time goes; write nothing")
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

async function evaluate(dir: string, options: EvaluateOptions): Promise<void> {
  const asked = options.metrics?.split(",").map((name) => name.trim());
  for (const name of asked ?? []) metricNamed(name);
  if (dir.endsWith(".npz")) {
    if (options.profile) throw new UserError(`expected a run with --profile, got ${dir}: leave it out`);
    await evaluateSamples(dir, { ...options, asked: asked ?? ["quality"] });
    return;
  }
  const settings = settingsOf(options, asked ?? []);
  const trained = openAnyTrained(dir, {
    weights: options.weights,
    step: options.checkpoint,
    overrides: options.set,
  });
  for (const warning of trained.warnings) process.stderr.write(`${warning}\n`);
  const names = asked ?? [defaultMetric(trained.system)];
  if (options.profile) {
    const { profileEvaluation } = await import("../experiment/profile-evaluation.js");
    const { describeProfile } = await import("../experiment/profile-text.js");
    const profile = await profileEvaluation(trained, names, { ...options, ...settings, log });
    emit(profile, { json: options.json, text: () => describeProfile(profile) });
    return;
  }
  const metrics = metricsNamed(names);
  const stop = interruptible();
  const outcomes: (readonly [name: string, outcome: ShardOutcome])[] = [];
  try {
    for (const [name, plan] of metrics) {
      const measurement = await plan(trained, { ...options, ...settings, log });
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

async function withProgress(
  label: string,
  measurement: Measurement,
  o: { readonly folder: string; readonly shard: Shard; readonly signal: AbortSignal },
): Promise<ShardOutcome> {
  let progress: ReturnType<typeof createProgress> | undefined;
  try {
    return await evaluateShard(measurement, {
      ...o,
      log,
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
