/** `varidiff train`: a new run from a config, or an old one resumed. */
import fs from "node:fs";
import path from "node:path";
import { Command } from "commander";
import { UserError } from "../errors.js";
import { type Config, configSchema } from "../experiment/config.js";
import { loadConfig } from "../experiment/load-config.js";
import { describePlan, planOf } from "../experiment/plan.js";
import { createRun, openRun, type Run, withdrawRun } from "../experiment/run-folder.js";
import { runConfig } from "../experiment/trained.js";
import type { Reading } from "../experiment/trainer.js";
import { type TrainingResult, trainRun } from "../experiment/training-run.js";
import { collect, exitCodeOf, interruptible } from "./options.js";
import { emit } from "./output.js";
import { createProgress, formatDuration } from "./progress.js";

interface TrainOptions {
  readonly resume?: string;
  readonly out?: string;
  readonly set: readonly string[];
  readonly dryRun?: boolean;
  readonly profile?: boolean;
  readonly json?: boolean;
}

export function trainCommand(): Command {
  return new Command("train")
    .description("Train the model that a config describes, or go on with a run.")
    .argument("[CONFIG]", "a YAML file, for example configs/quickstart.yaml")
    .option("--resume <RUN>", "go on with this run from its newest checkpoint")
    .option("--out <DIR>", "the run folder itself; default runs/<number>-<config>")
    .option(
      "--set <KEY=VALUE>",
      "change one key of the config, e.g. train.steps=5000 (repeatable)",
      collect,
      [],
    )
    .option("--dry-run", "print the resolved config and what it costs; touch nothing")
    .option("--profile", "take a few steps and print where their time goes; touch nothing")
    .option("--json", "print one JSON document")
    .addHelpText(
      "after",
      `
Examples:
  varidiff train configs/quickstart.yaml
  varidiff train configs/fashion-mnist-cpu.yaml --set train.steps=20000 --out runs/long
  varidiff train configs/vdm/cifar10.yaml --dry-run
  varidiff train --resume runs/0001-quickstart
  varidiff train --resume runs/0001-quickstart --set train.steps=40000

Ctrl-C writes a checkpoint and stops; --resume goes on as if nothing had happened.
`,
    )
    .action(train);
}

async function train(file: string | undefined, options: TrainOptions): Promise<void> {
  if ((file === undefined) === (options.resume === undefined))
    throw new UserError("expected either a CONFIG to train or --resume RUN: see `varidiff train --help`");
  if (options.dryRun && options.profile)
    throw new UserError("expected one of --dry-run and --profile, got both: leave one out");
  if (options.resume !== undefined && options.out !== undefined)
    throw new UserError("expected --out with a new run only, got it with --resume");
  const old = options.resume === undefined ? undefined : openRun(options.resume);
  const config = old ? runConfig(old, options.set) : newConfig(file as string, options.set);

  if (options.dryRun) {
    const plan = await planOf(config);
    emit(plan, { json: options.json, text: () => describePlan(plan) });
    return;
  }
  if (options.profile) {
    const { profileTraining } = await import("../experiment/profile-training.js");
    const { describeProfile } = await import("../experiment/profile-text.js");
    const profile = await profileTraining(config);
    emit(profile, { json: options.json, text: () => describeProfile(profile) });
    return;
  }
  const name = path.basename(file ?? "", path.extname(file ?? ""));
  const run: Run = old ?? createRun(options.out === undefined ? { name } : { out: options.out });
  await trainWithProgress(run, config, options);
}

function newConfig(file: string, overrides: readonly string[]): Config {
  return loadConfig(configSchema, { file, overrides });
}

function extent({ train: { steps, minutes } }: Config): { readonly total: number; readonly unit: string } {
  return minutes === null ? { total: steps, unit: "steps" } : { total: minutes * 60, unit: "s" };
}

/** Trains behind a live line, and says at the end what came of it. */
export async function trainWithProgress(
  run: Run,
  config: Config,
  options: { readonly json?: boolean | undefined; readonly quiet?: "yes" } = {},
): Promise<TrainingResult> {
  const stop = interruptible();
  const progress = createProgress({ ...extent(config), label: run.name });
  let images = 0;
  let since = performance.now();
  let fields: Record<string, string | number> = {};
  try {
    const result = await trainRun({
      run,
      config,
      signal: stop.signal,
      report: {
        log: (line) => progress.log(line),
        progress(state) {
          images += state.images;
          const elapsed = (performance.now() - since) / 1000;
          if (state.reading || elapsed > 5) {
            fields = { ...fields, "images/s": (images / elapsed).toFixed(0) };
            images = 0;
            since = performance.now();
          }
          if (state.reading) fields = { ...fields, ...lossField(state.reading) };
          progress.update(state.done, { step: state.step, ...fields });
        },
      },
    });
    progress.done();
    const caught = stop.caught();
    if (result.outcome === "interrupted" && caught) process.exitCode = exitCodeOf(caught);
    if (options.quiet === undefined) emit(result, { json: options.json, text: () => describe(result) });
    return result;
  } finally {
    progress.done();
    stop.release();
    if (fs.readdirSync(run.dir).length === 0) withdrawRun(run); // a run that never began
  }
}

/** The loss by its name: `bits/dim`, or `loss` where it is something else. */
function lossField({ loss, bitsPerDim }: Reading): Record<string, string> {
  return Number.isNaN(bitsPerDim) ? { loss: loss.toFixed(4) } : { "bits/dim": bitsPerDim.toFixed(3) };
}

function describe({ outcome, run, step, seconds, bitsPerDim, loss, lossUnit }: TrainingResult): string {
  switch (outcome) {
    case "nothing-to-do":
      return `${run} is finished at step ${step}: nothing to do (more: --set train.steps=N)`;
    case "interrupted":
      return `interrupted at step ${step}, checkpoint written; go on with: varidiff train --resume ${run}`;
    case "finished": {
      const bound = bitsPerDim === null ? undefined : `, training bound ${bitsPerDim.toFixed(3)} bits/dim`;
      const other = loss === null ? "" : `, training loss ${loss.toFixed(4)} (${lossUnit})`;
      return `${run}: ${step} steps in ${formatDuration(seconds)}${bound ?? other}\nmeasure it with: varidiff evaluate ${run}`;
    }
    default:
      return outcome satisfies never;
  }
}
