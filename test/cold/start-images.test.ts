/** Degraded training images as a start: which coefficients are kept, what is drawn, and distances by Parseval's theorem. */
import { describe, expect, test } from "vitest";
import { DegradedImages } from "../../src/diffusion/cold/start/index.js";
import { type Degradation, dct2, HeatBlur, Pixelation } from "../../src/diffusion/index.js";
import { UserError } from "../../src/errors.js";
import { full, Generator, rand, type Tensor, zeros } from "../../src/torch/index.js";
import { close, same } from "../golden.js";

const float64 = { dtype: "float64" } as const;
const image = (shape: readonly number[], seed: number) => rand(shape, new Generator({ seed }), float64);
const request = (count: number, seed = 1) =>
  ({ count, generator: new Generator({ seed }), dtype: "float64", device: "cpu" }) as const;
const width = 9;
const heat = new HeatBlur({ levels: 3, firstWidth: 0.5, lastWidth: width, lastReached: "once" });
const shape = [2, 12, 10] as const;
const x = image([7, ...shape], 1);

function end(degradation: Degradation, images: Tensor): Tensor {
  return degradation.degrade(images, full([images.dim(0)], degradation.levels, { dtype: "int64" }));
}

async function fitted(
  degradation: Degradation,
  images: Tensor,
  batch: number = images.dim(0),
): Promise<DegradedImages> {
  const [channels, height, width] = images.shape.slice(1) as [number, number, number];
  const start = new DegradedImages({ degradation, shape: [channels, height, width] });
  const count = images.dim(0);
  await start.fit({
    count,
    *batches() {
      for (let i = 0; i < count; i += batch) yield images.narrow(0, i, Math.min(batch, count - i));
    },
  });
  return start;
}

const kept = (start: DegradedImages) => start.state().coefficients as Tensor;

/** `||a_i - v||^2` summed pixel by pixel, `[B, N]`. */
const direct = (v: Tensor, all: Tensor) =>
  v.flatten(1).unsqueeze(1).sub(all.flatten(1).unsqueeze(0)).square().sum([2]);

describe("what is kept", () => {
  test("of heat is the block that holds all of 1e-6 and more: its spectrum is that of the image times a Gaussian", async () => {
    const [, H, W] = shape;
    const spectrum = dct2(x).abs().max([0, 1]).toArray();
    const decay = (i: number, j: number) =>
      Math.exp(-(((Math.PI * i) / H) ** 2 + ((Math.PI * j) / W) ** 2) * (width ** 2 / 2));
    let [rows, columns] = [0, 0];
    for (let i = 0; i < H; i++)
      for (let j = 0; j < W; j++)
        if ((spectrum[i * W + j] as number) * decay(i, j) >= 1e-6) {
          rows = Math.max(rows, i + 1);
          columns = Math.max(columns, j + 1);
        }
    const start = await fitted(heat, x, 3);
    expect([rows, columns].every((n) => n > 1 && n < 8)).toBe(true);
    expect(kept(start).toString()).toBe(`float32[7, 2, ${rows}, ${columns}]`);
    expect(start.state().size?.toArray()).toEqual([12, 10]);
    same(kept(start), kept(await fitted(heat, x)), "in one batch");
  });

  test("of one that spreads no heat is everything; of black images a single number each", async () => {
    const whole: Degradation = { levels: 1, end: "blurred", degrade: (images) => images };
    expect(kept(await fitted(whole, x)).shape).toEqual([7, ...shape]);
    expect(kept(await fitted(heat, zeros(x.shape, float64))).shape).toEqual([7, 2, 1, 1]);
  });
});

describe("what is drawn", () => {
  test("is a degraded training image, each as often as the others", async () => {
    const expected = end(heat, x);
    const count = 2800;
    const drawn = (await fitted(heat, x)).draw(request(count));
    const distance = direct(drawn, expected);
    // Coefficients of at most 10 in float32 (6e-7), and pixels change by no more than the dropped ones, 1e-6 each.
    const nearest = distance.min([1]);
    expect(nearest.max().item()).toBeLessThan(240 * 5e-6 ** 2);
    const which = distance.neg().argmax(1).toArray();
    for (let i = 0; i < 7; i++) {
      const times = which.filter((j) => j === i).length;
      // Five standard deviations of a binomial count with p = 1/7.
      expect(Math.abs(times - count / 7)).toBeLessThan(5 * Math.sqrt((count * 6) / 49));
    }
  });

  test("is in the dtype asked for, the same from the same generator, and from what was kept", async () => {
    const start = await fitted(heat, x);
    const drawn = start.draw({ ...request(4), dtype: "float32" });
    expect(drawn.toString()).toBe("float32[4, 2, 12, 10]");
    const again = new DegradedImages({ degradation: heat, shape });
    again.restore(new Map(Object.entries(start.state())));
    same(again.draw({ ...request(4), dtype: "float32" }), drawn, "again");
  });

  test("is nothing before it is fitted, and no image of another size", async () => {
    const fresh = new DegradedImages({ degradation: heat, shape });
    const failing = [
      [() => fresh.draw(request(1)), /^expected a start .*degraded training images.*VARIDIFF_DATA[^\n]*$/],
      [() => fresh.squaredDistances(x), /^expected a start .*VARIDIFF_DATA[^\n]*$/],
      [() => fresh.restore(new Map()), /^expected size \[2\] of a fitted start, got none: [^\n]*$/],
    ] as const;
    for (const [run, message] of failing) {
      expect(run).toThrow(UserError);
      expect(run).toThrow(message);
    }
    const other = await fitted(heat, image([3, 2, 10, 12], 4));
    expect(() => fresh.restore(new Map(Object.entries(other.state())))).toThrow(
      /^expected degraded images of 12x10 pixels in a fitted start, got 10x12: [^\n]*$/,
    );
    expect(fresh.fitted).toBe(false);
  });
});

describe("squared distances", () => {
  test("are those of the pixels, also of images with coefficients that were dropped", async () => {
    const start = await fitted(heat, x);
    const sharp = image([3, ...shape], 2);
    for (const v of [end(heat, sharp), sharp]) {
      const distances = start.squaredDistances(v);
      expect(distances.toString()).toBe("float64[3, 7]");
      // Relative: what float32 keeps of coefficients up to 10, 6e-7, beside distances of about 0.1.
      close(distances, direct(v, end(heat, x)), 2e-5, "distances");
    }
    const float32 = start.squaredDistances(sharp.to("float32"));
    close(float32, direct(sharp, end(heat, x)), 2e-5, "of float32");
  });

  test("of a kept image to itself are nothing, and never less", async () => {
    const own = (await fitted(heat, x)).squaredDistances(end(heat, x));
    for (let i = 0; i < 7; i++) expect(own.select(0, i).select(0, i).item()).toBeLessThan(1e-9);
    expect(own.min().item()).toBeGreaterThanOrEqual(0);
  });

  test("are found piece by piece where all coefficients are too many at once", async () => {
    // 4,100 images of 1,024 coefficients: more than the 2^22 numbers of a piece.
    const many = image([4100, 1, 32, 32], 3);
    const pixelated = new Pixelation({ levels: 4 });
    const whole: Degradation = { levels: 1, end: "blurred", degrade: (images) => images };
    const start = await fitted(whole, many, 2050);
    const v = end(pixelated, many.narrow(0, 5, 2));
    const distances = start.squaredDistances(v);
    expect(distances.shape).toEqual([2, 4100]);
    for (const from of [0, 4094])
      close(distances.narrow(1, from, 6), direct(v, many.narrow(0, from, 6)), 1e-6, `from ${from}`);
  });
});
