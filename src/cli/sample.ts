/** `varidiff sample`: images from a run. */
import { Command, Option } from "commander";
import { sequenceFrames } from "../analysis/trajectories.js";
import { type ImageSource, splits } from "../data/index.js";
import { checkSampler, samplerNames } from "../diffusion/sampler/index.js";
import { UserError } from "../errors.js";
import { conditionOf, type DrawRequest, drawImages, type Latents } from "../experiment/drawing.js";
import { evaluationPass, openSplit, readBatch } from "../experiment/experiment.js";
import { evenlySpread } from "../experiment/image-features.js";
import { imagesAtOnce } from "../experiment/images-at-once.js";
import { leadBack } from "../experiment/lead-back.js";
import { ensureStart } from "../experiment/start-file.js";
import { openTrained, type Trained } from "../experiment/trained.js";
import { checkFolder } from "../io/index.js";
import { ColdWalk } from "../systems/cold-walk.js";
import { VariationalColdDiffusion } from "../systems/vcd.js";
import { Streams } from "../torch/index.js";
import { collect, exitCodeOf, interruptible, wholeNumber } from "./options.js";
import { emit } from "./output.js";
import { createProgress } from "./progress.js";
import { readLatents } from "./sample-latents.js";
import {
  eta,
  percentile,
  type SampleCommandOptions,
  type SampleSettings,
  settingsOf,
  sharedBy,
} from "./sample-options.js";
import { foldersOf, type Written, writeSamples } from "./sample-write.js";

/** States of trajectories, with which the images predicted from them are shown. */
const TRAJECTORY_STATES = 10;

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
    .option(
      "--jump <S>",
      "of a degradation: levels at once, of sampler redegrade levels looked ahead; steps follow from it",
      wholeNumber(1),
    )
    .addOption(
      new Option(
        "--shared <WHAT>",
        "of a degradation: what all samples have in common, drawn in one batch",
      ).choices(Object.keys(sharedBy)),
    )
    .option("--latents <FILE>", "images of these latents: an npz with latents, float32 [N, L] or [N, T, L]")
    .option("--keep-latents", "also an npz with the latents of the images, for --latents")
    .addOption(
      new Option(
        "--reconstruct <SPLIT>",
        "of a degradation: images of a split, degraded and led back, with latents by those of their own states",
      ).choices(splits),
    )
    .option("--seed <S>", "the same seed gives the same images", wholeNumber(0), 0)
    .option(
      "--class <K>",
      "the class, where the run is class-conditional; default all in turn",
      wholeNumber(0),
    )
    .option(
      "--threshold <P>",
      "clamp predicted images at this percentile of their absolute values, in percent (1 to 100, as in 99.5), and rescale",
      percentile,
    )
    .option("--grid", "one PNG with all of them (the default)")
    .option("--npz", "an npz with arr_0 [N, H, W, C] uint8")
    .option("--png-dir <DIR>", "one PNG an image in this folder")
    .option(
      "--trajectories <N>",
      "also a PNG of N images on their way, with what is predicted there",
      wholeNumber(1),
    )
    .addOption(
      new Option(
        "--sequence [N]",
        "also the states of N images as a strip, and moving in a GIF and an animated PNG",
      )
        .preset("8")
        .argParser(wholeNumber(1)),
    )
    .option("--out <PATH>", "file name without extension; default in the run's samples/")
    .addOption(
      new Option("--weights <KIND>", "averaged or raw weights").choices(["ema", "raw"]).default("ema"),
    )
    .option("--checkpoint <STEP>", "a checkpoint other than the newest", wholeNumber(0))
    .option(
      "--set <KEY=VALUE>",
      "precision, device, threads, or how a model of degradations is sampled from (model.latentMode, stepNoise, startNoise, clamp)",
      collect,
      [],
    )
    .option("--profile", "take a few steps and print where their time goes; write nothing")
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
  varidiff sample runs/0003-vcd -n 16 --sequence 8 --keep-latents
  varidiff sample runs/0003-vcd --latents latents.npz
  varidiff sample runs/0003-vcd -n 32 --reconstruct test --sequence
  varidiff sample runs/0004-cold -n 64 --sampler redegrade --jump 3
  varidiff sample runs/0005-heat -n 16 --shared start            one start, different noise on the way
`,
    )
    .action(sample);
}

/** What is made of a run. */
interface Making {
  readonly trained: Trained;
  readonly options: SampleCommandOptions;
  readonly settings: SampleSettings;
  /** Those of the file that was named. */
  readonly latents: Latents | undefined;
  /** The images that are led back, where none are drawn. */
  readonly source: ImageSource | undefined;
  onProgress(done: number): void;
  readonly signal: AbortSignal;
}

async function sample(dir: string, options: SampleCommandOptions): Promise<void> {
  if (options.sampler !== undefined) checkSampler(options.sampler);
  const trained = openTrained(dir, {
    weights: options.weights,
    step: options.checkpoint,
    overrides: options.set,
  });
  for (const warning of trained.warnings) process.stderr.write(`${warning}\n`);
  const asked = settingsOf(trained, options);
  const untrained = trained.system instanceof ColdWalk ? trained.system.untrained(asked) : undefined;
  if (untrained !== undefined) process.stderr.write(`${untrained}\n`);
  const latents = await givenLatents(trained, options);
  const source = options.reconstruct && (await openSplit(trained.config, options.reconstruct));
  const count = latents?.shape[0] ?? Math.min(asked.count, source?.length ?? asked.count);
  const settings = { ...asked, count };
  if (options.profile) {
    await profile({ trained, options, settings, latents });
    return;
  }
  for (const folder of foldersOf(trained, { options, settings })) checkFolder(folder);
  const stop = interruptible();
  const progress = createProgress({ total: count * settings.steps, unit: "image steps", label: "sample" });
  const start = performance.now();
  let made: Written;
  try {
    const making: Making = {
      ...{ trained, options, settings, latents, source, signal: stop.signal },
      onProgress: (done) => progress.update(done),
    };
    made = await (source ? reconstruct(making, source) : draw(making));
  } catch (error) {
    const caught = stop.caught();
    if (!caught) throw error;
    throw new UserError("interrupted: nothing was written", { exitCode: exitCodeOf(caught) });
  } finally {
    progress.done();
    stop.release();
  }
  const seconds = (performance.now() - start) / 1000;
  const files = await writeSamples(trained, made, { options, settings });
  const { step, ema, machine, run } = trained;
  const document = {
    ...{ files, ...settings },
    ...{ latents: options.latents, reconstruct: options.reconstruct, ...sequenceFacts(made, options) },
    ...{ step, ema, precision: machine.precision, run: run.name, seconds },
  };
  emit(document, { json: options.json, text: () => files.join("\n") });
}

/** The latents of the file that was named. */
async function givenLatents(
  { system }: Trained,
  { latents: file }: SampleCommandOptions,
): Promise<Latents | undefined> {
  if (file === undefined || !(system instanceof VariationalColdDiffusion)) return undefined;
  return readLatents(file, { latentSize: system.latentSize, levels: system.levels });
}

/** Which states are looked at, and of how many images. */
function filming({ trajectories = 0, sequence = 0 }: SampleCommandOptions, steps: number) {
  const frames = sequence ? sequenceFrames(steps) : trajectories ? TRAJECTORY_STATES : 0;
  return { frames, filmed: Math.max(trajectories, sequence) };
}

async function draw({ onProgress, signal, ...making }: Making): Promise<Written> {
  await ensureStart(making.trained, { log: (line) => process.stderr.write(`${line}\n`) });
  return drawImages({ ...(await drawRequest(making)), onProgress, signal });
}

async function drawRequest({
  trained,
  options,
  settings,
  latents,
}: Omit<Making, "source" | "onProgress" | "signal">): Promise<DrawRequest> {
  const { system, machine } = trained;
  const { shared, count, seed } = settings;
  const condition = await conditionOf(trained, count, options.class);
  return {
    ...{ system, ...settings, latents, threshold: options.threshold },
    shared: shared && sharedBy[shared],
    streams: new Streams(seed),
    pass: evaluationPass(machine),
    device: machine.device,
    ...(shared ? { batchSize: count } : {}),
    atOnce: imagesAtOnce(trained),
    ...(condition ? { condition } : {}),
    ...filming(options, settings.steps),
  };
}

/** Says where the time of drawing goes, and writes nothing. */
async function profile(making: Parameters<typeof drawRequest>[0]): Promise<void> {
  const { trained, options } = making;
  if (options.reconstruct)
    throw new UserError("expected no --reconstruct with --profile, which draws samples: leave it out");
  const { profileSampling } = await import("../experiment/profile-sampling.js");
  const { describeProfile } = await import("../experiment/profile-text.js");
  const found = await profileSampling(trained, await drawRequest(making));
  emit(found, { json: options.json, text: () => describeProfile(found) });
}

/** Images of a split, evenly spread, led back from their own full degradation. */
async function reconstruct(
  { trained, options, settings, ...work }: Making,
  source: ImageSource,
): Promise<Written> {
  const { system, config, machine } = trained;
  if (!(system instanceof ColdWalk)) throw new Error("expected a degradation to lead images back from");
  const indices = evenlySpread(source.length, settings.count);
  return leadBack({
    ...{ system, ...settings, ...work },
    streams: new Streams(settings.seed),
    pass: evaluationPass(machine),
    readBatch: (first, count) =>
      readBatch(source, indices.slice(first, first + count), { config, device: machine.device }),
    ...filming(options, settings.steps),
  });
}

/** What a sequence shows. */
function sequenceFacts({ trajectory, pixels }: Written, { sequence }: SampleCommandOptions) {
  if (!sequence || !trajectory) return {};
  const { levels, times } = trajectory;
  return { sequence: { images: Math.min(sequence, pixels.count), ...(levels ? { levels } : { times }) } };
}
