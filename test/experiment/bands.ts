/** Images that are easy to tell apart, a classifier of them that learns in a second, and a diffusion model of them. */
import fs from "node:fs";
import path from "node:path";
import { configSchema } from "../../src/experiment/config.js";
import { loadConfig } from "../../src/experiment/load-config.js";
import { createRun } from "../../src/experiment/run-folder.js";
import { trainRun } from "../../src/experiment/training-run.js";
import { idxFile } from "../data/make.js";

/** 8x8 images of three classes, 60 to train on and 45 to test on: a bright band at one of three heights, and noise. */
export function writeBands(folder: string): string {
  const data = path.join(folder, "data");
  fs.mkdirSync(data, { recursive: true });
  for (const [name, count, salt] of [
    ["train", 60, 1],
    ["t10k", 45, 2],
  ] as const) {
    const pixels = Array.from({ length: count * 64 }, (_, i) => {
      const [image, row] = [i >> 6, (i >> 3) & 7];
      const noise = (i * 7919 * salt + (i >> 3) * 104_729) % 97;
      return noise + (Math.floor(row / 3) === image % 3 ? 150 : 0);
    });
    fs.writeFileSync(path.join(data, `${name}-images-idx3-ubyte`), idxFile([count, 8, 8], pixels));
    const labels = Array.from({ length: count }, (_, i) => i % 3);
    fs.writeFileSync(path.join(data, `${name}-labels-idx1-ubyte`), idxFile([count], labels));
  }
  return data;
}

const usual = `optimiser: { learningRate: 1.0e-2, warmupSteps: 0, weightDecay: 0, emaRate: 0.9 }
evaluate: { batchSize: 8 }
sample: { count: 4, steps: 2 }
precision: float32
threads: 1
`;

export function classifierConfig(data: string, { seed = 1 }: { readonly seed?: number } = {}): string {
  return `system: classifier
data: { name: idx, path: ${JSON.stringify(data)} }
model: { network: { kind: convnet, channels: 8 }, classes: 3 }
train: { steps: 40, batchSize: 20, seed: ${seed}, logEvery: 5, checkpointEvery: 100, sampleEvery: 0 }
${usual}`;
}

export function diffusionConfig(data: string): string {
  return `system: vdm
data: { name: idx, path: ${JSON.stringify(data)} }
model: { network: { kind: vdm-unet, channels: 32, depth: 1, attention: none, dropout: 0 } }
train: { steps: 2, batchSize: 8, logEvery: 2, checkpointEvery: 100, sampleEvery: 0 }
${usual}`;
}

/** Trains what `text` describes into the folder `out`. */
export async function trainTiny(text: string, out: string): Promise<void> {
  const file = `${out}.yaml`;
  fs.writeFileSync(file, text);
  const config = loadConfig(configSchema, { file, overrides: [] });
  const report = { log: () => {}, progress: () => {} };
  await trainRun({ run: createRun({ out }), config, report });
}
