/** Bits per dimension with error bars: means, standard errors and which draws a batch gets, on bounds known in advance. */
import { expect, test } from "vitest";
import { memorySource } from "../../src/data/index.js";
import type { BoundContext } from "../../src/diffusion/system.js";
import { type BoundRequest, estimate, estimateBound } from "../../src/experiment/evaluation.js";
import { rand, Streams, type Tensor, tensor } from "../../src/torch/index.js";

const shape = [1, 1, 2] as const;
/** Nats to bits/dim: two dimensions. */
const bits = 1 / (2 * Math.LN2);

/** `images` of two pixels, the first of which is the image's number. */
function source(images: number) {
  const pixels = Uint8Array.from({ length: 2 * images }, (_, i) => (i % 2 === 0 ? i / 2 : 0));
  return memorySource({ name: "numbers", split: "test", shape, length: images, origin: "memory" }, pixels);
}

/** A "system" whose terms are 10, the image's number and a uniform draw from the streams it was given. */
const system = {
  shape,
  bound({ pixels }: { readonly pixels: Tensor }, { streams }: BoundContext) {
    const numbers = pixels
      .to("float64")
      .reshape([-1, 2])
      .toArray()
      .filter((_, i) => i % 2 === 0);
    return {
      prior: tensor(
        numbers.map(() => 10),
        { dtype: "float64" },
      ),
      reconstruction: tensor(numbers, { dtype: "float64" }),
      diffusion: rand([numbers.length], streams.generator("draw"), { dtype: "float64" }),
    };
  },
};

function request(images: number, batchSize: number, passes: number): BoundRequest {
  const all = source(images);
  return {
    ...{ system, source: all, images, passes, batchSize, streams: new Streams(7), pass: {} },
    readBatch(indices) {
      const bytes = new Uint8Array(2 * indices.length);
      all.read(indices, bytes);
      return { pixels: tensor([...bytes], { dtype: "float64" }).reshape([-1, 1, 1, 2]) };
    },
  };
}

/** The draws of batch `b` in pass `p`, made again from the seed alone: as another process measuring that shard would. */
function draws(pass: number, batch: number, count: number): number[] {
  return rand([count], new Streams(7).at(pass).at(batch).generator("draw"), { dtype: "float64" }).toArray();
}

/** sqrt(sum (x - mean)^2 / (n (n - 1))) */
function standardError(values: readonly number[]): number {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return Math.sqrt(squares / (values.length * (values.length - 1)));
}

test("mean and standard error of 1, 2, 3, 4: 2.5 and sqrt(5/3)/2; of one value the error is unknown", () => {
  const { mean, standardError: error } = estimate([1, 2, 3, 4]);
  expect(mean).toBeCloseTo(2.5, 12);
  expect(error).toBeCloseTo(Math.sqrt(5 / 3) / 2, 12);
  expect(estimate([3])).toEqual({ mean: 3, standardError: Number.NaN });
});

test("terms in bits/dim add up; with few batches errors are over images, each the mean of its passes", async () => {
  const result = await estimateBound(request(7, 3, 2));
  const perImage = [3, 3, 1].flatMap((count, b) => {
    const [first, second] = [draws(0, b, count), draws(1, b, count)];
    return first.map((value, i) => (value + (second[i] as number)) / 2);
  });
  const total = perImage.map((value, i) => (10 + i + value) * bits);
  expect(result).toMatchObject({ images: 7, passes: 2, draws: 14, errorsOver: "images" });
  const { prior, reconstruction, diffusion } = result.terms;
  const none = expect.closeTo(0, 10);
  expect(prior).toEqual({
    mean: expect.closeTo(10 * bits, 10),
    ...{ standardError: none, standardErrorOverImages: none, standardErrorOverPasses: none },
  });
  expect(reconstruction?.mean).toBeCloseTo(3 * bits, 10); // (0 + ... + 6) / 7
  expect(reconstruction?.standardError).toBeCloseTo(Math.sqrt(28 / 42) * bits, 10); // squares 9 + 4 + 1 + 0 + ...
  expect(diffusion?.standardError).toBeCloseTo(standardError(perImage) * bits, 10);
  expect(result.bitsPerDim.mean).toBeCloseTo(total.reduce((a, b) => a + b, 0) / 7, 10);
  expect(result.bitsPerDim.standardError).toBeCloseTo(standardError(total), 10);
  expect(result.bitsPerDim.standardErrorOverImages).toBe(result.bitsPerDim.standardError);
});

test("over passes the error is that of the means of passes, in which what images differ by cancels", async () => {
  const { bitsPerDim, terms } = await estimateBound(request(7, 3, 4));
  const means = [0, 1, 2, 3].map((pass) => {
    const all = [3, 3, 1].flatMap((count, b) => draws(pass, b, count));
    return all.reduce((sum, value) => sum + value / 7, 0);
  });
  expect(terms.diffusion?.standardErrorOverPasses).toBeCloseTo(standardError(means) * bits, 10);
  expect(terms.reconstruction?.standardErrorOverPasses).toBeCloseTo(0, 10);
  expect(bitsPerDim.standardErrorOverPasses).toBeCloseTo(standardError(means) * bits, 10);
  const once = await estimateBound(request(7, 3, 1));
  expect(once.bitsPerDim.standardErrorOverPasses).toBeNull();
});

test("with 20 batches or more, errors are over the means of whole batches", async () => {
  const result = await estimateBound(request(83, 4, 1));
  const perImage = Array.from({ length: 21 }, (_, b) => draws(0, b, b === 20 ? 3 : 4)).flat();
  const means = Array.from({ length: 20 }, (_, b) =>
    perImage.slice(4 * b, 4 * b + 4).reduce((sum, value) => sum + value / 4, 0),
  );
  expect(result.errorsOver).toBe("batches");
  expect(result.terms.diffusion?.standardErrorOverImages).toBeCloseTo(standardError(perImage) * bits, 10);
  expect(result.terms.diffusion?.standardError).toBeCloseTo(standardError(means) * bits, 10);
  const mean = perImage.reduce((a, b) => a + b, 0) / 83;
  expect(result.terms.diffusion?.mean).toBeCloseTo(mean * bits, 10);
});

test("measuring stops between two batches when its signal says so", async () => {
  const stop = new AbortController();
  const onProgress = () => stop.abort(new Error("enough"));
  await expect(estimateBound({ ...request(7, 3, 2), signal: stop.signal, onProgress })).rejects.toThrow(
    "enough",
  );
});
