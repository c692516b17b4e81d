/** What drawing keeps of the way, of latents and of what samples share, and that it holds on to nothing else. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Drawn, drawImages, type Trajectory } from "../../src/experiment/drawing.js";
import { openSplit, readBatch } from "../../src/experiment/experiment.js";
import { leadBack } from "../../src/experiment/lead-back.js";
import { ensureStart } from "../../src/experiment/start-file.js";
import { ColdWalk } from "../../src/systems/index.js";
import { liveTensors, Streams } from "../../src/torch/index.js";
import { ColdRuns, imageOf, LATENT, LEVELS, type RunName } from "../cli/cold-runs.js";
import { collectGarbage } from "../garbage.js";

let runs: ColdRuns;
beforeAll(() => {
  runs = new ColdRuns();
});
afterAll(() => runs.remove());

const device = "cpu";
const usual = { count: 2, steps: LEVELS, sampler: "ancestral", pass: {}, device, frames: LEVELS + 1 };

async function drawn(name: RunName, more: Partial<Parameters<typeof drawImages>[0]> = {}): Promise<Drawn> {
  const trained = runs.opened(name);
  await ensureStart(trained);
  return drawImages({ ...usual, system: trained.system, streams: new Streams(1), ...more });
}

function wayOf({ trajectory }: Drawn): Trajectory {
  if (!trajectory) throw new Error("expected a trajectory");
  return trajectory;
}

const bytesOf = ({ states }: Trajectory, state: number) => {
  const pixels = states.at(state)?.data;
  if (!pixels) throw new Error(`expected state ${state}`);
  return { pixels };
};

test("states of the first images go from the start to the image, and are of levels T to 0", async () => {
  const result = await drawn("vcd", { count: 5, batchSize: 2, filmed: 3 });
  const way = wayOf(result);
  expect(way.levels).toEqual([3, 2, 1, 0]);
  expect(way.times).toEqual([1, 2 / 3, 1 / 3, 0].map((t) => expect.closeTo(t, 12)));
  expect(way.states.map(({ count }) => count)).toEqual([3, 3, 3, 3]);
  expect(bytesOf(way, 0).pixels).toEqual(new Uint8Array(3 * 64));
  expect(bytesOf(way, -1).pixels).toEqual(result.pixels.data.subarray(0, 3 * 64));
  expect(way.predictions).toBeUndefined();
});

test("levels of jumps, and of a sampler that goes by one while it looks further", async () => {
  const jumped = wayOf(await drawn("vcd", { jump: 2, steps: 2 }));
  expect(jumped.levels).toEqual([3, 1, 0]);
  const redegraded = wayOf(await drawn("vcd", { jump: 3, sampler: "redegrade" }));
  expect(redegraded.levels).toEqual([3, 2, 1, 0]);
  expect(redegraded.predictions).toHaveLength(4);
});

test("where only the last steps predict a clean image, no predictions are shown", async () => {
  const way = wayOf(await drawn("vcd", { jump: 2, sampler: "redegrade" }));
  expect(way.predictions).toBeUndefined();
});

test("other systems have times and no levels", async () => {
  const way = wayOf(await drawn("vdm", { steps: 3 }));
  expect(way.levels).toBeUndefined();
  expect(way.times).toHaveLength(4);
  expect(way.predictions).toHaveLength(4);
});

test("a shared start gives equal first states and other images, shared noise neither, both one image", async () => {
  const of = async (...shared: readonly ("start" | "noise")[]) => {
    const way = wayOf(await drawn("heat", { shared }));
    return [0, -1].map((state) => {
      const seen = bytesOf(way, state);
      return Buffer.compare(imageOf(seen, 0), imageOf(seen, 1)) === 0 ? "equal" : "different";
    });
  };
  expect(await of("start")).toEqual(["equal", "different"]);
  expect(await of("noise")).toEqual(["different", "different"]);
  expect(await of("start", "noise")).toEqual(["equal", "equal"]);
});

test("latents come back as they were given, batch by batch", async () => {
  const data = Float32Array.from({ length: 5 * LATENT }, (_, i) => Math.sin(7 * i));
  const latents = { shape: [5, LATENT], data };
  const whole = await drawn("vcd", { count: 5, latents });
  const parts = await drawn("vcd", { count: 5, latents, batchSize: 2 });
  expect(whole.latents).toEqual(latents);
  expect(parts.latents).toEqual(latents);
  expect(parts.pixels.data).toEqual(whole.pixels.data);
});

test("no tensor is left of drawing or of leading back, nor where that is interrupted", async () => {
  const { system, config } = runs.opened("vcd");
  if (!(system instanceof ColdWalk)) throw new Error("expected a walk");
  const source = await openSplit(config, "test");
  const streams = new Streams(1);
  const latents = { shape: [3, LATENT], data: new Float32Array(3 * LATENT) };
  const draw = (signal?: AbortSignal) =>
    drawImages({ ...usual, system, streams, count: 3, batchSize: 2, latents, signal });
  const back = (signal?: AbortSignal) =>
    leadBack({
      ...{ ...usual, system, streams, count: 3, batchSize: 2, signal },
      readBatch: (first, count) =>
        readBatch(
          source,
          Array.from({ length: count }, (_, i) => first + i),
          { config, device },
        ),
    });
  await draw(); // what is made once and kept
  await back();
  collectGarbage(); // of earlier tests
  const before = liveTensors();
  await draw();
  await back();
  expect(liveTensors()).toBe(before);
  const reason = new Error("enough");
  await expect(draw(AbortSignal.abort(reason))).rejects.toBe(reason);
  await expect(back(AbortSignal.abort(reason))).rejects.toBe(reason);
  expect(liveTensors()).toBe(before);
});

test("what is led back begins fully degraded and ends as its image, beside the image that it was", async () => {
  const { system, config } = runs.opened("ddpm");
  if (!(system instanceof ColdWalk)) throw new Error("expected a walk");
  const source = await openSplit(config, "test");
  const result = await leadBack({
    ...{ ...usual, system, streams: new Streams(1), count: 2 },
    readBatch: () => readBatch(source, [3, 5], { config, device }),
  });
  const originals = new Uint8Array(2 * 64);
  source.read([3, 5], originals);
  expect(result.originals.data).toEqual(originals);
  const way = wayOf(result);
  expect(way.levels).toEqual([3, 2, 1, 0]);
  expect(bytesOf(way, -1).pixels).toEqual(result.pixels.data);
  expect(bytesOf(way, 0).pixels).not.toEqual(originals);
  expect(result.latents).toBeUndefined();
});
