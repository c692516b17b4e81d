/** Figure `quality-per-evaluations`: how good samples are for what they cost, by sampler and number of steps. */

import { sampleFlow } from "../diffusion/sampler/flow.js";
import { flowSampler } from "../diffusion/sampler/index.js";
import { hasFlow } from "../diffusion/system.js";
import { UserError } from "../errors.js";
import { drawImages } from "../experiment/drawing.js";
import { type Estimate, estimate } from "../experiment/evaluation.js";
import { blockMeans } from "../metrics/block-means.js";
import { fitGaussian, frechetDistance } from "../metrics/frechet.js";
import { type LineSeries, lineChart } from "../plot/index.js";
import { fromTypedArray, type Generator, noGrad, randint, scope, type Tensor } from "../torch/index.js";
import {
  anySystem,
  defineFigure,
  type FigureContext,
  type FigureImages,
  type FigureSubject,
} from "./figure.js";
import { sameImages } from "./same-images.js";

const SAMPLERS = ["ancestral", "ddim", "reverse-sde"];
const STEPS = [5, 10, 20, 50, 100];
/** Relative and absolute, of the adaptive solver. */
const TOLERANCES = [1e-1, 3e-2, 1e-2, 3e-3, 1e-3];
const IMAGES = 256;
const RESAMPLES = 20;

/** What is measured, in full: it is no FID, whose features are those of a trained network. */
export const QUALITY = "Fréchet distance of 7 × 7 block means";

/** One way to sample: with so many steps, or within a tolerance. */
type Setting =
  | { readonly sampler: string; readonly steps: number }
  | { readonly sampler: typeof flowSampler; readonly tolerance: number };

interface Point extends Estimate {
  readonly run: string;
  readonly setting: Setting;
  /** Of the network, for a batch of images; the mean over batches where they differ. */
  readonly evaluations: number;
}

/**
 * The Frechet distance between Gaussians fitted to the block means of `images` and `reference`, both uint8
 * `[N, C, H, W]`; its error is the deviation over bootstrap resamples of `images`.
 */
export function blockMeansDistance(images: Tensor, reference: Tensor, generator: Generator): Estimate {
  return noGrad(() =>
    scope(() => {
      const features = blockMeans(images);
      const target = fitGaussian(blockMeans(reference));
      const count = features.dim(0);
      const resampled = Array.from({ length: RESAMPLES }, () =>
        scope(() => {
          const chosen = randint(0, count, [count], generator).toDevice(features.device);
          return frechetDistance(fitGaussian(features.indexSelect(0, chosen)), target);
        }),
      );
      return {
        mean: frechetDistance(fitGaussian(features), target),
        standardError: estimate(resampled).standardError * Math.sqrt(RESAMPLES),
      };
    }),
  );
}

/** The samplers and numbers of steps that a run can be drawn with. @throws UserError where there is none */
function stepSettings({ system }: FigureSubject, steps: readonly number[]) {
  const all = SAMPLERS.flatMap((sampler) => steps.map((T) => ({ sampler, steps: T })));
  const errors: UserError[] = [];
  const possible = all.filter((setting) => {
    try {
      system.checkSampling?.(setting);
      return true;
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      errors.push(error);
      return false;
    }
  });
  if (possible.length === 0 && errors[0]) throw errors[0];
  return possible;
}

/** Samples of a run in one setting, uint8 bytes `[count, C, H, W]`, and what they cost. */
async function drawSamples(
  context: FigureContext,
  run: FigureSubject,
  o: { readonly setting: Setting; readonly count: number; onPart(part: number): void },
): Promise<{ readonly bytes: Uint8Array; readonly evaluations: number }> {
  const { streams, pass, device, batchSize, signal } = context;
  const { setting, count } = o;
  const { system } = run;
  const condition = await run.conditionOf(count);
  const request = { system, streams, device, batchSize, signal, count };
  if ("steps" in setting) {
    const { pixels } = await drawImages({
      ...request,
      ...setting,
      pass,
      ...(condition ? { condition } : {}),
      onProgress: (done, total) => o.onPart(done / total),
    });
    return { bytes: pixels.data, evaluations: setting.steps };
  }
  const size = system.shape.reduce((product, n) => product * n, 1);
  const bytes = new Uint8Array(count * size);
  const costs: number[] = [];
  for (let start = 0; start < count; start += batchSize) {
    const n = Math.min(batchSize, count - start);
    const ofBatch = condition?.subarray(start, start + n);
    const { images, evaluations } = await sampleFlow(
      system,
      {
        count: n,
        steps: 0,
        sampler: flowSampler,
        streams: streams.at(start / batchSize),
        // The solver's error control would answer to the rounding of anything coarser with ever smaller steps.
        pass: { ...pass, precision: "float32" },
        ...(ofBatch ? { condition: fromTypedArray(ofBatch, [n]).toDevice(device) } : {}),
      },
      {
        tolerance: setting.tolerance,
        onTime: (t) => o.onPart((start + n * (1 - t)) / count),
        ...(signal ? { signal } : {}),
      },
    );
    bytes.set(images.toTypedArray() as Uint8Array, start * size);
    images.dispose();
    costs.push(evaluations);
  }
  return { bytes, evaluations: estimate(costs).mean };
}

/** The first images of a source, or the last. */
function readImages({ source, read }: FigureImages, count: number, from: "start" | "end"): Tensor {
  const offset = from === "start" ? 0 : source.length - count;
  return read(Array.from({ length: count }, (_, i) => offset + i)).pixels;
}

/** A line for every sampler of every run, and one across for the floor. */
function seriesOf(points: readonly Point[], floor: Estimate, several: boolean): readonly LineSeries[] {
  const names = [...new Set(points.map(({ run, setting }) => JSON.stringify([run, setting.sampler])))];
  const band = (values: readonly Estimate[]) => ({
    y: values.map(({ mean }) => mean),
    low: values.map(({ mean, standardError }) => mean - standardError),
    high: values.map(({ mean, standardError }) => mean + standardError),
  });
  const lines = names.map((key): LineSeries => {
    const own = points.filter(({ run, setting }) => JSON.stringify([run, setting.sampler]) === key);
    const [first] = own;
    const name = `${several ? `${first?.run}, ` : ""}${first?.setting.sampler ?? ""}`;
    return { name, x: own.map(({ evaluations }) => evaluations), ...band(own), mark: "line-and-points" };
  });
  const costs = points.map(({ evaluations }) => evaluations);
  const ends = [Math.min(...costs), Math.max(...costs)];
  return [...lines, { name: "training images", x: ends, ...band(ends.map(() => floor)) }];
}

/** The quality is that of `blockMeansDistance`; its floor is the distance of as many training images. */
export const qualityPerEvaluations = defineFigure({
  name: "quality-per-evaluations",
  summary: "sample quality against network evaluations, for each sampler, for this run and those of --with",
  needs: "weights",
  of: anySystem,
  async draw(context) {
    const { request, streams } = context;
    const test = await context.openImages();
    const training = await context.openImages("train");
    const count = Math.min(request.images ?? IMAGES, test.source.length, training.source.length);
    const steps = [...new Set(request.steps ?? STEPS)].sort((a, b) => a - b);
    if (steps.includes(0))
      throw new UserError(
        'expected numbers of steps above 0 for figure "quality-per-evaluations", got 0: leave it out of --steps',
      );
    const runs: readonly FigureSubject[] = [context, ...context.others];
    for (const other of context.others) await sameImages(other, test);

    const distance = (images: () => Tensor): Estimate =>
      scope(() => {
        const reference = readImages(test, count, "start");
        return blockMeansDistance(images(), reference, streams.at(0).generator("bootstrap"));
      });
    const floor = distance(() => readImages(training, count, "end"));
    const work = runs.flatMap((run) => [
      ...stepSettings(run, steps).map((setting) => ({ run, setting })),
      ...(hasFlow(run.system)
        ? TOLERANCES.map((tolerance) => ({ run, setting: { sampler: flowSampler, tolerance } as const }))
        : []),
    ]);
    const points: Point[] = [];
    for (const [i, { run, setting }] of work.entries()) {
      const onPart = (part: number) =>
        context.onProgress?.(Math.floor((i + part) * count), work.length * count);
      const { bytes, evaluations } = await drawSamples(context, run, { setting, count, onPart });
      const images = () => fromTypedArray(bytes, [count, ...run.system.shape]).toDevice(context.device);
      points.push({ run: run.name, setting, evaluations, ...distance(images) });
    }

    const chart = lineChart({
      title: "Sample quality against the cost of sampling",
      subtitle:
        `${context.label}; ${QUALITY} (lower is better) of ${count} samples to as many ${test.source.split} images, ` +
        "band: ± 1 bootstrap standard error",
      width: 640,
      height: 440,
      x: { label: "evaluations of the network", scale: "log" },
      y: { label: QUALITY, scale: "log" },
      series: seriesOf(points, floor, runs.length > 1),
    });
    const rows = [
      ...points.map(({ run, setting, evaluations, mean, standardError }) => ({
        run,
        ...setting,
        evaluations,
        distance: mean,
        standardError,
      })),
      { run: "training images", distance: floor.mean, standardError: floor.standardError },
    ];
    const settings = {
      quality: QUALITY,
      runs: runs.map(({ label }) => label),
      images: count,
      batchSize: context.batchSize,
      steps,
      tolerances: TOLERANCES,
      resamples: RESAMPLES,
      split: test.source.split,
      floor,
    };
    return { kind: "chart", chart, rows, settings };
  },
});
