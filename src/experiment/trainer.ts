/** One training step after another, and the state between two of them. Knows nothing of files. */
import { BatchOrder, type ImageSource } from "../data/index.js";
import type { Batch, DiffusionSystem, ImageModel, Objective, StepContext } from "../diffusion/system.js";
import { UserError } from "../errors.js";
import { AdamW } from "../nn/index.js";
import { noGrad, Streams, scope, stack, type Tensor, tensor, zeros } from "../torch/index.js";
import { CapturedStep } from "./captured-step.js";
import type { Config } from "./config.js";
import { type Machine, readBatch } from "./experiment.js";

/** Means over the steps since the last reading. */
export interface Reading {
  /** In the system's `lossUnit`. */
  readonly loss: number;
  /** The same where that is bits/dim; NaN where it is not. */
  readonly bitsPerDim: number;
  readonly terms: Readonly<Record<string, number>>;
  readonly learningRate: number;
  /** Steps the means are over. */
  readonly steps: number;
}

/** Named groups of named tensors: the files of a checkpoint. */
export type TrainerTensors = Readonly<Record<"weights" | "ema" | "optimiser", [string, Tensor][]>>;

/** Whether the parameter `name` belongs to `part`, as `schedule.a.weight` does to `schedule`. */
function isOf(part: string, name: string): boolean {
  return name === part || name.startsWith(`${part}.`);
}

/** @throws UserError where no parameter belongs to `part` */
function checkPart(
  part: string,
  named: readonly (readonly [name: string, ...unknown[]])[],
  key: string,
): void {
  if (named.some(([name]) => isOf(part, name))) return;
  const parts = [...new Set(named.map(([name]) => name.split(".")[0]))].join(", ");
  throw new UserError(
    `expected the beginnings of parameters' names in ${key}, got "${part}"; there are ${parts}`,
  );
}

/**
 * Trains a system. Step k draws everything it needs from streams keyed by (seed, k), so that the state between two
 * steps is the weights, their average, the optimiser's moments and k: nothing else has to be saved.
 */
export class Trainer<S extends ImageModel = DiffusionSystem> {
  readonly system: S;
  readonly optimiser: AdamW;
  readonly #config: Config;
  readonly #machine: Machine;
  readonly #source: ImageSource;
  readonly #order: BatchOrder;
  readonly #streams: Streams;
  readonly #captured: CapturedStep | undefined;
  #sums: Tensor | undefined;
  #termNames: readonly string[] = [];
  #summed = 0;
  #learningRate = 0;

  /** `system` must have its parameters. */
  constructor(config: Config, machine: Machine, system: S, source: ImageSource) {
    this.system = system;
    this.#config = config;
    this.#machine = machine;
    this.#source = source;
    const { seed, batchSize, steps } = config.train;
    this.#order = new BatchOrder(source.length, batchSize, seed);
    this.#streams = new Streams(seed);
    const { rates, ...optimiser } = config.optimiser;
    const named = [...system.namedParameters()];
    for (const part of Object.keys(rates)) checkPart(part, named, "optimiser.rates");
    const factors = named.map(([name]) => {
      const part = Object.keys(rates).find((each) => isOf(each, name));
      return part === undefined ? 1 : (rates[part] as number);
    });
    this.optimiser = new AdamW(system.parameters(), { ...optimiser, totalSteps: steps }, factors);
    this.#freeze();
    if (config.train.graph === "on") this.#captured = new CapturedStep(system, this.optimiser, machine);
  }

  /** Keeps everything as it is but what `train.only` names. */
  #freeze(): void {
    const { only } = this.#config.train;
    if (only.length === 0) return;
    const named = [...this.system.namedParameters()];
    for (const part of only) checkPart(part, named, "train.only");
    for (const [name, parameter] of named)
      if (!only.some((part) => isOf(part, name))) parameter.value.requireGrad("off");
  }

  /** Steps taken. */
  get step(): number {
    return this.optimiser.count;
  }

  /** Takes one step; returns the number of images it saw. */
  advance(): number {
    const k = this.step;
    const { device, precision } = this.#machine;
    const indices = this.#order.at(k);
    scope(() => {
      const streams = this.#streams.at(k);
      const batch = readBatch(this.#source, indices, { config: this.#config, device, augmentWith: streams });
      const { objective, learningRate } = this.#take(batch, {
        step: k,
        streams,
        pass: { precision, dropout: streams.dropoutKeys(), recompute: this.#config.train.recompute },
        averaged: (run) => this.optimiser.averaged(run),
      });
      this.#learningRate = learningRate;
      noGrad(() => this.#note(objective.perExample, objective.terms));
    });
    return indices.length;
  }

  #take(
    batch: Batch,
    context: StepContext,
  ): { readonly objective: Objective; readonly learningRate: number } {
    if (this.#captured) return this.#captured.take(batch, context);
    const objective = this.system.objective(batch, context);
    if (this.system.backward) this.system.backward(objective);
    else objective.loss.backward();
    return { objective, ...this.optimiser.step() };
  }

  /** Sums on the device: reading a number would wait for it. */
  #note(perExample: Tensor, terms: Readonly<Record<string, Tensor>>): void {
    this.#termNames = Object.keys(terms);
    const means = stack(
      [perExample, ...Object.values(terms)].map((values) => values.detach().mean().to("float64")),
    );
    this.#sums ??= zeros(means.shape, { dtype: "float64", device: means.device }).keep();
    this.#sums.add_(means);
    this.#summed += 1;
  }

  /** The means since the last reading; undefined where there was no step in between. Waits for the device. */
  read(): Reading | undefined {
    const sums = this.#sums;
    if (!sums || this.#summed === 0) return undefined;
    const [loss = Number.NaN, ...terms] = sums.toArray().map((sum) => sum / this.#summed);
    const reading = {
      loss,
      bitsPerDim: this.system.lossUnit === undefined ? loss : Number.NaN,
      terms: Object.fromEntries(this.#termNames.map((name, i) => [name, terms[i] as number])),
      learningRate: this.#learningRate,
      steps: this.#summed,
    };
    sums.zero_();
    this.#summed = 0;
    return reading;
  }

  /** Whether every weight is a finite number. */
  isFinite(): boolean {
    return scope(() =>
      noGrad(
        () =>
          stack(this.system.parameters().map((p) => p.value.detach().isFinite().all()))
            .all()
            .item() === 1,
      ),
    );
  }

  /** Everything a checkpoint holds, by file. The tensors are the live ones. */
  tensors(): TrainerTensors {
    const { first, second, average } = this.optimiser;
    const begun = tensor(this.optimiser.begun, { dtype: "float64" });
    const names = Array.from(this.system.namedParameters(), ([name]) => name);
    const named = (prefix: string, tensors: readonly Tensor[]): [string, Tensor][] =>
      names.map((name, i) => [prefix + name, tensors[i] as Tensor]);
    const system = Object.entries(this.system.trainState?.() ?? {}).map(([name, t]): [string, Tensor] => [
      `system.${name}`,
      t,
    ]);
    return {
      weights: this.system.values(),
      ema: named("", average),
      optimiser: [...named("first.", first), ...named("second.", second), ["begun", begun], ...system],
    };
  }

  /** Goes back to a checkpoint's state. */
  restore(step: number, files: Readonly<Record<keyof TrainerTensors, ReadonlyMap<string, Tensor>>>): void {
    const { dtype, device } = { dtype: "float32", device: this.#machine.device } as const;
    this.system.load(files.weights, { dtype, device });
    const { first, second, average } = this.optimiser;
    const names = Array.from(this.system.namedParameters(), ([name]) => name);
    noGrad(() => {
      const copy = (into: readonly Tensor[], prefix: string, from: ReadonlyMap<string, Tensor>) => {
        for (const [i, name] of names.entries()) {
          const value = from.get(prefix + name);
          if (!value) throw new Error(`expected "${prefix}${name}" in the checkpoint`);
          (into[i] as Tensor).copy_(value);
        }
      };
      copy(average, "", files.ema);
      copy(first, "first.", files.optimiser);
      copy(second, "second.", files.optimiser);
    });
    // Checkpoints of before there was this entry are of parameters that all began at once.
    const begun = files.optimiser.get("begun")?.toArray() ?? names.map(() => 0);
    this.optimiser.begun.splice(0, names.length, ...begun);
    const state = new Map<string, Tensor>();
    for (const [name, value] of files.optimiser)
      if (name.startsWith("system.")) state.set(name.slice("system.".length), value);
    this.system.restoreTrainState?.(state);
    this.#freeze();
    this.optimiser.count = step;
  }

  dispose(): void {
    this.#captured?.dispose();
    this.#sums?.dispose();
    this.optimiser.dispose();
  }
}
