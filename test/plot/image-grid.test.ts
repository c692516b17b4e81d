/** Grids and single images, decoded again and compared pixel by pixel. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import sharp from "sharp";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { imageGrid } from "../../src/plot/image-grid.js";
import { type Pixels, writePngs } from "../../src/plot/png.js";

let folder: string;
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "varidiff-grid-"));
});
afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

/** Three grey images of 1 by 2 pixels. */
const grey: Pixels = {
  data: Uint8Array.of(10, 20, 30, 40, 50, 60),
  count: 3,
  channels: 1,
  height: 1,
  width: 2,
};

/** A picture as rows of red values. */
async function rowsOf(png: Uint8Array | string): Promise<number[][]> {
  const { data, info } = await sharp(png).removeAlpha().raw().toBuffer({ resolveWithObject: true });
  return Array.from({ length: info.height }, (_, y) =>
    Array.from({ length: info.width }, (_, x) => data[(y * info.width + x) * info.channels] ?? -1),
  );
}

describe("imageGrid", () => {
  test("sets images in rows, with padding around and between them", async () => {
    const W = 255;
    expect(await rowsOf(await imageGrid(grey, { columns: 2, padding: 1, scale: 1 }))).toEqual([
      [W, W, W, W, W, W, W],
      [W, 10, 20, W, 30, 40, W],
      [W, W, W, W, W, W, W],
      [W, 50, 60, W, W, W, W],
      [W, W, W, W, W, W, W],
    ]);
  });

  test("enlarges without smoothing, on black if asked", async () => {
    const one: Pixels = { ...grey, data: Uint8Array.of(200, 100), count: 1 };
    expect(await rowsOf(await imageGrid(one, { padding: 0, scale: 2, background: "black" }))).toEqual([
      [200, 200, 100, 100],
      [200, 200, 100, 100],
    ]);
    expect((await rowsOf(await imageGrid(one, { padding: 1, scale: 1, background: "black" })))[0]).toEqual([
      0, 0, 0, 0,
    ]);
  });

  test("keeps colours", async () => {
    // One pixel: planes of red, green, blue.
    const pixel: Pixels = { data: Uint8Array.of(1, 2, 3), count: 1, channels: 3, height: 1, width: 1 };
    const png = await imageGrid(pixel, { padding: 0, scale: 1 });
    expect([...(await sharp(png).removeAlpha().raw().toBuffer())]).toEqual([1, 2, 3]);
  });

  test("makes small images large enough to see, and large ones no larger", async () => {
    const blank = (size: number): Pixels => ({
      data: new Uint8Array(size * size),
      count: 1,
      channels: 1,
      height: size,
      width: size,
    });
    const width = async (size: number) =>
      (await rowsOf(await imageGrid(blank(size), { padding: 0 })))[0]?.length;
    expect(await width(28)).toBe(3 * 28);
    expect(await width(256)).toBe(256);
  });

  test("may be taller than an SVG renderer's canvas", async () => {
    // 32,767 pixels a side is what cairo has room for.
    const many: Pixels = {
      data: Uint8Array.from({ length: 400 }, (_, i) => i % 200),
      count: 400,
      channels: 1,
      height: 1,
      width: 1,
    };
    const rows = await rowsOf(await imageGrid(many, { columns: 1, padding: 0, scale: 100 }));
    expect(rows.length).toBe(40_000);
    expect([rows[0]?.[50], rows[39_950]?.[50]]).toEqual([0, 199]);
  });

  test("writes a title and labels beside the images, and leaves the images alone", async () => {
    const black: Pixels = {
      data: new Uint8Array(4 * 900).fill(7),
      count: 4,
      channels: 1,
      height: 30,
      width: 30,
    };
    const options = {
      scale: 1,
      title: "Samples",
      rowLabels: ["VDM", "DiffEnc"],
      columnLabels: ["t = 0", "t = 1"],
    };
    const rows = await rowsOf(await imageGrid(black, options));
    const count = (matches: (value: number) => boolean) => rows.flat().filter(matches).length;
    expect(count((value) => value === 7)).toBe(4 * 900);
    const firstImageRow = rows.findIndex((row) => row.filter((value) => value === 7).length >= 60);
    const firstImageColumn = rows[firstImageRow]?.indexOf(7) ?? 0;
    const above = rows.slice(0, firstImageRow).flat();
    const left = rows.slice(firstImageRow).flatMap((row) => row.slice(0, firstImageColumn));
    expect(above.filter((value) => value < 160).length).toBeGreaterThan(50);
    expect(left.filter((value) => value < 160).length).toBeGreaterThan(50);
    // Nothing touches the edges: no label is cut off.
    const edges = [rows[0], rows.at(-1), rows.map((row) => row[0]), rows.map((row) => row.at(-1))].flat();
    expect(edges.every((value) => value === 255)).toBe(true);
  });

  test("refuses bytes that do not fill the shape, and no images", async () => {
    await expect(imageGrid({ ...grey, count: 2 })).rejects.toThrow(
      "expected 4 bytes for [2, 1, 1, 2], got 6",
    );
    await expect(imageGrid({ ...grey, data: new Uint8Array(), count: 0 })).rejects.toThrow(
      "at least one image",
    );
  });
});

describe("writePngs", () => {
  test("writes every image by itself, numbers of one length", async () => {
    const many: Pixels = { ...grey, data: Uint8Array.from({ length: 22 }, (_, i) => i), count: 11 };
    const files = await writePngs(path.join(folder, "new"), many, { prefix: "s-" });
    expect(fs.readdirSync(path.join(folder, "new")).sort()).toEqual(files.map((file) => path.basename(file)));
    expect(path.basename(files[3] ?? "")).toBe("s-03.png");
    expect(await rowsOf(files[10] ?? "")).toEqual([[20, 21]]);
    expect((await sharp(files[0]).metadata()).channels).toBe(1);
  });

  test("turns planes into pixels", async () => {
    // Two pixels: red 1, 2; green 3, 4; blue 5, 6.
    const colour: Pixels = {
      data: Uint8Array.of(1, 2, 3, 4, 5, 6),
      count: 1,
      channels: 3,
      height: 1,
      width: 2,
    };
    const [file] = await writePngs(folder, colour);
    expect([...(await sharp(file).raw().toBuffer())]).toEqual([1, 3, 5, 2, 4, 6]);
  });
});
