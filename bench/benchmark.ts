/** What a benchmark is and what it gives; the machine it ran on. */
import os from "node:os";
import { deviceName, torchVersion } from "varidiff/torch";

/** Of both sides; theirs is null where it is not installed. */
export interface Both {
  readonly ours: number;
  readonly theirs: number | null;
}

/** One measured quantity: ours, the other side's, and how they compare. */
export interface Result {
  readonly name: string;
  readonly ours: number;
  /** Null where the other side is not installed, or where there is none. */
  readonly theirs: number | null;
  /** Median over rounds; more than 1 means that ours is better. */
  readonly ratio: number | null;
  /** The quartiles of the ratio over rounds. */
  readonly spread: readonly [number, number] | null;
  readonly unit: string;
  /** Largest resident sizes of both processes, or what their tensors took on the GPU, MB, where these matter. */
  readonly memory?: Both;
  /** Seconds of processor time of one run, which other work on the machine disturbs less; where they matter. */
  readonly processor?: Both;
  readonly machine: string;
}

/** A result before the machine is added. */
export type Measurement = Omit<Result, "machine">;

/** Tells the user what is going on. */
export type Say = (line: string) => void;

/** What both sides compute on. */
export type BenchDevice = "cpu" | "cuda";

/** Measures those of its rows whose names are wanted. */
export type Benchmark = (
  say: Say,
  wanted: (name: string) => boolean,
  device: BenchDevice,
) => Promise<Measurement[]>;

/** Processor, its number of threads, the GPU where it is what is measured, Node and libtorch. */
export function machine(device: BenchDevice): string {
  const processors = os.cpus();
  const gpu = device === "cuda" ? `${deviceName(device)}, ` : "";
  return `${gpu}${processors.length} x ${processors[0]?.model.trim()}, Node ${process.versions.node}, libtorch ${torchVersion().torch}`;
}
