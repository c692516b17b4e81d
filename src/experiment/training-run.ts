/** A training with everything around it: the run folder, checkpoints, metrics, pictures, interruption. */
import fs from "node:fs";
import path from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import type { ImageSource } from "../data/index.js";
import type { ImageModel } from "../diffusion/system.js";
import { UserError } from "../errors.js";
import { makeFolder, removeLeftovers, writeFileAtomic } from "../io/index.js";
import { loadTensors, Streams, scope, torchVersion, toStored } from "../torch/index.js";
import { type Checkpoint, newestWholeCheckpoint, writeCheckpoint } from "./checkpoint-files.js";
import type { Config } from "./config.js";
import { buildModel, type Machine, openSplit, prepareMachine } from "./experiment.js";
import { checkParameters } from "./given-run.js";
import { Journal, readMetrics } from "./journal.js";
import { stringifyConfig } from "./load-config.js";
import { boundOnTheWay, checkOnTheWay, type OnTheWay, samplesOnTheWay } from "./on-the-way.js";
import { provenance } from "./provenance.js";
import { lockRun, type Run } from "./run-folder.js";
import { ensureStart } from "./start-file.js";
import { startFrom } from "./start-from.js";
import { type Reading, Trainer } from "./trainer.js";

/** How a training is told about. */
export interface TrainingReport {
  /** A line for people: warnings, checkpoints, pictures. */
  log(line: string): void;
  /** After every step: how far it is, in steps or, where `train.minutes` limits it, in seconds. */
  progress(state: {
    readonly step: number;
    readonly done: number;
    readonly images: number;
    readonly reading: Reading | undefined;
  }): void;
}

export interface TrainingRequest {
  readonly run: Run;
  readonly config: Config;
  readonly report: TrainingReport;
  /** Ends the training after the step at hand, with a checkpoint. */
  readonly signal?: AbortSignal;
}

export interface TrainingResult {
  readonly run: string;
  readonly step: number;
  /** Time spent training, over all its sessions. */
  readonly seconds: number;
  readonly outcome: "finished" | "interrupted" | "nothing-to-do";
  /** The last means of the training loss. */
  readonly loss: number | null;
  /** What the loss counts: `bits/dim`, or what the system says. */
  readonly lossUnit: string;
  /** The loss where it is a bound in bits/dim. */
  readonly bitsPerDim: number | null;
}

/** Where a training stands, as its files say. */
interface Standing {
  readonly checkpoint: Checkpoint | undefined;
  readonly seconds: number;
}

/**
 * Trains `config` in `run`, from its newest whole checkpoint where there is one. A finished run is left as it is.
 *
 * @throws UserError when the data are missing, another process trains the run, every checkpoint is damaged, the disk is
 *   full, or the loss stops being a number (the last good checkpoint stays as it is)
 */
export async function trainRun(request: TrainingRequest): Promise<TrainingResult> {
  const { run, config, report } = request;
  const { checkpoint, warnings } = newestWholeCheckpoint(run);
  for (const warning of warnings) report.log(warning);
  if (!checkpoint && warnings.length > 0)
    throw new UserError(
      `expected a whole checkpoint in ${run.paths.checkpoints}, found damaged ones only: train anew in another folder`,
    );
  const seconds = checkpoint ? timeUntil(run, checkpoint.step, "seconds") : 0;
  if (checkpoint && isFinished(config, checkpoint.step, seconds))
    return {
      run: run.dir,
      step: checkpoint.step,
      seconds,
      outcome: "nothing-to-do",
      ...lastLoss(run),
    };

  const machine = prepareMachine(config);
  const source = await openSplit(config, "train");
  // What the config asks for and cannot be is refused here, before anything is written.
  const trainer = makeTrainer(request, { machine, source, begins: checkpoint ? "resumed" : "anew" });
  const lock = lockRun(run.dir);
  try {
    removeLeftovers(run.dir);
    writeFileAtomic(run.paths.config, stringifyConfig(config));
    for (const folder of [run.paths.checkpoints, run.paths.samples, run.paths.events]) makeFolder(folder);
    removeLeftovers(run.paths.checkpoints);
    await ensureStart(
      { run, config, machine, system: trainer.system },
      { source, log: (line) => report.log(line) },
    );
    return await new Training(request, { machine, source, trainer }, { checkpoint, seconds }).go();
  } finally {
    lock.release();
    trainer.dispose();
    trainer.system.dispose();
  }
}

/** The system with its first weights, and what trains it. @throws UserError for a config that cannot be built */
function makeTrainer(
  { config, report }: TrainingRequest,
  o: { readonly machine: Machine; readonly source: ImageSource; readonly begins: "anew" | "resumed" },
): Trainer<ImageModel> {
  const { device } = o.machine;
  const { system } = buildModel(config, o.source.shape);
  checkOnTheWay(system, config);
  system.initialise(new Streams(config.train.seed), { device });
  if (o.begins === "anew" && config.train.from !== null)
    report.log(startFrom(system, config.train.from, { device }));
  return new Trainer(config, o.machine, system, o.source);
}

const notFinite = "a weight stopped being a finite number";

function isFinished({ train }: Config, step: number, seconds: number): boolean {
  return step >= train.steps || (train.minutes !== null && seconds >= train.minutes * 60);
}

function timeUntil(run: Run, step: number, key: "seconds" | "cpuSeconds"): number {
  if (!fs.existsSync(run.paths.metrics)) return 0;
  const last = readMetrics(run).findLast((r) => r.step <= step && typeof r[key] === "number");
  return (last?.[key] as number | undefined) ?? 0;
}

/** What a training came to, as `TrainingResult` says it. */
type LastLoss = Pick<TrainingResult, "loss" | "lossUnit" | "bitsPerDim">;

function lastLoss(run: Run): LastLoss {
  const last = readMetrics(run).findLast((r) => r.event === "train");
  if (typeof last?.lossUnit === "string")
    return { ...lossIn(last.lossUnit, typeof last.loss === "number" ? last.loss : null) };
  return lossIn(bitsUnit, typeof last?.bitsPerDim === "number" ? last.bitsPerDim : null);
}

const bitsUnit = "bits/dim";

function lossIn(lossUnit: string, loss: number | null): LastLoss {
  return { loss, lossUnit, bitsPerDim: lossUnit === bitsUnit ? loss : null };
}

class Training {
  readonly #run: Run;
  readonly #config: Config;
  readonly #report: TrainingReport;
  readonly #signal: AbortSignal | undefined;
  readonly #machine: Machine;
  readonly #source: ImageSource;
  readonly #trainer: Trainer<ImageModel>;
  readonly #journal: Journal;
  readonly #secondsBefore: number;
  readonly #cpuBefore: number;
  readonly #cpuStart = process.cpuUsage();
  #started = 0;
  #loss: number | null = null;

  constructor(
    { run, config, report, signal }: TrainingRequest,
    { machine, source, trainer }: { machine: Machine; source: ImageSource; trainer: Trainer<ImageModel> },
    at: Standing,
  ) {
    this.#run = run;
    this.#config = config;
    this.#report = report;
    this.#signal = signal;
    this.#machine = machine;
    this.#source = source;
    this.#secondsBefore = at.seconds;
    this.#cpuBefore = at.checkpoint ? timeUntil(run, at.checkpoint.step, "cpuSeconds") : 0;
    this.#trainer = trainer;
    this.#journal = new Journal(run, at.checkpoint?.step ?? 0);
    if (at.checkpoint) this.#resume(at.checkpoint);
    this.#note(at.checkpoint ? "resume" : "start", {
      parameters: trainer.system.parameterCount(),
      data: {
        name: source.name,
        split: source.split,
        images: source.length,
        fingerprint: source.fingerprint,
      },
      provenance: { ...provenance({ libtorch: torchVersion().torch, ...machine }) },
    });
    if (!at.checkpoint) this.#checkpoint();
  }

  async go(): Promise<TrainingResult> {
    const { train } = this.#config;
    this.#started = performance.now();
    try {
      while (!isFinished(this.#config, this.#trainer.step, this.#seconds())) {
        if (this.#signal?.aborted) return this.#end("interrupted");
        const images = this.#advance();
        const { step } = this.#trainer;
        const last = isFinished(this.#config, step, this.#seconds());
        const reading = step % train.logEvery === 0 || last ? this.#read() : undefined;
        const done = train.minutes === null ? step : last ? train.minutes * 60 : Math.floor(this.#seconds());
        this.#report.progress({ step, done, images, reading });
        if (!last && step % train.checkpointEvery === 0) this.#checkpoint();
        if (train.sampleEvery > 0 && step % train.sampleEvery === 0) await this.#draw();
        if (train.evaluateEvery > 0 && step % train.evaluateEvery === 0) await this.#evaluate();
        await turn();
      }
      return this.#end("finished");
    } finally {
      this.#journal.close();
    }
  }

  /** Takes a step. An operator that refuses NaN ends the run as a loss of NaN does. */
  #advance(): number {
    try {
      return this.#trainer.advance();
    } catch (error) {
      if (this.#trainer.isFinite()) throw error;
      this.#fail(notFinite);
    }
  }

  #seconds(): number {
    return this.#secondsBefore + (this.#started === 0 ? 0 : (performance.now() - this.#started) / 1000);
  }

  /** Processor time of this process and its threads, all sessions of the run together. */
  #cpuSeconds(): number {
    const { user, system } = process.cpuUsage(this.#cpuStart);
    return this.#cpuBefore + (user + system) / 1e6;
  }

  #note(
    event: "start" | "resume" | "finish" | "interrupt" | "failed",
    more: Record<string, string | number | object> = {},
  ): void {
    const { step } = this.#trainer;
    this.#journal.record({ event, step, seconds: this.#seconds(), cpuSeconds: this.#cpuSeconds(), ...more });
  }

  #resume({ step, files, state }: Checkpoint): void {
    const read = (stem: string) => {
      const file = files[stem];
      if (!file)
        throw new UserError(
          `expected ${stem}.safetensors in checkpoint ${step} of ${this.#run.dir}, found none`,
        );
      return loadTensors(file).tensors;
    };
    const weights = read("weights");
    checkParameters(this.#trainer.system, weights, {
      where: `the weights of step ${step} of ${this.#run.dir}`,
      remedy: `restore ${this.#run.paths.config}`,
    });
    this.#trainer.restore(step, { weights, ema: read("ema"), optimiser: read("optimiser") });
    const { threads, precision } = this.#machine;
    for (const [what, now] of Object.entries({ threads, precision, data: this.#source.fingerprint }))
      if (state[what] !== undefined && state[what] !== now)
        this.#report.log(
          `this run was trained with ${what} ${state[what]}, now ${now}: it goes on, but its bits will differ`,
        );
    this.#report.log(`resuming ${this.#run.dir} at step ${step}`);
  }

  /** Means since the last reading, into the journal; stops the run where they are no numbers. */
  #read(): Reading | undefined {
    const reading = this.#trainer.read();
    if (!reading) return undefined;
    const { loss, terms, learningRate } = reading;
    if (!Number.isFinite(loss)) this.#fail(`the loss became ${loss}`);
    this.#loss = loss;
    const { lossUnit } = this.#trainer.system;
    this.#journal.record({
      event: "train",
      step: this.#trainer.step,
      seconds: this.#seconds(),
      cpuSeconds: this.#cpuSeconds(),
      ...(lossUnit === undefined ? { bitsPerDim: loss } : { loss, lossUnit }),
      ...terms,
      learningRate,
    });
    return reading;
  }

  #fail(what: string): never {
    const { step } = this.#trainer;
    this.#note("failed", { reason: what });
    const last = newestWholeCheckpoint(this.#run).checkpoint?.step ?? 0;
    throw new UserError(
      `${what} by step ${step}; the checkpoint of step ${last} is kept: ` +
        "try a smaller optimiser.learningRate, optimiser.clipNorm=1 or precision=float32",
    );
  }

  #checkpoint(): void {
    this.#read();
    if (!this.#trainer.isFinite()) this.#fail(notFinite);
    const { step } = this.#trainer;
    // Some of the state is made for the checkpoint.
    scope(() => {
      const { weights, ema, optimiser } = this.#trainer.tensors();
      const stored = (tensors: readonly (readonly [string, Parameters<typeof toStored>[0]])[]) =>
        tensors.map(([name, tensor]) => [name, toStored(tensor)] as const);
      const { threads, precision, device } = this.#machine;
      writeCheckpoint(this.#run, {
        step,
        tensors: { weights: stored(weights), ema: stored(ema), optimiser: stored(optimiser) },
        state: {
          seed: this.#config.train.seed,
          system: this.#config.system,
          shape: this.#source.shape,
          data: this.#source.fingerprint,
          threads,
          precision,
          device,
        },
        keep: this.#config.train.keepCheckpoints,
      });
    });
  }

  #end(outcome: "finished" | "interrupted"): TrainingResult {
    this.#checkpoint();
    this.#note(outcome === "finished" ? "finish" : "interrupt");
    return {
      run: this.#run.dir,
      step: this.#trainer.step,
      seconds: this.#seconds(),
      outcome,
      ...lossIn(this.#trainer.system.lossUnit ?? bitsUnit, this.#loss),
    };
  }

  /** A grid of samples of the averaged weights. */
  async #draw(): Promise<void> {
    const { step } = this.#trainer;
    const png = await this.#withAverage(samplesOnTheWay);
    if (!png) return;
    const file = path.join(this.#run.paths.samples, `${String(step).padStart(8, "0")}.png`);
    writeFileAtomic(file, png);
    const header = new DataView(png.buffer, png.byteOffset);
    const size = { width: header.getUint32(16), height: header.getUint32(20) };
    this.#journal.image("samples", png, size, step);
    this.#report.log(`samples at step ${step}: ${file}`);
  }

  /** The bound of the evaluation split with the averaged weights. */
  async #evaluate(): Promise<void> {
    const { step } = this.#trainer;
    const found = await this.#withAverage(boundOnTheWay);
    if (!found) return;
    const { bitsPerDim, images, split } = found;
    const { mean, standardError } = bitsPerDim;
    const seconds = this.#seconds();
    this.#journal.record({ event: "evaluate", step, seconds, bitsPerDim: mean, standardError, split });
    this.#report.log(
      `step ${step}: ${mean.toFixed(4)} +- ${standardError.toFixed(4)} bits/dim on ${images} ${split} images`,
    );
  }

  /** What `look` makes of the averaged weights; undefined where it was interrupted: the loop then ends the run in order. */
  async #withAverage<R>(look: (request: OnTheWay) => Promise<R>): Promise<R | undefined> {
    const { system, optimiser } = this.#trainer;
    const restore = optimiser.useAverage();
    try {
      return await look({ system, config: this.#config, machine: this.#machine, signal: this.#signal });
    } catch (error) {
      if (this.#signal?.aborted) return undefined;
      throw error;
    } finally {
      restore();
    }
  }
}
