/** What a figure is: something to be drawn of a system, with the numbers behind it. */
import type { ImageSource, Split } from "../data/index.js";
import type { Pass } from "../diffusion/denoiser.js";
import type { Batch, DiffusionSystem } from "../diffusion/system.js";
import { UserError } from "../errors.js";
import type { MetricsRecord } from "../experiment/journal.js";
import type { ImageSet } from "../experiment/other-images.js";
import type { QualityResult } from "../experiment/quality-results.js";
import type { Chart } from "../plot/index.js";
import type { Streams } from "../torch/index.js";

/** A line of a figure's CSV. */
export type Row = Readonly<Record<string, number | string>>;

/** A chart with the numbers that it shows, or a picture made of images. */
export type Drawing =
  | {
      readonly kind: "chart";
      readonly chart: Chart;
      readonly rows: readonly Row[];
      /** What the numbers were measured with. */
      readonly settings: Readonly<Record<string, unknown>>;
    }
  | {
      readonly kind: "picture";
      readonly png: Uint8Array;
      /** The same picture to scale, where there is one. */
      readonly svg?: string;
      readonly rows?: readonly Row[];
      readonly settings: Readonly<Record<string, unknown>>;
    };

/** The images that a figure shows or measures. */
export interface FigureImages {
  readonly source: ImageSource;
  /** What was done to them so that they fit the model, if anything: `resized from 64x64 to 32x32`. */
  readonly adaptation?: string;
  read(indices: readonly number[]): Batch;
}

/** What may be asked of a figure; each has defaults of its own. */
export interface FigureRequest {
  /** Images shown, or measured on. */
  readonly images?: number | undefined;
  /** Times that they are looked at. */
  readonly times?: number | undefined;
  /** Independent draws of every image. */
  readonly passes?: number | undefined;
  /** Numbers of steps T of the chain, 0 for continuous time. */
  readonly steps?: readonly number[] | undefined;
  /** Images a row. */
  readonly columns?: number | undefined;
  /** Names of other data sets than the model's own. */
  readonly data?: readonly string[] | undefined;
  /** Variance of the noise that images are brought back from. */
  readonly at?: number | undefined;
}

/** A checkpoint of a run that is still there. */
export interface KeptCheckpoint {
  readonly step: number;
  /** The system as it was then; whoever opens it disposes of it. */
  open(): DiffusionSystem;
}

/** A model that a figure is of: that of the run or config asked for, or of a run beside it. */
export interface FigureSubject<S extends DiffusionSystem = DiffusionSystem> {
  /** Of the run or the config. */
  readonly name: string;
  /** Where it lies. */
  readonly path: string;
  /** Which model it is of, for subtitles: the name, and how far it was trained. */
  readonly label: string;
  readonly system: S;
  /** The same system before its first step, where that is still known. */
  initial(): DiffusionSystem | undefined;
  /** It and what is left of it at earlier steps, in their order. */
  checkpoints(): readonly KeptCheckpoint[];
  /** What its samples were found to be worth. */
  qualityResults(): readonly QualityResult[];
  /** What was told while it trained, in order. */
  readonly records: readonly MetricsRecord[];
  /** The data set that it was trained on. */
  readonly data: ImageSet;
  /**
   * Images of the split that was asked for, or of another; of the data set that was asked for, or of another, as far as
   * they can be fitted to the model.
   */
  openImages(split?: Split, set?: ImageSet): Promise<FigureImages>;
  /** One conditioning number for each image drawn, where the system is class-conditional. */
  conditionOf(count: number): Promise<Float32Array | undefined>;
}

/** What a figure is drawn from. */
export interface FigureContext<S extends DiffusionSystem = DiffusionSystem> extends FigureSubject<S> {
  /** The runs that are shown beside it. */
  readonly others: readonly FigureSubject[];
  readonly request: FigureRequest;
  readonly sampling: { readonly count: number; readonly steps: number; readonly sampler: string };
  readonly batchSize: number;
  readonly streams: Streams;
  readonly pass: Pass;
  readonly device: string;
  onProgress?(done: number, total: number): void;
  readonly signal?: AbortSignal | undefined;
}

/**
 * What has to be there before a figure can be drawn: a config, the records of a training, trained weights, those of
 * other runs too, or results of `evaluate --metrics quality`.
 */
export type FigureNeed = "config" | "records" | "weights" | "other runs" | "quality results";

/** A figure of a system. */
export interface SystemFigure {
  readonly name: string;
  readonly summary: string;
  readonly needs: FigureNeed;
  /** Whether the system can give what is drawn. */
  fits(system: DiffusionSystem): boolean;
  /** @throws UserError where the system does not fit; the signal's reason when it aborts. */
  draw(context: FigureContext): Promise<Drawing>;
}

/** A figure of formulas alone, drawn without a run or a config. */
export interface Illustration {
  readonly name: string;
  readonly summary: string;
  readonly needs: "nothing";
  draw(context: Pick<FigureContext, "request">): Promise<Drawing>;
}

export type Figure = SystemFigure | Illustration;

/** A figure of systems with a certain capability. */
export interface FigureDefinition<S extends DiffusionSystem> {
  readonly name: string;
  readonly summary: string;
  readonly needs: FigureNeed;
  /** The capability: its type guard, and how it is called in a message. */
  readonly of: { fits(system: DiffusionSystem): system is S; readonly words: string };
  draw(context: FigureContext<S>): Promise<Drawing>;
}

/** A definition as an entry of the registry: the capability is asked for when the figure is drawn. */
export function defineFigure<S extends DiffusionSystem>(definition: FigureDefinition<S>): SystemFigure {
  const { name, summary, needs, of } = definition;
  return {
    name,
    summary,
    needs,
    fits: of.fits,
    async draw(context) {
      const { system } = context;
      if (!of.fits(system))
        throw new UserError(
          `expected ${of.words} for figure "${name}", got one without (${context.label}): choose another figure`,
        );
      return definition.draw({ ...context, system });
    },
  };
}

/** For figures that every system can give. */
export const anySystem = {
  fits: (_system: DiffusionSystem): _system is DiffusionSystem => true,
  words: "a system",
};

/** `[0 .. size - 1], [size .. 2 size - 1], ...` up to `count`. */
export function* batchesOf(count: number, size: number): Generator<readonly number[]> {
  for (let start = 0; start < count; start += size)
    yield Array.from({ length: Math.min(size, count - start) }, (_, i) => start + i);
}
