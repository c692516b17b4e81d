/** Figures `forward` and `trajectories` of degradations: which levels they show, and what they are called. */
import { describe, expect, test } from "vitest";
import { forward } from "../../src/analysis/forward.js";
import { trajectories } from "../../src/analysis/trajectories.js";
import { memorySource } from "../../src/data/source.js";
import type { DiffusionSystem } from "../../src/diffusion/system.js";
import { createSystem, systems } from "../../src/systems/index.js";
import { fromTypedArray, Streams } from "../../src/torch/index.js";
import { column, toyContext } from "./toy.js";

const shape = [1, 4, 4] as const;
const SIZE = 16;
/** Every pixel of image i is `100 (i + 1)`. */
const pixels = Uint8Array.from({ length: 2 * SIZE }, (_, i) => 100 * (Math.floor(i / SIZE) + 1));

function cold(model: Readonly<Record<string, unknown>>): DiffusionSystem {
  const network = { channels: 8, channelMultipliers: [1], attentionLevels: [], residualBlocks: 1, groups: 4 };
  const config = systems.cold.model.parse({ ...model, network: { kind: "cold-unet", ...network } });
  const { system } = createSystem({ system: "cold", model: config }, { shape: [...shape] });
  return system.initialise(new Streams(1));
}

function contextOf(system: DiffusionSystem, request = {}) {
  const source = memorySource(
    { name: "flat", split: "test", origin: "memory", length: 2, shape: [...shape] },
    pixels,
  );
  const read = (indices: readonly number[]) => {
    const bytes = new Uint8Array(indices.length * SIZE);
    source.read(indices, bytes);
    return { pixels: fromTypedArray(bytes, [indices.length, ...shape]) };
  };
  const sampling = { count: 2, steps: system.usualSteps?.("ancestral") ?? 1, sampler: "ancestral" };
  return toyContext(2, { system, request, sampling, openImages: async () => ({ source, read }) });
}

async function drawn(model: Readonly<Record<string, unknown>>, request = {}) {
  const drawing = await forward.draw(contextOf(cold(model), request));
  return {
    rows: drawing.rows ?? [],
    svg: drawing.kind === "picture" ? (drawing.svg ?? "") : "",
    settings: drawing.settings,
  };
}

describe("forward", () => {
  test("shows every level of a short degradation, and what fading leaves there", async () => {
    const { rows, svg } = await drawn({ degradation: { kind: "black", levels: 4, fading: "linear" } });
    expect(column(rows, "level")).toEqual([0, 0, 1, 1, 2, 2, 3, 3, 4, 4]);
    expect(column(rows, "t")).toEqual([0, 0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75, 1, 1]);
    // A flat image is its own mean, and a_k = 1 - k / 4.
    for (const row of rows) {
      const expected = ((1 - Number(row.level) / 4) * 100 * (Number(row.image) + 1)) / 255;
      expect(row.mean).toBeCloseTo(expected, 6);
      expect(row.standardDeviation).toBeCloseTo(0, 6);
    }
    for (const k of [0, 1, 2, 3, 4]) expect(svg).toContain(`k = ${k}`);
    expect(svg).toContain("Degraded level by level");
    expect(svg).not.toContain("noise");
    expect(svg).not.toContain("t = ");
  });

  test("spreads ten columns over a long one, or as many as are asked for", async () => {
    const long = { degradation: { kind: "black", levels: 30 } };
    // round(30 i / 9), i = 0 .. 9
    expect((await drawn(long)).settings.levels).toEqual([0, 3, 7, 10, 13, 17, 20, 23, 27, 30]);
    expect((await drawn(long, { times: 4 })).settings.levels).toEqual([0, 10, 20, 30]);
    const short = { degradation: { kind: "black", levels: 2 } };
    expect((await drawn(short, { times: 9 })).settings.levels).toEqual([0, 1, 2]);
  });

  test("says noise where it is noise that is added", async () => {
    const { svg } = await drawn({ baseline: "ddpm", degradation: { kind: "noise", levels: 3 } });
    expect(svg).toContain("From data to noise: x(k)");
  });
});

describe("trajectories", () => {
  const shown = async (model: Readonly<Record<string, unknown>>) => {
    const drawing = await trajectories.draw(contextOf(cold(model), { images: 2 }));
    const svg = drawing.kind === "picture" ? (drawing.svg ?? "") : "";
    return { svg, images: svg.match(/<image /g)?.length };
  };

  test("has a row of states and one of predictions where clean images are predicted", async () => {
    const { svg, images } = await shown({ prediction: "x0", degradation: { kind: "black", levels: 3 } });
    expect(images).toBe(2 * 2 * 4);
    expect(svg).toContain("predicted");
    expect(svg).toContain("From degraded to clean");
  });

  test("has a row of states alone where none are", async () => {
    const { svg, images } = await shown({ degradation: { kind: "black", levels: 3 } });
    expect(images).toBe(2 * 4);
    expect(svg).not.toContain("predicted");
    expect(svg).toContain("k = 3");
  });
});
