/** `varidiff quickstart`: the main job from start to end in a few minutes, and what to try next. */
import path from "node:path";
import { Command } from "commander";
import { drawLosses } from "../analysis/losses.js";
import { trajectoryGrid } from "../analysis/trajectories.js";
import { writeDrawing } from "../analysis/write.js";
import { UserError } from "../errors.js";
import { configSchema } from "../experiment/config.js";
import { drawImages } from "../experiment/drawing.js";
import { evaluationPass } from "../experiment/experiment.js";
import { readMetrics } from "../experiment/journal.js";
import { loadConfig } from "../experiment/load-config.js";
import { measureBits } from "../experiment/measure-bits.js";
import { createRun } from "../experiment/run-folder.js";
import { samplingOf } from "../experiment/sampling.js";
import { openTrained, type Trained } from "../experiment/trained.js";
import { makeFolder, writeFileAtomic } from "../io/index.js";
import { imageGrid } from "../plot/index.js";
import { packageRoot } from "../setup/locate.js";
import { Streams } from "../torch/index.js";
import { collect, exitCodeOf, interruptible } from "./options.js";
import { emit } from "./output.js";
import { createProgress } from "./progress.js";
import { trainWithProgress } from "./train.js";

interface QuickstartOptions {
  readonly out?: string;
  readonly set: readonly string[];
  readonly json?: boolean;
}

export function quickstartCommand(): Command {
  return new Command("quickstart")
    .description("Train a small VDM on Fashion-MNIST for three minutes, measure it and draw from it.")
    .option("--out <DIR>", "the run folder itself; default runs/<number>-quickstart")
    .option("--set <KEY=VALUE>", "change one key of configs/quickstart.yaml (repeatable)", collect, [])
    .option("--json", "print one JSON document")
    .addHelpText(
      "after",
      `
Examples:
  varidiff quickstart
  varidiff quickstart --set train.minutes=10
  varidiff quickstart --set data.name=mnist --set data.path=/data/mnist
`,
    )
    .action(quickstart);
}

async function quickstart(options: QuickstartOptions): Promise<void> {
  const config = loadConfig(configSchema, {
    file: path.join(packageRoot, "configs", "quickstart.yaml"),
    overrides: options.set,
  });
  const run = createRun(options.out === undefined ? { name: "quickstart" } : { out: options.out });
  process.stderr.write(`training ${run.dir} (live; Ctrl-C stops it with a checkpoint)\n`);
  const trained = await trainWithProgress(run, config, { quiet: "yes" });
  if (trained.outcome === "interrupted") {
    emit(trained, {
      json: options.json,
      text: () => `interrupted; go on with: varidiff train --resume ${run.dir}`,
    });
    return;
  }

  const stop = interruptible();
  try {
    const opened = openTrained(run.dir, { weights: "ema", overrides: [] });
    const bits = await measure(opened, stop.signal);
    const pictures = await draw(opened, stop.signal);
    const losses = path.join(run.paths.figures, "losses");
    await writeDrawing(losses, drawLosses(readMetrics(run), run.name));
    emit(
      {
        run: run.dir,
        training: trained,
        evaluation: bits.document,
        pictures: { ...pictures, losses: `${losses}.png` },
      },
      {
        json: options.json,
        text: () =>
          [
            "",
            bits.summary,
            "",
            `samples               ${pictures.samples}`,
            `from noise to image   ${pictures.trajectories}`,
            `losses                ${losses}.png`,
            `the run               ${run.dir}`,
            "",
            "What to try next:",
            `  npx varidiff sample ${run.dir} -n 64 --steps 250`,
            `  npx varidiff evaluate ${run.dir} --images 2000`,
            `  npx varidiff train --resume ${run.dir} --set train.minutes=15     longer is better`,
            "  npx varidiff train configs/fashion-mnist-cpu.yaml                  an hour",
            `  npx varidiff analyze ${run.dir} --figure loss-per-time`,
          ].join("\n"),
      },
    );
  } catch (error) {
    const caught = stop.caught();
    if (!caught) throw error;
    throw new UserError(`interrupted: ${run.dir} is trained; measure it with varidiff evaluate`, {
      exitCode: exitCodeOf(caught),
    });
  } finally {
    stop.release();
  }
}

async function measure(
  trained: Trained,
  signal: AbortSignal,
): Promise<Awaited<ReturnType<typeof measureBits>>> {
  const images = trained.config.evaluate.images ?? 512;
  const progress = createProgress({ total: images, unit: "images", label: "bits/dim of test images" });
  try {
    const result = await measureBits(trained, {
      seed: 0,
      images,
      signal,
      onProgress: (done) => progress.update(done),
    });
    makeFolder(trained.run.paths.evaluation);
    writeFileAtomic(
      path.join(trained.run.paths.evaluation, "bpd-quickstart.json"),
      `${JSON.stringify(result.document, null, 2)}\n`,
    );
    return result;
  } finally {
    progress.done();
  }
}

async function draw(
  trained: Trained,
  signal: AbortSignal,
): Promise<{ samples: string; trajectories: string }> {
  const { count, steps, sampler } = samplingOf(trained.config, trained.system);
  const progress = createProgress({ total: count * steps, unit: "image steps", label: "samples" });
  try {
    const { pixels, trajectory } = await drawImages({
      system: trained.system,
      count,
      steps,
      sampler,
      streams: new Streams(0),
      pass: evaluationPass(trained.machine),
      device: trained.machine.device,
      frames: 10,
      onProgress: (done) => progress.update(done),
      signal,
    });
    const folder = trained.run.paths.samples;
    makeFolder(folder);
    const samples = path.join(folder, "samples.png");
    const trajectories = path.join(folder, "trajectories.png");
    writeFileAtomic(samples, await imageGrid(pixels));
    if (trajectory)
      writeFileAtomic(
        trajectories,
        (await trajectoryGrid(trajectory, Math.min(4, count), "From noise to image")).png,
      );
    return { samples, trajectories };
  } finally {
    progress.done();
  }
}
