/** `varidiff sample --sequence` and `--trajectories`: the states of samples as strips and moving pictures. */
import path from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { imageGrid } from "../../src/plot/index.js";
import { ColdRuns, fileOf, greyPixels, LEVELS, type RunName, rgb, SIZE } from "./cold-runs.js";

let runs: ColdRuns;
beforeAll(() => {
  runs = new ColdRuns();
});
afterAll(() => runs.remove());

describe("sequences", () => {
  test("a strip and two moving pictures, from black to the images", async () => {
    const result = await runs.sampled("vcd", "-n", "4", "--grid", "--sequence");
    expect(result.document.files.map((file) => path.basename(file).replace(/^out-\d+/, ""))).toEqual([
      ".npz",
      ".png",
      "-sequence.png",
      "-sequence.gif",
      "-sequence.apng",
    ]);
    expect(result.document.sequence).toEqual({ images: 4, levels: [3, 2, 1, 0] });
    const gif = fileOf(result, ".gif");
    expect((await sharp(gif, { animated: true }).metadata()).pages).toBe(LEVELS + 1);
    const black = await imageGrid(greyPixels(new Uint8Array(4 * SIZE)));
    expect(await rgb(fileOf(result, ".apng"))).toEqual(await rgb(black));
    const last = await rgb(await imageGrid(greyPixels(result.pixels)));
    const shown = await rgb(gif, LEVELS);
    for (const [i, value] of last.entries())
      expect(Math.abs(value - (shown[i] as number))).toBeLessThanOrEqual(1); // greys of a GIF
  });

  test("12 states of longer walks, first and last included", async () => {
    const { document } = await runs.sampled("long", "-n", "2", "--sequence", "1");
    expect(document.sequence).toEqual({
      images: 1,
      // round(20 i / 11) steps after the start, i = 0 .. 11
      levels: [20, 18, 16, 15, 13, 11, 9, 7, 5, 4, 2, 0],
    });
  });

  test("trajectories show what is predicted where something is", async () => {
    const heightOf = async (run: RunName) => {
      const file = fileOf(await runs.sampled(run, "-n", "1", "--trajectories", "1"), "-trajectories.png");
      return (await sharp(file).metadata()).height ?? 0;
    };
    expect((await heightOf("bansal")) - (await heightOf("vcd"))).toBe(80 + 3); // one row more
  });
});
