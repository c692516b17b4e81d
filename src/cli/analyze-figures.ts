/** Draws a figure of `varidiff analyze` and writes it, with the record of it. */
import path from "node:path";
import type { Drawing, FigureSubject, Row, SystemFigure } from "../analysis/figure.js";
import type { Figure, FigureContext } from "../analysis/index.js";
import { writeDrawing } from "../analysis/index.js";
import type { ImageSource, Split } from "../data/index.js";
import { UserError } from "../errors.js";
import { conditionOf } from "../experiment/drawing.js";
import { evaluationPass, openSplit, readBatch } from "../experiment/experiment.js";
import { type ImageSet, openOtherSet, sameSet } from "../experiment/other-images.js";
import { packageVersion, provenance } from "../experiment/provenance.js";
import { samplingOf } from "../experiment/sampling.js";
import { writeFileAtomic } from "../io/index.js";
import { Streams, torchVersion } from "../torch/index.js";
import type { AnalyzeOptions } from "./analyze-options.js";
import type { Subject } from "./analyze-subjects.js";
import { createProgress } from "./progress.js";

/** What every figure is drawn with. */
export interface DrawOptions extends AnalyzeOptions {
  readonly folder: string;
  readonly signal: AbortSignal;
  readonly others: readonly Subject[];
  /** What was done to images of other data sets, by model and set. */
  readonly fitted: Map<string, { readonly of: string; readonly data: string; readonly adaptation: string }>;
}

/** The record of a figure. */
export interface FigureDocument {
  readonly files: readonly string[];
  readonly rows: readonly Row[];
}

/** Draws and writes one figure; the record of it, which is also written beside it. */
export async function drawFigure(
  figure: Figure,
  subject: Subject | undefined,
  o: DrawOptions,
): Promise<FigureDocument> {
  const start = performance.now();
  const { drawing, about, made } = await draw(figure, subject, o);
  const base = path.join(o.folder, figure.name);
  const files = [...(await writeDrawing(base, drawing)), `${base}.json`];
  const document = {
    figure: figure.name,
    files,
    ...about,
    ...drawing.settings,
    seconds: (performance.now() - start) / 1000,
    provenance: made,
    rows: drawing.rows ?? [],
  };
  writeFileAtomic(`${base}.json`, `${JSON.stringify(document, null, 2)}\n`);
  return document;
}

interface Drawn {
  readonly drawing: Drawing;
  /** What it is of. */
  readonly about: Readonly<Record<string, unknown>>;
  readonly made: Readonly<Record<string, unknown>>;
}

async function draw(figure: Figure, subject: Subject | undefined, o: DrawOptions): Promise<Drawn> {
  if (figure.needs === "nothing") {
    const drawing = await figure.draw({ request: o });
    const made = {
      varidiff: packageVersion(),
      node: process.versions.node,
      date: new Date().toISOString(),
    };
    return { drawing, about: {}, made };
  }
  if (!subject) throw new Error(`expected a subject for figure "${figure.name}"`);
  const { config, machine, step, ema } = subject;
  return {
    drawing: await drawSystemFigure(figure, subject, o),
    about: {
      ...{ of: subject.name, with: o.others.map(({ label }) => label) },
      ...{ system: config.system, data: config.data.name, step, ema, seed: o.seed },
      ...(o.fitted.size === 0 ? {} : { otherData: [...o.fitted.values()] }),
    },
    made: { ...provenance({ libtorch: torchVersion().torch, ...machine }) },
  };
}

/** A subject as figures see it. */
function figureSubject(subject: Subject, o: DrawOptions): FigureSubject {
  const { name, path, label, config, machine, system, records } = subject;
  const { initial, checkpoints, qualityResults } = subject;
  const { data } = config;
  return {
    ...{ name, path, label, system, records, initial, checkpoints, qualityResults, data },
    async openImages(asked, set = askedSet(o.data) ?? data) {
      const split = asked ?? o.split ?? data.evaluationSplit;
      const { source, adaptation } = await openSet(subject, set, split);
      if (adaptation !== undefined)
        o.fitted.set(`${name} ${set.name}`, { of: name, data: set.name, adaptation });
      const read = (indices: readonly number[]) =>
        readBatch(source, indices, { config, device: machine.device });
      return { source, read, ...(adaptation === undefined ? {} : { adaptation }) };
    },
    conditionOf: (count) => conditionOf(subject, count, undefined),
  };
}

/** The data set in the place of a model's own. @throws UserError for more than one */
function askedSet([set, ...more]: readonly string[]): ImageSet | undefined {
  if (set === undefined) return undefined;
  if (more.length === 0) return { name: set };
  throw new UserError(
    `expected one --data for a figure of one data set, got ${[set, ...more].join(" and ")}: draw one by one`,
  );
}

/** A split of the set that the model was trained on, or of another, fitted to it. */
async function openSet(
  { config, system }: Subject,
  set: ImageSet,
  split: Split,
): Promise<{ readonly source: ImageSource; readonly adaptation?: string }> {
  if (sameSet(set, config.data)) return { source: await openSplit(config, split) };
  const source = await openOtherSet(config, system.shape as [number, number, number], { set, split });
  return { source, adaptation: source.adaptation };
}

/** Draws a figure of a system, and shows how far it is. */
async function drawSystemFigure(figure: SystemFigure, subject: Subject, o: DrawOptions): Promise<Drawing> {
  const { config, machine } = subject;
  let progress: ReturnType<typeof createProgress> | undefined;
  const context: FigureContext = {
    ...figureSubject(subject, o),
    others: o.others.map((other) => figureSubject(other, o)),
    request: o,
    sampling: samplingOf(config, subject.system),
    batchSize: config.evaluate.batchSize,
    streams: new Streams(o.seed),
    pass: evaluationPass(machine),
    device: machine.device,
    signal: o.signal,
    onProgress(done, total) {
      progress ??= createProgress({ total, unit: "image passes", label: figure.name });
      progress.update(done);
    },
  };
  try {
    return await figure.draw(context);
  } finally {
    progress?.done();
  }
}
