/** Where the time of a training, of sampling or of an evaluation goes, beside what the processor can do. */
import type { ImageModel } from "../diffusion/system.js";
import { UserError } from "../errors.js";
import { type ProfileRow, profile } from "../torch/index.js";
import type { Machine } from "./experiment.js";
import { byFamily, type FamilyTime } from "./profile-families.js";
import { type CountedNetwork, CountedPasses } from "./profile-passes.js";
import { measurePeak, type Peak } from "./profile-peak.js";

/** What some of the work came to. */
export interface Amount {
  readonly steps: number;
  /** In the work's unit. */
  readonly units: number;
}

/** Work that goes on as long as it is asked to, writing nothing. */
export interface Workload {
  /** As in `training, batches of 32`. */
  readonly name: string;
  /** What it gets done. */
  readonly unit: "images" | "image steps" | "image passes";
  /** What times are given of. */
  readonly step: "step" | "batch";
  readonly system: ImageModel;
  readonly machine: Machine;
  /** Whether weights have gradients. */
  readonly kind: "training" | "inference";
  /** How often `take` is called before anything is measured. */
  readonly warmUp: number;
  take(): Amount | Promise<Amount>;
  /** Reads, augments and hands over one batch, where that is part of a step. */
  read?(): void;
}

/** A profile; seconds are those of a step. */
export interface Profile extends Pick<Workload, "name" | "unit" | "step"> {
  readonly machine: Machine;
  /** Without the profiler. */
  readonly secondsPerStep: number;
  /** The work's unit a second, without the profiler. */
  readonly unitsPerSecond: number;
  /** With it, of other steps that were taken in turn with those: what the parts below add up to. */
  readonly profiledSecondsPerStep: number;
  /** Steps that were taken each way. */
  readonly steps: number;
  readonly families: readonly FamilyTime[];
  /** The rest, of which the profiler itself has its part. */
  readonly outsideOperators: {
    readonly seconds: number;
    /** Of a step without the profiler, were all that the profiler costs among them. */
    readonly shareAtLeast: number;
    /** Reading and augmenting the batch; null where steps read none, or it is not told apart. */
    readonly data: number | null;
    /** JavaScript, the bridge to libtorch, and the profiler. */
    readonly javascript: number;
  };
  /** A second, without the profiler; null where no network says what it costs. */
  readonly flops: {
    readonly achieved: number;
    /** Of the peak of convolutions. */
    readonly utilisation: number;
    readonly networks: readonly CountedNetwork[];
    readonly uncounted: readonly string[];
  } | null;
  readonly peak: Peak;
}

/** Steps are taken each way at least, and at most, so many times; in between until `patience` seconds are over. */
const least = 3;
const most = 20;
const patience = 5;

/** Readings of a batch that are averaged over. */
const readings = 10;

interface Timed extends Amount {
  readonly seconds: number;
}

async function timed(work: Workload): Promise<Timed> {
  const start = performance.now();
  const amount = await work.take();
  return { ...amount, seconds: (performance.now() - start) / 1000 };
}

function sumOf<T>(values: readonly T[], key: (value: T) => number): number {
  return values.reduce((sum, value) => sum + key(value), 0);
}

/** Calls and seconds of each operator over several profiles, divided by `steps`. */
function meanRows(rows: readonly ProfileRow[], steps: number): readonly ProfileRow[] {
  const sums = new Map<string, ProfileRow>();
  for (const { name, calls, seconds } of rows) {
    const { calls: n = 0, seconds: s = 0 } = sums.get(name) ?? {};
    sums.set(name, { name, calls: n + calls / steps, seconds: s + seconds / steps });
  }
  return [...sums.values()];
}

/**
 * Does the work with and without the profiler in turn, after a few steps that do not count.
 * @throws UserError on a device whose operators are not over when they return
 */
export async function profileWork(work: Workload): Promise<Profile> {
  const { name, unit, step, system, machine, kind } = work;
  if (machine.device !== "cpu")
    throw new UserError(
      `expected device cpu for --profile, got ${machine.device}, whose operators go on after they return: add --set device=cpu, or take a profile with Nsight Systems`,
    );
  const plain: Timed[] = [];
  const profiled: Timed[] = [];
  const rows: ProfileRow[] = [];
  let flops = 0;
  const passes = new CountedPasses(system, kind === "training" ? "input-and-weights" : "input");
  try {
    for (let i = 0; i < work.warmUp; i++) await work.take();
    const end = performance.now() + patience * 1000;
    while (plain.length < least || (plain.length < most && performance.now() < end)) {
      const before = passes.flops;
      plain.push(await timed(work));
      flops += passes.flops - before;
      const seen = await profile(() => timed(work));
      profiled.push(seen.result);
      rows.push(...seen.rows);
    }
  } finally {
    passes.release();
  }
  const seconds = sumOf(plain, (each) => each.seconds);
  const steps = sumOf(profiled, (each) => each.steps);
  const profiledSecondsPerStep = sumOf(profiled, (each) => each.seconds) / steps;
  const families = byFamily(meanRows(rows, steps));
  const outside = Math.max(0, profiledSecondsPerStep - sumOf(families, (each) => each.seconds));
  const data = work.read ? Math.min(outside, secondsOfReading(work.read)) : null;
  const peak = measurePeak(machine.precision, kind === "training" ? "forward-and-backward" : "forward");
  const { networks, uncounted } = passes;
  const achieved = flops / seconds;
  const secondsPerStep = seconds / sumOf(plain, (each) => each.steps);
  const profiler = Math.max(0, profiledSecondsPerStep - secondsPerStep);
  return {
    ...{ name, unit, step, machine },
    secondsPerStep,
    unitsPerSecond: sumOf(plain, (each) => each.units) / seconds,
    ...{ profiledSecondsPerStep, steps, families },
    outsideOperators: {
      seconds: outside,
      shareAtLeast: Math.max(0, outside - profiler) / secondsPerStep,
      data,
      javascript: outside - (data ?? 0),
    },
    flops:
      networks.length === 0
        ? null
        : { achieved, utilisation: achieved / peak.convolution, networks, uncounted },
    peak,
  };
}

/** Outside operators, of one batch. */
function secondsOfReading(read: () => void): number {
  let outside = 0;
  for (let i = 0; i < readings; i++) {
    const { result, rows } = profile(() => {
      const start = performance.now();
      read();
      return (performance.now() - start) / 1000;
    });
    outside += Math.max(0, result - sumOf(rows, ({ seconds }) => seconds));
  }
  return outside / readings;
}
