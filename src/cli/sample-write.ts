/** What `varidiff sample` writes: images, their ways, and their latents. */
import fs from "node:fs";
import path from "node:path";
import { firstImages, stateLabels, trajectoryGrid, wayOf } from "../analysis/trajectories.js";
import type { Drawn, Trajectory } from "../experiment/drawing.js";
import { changesOf, type Trained } from "../experiment/trained.js";
import { precisionOf } from "../experiment/unusual.js";
import { channelsLast, makeFolder, writeFileAtomic, writeNpz } from "../io/index.js";
import {
  animatedGif,
  animatedPng,
  imageGrid,
  imagePicture,
  type Pixels,
  stripPicture,
  writePngs,
} from "../plot/index.js";
import { writeLatents } from "./sample-latents.js";
import type { SampleCommandOptions, SampleSettings } from "./sample-options.js";

/** Of reconstructions, so that they can be seen beside their originals. */
const WIDEST_GRID = 16;
/** Of paper, where a row has no image. */
const BLANK = 255;

/** Images that were drawn, or led back from `originals`. */
export interface Written extends Drawn {
  readonly originals?: Pixels;
}

/** Where files go, without their extension: in the run's folder a name that says how they were made. */
function baseOf(
  trained: Pick<Trained, "run" | "own" | "machine" | "step" | "changes">,
  options: SampleCommandOptions,
  { count, sampler, steps, seed }: SampleSettings,
): string {
  if (options.out !== undefined) return options.out;
  const named = (label: string, value: string | number | undefined) =>
    value === undefined ? [] : [`${label}${value}`];
  const { run, own, machine, step } = trained;
  const { precision } = machine;
  const unusualCount = options.count === undefined || count === own.sample.count ? undefined : count;
  const parts = [
    `step${step}`,
    ...(options.weights === "raw" ? ["raw"] : []),
    ...named("class", options.class),
    ...named("threshold", options.threshold),
    ...named("eta", options.eta),
    ...named("respaced", options.respacing),
    ...named("jump", options.jump),
    ...named("shared-", options.shared),
    ...named("latents-", options.latents && path.parse(options.latents).name),
    ...named("reconstruct-", options.reconstruct),
    ...changesOf(trained).name,
    ...(precision === precisionOf(own) ? [] : [precision]),
    ...[sampler, `T${steps}`, ...named("n", unusualCount), `seed${seed}`],
  ];
  return path.join(run.paths.samples, parts.join("-"));
}

/** The folders that files go to. */
export function foldersOf(
  trained: Parameters<typeof baseOf>[0],
  { options, settings }: { readonly options: SampleCommandOptions; readonly settings: SampleSettings },
): readonly string[] {
  const { pngDir } = options;
  return [path.dirname(baseOf(trained, options, settings)), ...(pngDir === undefined ? [] : [pngDir])];
}

/** Writes what was asked for; the files, in the order in which they were written. */
export async function writeSamples(
  trained: Pick<Trained, "run" | "own" | "machine" | "step" | "changes" | "config" | "system">,
  { pixels, originals, trajectory, latents }: Written,
  { options, settings }: { readonly options: SampleCommandOptions; readonly settings: SampleSettings },
): Promise<string[]> {
  const base = baseOf(trained, options, settings);
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
  if (options.grid || !(options.npz || options.pngDir))
    put(`${base}.png`, await (originals ? besideOriginals(pixels, originals) : imageGrid(pixels)));
  if (options.keepLatents && latents) {
    writeLatents(`${base}-latents.npz`, latents);
    files.push(`${base}-latents.npz`);
  }
  const title = `${wayOf(trained.system)}: ${trained.config.system}`;
  if (trajectory && options.trajectories) {
    const shown = Math.min(options.trajectories, pixels.count);
    put(`${base}-trajectories.png`, (await trajectoryGrid(trajectory, shown, title)).png);
  }
  if (trajectory && options.sequence) {
    const shown = Math.min(options.sequence, pixels.count);
    for (const [ending, bytes] of await sequenceOf(trajectory, shown, title))
      put(`${base}-sequence.${ending}`, bytes);
  }
  for (const file of files)
    if (!fs.existsSync(file)) throw new Error(`expected ${file} to have been written`);
  return files;
}

/** The states of the first `count` images side by side, and one after another as moving pictures. */
async function sequenceOf(
  trajectory: Trajectory,
  count: number,
  title: string,
): Promise<readonly (readonly [ending: string, bytes: Uint8Array])[]> {
  const states = trajectory.states.map((state) => firstImages(state, count));
  const { png } = await stripPicture(states, { columnLabels: stateLabels(trajectory), title });
  return [
    ["png", png],
    ["gif", await animatedGif(states)],
    ["apng", await animatedPng(states)],
  ];
}

/** Rows of originals, each above the row of what they became. */
async function besideOriginals(pixels: Pixels, originals: Pixels): Promise<Uint8Array> {
  const { count, channels, height, width } = pixels;
  const columns = Math.min(count, WIDEST_GRID);
  const pairs = Math.ceil(count / columns);
  const row = columns * channels * height * width;
  const data = new Uint8Array(2 * pairs * row).fill(BLANK);
  for (let pair = 0; pair < pairs; pair++)
    for (const [i, from] of [originals, pixels].entries())
      data.set(from.data.subarray(pair * row, (pair + 1) * row), (2 * pair + i) * row);
  const rowLabels = Array.from({ length: 2 * pairs }, (_, i) => (i % 2 === 0 ? "original" : "led back"));
  const all = { channels, height, width, data, count: 2 * pairs * columns };
  return (await imagePicture(all, { columns, rowLabels })).png;
}
