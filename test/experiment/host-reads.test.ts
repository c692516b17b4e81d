/** That nothing is read from the device between the first and the last step of a sample, and no more of a bound than its values. */
import { afterEach, expect, test, vi } from "vitest";
import { sample } from "../../src/diffusion/sampler/index.js";
import { drawImages } from "../../src/experiment/drawing.js";
import { Streams, tensor } from "../../src/torch/index.js";
import { native } from "../../src/torch/native.js";
import { smallNames, smallSystem } from "../small-systems.js";

/** Both ways to read values: each waits for the device. */
function readCounter(): () => number {
  const ways = [vi.spyOn(native(), "item"), vi.spyOn(native(), "toBytes")];
  return () => ways.reduce((sum, way) => sum + way.mock.calls.length, 0);
}

afterEach(() => vi.restoreAllMocks());

test("the counter counts", () => {
  const reads = readCounter();
  tensor([1, 2]).toArray();
  tensor([1]).item();
  expect(reads()).toBe(2);
});

test.each(smallNames)("steps of %s", async (name) => {
  const { system, sampler, steps } = smallSystem(name);
  const request = { sampler, steps, count: 2, streams: new Streams(1), pass: {} };
  const reads = readCounter();
  const seen: number[] = [];
  (await sample(system, request, { onStep: () => seen.push(reads()) })).dispose();
  expect(seen).toEqual(new Array(steps + 1).fill(seen[0]));
});

test.each(["ddim", "ancestral-clipped", "reverse-sde"])("steps of vdm by %s", async (sampler) => {
  const { system, steps } = smallSystem("vdm");
  const request = { sampler, steps, count: 2, streams: new Streams(1), pass: {}, threshold: 90 };
  const reads = readCounter();
  const seen: number[] = [];
  (await sample(system, request, { onStep: () => seen.push(reads()) })).dispose();
  expect(seen).toEqual(new Array(steps + 1).fill(seen[0]));
});

test("drawing images reads each batch once, and each of its frames where they are asked for", async () => {
  const { system, sampler, steps } = smallSystem("vdm");
  const reads = readCounter();
  const draw = (frames: number) =>
    drawImages({
      ...{ system, sampler, steps, count: 4, batchSize: 2, device: "cpu", pass: {}, frames },
      streams: new Streams(1),
    });
  await draw(0);
  expect(reads()).toBe(2);
  await draw(2); // the first and the last state, and what is predicted there
  expect(reads()).toBe(2 + 2 + 2 * 4);
});
