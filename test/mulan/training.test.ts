/** A tiny MuLAN through the one trainer and the one sampling driver. */
import { describe, expect, test } from "vitest";
import { memorySource } from "../../src/data/index.js";
import { sample } from "../../src/diffusion/index.js";
import { type Config, configSchema } from "../../src/experiment/config.js";
import { buildSystem } from "../../src/experiment/experiment.js";
import { loadConfig } from "../../src/experiment/load-config.js";
import { Trainer } from "../../src/experiment/trainer.js";
import { type GaussianState, MuLAN } from "../../src/systems/index.js";
import {
  clearGradients,
  fromTypedArray,
  liveTensors,
  Streams,
  setThreads,
  type Tensor,
} from "../../src/torch/index.js";
import { collectGarbage } from "../garbage.js";

const shape = [1, 4, 4] as const;
const [m, k] = [8, 3];
const steps = 40;
const machine = { device: "cpu", precision: "float32", threads: 1 } as const;

/** Pixels of two kinds only, so that there is something to learn: dark images and bright ones. */
const source = memorySource(
  { name: "two kinds", split: "train", shape, length: 64, origin: "made here" },
  Uint8Array.from({ length: 64 * 16 }, (_, i) => (Math.floor(i / 16) % 2 === 0 ? 40 : 215)),
);

const text = `
system: mulan
model:
  schedule: { kind: polynomial, hidden: 16 }
  latent: { kind: k-hot, size: ${m}, k: ${k} }
  encoder: { kind: unet, channels: 64, depth: 1, attention: none, dropout: 0.1 }
  network: { kind: vdm-unet, channels: 64, depth: 1, attention: none, dropout: 0.1 }
train: { steps: ${steps}, batchSize: 16 }
optimiser: { learningRate: 2.0e-3, warmupSteps: 0, emaRate: 0.9 }
`;
const latents = {
  "k-hot": [],
  "one-hot": ["model.latent={ kind: one-hot, size: 8 }"],
  gaussian: ["model.latent={ kind: gaussian, size: 8 }"],
} as const;

function trainerOf(overrides: readonly string[], seed = 3): Trainer {
  setThreads(1);
  const config: Config = loadConfig(configSchema, { text, overrides });
  const { system } = buildSystem(config, shape);
  return new Trainer(config, machine, system.initialise(new Streams(seed)), source);
}

/** After `steps` steps, with the mean losses of each ten. */
function trained(overrides: readonly string[]): { trainer: Trainer; losses: number[] } {
  const trainer = trainerOf(overrides);
  const losses: number[] = [];
  for (let i = 1; i <= steps; i++) {
    trainer.advance();
    if (i % 10 === 0) losses.push(trainer.read()?.bitsPerDim ?? Number.NaN);
  }
  return { trainer, losses };
}

describe.each(Object.entries(latents))("a %s latent", (kind, overrides) => {
  const { trainer, losses } = trained(overrides);

  test("the loss falls", () => {
    // Means over 160 images, good to a few per cent; v_hat = x_t, where it starts, is far from the best.
    expect(losses.at(-1)).toBeLessThan(0.85 * (losses[0] as number));
  });

  test("the gradient reaches every weight of encoder, schedule and denoiser", () => {
    const { system } = trainer;
    const bytes = new Uint8Array(4 * 16);
    source.read([0, 1, 2, 3], bytes);
    const pixels = fromTypedArray(bytes, [4, ...shape]);
    const values = system.parameters().map(({ value }) => value);
    const sums = new Map<string, number>();
    for (let step = 0; step < 3; step++) {
      const streams = new Streams(7).at(step);
      const averaged = <R>(run: () => R) => run();
      system.objective({ pixels }, { step, streams, pass: {}, averaged }).loss.backward();
    }
    for (const [name, parameter] of system.namedParameters())
      sums.set(name, parameter.value.grad?.abs().max().item() ?? 0);
    clearGradients(values);
    const without = [...sums].filter(([, size]) => !(size > 0)).map(([name]) => name);
    expect(without).toEqual([]);
    expect(new Set([...sums.keys()].map((name) => name.split(".")[0]))).toEqual(
      new Set(["schedule", "denoiser", "encoder"]),
    );
  });

  test("further steps leave nothing behind", () => {
    collectGarbage();
    const before = liveTensors();
    for (let i = 0; i < 3; i++) trainer.advance();
    expect(liveTensors()).toBe(before);
  });

  test("samples: one latent all the way, a seed repeats itself, nothing is left behind", async () => {
    const { system } = trainer;
    expect(system).toBeInstanceOf(MuLAN);
    const request = (seed: number) => ({
      count: 3,
      steps: 5,
      sampler: "ancestral",
      streams: new Streams(seed),
      pass: {},
    });
    const draw = async (seed: number) => {
      const seen: string[] = [];
      const pixels = await sample(system, request(seed), {
        onStep: (view) => seen.push(JSON.stringify((view as GaussianState).latent?.toArray())),
      });
      expect(pixels.toString()).toBe("uint8[3, 1, 4, 4]");
      const values = pixels.toArray();
      pixels.dispose();
      return { seen, values };
    };
    collectGarbage();
    const before = liveTensors();
    const first = await draw(5);
    expect(liveTensors()).toBe(before);
    expect(first.seen).toHaveLength(6);
    expect(new Set(first.seen).size).toBe(1);
    const z: number[] = JSON.parse(first.seen[0] as string);
    const ones = [0, 1, 2].map((i) => z.slice(i * m, (i + 1) * m).reduce((sum, value) => sum + value));
    if (kind !== "gaussian") expect(ones).toEqual(Array(3).fill(kind === "k-hot" ? k : 1));
    expect(await draw(5)).toEqual(first);
    expect((await draw(6)).seen).not.toEqual(first.seen);
  });
});

test("resumed from its tensors it goes on to the same bits", () => {
  const whole = trainerOf(latents["k-hot"]);
  for (let i = 0; i < 4; i++) whole.advance();
  const copies = Object.fromEntries(
    Object.entries(whole.tensors()).map(([file, tensors]) => [
      file,
      new Map(tensors.map(([name, t]) => [name, t.detach().clone().keep()])),
    ]),
  ) as Record<"weights" | "ema" | "optimiser", Map<string, Tensor>>;
  const again = trainerOf(latents["k-hot"], 99);
  again.restore(4, copies);
  for (let i = 0; i < 2; i++) {
    whole.advance();
    again.advance();
  }
  const bytes = (trainer: Trainer) =>
    Object.entries(trainer.tensors()).flatMap(([file, tensors]) =>
      tensors.map(([name, t]) => [file, name, Buffer.from(t.toBytes()).toString("base64")]),
    );
  expect(bytes(again)).toEqual(bytes(whole));
});
