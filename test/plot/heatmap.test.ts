/** Heat maps: colours, ranges, sharpness, what is written beside them; and pictures as files. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import sharp from "sharp";
import { describe, expect, test } from "vitest";
import { writeDrawing } from "../../src/analysis/write.js";
import { colourOf, colourRange, NOT_A_NUMBER } from "../../src/plot/colour-map.js";
import { type HeatmapGridOptions, heatmapGrid, type Panel } from "../../src/plot/heatmap.js";
import { imageGrid, imagePicture } from "../../src/plot/image-grid.js";

const WHITE = [255, 255, 255];
/** The ends of ColorBrewer's RdBu in eleven classes: #053061 and #67001f. */
const DARK_BLUE = [0x05, 0x30, 0x61];
const DARK_RED = [0x67, 0x00, 0x1f];

const map = (values: readonly number[], height = 1): Panel => ({
  kind: "map",
  values,
  height,
  width: values.length / height,
});

/** The bitmaps inside an SVG, as rows of colours, in the order of the document. */
async function bitmapsOf(svg: string): Promise<number[][][]> {
  const coded = [...svg.matchAll(/data:image\/png;base64,([^"]*)/g)].map(([, data]) => data ?? "");
  return Promise.all(
    coded.map(async (data) => {
      const raw = await sharp(Buffer.from(data, "base64")).removeAlpha().raw().toBuffer();
      return Array.from({ length: raw.length / 3 }, (_, i) => [...raw.subarray(3 * i, 3 * i + 3)]);
    }),
  );
}

const texts = (svg: string) => [...svg.matchAll(/<text[^>]*>([^<]*)</g)].map(([, text]) => text);

async function draw(options: Partial<HeatmapGridOptions> & Pick<HeatmapGridOptions, "rows">) {
  const { svg } = await heatmapGrid({ colours: "diverging", ...options });
  return { svg, bitmaps: await bitmapsOf(svg) };
}

describe("colour maps", () => {
  test.each([
    // matplotlib's table of viridis, entries 0, 128 and 255: 0.267 0.005 0.329, 0.128 0.567 0.551, 0.993 0.906 0.144.
    ["sequential", 0, [0x44, 0x01, 0x54]],
    ["sequential", 0.5, [0x21, 0x91, 0x8c]],
    ["sequential", 1, [0xfd, 0xe7, 0x25]],
    ["grey", 0, [0, 0, 0]],
    ["grey", 0.2, [51, 51, 51]],
    ["grey", 1, WHITE],
    ["diverging", 0, DARK_BLUE],
    ["diverging", 0.5, WHITE],
    ["diverging", 1, DARK_RED],
  ] as const)("%s at %d of its range", (name, u, colour) => {
    expect(colourOf(u, name, [0, 1])).toEqual(colour);
    expect(colourOf(-3 + 8 * u, name, [-3, 5])).toEqual(colour);
  });

  test("ends are where what lies beyond them is", () => {
    expect(colourOf(Number.POSITIVE_INFINITY, "grey", [0, 1])).toEqual(WHITE);
    expect(colourOf(-7, "grey", [0, 1])).toEqual([0, 0, 0]);
    expect(colourOf(Number.NaN, "grey", [0, 1])).toEqual(NOT_A_NUMBER);
  });

  test("ranges are what finite numbers span, those of a diverging map symmetric, never empty", () => {
    const values = [[-3, Number.NaN, 1], Float32Array.of(2, Number.POSITIVE_INFINITY)];
    expect(colourRange("sequential", values)).toEqual([-3, 2]);
    expect(colourRange("diverging", values)).toEqual([-3, 3]);
    expect(colourRange("grey", [[4, 4]])).toEqual([2, 6]);
    expect(colourRange("diverging", [[0, 0]])).toEqual([-1, 1]);
    expect(colourRange("sequential", [])).toEqual([-1, 1]);
  });
});

describe("heatmapGrid", () => {
  test("is white at zero, as red above it as it is blue below, and magenta where there is no number", async () => {
    const { bitmaps } = await draw({ rows: [[map([-2, 0, 2, Number.NaN])]] });
    expect(bitmaps[0]).toEqual([DARK_BLUE, WHITE, DARK_RED, [255, 0, 255]]);
  });

  test.each([
    [
      "shared",
      [
        [0, 25.5],
        [0, 255],
      ],
      ["255", "128", "0"],
    ],
    [
      "row",
      [
        [0, 255],
        [0, 255],
      ],
      ["25.5", "12.8", "0", "255", "128", "0"],
    ],
    [
      [0, 510],
      [
        [0, 12.75],
        [0, 127.5],
      ],
      ["510", "255", "0"],
    ],
  ] as const)("range %s: the colours and the numbers at the bars", async (range, greys, numbers) => {
    const rows = [[map([0, 25.5])], [map([0, 255])]];
    const { svg, bitmaps } = await draw({ rows, range, colours: "grey" });
    for (const [i, [low, high]] of greys.entries()) {
      // A map has 511 levels: half a level off, then rounded to 255.
      expect(Math.abs((bitmaps[i]?.[0]?.[0] ?? -9) - low)).toBeLessThanOrEqual(0.75);
      expect(Math.abs((bitmaps[i]?.[1]?.[0] ?? -9) - high)).toBeLessThanOrEqual(0.75);
    }
    expect(texts(svg)).toEqual(numbers);
  });

  test("with a range for each panel, it is written below the panel", async () => {
    const rows = [[map([0, 0.25]), map([-0.0005, 0])]];
    const { svg, bitmaps } = await draw({ rows, range: "panel" });
    expect(bitmaps.slice(0, 2)).toEqual([
      [WHITE, DARK_RED],
      [DARK_BLUE, WHITE],
    ]);
    expect(texts(svg)).toEqual(["±0.25", "±5×10⁻⁴", "+", "0", "−"]);
    expect(texts((await draw({ rows, range: "panel", colours: "grey" })).svg)).toEqual([
      "0 … 0.25",
      "−5×10⁻⁴ … 0",
      "high",
      "low",
    ]);
  });

  test("the bar runs through the map from top to bottom", async () => {
    const { bitmaps } = await draw({ rows: [[map([-1, 1])]] });
    const bar = bitmaps[1] ?? [];
    expect([bar[0], bar.at(-1)]).toEqual([DARK_RED, DARK_BLUE]);
    const redness = bar.map(([red = 0, , blue = 0]) => red - blue);
    expect(redness.filter((value) => value > 0).length / bar.length).toBeCloseTo(0.5, 1);
  });

  test("sets images beside maps, leaves places empty, and writes labels", async () => {
    const pixels = { data: Uint8Array.of(1, 2, 3, 4), count: 2, channels: 1, height: 1, width: 2 } as const;
    const { svg, bitmaps } = await draw({
      rows: [[{ kind: "image", pixels, index: 1 }, undefined, map([1, -1])]],
      rowLabels: ["Coat"],
      columnLabels: ["x", "t = 0", "t = 1"],
      title: "a < b",
      label: "per unit of t",
    });
    expect(bitmaps.length).toBe(3);
    expect(bitmaps[0]).toEqual([
      [3, 3, 3],
      [4, 4, 4],
    ]);
    const written = ["Coat", "x", "t = 0", "t = 1", "a &lt; b", "per unit of t", "1", "0", "−1"];
    expect(texts(svg).sort()).toEqual(written.sort());
  });

  test("enlarges 28 by 28 numbers to 84 pixels, each a square of one colour", async () => {
    const values = Array.from({ length: 784 }, (_, i) => (i * 37) % 101);
    const { png, svg, width, height } = await heatmapGrid({
      rows: [[map(values, 28)]],
      colours: "sequential",
    });
    const [left, top] = (svg.match(/<image x="(\d+)" y="(\d+)" width="84" height="84"/) ?? [])
      .slice(1)
      .map(Number);
    if (left === undefined || top === undefined) throw new Error("expected a panel of 84 by 84 pixels");
    const { data, info } = await sharp(png).raw().toBuffer({ resolveWithObject: true });
    expect([info.width, info.height, info.channels]).toEqual([width, height, 3]);
    const wrong = Array.from({ length: 84 * 84 }, (_, i) => {
      const [x, y] = [i % 84, Math.floor(i / 84)];
      const expected = colourOf(
        values[28 * Math.floor(y / 3) + Math.floor(x / 3)] ?? -1,
        "sequential",
        [0, 100],
      );
      const at = 3 * ((top + y) * info.width + left + x);
      return expected.some((value, colour) => data[at + colour] !== value);
    });
    expect(wrong.filter(Boolean)).toEqual([]);
  });

  test("refuses panels of different sizes, maps of the wrong length, and none", async () => {
    await expect(draw({ rows: [[map([1, 2]), map([1])]] })).rejects.toThrow(
      "expected all panels to be 1 by 2, got one of 1 by 1",
    );
    await expect(draw({ rows: [[{ kind: "map", values: [1], height: 2, width: 2 }]] })).rejects.toThrow(
      "expected 4 numbers for a map [2, 2], got 1",
    );
    await expect(draw({ rows: [[undefined], []] })).rejects.toThrow("expected at least one panel");
    const pixels = { data: Uint8Array.of(1), count: 1, channels: 1, height: 1, width: 1 } as const;
    await expect(draw({ rows: [[{ kind: "image", pixels, index: 1 }]] })).rejects.toThrow(
      "expected one of 1 images, got image 1",
    );
  });
});

test("an image grid is an SVG of its images too, with the same PNG", async () => {
  const pixels = {
    data: Uint8Array.of(9, 8, 7, 6, 5, 4),
    count: 2,
    channels: 3,
    height: 1,
    width: 1,
  } as const;
  const { svg, png } = await imagePicture(pixels, { columns: 2 });
  expect(await bitmapsOf(svg)).toEqual([[[9, 8, 7]], [[6, 5, 4]]]);
  expect(png).toEqual(await imageGrid(pixels, { columns: 2 }));
});

test("a picture with an SVG and numbers is three files", async () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "varidiff-heatmap-"));
  try {
    const picture = await heatmapGrid({ rows: [[map([1, 2])]], colours: "grey" });
    const base = path.join(folder, "new", "map");
    const files = await writeDrawing(base, { kind: "picture", ...picture, rows: [{ a: 1 }], settings: {} });
    expect(files).toEqual([`${base}.svg`, `${base}.png`, `${base}.csv`]);
    expect(fs.readFileSync(`${base}.svg`, "utf8")).toBe(picture.svg);
    expect(new Uint8Array(fs.readFileSync(`${base}.png`))).toEqual(picture.png);
    expect(fs.readFileSync(`${base}.csv`, "utf8")).toBe("a\r\n1\r\n");
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
});
