/**
 * A degradation from outside the package: a hole that grows from the centre of the image (Bansal et al., 2022). A class with
 * `levels`, `end` and `degrade` is all that is asked; it goes wherever the package takes a `Degradation`, and fades like its own.
 */
import { expect, test } from "vitest";
import {
  createStart,
  type Degradation,
  type EndState,
  Fading,
  LevelTables,
  sample,
} from "../../src/diffusion/index.js";
import { ColdUnet } from "../../src/networks/index.js";
import { AdamW } from "../../src/nn/index.js";
import { ColdDiffusion } from "../../src/systems/index.js";
import { fromTypedArray, ones, Streams, scope, type Tensor, tensor } from "../../src/torch/index.js";
import { close, GoldenFile } from "../golden.js";

interface GrowingHoleOptions {
  /** T */
  readonly levels: number;
  /** Pixels that the hole's width grows by at every level. */
  readonly growth: number;
}

/** `D(x, k) = x m_1 ... m_k`, `m_i = 1 - exp(-r^2 / (2 (growth i)^2))`, r the distance from the centre in pixels. */
class GrowingHole implements Degradation {
  readonly levels: number;
  readonly end: EndState = "blurred";
  readonly #growth: number;
  readonly #tables = new LevelTables();

  constructor({ levels, growth }: GrowingHoleOptions) {
    this.levels = levels;
    this.#growth = growth;
  }

  degrade(x: Tensor, level: Tensor): Tensor {
    const [height, width] = [x.dim(2), x.dim(3)];
    return x.mul(this.#tables.rows(`${height} ${width}`, level, x, () => this.masks(height, width)));
  }

  /** Of levels 0 .. T, float64 `[T + 1, 1, H, W]`; the centre of an even side is the pixel S / 2 - 1. */
  masks(height: number, width: number): Tensor {
    const masks = new Float64Array((this.levels + 1) * height * width).fill(1);
    for (let k = 1; k <= this.levels; k++)
      for (let i = 0; i < height; i++)
        for (let j = 0; j < width; j++) {
          const at = (level: number) => (level * height + i) * width + j;
          const r2 = (i + 1 - height / 2) ** 2 + (j + 1 - width / 2) ** 2;
          const left = 1 - Math.exp(-r2 / (2 * (this.#growth * k) ** 2));
          masks[at(k)] = (masks[at(k - 1)] as number) * left;
        }
    return fromTypedArray(masks, [this.levels + 1, 1, height, width]);
  }
}

const cold = new GoldenFile("vcd", "cold_bansal");
const expected = cold.tensor("mask.cumulative");
const [T, side] = [expected.dim(0), expected.dim(2)];
const hole = new GrowingHole({ levels: T, growth: 0.5 });
const white = ones([T, 1, side, side], { dtype: "float64" });
const levels = tensor([1, 2, 3, 4], { dtype: "int64" });

test("the masks of golden/vcd/cold_bansal", () => {
  close(hole.degrade(white, levels), expected, 0, "masks", { absolute: 5e-6 });
});

test("it fades as the package's own", () => {
  const fading = new Fading(hole);
  // Of four levels, the second: cos^2(pi/2 (1/3 + 0.008) / 1.008).
  const a = Math.cos((((1 / 3 + 0.008) / 1.008) * Math.PI) / 2) ** 2;
  close(fading.degrade(white, levels).select(0, 1), expected.select(0, 1).mul(a), 0, "second", {
    absolute: 5e-6,
  });
  expect(fading.degrade(white, levels).select(0, 3).abs().max().item()).toBe(0);
});

/** A model of the hole's images, 16 x 16, that fades to black besides so that there is nothing to fit a start to. */
function model(): ColdDiffusion {
  const degradation = new Fading(new GrowingHole({ levels: 3, growth: 2 }));
  const shape = [1, 16, 16] as const;
  const network = new ColdUnet({
    ...{ imageChannels: 1, channels: 8, channelMultipliers: [1, 1], residualBlocks: 1 },
    ...{ attentionLevels: [], dropout: 0, groups: 4, times: "two" },
  });
  return new ColdDiffusion({
    ...{ shape, degradation, network, start: createStart({ kind: "auto" }, { degradation, shape }) },
    ...{ startNoise: 0, prediction: "previous", numbering: "from-zero", inputNoise: 0, stepNoise: 0 },
    ...{ clamp: [0, 1], jump: 1, trainedJumps: "one", lossWeighting: "none", overlookedNoise: 0 },
    loss: { distance: "l2", reduction: "sum" },
  }).initialise(new Streams(1));
}

test("a model of it is trained, and draws the one image that it was trained on", async () => {
  const system = model();
  const ramp = Uint8Array.from({ length: 256 }, (_, i) => i);
  const pixels = fromTypedArray(ramp, [1, 1, 16, 16]).expand([8, 1, 16, 16]);
  const optimiser = new AdamW(system.parameters(), {
    ...{ learningRate: 1e-2, betas: [0.9, 0.99], epsilon: 1e-8, weightDecay: 0, warmupSteps: 0 },
    ...{ decay: "cosine", totalSteps: 120, clipNorm: null, emaRate: 0.9 },
  });
  for (let step = 0; step < 120; step++)
    scope(() => {
      const streams = new Streams(1).at(step);
      const averaged = () => {
        throw new Error("expected no teacher");
      };
      const { loss } = system.objective({ pixels }, { step, streams, pass: {}, averaged });
      loss.backward();
      optimiser.step();
    });
  const request = { count: 2, steps: 3, sampler: "ancestral", streams: new Streams(2), pass: {} };
  const drawn = (await sample(system, request)).to("float64");
  const error = drawn
    .sub(pixels.narrow(0, 0, 2).to("float64"))
    .abs()
    .mean()
    .item();
  expect(error).toBeLessThan(16); // grey levels; the image's own mean absolute deviation is 64
  optimiser.dispose();
});
