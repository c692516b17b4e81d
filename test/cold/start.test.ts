/** Laws of the last state that need no images, and the Gaussians of colours: golden vector, moments, what is kept. */
import { describe, expect, test } from "vitest";
import {
  ColourStart,
  createStart,
  DegradedImages,
  type Start,
  type StartConfig,
  type StartContext,
  startSchema,
  type TrainingImages,
} from "../../src/diffusion/cold/start/index.js";
import { createDegradation, degradationSchema } from "../../src/diffusion/index.js";
import { UserError } from "../../src/errors.js";
import {
  Generator,
  liveTensors,
  rand,
  randn,
  scope,
  type Tensor,
  tensor,
  zeros,
} from "../../src/torch/index.js";
import { collectGarbage } from "../garbage.js";
import { close, GoldenFile, same } from "../golden.js";

const float64 = { dtype: "float64" } as const;
const degradation = (kind: string, more: object = {}) =>
  createDegradation(degradationSchema.parse({ kind, levels: 3, ...more }));
const context = (shape: StartContext["shape"], kind = "blur"): StartContext => ({
  degradation: degradation(kind),
  shape,
});
const started = (kind: StartConfig["kind"], c: StartContext) => createStart({ kind }, c);
const request = (count: number, seed = 1) =>
  ({ count, generator: new Generator({ seed }), dtype: "float64", device: "cpu" }) as const;

/** All of `x` in batches of so many. */
function training(x: Tensor, batch: number): TrainingImages {
  return {
    count: x.dim(0),
    *batches() {
      for (let i = 0; i < x.dim(0); i += batch) yield x.narrow(0, i, Math.min(batch, x.dim(0) - i));
    },
  };
}

async function fitted(start: Start, x: Tensor, batch = 10): Promise<Start> {
  if (!start.fitting) throw new Error("expected a law that is fitted");
  await start.fitting.fit(training(x, batch));
  return start;
}

/** What a fitted law keeps. */
function kept(start: Start, name: string): Tensor {
  const value = start.fitting?.state()[name];
  if (!value) throw new Error(`expected ${name} to be kept`);
  return value;
}

const errorOf = (run: () => unknown): Error => {
  try {
    run();
  } catch (error) {
    return error as Error;
  }
  throw new Error("expected it to fail");
};

describe("without images", () => {
  test("black is zeros, in the shape and dtype asked for", () => {
    const drawn = started("black", context([3, 4, 5])).draw({ ...request(2), dtype: "float32" });
    same(drawn, zeros([2, 3, 4, 5]), "black");
    expect(drawn.dtype).toBe("float32");
  });

  test("noise is a standard normal", () => {
    const drawn = started("noise", context([1, 20, 20], "noise")).draw(request(50));
    expect(drawn.shape).toEqual([50, 1, 20, 20]);
    // Five standard errors of 20,000 draws: 1 / sqrt(n) of the mean, sqrt(2 / n) of the variance.
    expect(Math.abs(drawn.mean().item())).toBeLessThan(5 / Math.sqrt(20_000));
    expect(Math.abs(drawn.square().mean().item() - 1)).toBeLessThan(5 * Math.sqrt(2 / 20_000));
  });

  test("neither is fitted", () => {
    for (const kind of ["black", "noise"] as const)
      expect(started(kind, context([1, 4, 4])).fitting).toBeUndefined();
  });
});

describe("auto goes by what the degradation leaves", () => {
  const shape = [1, 8, 8] as const;
  const auto = (kind: string, more: object = {}) =>
    started("auto", { degradation: degradation(kind, more), shape });

  test.each(["black", "black-blur", "black-gaussian-blur", "black-pixelation"])("%s: black", (kind) => {
    same(auto(kind).draw(request(2)), zeros([2, 1, 8, 8]), kind);
  });

  test("noise: standard normal", () => {
    const [drawn, expected] = [auto("noise"), started("noise", context(shape))].map((s) =>
      s.draw(request(2)),
    );
    same(drawn as Tensor, expected as Tensor, "noise");
  });

  test("blur to a mean: colours; blur to a width: images; pixelation: first pixels", async () => {
    expect(auto("blur")).toBeInstanceOf(ColourStart);
    expect(auto("gaussian-blur")).toBeInstanceOf(ColourStart);
    expect(auto("blur", { lastWidth: 4 })).toBeInstanceOf(DegradedImages);
    // Images with 1 in the first pixel and 0 elsewhere: their means are 1/64, the corner is 1.
    const x = zeros([4, 1, 8, 8], float64);
    x.narrow(2, 0, 1).narrow(3, 0, 1).add_(tensor(1, float64));
    close(kept(await fitted(auto("pixelation"), x), "mean"), [1], 1e-15, "corner");
    close(kept(await fitted(auto("blur"), x), "mean"), [1 / 64], 1e-15, "colour");
  });

  test("the schema takes every kind and nothing besides", () => {
    for (const kind of ["auto", "black", "noise", "colour", "corner", "images"])
      expect(startSchema.parse({ kind })).toEqual({ kind });
    expect(startSchema.safeParse({ kind: "grey" }).success).toBe(false);
    expect(startSchema.safeParse({ kind: "black", width: 1 }).success).toBe(false);
  });
});

const golden = new GoldenFile("vcd", "prior");
const means = golden.tensor("channel_means"); // [N, C]
const [N, C] = [means.dim(0), means.dim(1)];
const colours = means.reshape([N, C, 1, 1]);

/** Images of those mean colours: a checkerboard of +-0.1 has none. */
const board = tensor(
  Array.from({ length: 2 }, (_, i) => Array.from({ length: 4 }, (_, j) => (-1) ** (i + j) / 10)),
  float64,
);
const checked = colours.add(board);

/** Images of those first pixels, and anything elsewhere. */
function cornered(): Tensor {
  const x = rand([N, C, 2, 4], new Generator({ seed: 3 }), float64);
  x.narrow(2, 0, 1).narrow(3, 0, 1).copy_(colours);
  return x;
}

describe.each([
  ["colour", () => checked],
  ["corner", cornered],
] as const)("%s", (kind, images) => {
  const fresh = () => started(kind, context([C, 2, 4]));

  test("is the fit of golden/vcd/prior, whatever the batches", async () => {
    const [one, other] = [await fitted(fresh(), images(), N), await fitted(fresh(), images(), 7)];
    close(kept(one, "mean"), golden.tensor("mean"), 0, "mean", { absolute: 1e-6 });
    close(kept(one, "covariance"), golden.tensor("cov"), 0, "cov", { absolute: 1e-6 });
    for (const name of ["mean", "covariance"]) same(kept(other, name), kept(one, name), name);
  });

  test("draws one colour an image, whose moments are those fitted", async () => {
    const count = 20_000;
    const drawn = (await fitted(fresh(), images())).draw(request(count));
    expect(drawn.shape).toEqual([count, C, 2, 4]);
    const colour = drawn.narrow(2, 0, 1).narrow(3, 0, 1);
    same(drawn, colour.expand(drawn.shape).contiguous(), "one colour");
    const [mean, covariance] = [golden.tensor("mean"), golden.tensor("cov")];
    const apart = colour.reshape([count, C]).sub(mean);
    // Five standard errors: s / sqrt(n) of the mean; of a covariance at most s_i s_j sqrt(2 / n).
    const deviation = tensor(
      Array.from({ length: C }, (_, i) => Math.sqrt(covariance.select(0, i).select(0, i).item())),
      float64,
    );
    const meanError = apart.mean([0]).div(deviation).abs().max().item();
    expect(meanError).toBeLessThan(5 / Math.sqrt(count));
    const scale = deviation.unsqueeze(1).mul(deviation);
    const error = apart.transpose(0, 1).matmul(apart).div(count).sub(covariance).div(scale).abs().max();
    expect(error.item()).toBeLessThan(5 * Math.sqrt(2 / count));
  });

  test("of images of one colour the covariance is 1e-6 I", async () => {
    const start = await fitted(fresh(), tensor(0.25, float64).expand([5, C, 2, 4]));
    close(
      kept(start, "mean"),
      Array.from({ length: C }, () => 0.25),
      1e-15,
      "mean",
    );
    const expected = Array.from({ length: C ** 2 }, (_, i) => (i % (C + 1) === 0 ? 1e-6 : 0));
    close(kept(start, "covariance").flatten(), expected, 1e-12, "covariance");
  });

  test("what is kept draws the same images again", async () => {
    const start = await fitted(fresh(), images());
    const again = fresh();
    again.fitting?.restore(new Map(Object.entries(start.fitting?.state() ?? {})));
    same(again.draw(request(3)), start.draw(request(3)), kind);
  });

  test("is not drawn from, nor kept, before it is fitted, and takes no law of other channels", async () => {
    const start = fresh();
    expect(start.fitting?.fitted).toBe(false);
    for (const run of [() => start.draw(request(1)), () => start.fitting?.state()]) {
      const error = errorOf(run);
      expect(error).toBeInstanceOf(UserError);
      expect(error.message).toMatch(
        /^expected a start .* training images.*data\.path, or VARIDIFF_DATA[^\n]*$/,
      );
    }
    const grey = await fitted(started(kind, context([1, 2, 4])), images().narrow(1, 0, 1));
    const state = new Map(Object.entries(grey.fitting?.state() ?? {}));
    expect(errorOf(() => start.fitting?.restore(state)).message).toMatch(
      /^expected mean \[3\] of a fitted start, got float64\[1\]: [^\n]*$/,
    );
    expect(errorOf(() => start.fitting?.restore(new Map())).message).toMatch(/got none/);
  });
});

test("fewer images than were said are a defect", async () => {
  const start = started("colour", context([C, 2, 4]));
  await expect(start.fitting?.fit({ ...training(checked, 10), count: N + 1 })).rejects.toThrow(
    `expected ${N + 1} training images, got ${N}`,
  );
});

test("fitting again and drawing leave nothing behind", async () => {
  const x = randn([12, 1, 8, 8], new Generator({ seed: 5 }), float64);
  for (const kind of ["colour", "corner", "images"] as const) {
    const start = await fitted(started(kind, context([1, 8, 8])), x, 12);
    collectGarbage();
    const before = liveTensors();
    await start.fitting?.fit({ count: 12, batches: () => [x] });
    scope(() => void start.draw(request(3)));
    scope(() => void start.fitting?.state());
    expect(liveTensors()).toBe(before);
  }
});
