/** Runs of degradations of three levels on 8x8 images, and `varidiff sample` of them in this process. */
import fs from "node:fs";
import path from "node:path";
import sharp from "sharp";
import { sampleCommand } from "../../src/cli/sample.js";
import { parseNpyHeader } from "../../src/data/npy.js";
import { readZipEntry, zipEntries } from "../../src/data/zip.js";
import { buildModel } from "../../src/experiment/experiment.js";
import { writeGivenRun } from "../../src/experiment/given-run.js";
import { openTrained } from "../../src/experiment/trained.js";
import { noGrad, Streams } from "../../src/torch/index.js";
import { disturb } from "../disturb.js";
import { temporaryFolder, writeTiny } from "../experiment/tiny.js";
import { perform, readConfig, tinyShape } from "./chain.js";

export const LEVELS = 3;
/** L of the runs with latents. */
export const LATENT = 5;
/** Pixels of an image. */
export const SIZE = 64;

const unet =
  "channels: 8, channelMultipliers: [1, 2], attentionLevels: [], residualBlocks: 1, groups: 4, dropout: 0";
const variational = `network: { kind: variational-unet, latentSize: ${LATENT}, ${unet} }`;
const plain = `network: { kind: cold-unet, ${unet} }`;

const systems = {
  vcd: { system: "vcd", model: `degradation: { kind: black-blur, levels: ${LEVELS} }, ${variational}` },
  long: { system: "vcd", model: `degradation: { kind: black-blur, levels: 20 }, ${variational}` },
  heat: {
    system: "cold",
    model: `baseline: ihdm, degradation: { kind: blur, levels: ${LEVELS} }, start: { kind: images }, inputNoise: 0.1, ${plain}`,
  },
  bansal: {
    system: "cold",
    model: `baseline: bansal, degradation: { kind: blur, levels: ${LEVELS} }, ${plain}`,
  },
  ddpm: {
    system: "cold",
    model: `baseline: ddpm, degradation: { kind: noise, levels: ${LEVELS} }, ${plain}`,
  },
  vdm: { system: "vdm", model: "network: { kind: vdm-unet, channels: 32, depth: 1, attention: none }" },
} as const;

export type RunName = keyof typeof systems;

export interface Sampled {
  readonly document: Readonly<Record<string, unknown>> & { readonly files: readonly string[] };
  /** uint8 `[N, 1, 8, 8]` */
  readonly pixels: Uint8Array;
}

/** A folder of runs, each made when it is first asked for. */
export class ColdRuns {
  readonly folder = temporaryFolder();
  #outputs = 0;

  constructor() {
    writeTiny(this.folder);
  }

  at(name: string): string {
    return path.join(this.folder, name);
  }

  remove(): void {
    fs.rmSync(this.folder, { recursive: true, force: true });
  }

  /** Of weights that no training made, and that all samples depend on. */
  run(name: RunName): string {
    if (fs.existsSync(this.at(name))) return this.at(name);
    const { system, model } = systems[name];
    const file = this.at(`${name}.yaml`);
    fs.writeFileSync(
      file,
      `system: ${system}
data: { name: idx, path: ${JSON.stringify(this.at("data"))} }
model: { ${model} }
sample: { count: 4 }
precision: float32
threads: 1
`,
    );
    const config = readConfig(file);
    const built = buildModel(config, tinyShape).system;
    disturb(built.initialise(new Streams(1)), 1, 0.5);
    const weights = new Map(
      [...built.namedParameters()].map(([key, { value }]) => {
        // Small outputs in the middle of what can be seen.
        const last = noGrad(() =>
          key.endsWith("out.2.weight")
            ? value.mul(0.05)
            : key.endsWith("out.2.bias")
              ? value.mul(0).add(0.15)
              : value,
        );
        const data = new Uint8Array((last.toTypedArray() as Float32Array).slice().buffer);
        return [key, { dtype: "F32", shape: [...value.shape], data }] as const;
      }),
    );
    writeGivenRun(
      { out: this.at(name) },
      { config, system: built, weights, ema: new Map(weights), step: 30, origin: {} },
    );
    return this.at(name);
  }

  opened(name: RunName) {
    return openTrained(this.run(name), { weights: "ema", overrides: [] });
  }

  /** Runs the command; the images are those of its npz. */
  async sampled(name: RunName, ...args: string[]): Promise<Sampled> {
    const out = this.at(`out-${++this.#outputs}`);
    const given = [this.run(name), "--npz", "--json", "--out", out, ...args];
    const { stdout } = await perform(sampleCommand(), ...given);
    return { document: JSON.parse(stdout), pixels: await pixelsOf(`${out}.npz`) };
  }
}

async function pixelsOf(file: string): Promise<Uint8Array> {
  for await (const entry of zipEntries(file)) {
    const bytes = await readZipEntry(entry);
    return new Uint8Array(bytes.subarray(parseNpyHeader(bytes, file).offset));
  }
  throw new Error(`expected an array in ${file}`);
}

/** The file of a result whose name ends so. */
export function fileOf({ document }: Sampled, ending: string): string {
  const file = document.files.find((name) => name.endsWith(ending));
  if (!file) throw new Error(`expected a file ${ending}, got ${document.files.join(", ")}`);
  return file;
}

/** The bytes of one image. */
export function imageOf({ pixels }: Pick<Sampled, "pixels">, i: number): Uint8Array {
  return pixels.subarray(i * SIZE, (i + 1) * SIZE);
}

/** Images of the runs as pictures take them. */
export function greyPixels(data: Uint8Array) {
  return { data, count: data.length / SIZE, channels: 1, height: 8, width: 8 } as const;
}

/** Red, green and blue of every pixel of a picture. */
export async function rgb(picture: Uint8Array | string, page = 0): Promise<readonly number[]> {
  return [...(await sharp(picture, { page }).removeAlpha().toColourspace("srgb").raw().toBuffer())];
}
