/** The options of `varidiff analyze`. */
import { InvalidArgumentError } from "commander";
import type { FigureRequest } from "../analysis/index.js";
import type { PublishedSet } from "../analysis/published-daed.js";
import type { Split } from "../data/index.js";

export interface AnalyzeOptions extends FigureRequest {
  readonly figure: readonly string[];
  readonly table?: "quality" | "transfer";
  readonly published?: PublishedSet;
  readonly with: readonly string[];
  readonly data: readonly string[];
  readonly split?: Split;
  readonly seed: number;
  readonly weights: "ema" | "raw";
  readonly checkpoint?: number;
  readonly out?: string;
  readonly set: readonly string[];
  readonly json?: boolean;
}

/** `--figure all` */
export const ALL = "all";

/** `10,100,0` */
export function stepList(text: string): readonly number[] {
  const steps = text.split(",").map((part) => (part.trim() === "" ? Number.NaN : Number(part)));
  if (steps.every((T) => Number.isSafeInteger(T) && T >= 0)) return steps;
  throw new InvalidArgumentError("expected whole numbers such as 10,100,1000,0");
}
