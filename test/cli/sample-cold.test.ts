/** `varidiff sample` of degradations: latents, reconstructions, jumps, what samples share, and what is refused. */
import fs from "node:fs";
import path from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { sampleCommand } from "../../src/cli/sample.js";
import { readLatents, writeLatents } from "../../src/cli/sample-latents.js";
import { percentile } from "../../src/cli/sample-options.js";
import { UserError } from "../../src/errors.js";
import { openSplit } from "../../src/experiment/experiment.js";
import { imagePicture } from "../../src/plot/index.js";
import { ColdWalk } from "../../src/systems/index.js";
import { fromTypedArray, noGrad, scope, tensor } from "../../src/torch/index.js";
import { perform } from "./chain.js";
import {
  ColdRuns,
  fileOf,
  greyPixels,
  imageOf,
  LATENT,
  LEVELS,
  type RunName,
  rgb,
  SIZE,
} from "./cold-runs.js";

let runs: ColdRuns;
beforeAll(() => {
  runs = new ColdRuns();
});
afterAll(() => runs.remove());

const sizes = { latentSize: LATENT, levels: LEVELS };

/** Bytes of test images. */
async function testImages(indices: readonly number[]): Promise<Uint8Array> {
  const bytes = new Uint8Array(indices.length * SIZE);
  (await openSplit(runs.opened("vcd").config, "test")).read(indices, bytes);
  return bytes;
}

describe("latents", () => {
  test("those kept give the same images again, with as many of them", async () => {
    const first = await runs.sampled("vcd", "-n", "5", "--keep-latents", "--seed", "3");
    const file = fileOf(first, "-latents.npz");
    const { shape } = await readLatents(file, sizes);
    expect(shape).toEqual([5, LATENT]);
    const again = await runs.sampled("vcd", "--latents", file, "--seed", "3");
    expect(again.pixels).toEqual(first.pixels);
    expect(again.document).toMatchObject({ count: 5, latents: file, seed: 3, steps: LEVELS });
    // The start is black, and no noise is added on the way: the seed plays no part.
    expect((await runs.sampled("vcd", "--latents", file, "--seed", "4")).pixels).toEqual(first.pixels);
    expect((await runs.sampled("vcd", "-n", "5", "--seed", "4")).pixels).not.toEqual(first.pixels);
  });

  test("one for all levels is the same as itself for each", async () => {
    const data = Float32Array.from({ length: 2 * LATENT }, (_, i) => Math.sin(3 * i));
    const repeated = [0, 1].flatMap((n) =>
      Array.from({ length: LEVELS }, () => [...data.subarray(n * LATENT, (n + 1) * LATENT)]).flat(),
    );
    writeLatents(runs.at("one.npz"), { shape: [2, LATENT], data });
    writeLatents(runs.at("each.npz"), { shape: [2, LEVELS, LATENT], data: Float32Array.from(repeated) });
    const one = await runs.sampled("vcd", "--latents", runs.at("one.npz"));
    expect((await runs.sampled("vcd", "--latents", runs.at("each.npz"))).pixels).toEqual(one.pixels);
    expect(imageOf(one, 0)).not.toEqual(imageOf(one, 1));
  });

  test("more than a batch of them come back in their order", async () => {
    const first = await runs.sampled("vcd", "-n", "70", "--keep-latents");
    const again = await runs.sampled("vcd", "--latents", fileOf(first, "-latents.npz"));
    expect(again.pixels).toEqual(first.pixels);
  });
});

describe("reconstruction", () => {
  test("its latents, given to samples, make the same images from the same black start", async () => {
    const args = ["-n", "6", "--reconstruct", "test", "--keep-latents", "--sequence", "2", "--grid"];
    const back = await runs.sampled("vcd", ...args);
    const file = fileOf(back, "-latents.npz");
    expect((await readLatents(file, sizes)).shape).toEqual([6, LEVELS, LATENT]);
    expect((await runs.sampled("vcd", "--latents", file)).pixels).toEqual(back.pixels);
    expect(back.document).toMatchObject({
      ...{ reconstruct: "test", count: 6, steps: LEVELS, sampler: "ancestral" },
      sequence: { images: 2, levels: [3, 2, 1, 0] },
    });
    // 6 of 24 images, evenly spread; above what became of them.
    const originals = await testImages([0, 4, 8, 12, 16, 20]);
    const rowLabels = ["original", "led back"];
    const both = greyPixels(Uint8Array.from([...originals, ...back.pixels]));
    const { png } = await imagePicture(both, { columns: 6, rowLabels });
    const grid = fileOf(back, "-sequence.png").replace("-sequence", "");
    expect(back.document.files).toContain(grid);
    expect(await rgb(grid)).toEqual(await rgb(png));
  });

  test("without latents it is the walk from the images' own last level", async () => {
    const back = await runs.sampled("bansal", "-n", "3", "--reconstruct", "test", "--sampler", "algorithm-2");
    const originals = fromTypedArray(await testImages([0, 8, 16]), [3, 1, 8, 8]);
    const { system } = runs.opened("bansal");
    if (!(system instanceof ColdWalk)) throw new Error("expected a walk");
    const expected = scope(() =>
      noGrad(() => {
        const last = system.degradation.degrade(
          system.encode(originals),
          tensor([LEVELS, LEVELS, LEVELS], { dtype: "int64" }),
        );
        const noise = () => {
          throw new Error("expected no noise");
        };
        const states = [...system.walk(last, { pass: {}, sampler: "algorithm-2", noise })];
        return system.decode(states.at(-1) ?? last).toTypedArray();
      }),
    );
    expect(back.pixels).toEqual(expected);
  });

  test("all images where fewer are there than were asked for, the last row of originals not full", async () => {
    const back = await runs.sampled("ddpm", "-n", "1000", "--reconstruct", "test", "--grid");
    expect(back.document.count).toBe(24);
    const { width = 0, height = 0 } = await sharp(fileOf(back, ".png")).metadata();
    // 16 columns and twice two rows of images enlarged 10 times.
    expect(width).toBeGreaterThan(16 * 80);
    expect(height).toBeGreaterThan(4 * 80);
    expect(height).toBeLessThan(5 * 80 + 40);
  });
});

describe("jumps", () => {
  test("steps follow from them", async () => {
    expect((await runs.sampled("vcd", "-n", "2", "--jump", "2")).document).toMatchObject({
      jump: 2,
      steps: 2,
    });
    expect((await runs.sampled("vcd", "-n", "2", "--jump", "3", "--sequence", "1")).document).toMatchObject({
      ...{ jump: 3, steps: 1 },
      sequence: { images: 1, levels: [3, 0] },
    });
    const redegraded = await runs.sampled("vcd", "-n", "2", "--sampler", "redegrade");
    expect(redegraded.document).toMatchObject({ steps: LEVELS });
  });

  test("re-degradation that looks all levels ahead is Algorithm 2", async () => {
    // The state that is degraded anew is then the clean image.
    const redegraded = await runs.sampled("vcd", "-n", "3", "--sampler", "redegrade", "--jump", `${LEVELS}`);
    expect(redegraded.document.steps).toBe(LEVELS);
    const { pixels } = await runs.sampled("vcd", "-n", "3", "--sampler", "algorithm-2");
    for (const [i, value] of redegraded.pixels.entries())
      expect(Math.abs(value - (pixels[i] as number))).toBeLessThanOrEqual(1); // one rounding apart
  });
});

describe("what samples share", () => {
  test("start and noise: all are one image, more than 64 of them too", async () => {
    const both = await runs.sampled("heat", "-n", "66", "--shared", "both");
    for (let i = 1; i < 66; i++) expect(imageOf(both, i)).toEqual(imageOf(both, 0));
    expect(both.document).toMatchObject({ shared: "both", count: 66 });
  });
});

describe("files are named by what was asked for", () => {
  test.each([
    ["vcd", ["--jump", "2"], "step30-jump2-ancestral-T2-n1-seed0.png"],
    ["heat", ["--shared", "start"], "step30-shared-start-ancestral-T3-n1-seed0.png"],
    ["vcd", ["--reconstruct", "train"], "step30-reconstruct-train-ancestral-T3-n1-seed0.png"],
  ] as const)("%s %j", async (run, args, name) => {
    const { stdout } = await perform(sampleCommand(), runs.run(run), "-n", "1", ...args);
    expect(stdout).toBe(`${path.join(runs.at(run), "samples", name)}\n`);
  });

  test("latents by their file", async () => {
    writeLatents(runs.at("mine.npz"), { shape: [1, LATENT], data: new Float32Array(LATENT) });
    const { stdout } = await perform(sampleCommand(), runs.run("vcd"), "--latents", runs.at("mine.npz"));
    expect(path.basename(stdout.trim())).toBe("step30-latents-mine-ancestral-T3-seed0.png");
  });
});

describe("what does not go together is refused in one line, and leaves nothing", () => {
  test.each([
    ["vcd", "--jump 2 --steps 2", "expected one of --steps and --jump, got both: leave one out"],
    ["vcd", "--jump 4", "expected --jump of at most 3, the levels of its degradation, got 4: lower it"],
    ["vcd", "--latents x.npz -n 2", "expected one of --count and --latents, got both: leave one out"],
    ["vcd", "--latents x.npz", "cannot read x.npz (ENOENT)"],
    ["heat", "--latents x.npz", "expected a model with latents (vcd) for --latents, got cold: leave it out"],
    ["heat", "--keep-latents", "expected a model with latents (vcd) for --keep-latents, got cold"],
    ["vcd", "--reconstruct test --shared noise", "expected no --shared with --reconstruct: leave one"],
    [
      "heat",
      "--reconstruct test --trajectories 2",
      "expected no --trajectories with --reconstruct (its states are --sequence)",
    ],
    ["vcd", "--reconstruct test --jump 2", "expected no --jump with --reconstruct of a model with latents"],
    [
      "vcd",
      "--reconstruct test --sampler algorithm-2",
      "expected no --sampler with --reconstruct of a model",
    ],
    ["vdm", "--jump 2", "expected a model of degradations (cold, vcd) for --jump, got vdm: leave it out"],
    ["vdm", "--shared both", "expected a model of degradations (cold, vcd) for --shared, got vdm"],
    ["vdm", "--reconstruct test", "expected a model of degradations (cold, vcd) for --reconstruct, got vdm"],
    ["vdm", "--sequence --sampler ode", "expected a sampler of steps with --sequence, got ode: leave one"],
    [
      "heat",
      "-n 2000000000",
      "expected at most 67108864 images of 1x8x8 at a time, got 2000000000: draw them",
    ],
  ] as const satisfies readonly (readonly [RunName, string, string])[])(
    "%s %s",
    async (run, args, message) => {
      const out = runs.at("refused");
      const given = [runs.run(run), "--out", out, ...args.split(" ")];
      const failure: unknown = await perform(sampleCommand(), ...given).catch((error: unknown) => error);
      expect(failure).toBeInstanceOf(UserError);
      const said = (failure as UserError).message;
      expect(said).toContain(message);
      expect(said).not.toContain("\n");
      expect(fs.readdirSync(runs.folder).filter((name) => name.startsWith("refused"))).toEqual([]);
    },
  );
});

test("a file in the place of a folder is refused before anything is drawn", async () => {
  const file = runs.at("vcd.yaml");
  for (const where of [
    ["--out", path.join(runs.at("vcd.yaml"), "x")],
    ["--png-dir", file],
  ]) {
    const drawn = perform(sampleCommand(), runs.run("vcd"), "-n", "1", ...where);
    await expect(drawn).rejects.toThrow(`cannot write ${file} (ENOTDIR): a part of the path is a file`);
  }
});

test("a percentile is in percent", () => {
  expect(["99.5", "1", "100"].map(percentile)).toEqual([99.5, 1, 100]);
  expect(() => percentile("0.995")).toThrow("99.5 is meant, not 0.995");
  for (const text of ["0", "101", "-1", "most"])
    expect(() => percentile(text)).toThrow("expected a percentile in percent, 1 to 100");
});
