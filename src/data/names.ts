/** What names of files and folders say: their natural order, and the split they belong to. */
import type { Split } from "./source.js";

/** Names as people order them, `batch_2` before `batch_10`; the same on every machine. */
export function inNaturalOrder(names: readonly string[]): string[] {
  return names
    .map((name) => ({ name, parts: name.split(/(\d+)/) }))
    .sort((a, b) => compareParts(a.parts, b.parts))
    .map(({ name }) => name);
}

/** Compares names cut into text (even places) and digits (odd places). */
function compareParts(left: readonly string[], right: readonly string[]): number {
  for (let i = 0; i < Math.min(left.length, right.length); i++) {
    const x = left[i] as string;
    const y = right[i] as string;
    if (x === y) continue;
    const difference = i % 2 === 1 ? Number(x) - Number(y) : 0;
    if (difference !== 0) return difference;
    return x < y ? -1 : 1;
  }
  return left.length - right.length;
}

const splitNames: readonly (readonly [Split, RegExp])[] = [
  ["train", /^(train|training)$/i],
  ["validation", /^(val|valid|validation|dev)$/i],
  ["test", /^(test|testing|t10k)$/i],
];

/** The split that a folder is named after, as in `train` or `val`. */
export function splitOfFolder(name: string): Split | undefined {
  return splitNames.find(([, pattern]) => pattern.test(name))?.[0];
}

/** The split named by one of the words of a file's name, as in `train-00000-of-00002.parquet` or `valid_32x32.tar`. */
export function splitOfFile(name: string): Split | undefined {
  const words = name.split(/[^a-z0-9]+/i);
  return words.map(splitOfFolder).find((split) => split !== undefined);
}
