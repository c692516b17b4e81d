/** DDGM and DAED so small that a run of them is made in a moment, and commands in this process. */
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import type { Command } from "commander";
import { vi } from "vitest";
import { openCheckpoint } from "../../src/experiment/checkpoint-files.js";
import { type Config, configSchema } from "../../src/experiment/config.js";
import { buildModel } from "../../src/experiment/experiment.js";
import { loadConfig } from "../../src/experiment/load-config.js";
import { openRun } from "../../src/experiment/run-folder.js";
import { readSafetensors, type StoredTensor } from "../../src/io/index.js";
import { writeStateDict } from "../../src/io/pytorch/index.js";

/** `writeTiny`'s images. */
export const tinyShape = [1, 8, 8] as const;

const network =
  "{ kind: guided-unet, channels: 8, channelMultipliers: [1, 2], residualBlocks: 1, attentionResolutions: [4], heads: 2, groups: 4, dropout: 0 }";

/** Writes a config of `system` on `writeTiny`'s images, `model` its further keys; returns its path. */
export function writeConfig(folder: string, name: string, system: string, model: string): string {
  const file = path.join(folder, `${name}.yaml`);
  fs.writeFileSync(
    file,
    `system: ${system}
data: { name: idx, path: ${JSON.stringify(path.join(folder, "data"))} }
model: { network: ${network}, ${model} }
train: { steps: 2, batchSize: 8, logEvery: 1, sampleEvery: 0 }
optimiser: { emaRate: 0.9 }
evaluate: { batchSize: 8 }
sample: { count: 4, steps: 5 }
precision: float32
threads: 1
`,
  );
  return file;
}

export function readConfig(file: string, ...overrides: string[]): Config {
  return loadConfig(configSchema, { file, overrides });
}

export type Weights = Map<string, StoredTensor>;

/** Values between -0.2 and 0.2 for the parameters of a config whose names begin with `prefix`, without it. */
export function weightsOf(
  config: Config,
  o: {
    readonly prefix: string;
    readonly seed: number;
    readonly shape?: readonly [number, number, number];
  },
): Weights {
  const { system } = buildModel(config, o.shape ?? tinyShape);
  const named = [...system.namedParameters()].filter(([name]) => name.startsWith(o.prefix));
  let i = o.seed;
  return new Map(
    named.map(([name, { shape, size }]) => {
      const values = Float32Array.from({ length: size }, () => 0.2 * Math.sin(++i * i));
      return [
        name.slice(o.prefix.length),
        { dtype: "F32", shape: [...shape], data: new Uint8Array(values.buffer) },
      ];
    }),
  );
}

export function renamed(weights: Weights, name: (before: string) => string): Weights {
  return new Map([...weights].map(([before, tensor]) => [name(before), tensor]));
}

/** Writes a `.pt` file into `folder`; returns its path. */
export function writeWeights(folder: string, name: string, weights: Weights): string {
  const file = path.join(folder, name);
  writeStateDict(file, weights);
  return file;
}

/** Type, shape and the SHA-256 of each tensor's bytes: quicker to compare, and to show, than the bytes. */
export function sums(weights: Weights): Map<string, string> {
  return new Map(
    [...weights].map(([name, { dtype, shape, data }]) => [
      name,
      `${dtype} [${shape.join(", ")}] ${createHash("sha256").update(data).digest("hex")}`,
    ]),
  );
}

/** What the checkpoint of a run holds. */
export function checkpointOf(dir: string, step: number, stem: "weights" | "ema" | "optimiser"): Weights {
  const file = openCheckpoint(openRun(dir), step).files[stem] as string;
  return readSafetensors(file).tensors;
}

/** Runs a command in this process, and gives what it writes; rejects with its error. */
export function perform(command: Command, ...args: string[]): Promise<Written> {
  return listening(() => command.exitOverride().parseAsync(args, { from: "user" }));
}

interface Written {
  readonly stdout: string;
  readonly stderr: string;
}

/** What is written while `run` runs. */
export async function listening(run: () => Promise<unknown>): Promise<Written> {
  const written = { stdout: "", stderr: "" };
  const spies = (["stdout", "stderr"] as const).map((stream) =>
    vi.spyOn(process[stream], "write").mockImplementation((text) => {
      written[stream] += text;
      return true;
    }),
  );
  try {
    await run();
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
  return written;
}
