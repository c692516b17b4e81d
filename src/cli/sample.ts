/** `varidiff sample`: images from a run. */
import fs from "node:fs";
import path from "node:path";
import { Command, InvalidArgumentError, Option } from "commander";
import { trajectoryGrid } from "../analysis/trajectories.js";
import { respacedCount } from "../diffusion/chain/respacing.js";
import { checkSampler, flowSampler, samplerNames } from "../diffusion/sampler/index.js";
import { UserError } from "../errors.js";
import { conditionOf, type Drawn, drawImages } from "../experiment/drawing.js";
import { evaluationPass } from "../experiment/experiment.js";
import { openTrained, type Trained } from "../experiment/trained.js";
import { channelsLast, makeFolder, writeFileAtomic, writeNpz } from "../io/index.js";
import { imageGrid, writePngs } from "../plot/index.js";
import { ChainDiffusion } from "../systems/chain.js";
import { Streams } from "../torch/index.js";
import { collect, exitCodeOf, interruptible, wholeNumber } from "./options.js";
import { emit } from "./output.js";
import { createProgress } from "./progress.js";

interface SampleCommandOptions {
  readonly count?: number;
  readonly steps?: number;
  readonly sampler?: string;
  readonly respacing?: string;
  readonly eta?: number;
  readonly seed: number;
  readonly class?: number;
  readonly grid?: boolean;
  readonly threshold?: number;
  readonly npz?: boolean;
  readonly pngDir?: string;
  readonly trajectories?: number;
  readonly out?: string;
  readonly weights: "ema" | "raw";
  readonly checkpoint?: number;
  readonly set: readonly string[];
  readonly json?: boolean;
}

export function sampleCommand(): Command {
  return new Command("sample")
    .description("Draw images from a run.")
    .argument("<RUN>", "a run folder")
    .option("-n, --count <N>", "how many images; default the config's", wholeNumber(1))
    .option("--steps <T>", "sampling steps; default the config's", wholeNumber(1))
    .addOption(
      new Option("--sampler <NAME>", `how to step: ${samplerNames.join(", ")}; default the config's`),
    )
    .option(
      "--respacing <SPEC>",
      "of a discrete chain: which steps to take, as in 10,15,20 (of so many sections) or ddim25 (of one stride)",
    )
    .option("--eta <E>", "of ddim on a discrete chain: its noise, 0 (none, the default) to 1", eta)
    .option("--seed <S>", "the same seed gives the same images", wholeNumber(0), 0)
    .option(
      "--class <K>",
      "the class, where the run is class-conditional; default all in turn",
      wholeNumber(0),
    )
    .option(
      "--threshold <P>",
      "clamp predicted images at this percentile of their absolute values, and rescale",
      percentile,
    )
    .option("--grid", "one PNG with all of them (the default)")
    .option("--npz", "an npz with arr_0 [N, H, W, C] uint8")
    .option("--png-dir <DIR>", "one PNG an image in this folder")
    .option("--trajectories <N>", "also a PNG of N images on their way from noise", wholeNumber(1))
    .option("--out <PATH>", "file name without extension; default in the run's samples/")
    .addOption(
      new Option("--weights <KIND>", "averaged or raw weights").choices(["ema", "raw"]).default("ema"),
    )
    .option("--checkpoint <STEP>", "a checkpoint other than the newest", wholeNumber(0))
    .option("--set <KEY=VALUE>", "precision, device or threads for this command", collect, [])
    .option("--json", "print one JSON document")
    .addHelpText(
      "after",
      `
Examples:
  varidiff sample runs/0001-quickstart -n 64
  varidiff sample runs/0001-quickstart -n 64 --steps 50 --sampler ddim --seed 7
  varidiff sample runs/0001-quickstart -n 1000 --npz --png-dir images
  varidiff sample runs/0001-quickstart -n 16 --trajectories 8
  varidiff sample runs/0002-ddgm -n 64 --sampler ddim --respacing ddim25 --eta 0.5
  varidiff sample runs/0001-quickstart -n 64 --sampler ode       as many steps as its tolerance asks for
`,
    )
    .action(sample);
}

function percentile(text: string): number {
  const value = Number(text);
  if (!(value > 0 && value <= 100))
    throw new InvalidArgumentError("expected a percentile above 0, up to 100");
  return value;
}

function eta(text: string): number {
  const value = Number(text);
  if (!(value >= 0 && value <= 1)) throw new InvalidArgumentError("expected a number from 0 to 1");
  return value;
}

/** How a discrete chain is walked back. @throws UserError where that was asked of something else */
function walkOf(
  trained: Trained,
  { respacing, eta, steps }: SampleCommandOptions,
  sampler: string,
): { readonly respacing?: string; readonly eta?: number } {
  if (respacing === undefined && eta === undefined) return {};
  const option = respacing === undefined ? "--eta" : "--respacing";
  if (!(trained.system instanceof ChainDiffusion))
    throw new UserError(`expected a model of discrete steps for ${option}, got ${trained.config.system}`);
  if (eta !== undefined && !sampler.startsWith("ddim"))
    throw new UserError(`expected sampler ddim or ddim-clipped with --eta, got ${sampler}`);
  if (respacing !== undefined && steps !== undefined)
    throw new UserError("expected one of --steps and --respacing, got both: leave one out");
  return { ...(respacing === undefined ? {} : { respacing }), ...(eta === undefined ? {} : { eta }) };
}

async function sample(dir: string, options: SampleCommandOptions): Promise<void> {
  if (options.sampler !== undefined) checkSampler(options.sampler);
  const trained = openTrained(dir, {
    weights: options.weights,
    step: options.checkpoint,
    overrides: options.set,
  });
  for (const warning of trained.warnings) process.stderr.write(`${warning}\n`);
  const { count: defaultCount, steps: defaultSteps, sampler: defaultSampler } = trained.config.sample;
  const sampler = options.sampler ?? defaultSampler;
  const walk = walkOf(trained, options, sampler);
  const request = {
    count: options.count ?? defaultCount,
    steps: walk.respacing === undefined ? (options.steps ?? defaultSteps) : respacedCount(walk.respacing),
    sampler,
    seed: options.seed,
    ...walk,
  };
  if (request.sampler === flowSampler && options.trajectories)
    throw new UserError(
      `expected a sampler of steps with --trajectories, got ${flowSampler}: leave one of the two out`,
    );
  const stop = interruptible();
  const progress = createProgress({
    total: request.count * request.steps,
    unit: "image steps",
    label: "sample",
  });
  const start = performance.now();
  let drawn: Drawn;
  try {
    const condition = await conditionOf(trained, request.count, options.class);
    drawn = await drawImages({
      system: trained.system,
      ...request,
      streams: new Streams(request.seed),
      pass: evaluationPass(trained.machine),
      device: trained.machine.device,
      ...(condition ? { condition } : {}),
      ...(options.trajectories ? { frames: 10 } : {}),
      threshold: options.threshold,
      onProgress: (done) => progress.update(done),
      signal: stop.signal,
    });
  } catch (error) {
    const caught = stop.caught();
    if (!caught) throw error;
    throw new UserError("interrupted: nothing was written", { exitCode: exitCodeOf(caught) });
  } finally {
    progress.done();
    stop.release();
  }
  const seconds = (performance.now() - start) / 1000;
  const files = await write(trained, drawn, { ...options, ...request });
  const { step, ema, machine } = trained;
  emit(
    { files, ...request, step, ema, precision: machine.precision, run: trained.run.name, seconds },
    { json: options.json, text: () => files.join("\n") },
  );
}

async function write(
  { run, step, config }: Trained,
  { pixels, trajectory }: Drawn,
  options: SampleCommandOptions & { readonly steps: number; readonly sampler: string },
): Promise<string[]> {
  const kind = [
    ...(options.weights === "raw" ? ["raw"] : []),
    ...(options.class === undefined ? [] : [`class${options.class}`]),
    ...(options.threshold === undefined ? [] : [`threshold${options.threshold}`]),
    ...(options.eta === undefined ? [] : [`eta${options.eta}`]),
    ...(options.respacing === undefined ? [] : [`respaced${options.respacing}`]),
  ];
  const name = [`step${step}`, ...kind, options.sampler, `T${options.steps}`, `seed${options.seed}`].join(
    "-",
  );
  const base = options.out ?? path.join(run.paths.samples, name);
  makeFolder(path.dirname(base));
  const files: string[] = [];
  const put = (file: string, bytes: Uint8Array) => {
    writeFileAtomic(file, bytes);
    files.push(file);
  };
  if (options.npz) {
    writeNpz(`${base}.npz`, { arr_0: channelsLast(pixels) });
    files.push(`${base}.npz`);
  }
  if (options.pngDir) files.push(...(await writePngs(options.pngDir, pixels)));
  if (options.grid || !(options.npz || options.pngDir)) put(`${base}.png`, await imageGrid(pixels));
  if (trajectory && options.trajectories) {
    const shown = Math.min(options.trajectories, pixels.count);
    put(
      `${base}-trajectories.png`,
      (await trajectoryGrid(trajectory, shown, `${config.system}: from noise to image`)).png,
    );
  }
  for (const file of files)
    if (!fs.existsSync(file)) throw new Error(`expected ${file} to have been written`);
  return files;
}
