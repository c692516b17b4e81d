/** Animated pictures, taken apart again: their frames are the grids, pixel by pixel, and are shown as long as was asked. */
import sharp from "sharp";
import { describe, expect, test } from "vitest";
import { UserError } from "../../src/errors.js";
import { animatedGif, animatedPng } from "../../src/plot/animation.js";
import { imageGrid } from "../../src/plot/image-grid.js";
import type { Pixels } from "../../src/plot/png.js";
import { stripPicture } from "../../src/plot/strip.js";

/** Three states of four grey images of 2 by 3 pixels; the last two are equal. */
const grey = [1, 5, 5].map(
  (factor): Pixels => ({
    data: Uint8Array.from({ length: 24 }, (_, i) => factor * 2 * i),
    ...{ count: 4, channels: 1, height: 2, width: 3 },
  }),
);

/** Three states of two colour images of 2 by 2 pixels: 8 colours a frame. */
const colour = [0, 1, 2].map(
  (state): Pixels => ({
    data: Uint8Array.from({ length: 24 }, (_, i) => (37 * i + 80 * state) % 256),
    ...{ count: 2, channels: 3, height: 2, width: 2 },
  }),
);

const layout = { columns: 2, padding: 1, scale: 2 } as const;
const timing = { delay: 120, lastDelay: 1500 } as const;

/** Red, green and blue of every pixel. */
const rgb = async (image: Uint8Array): Promise<number[]> => [
  ...(await sharp(image).removeAlpha().toColourspace("srgb").raw().toBuffer()),
];

const grids = (states: readonly Pixels[]) =>
  Promise.all(states.map(async (state) => rgb(await imageGrid(state, layout))));

interface Chunk {
  readonly type: string;
  readonly data: Buffer;
}

/** CRC-32 of the PNG specification, annex D, bit by bit. */
function crc(bytes: Uint8Array): number {
  let remainder = 0xffffffff;
  for (const byte of bytes) {
    remainder ^= byte;
    for (let bit = 0; bit < 8; bit++)
      remainder = remainder & 1 ? (remainder >>> 1) ^ 0xedb88320 : remainder >>> 1;
  }
  return (remainder ^ 0xffffffff) >>> 0;
}

/** The chunks of a PNG, their checksums compared. */
function walk(png: Uint8Array): Chunk[] {
  const bytes = Buffer.from(png);
  expect([...bytes.subarray(0, 8)]).toEqual([137, 80, 78, 71, 13, 10, 26, 10]);
  const chunks: Chunk[] = [];
  let at = 8;
  while (at < bytes.length) {
    const length = bytes.readUInt32BE(at);
    const named = bytes.subarray(at + 4, at + 8 + length);
    expect(bytes.readUInt32BE(at + 8 + length)).toBe(crc(named));
    chunks.push({ type: named.toString("latin1", 0, 4), data: named.subarray(4) });
    at += 12 + length;
  }
  expect(at).toBe(bytes.length);
  return chunks;
}

/** A PNG of the given chunks. */
function build(chunks: readonly Chunk[]): Buffer {
  const parts = chunks.map(({ type, data }) => {
    const named = Buffer.concat([Buffer.from(type, "latin1"), data]);
    const whole = Buffer.alloc(named.length + 8);
    whole.writeUInt32BE(data.length, 0);
    named.copy(whole, 4);
    whole.writeUInt32BE(crc(named), named.length + 4);
    return whole;
  });
  return Buffer.concat([Buffer.of(137, 80, 78, 71, 13, 10, 26, 10), ...parts]);
}

describe.each([
  ["grey", grey],
  ["colour", colour],
])("%s images", (_, states) => {
  test("as a GIF: every grid a frame, without end, the last one longer", async () => {
    const gif = await animatedGif(states, { ...layout, ...timing });
    const { format, pages, delay, loop, width, pageHeight } = await sharp(gif, {
      animated: true,
    }).metadata();
    expect({ format, pages, delay, loop }).toEqual({
      ...{ format: "gif", pages: 3, delay: [120, 120, 1500], loop: 0 },
    });
    const first = await sharp(await imageGrid(states[0] as Pixels, layout)).metadata();
    expect([width, pageHeight]).toEqual([first.width, first.height]);
    const frames = await Promise.all(
      [0, 1, 2].map(async (page) => [...(await sharp(gif, { page }).removeAlpha().raw().toBuffer())]),
    );
    expect(frames).toEqual(await grids(states)); // fewer than 256 colours a frame: none is replaced
  });

  test("as an animated PNG: numbered chunks, checksums, frames and times", async () => {
    const png = await animatedPng(states, { ...layout, ...timing });
    const chunks = walk(png);
    const [header, animation] = chunks as [Chunk, Chunk];
    expect([header.type, animation.type, chunks.at(-1)?.type]).toEqual(["IHDR", "acTL", "IEND"]);
    // Frames, plays: 0 for without end.
    expect([animation.data.readUInt32BE(0), animation.data.readUInt32BE(4)]).toEqual([3, 0]);
    const numbered = chunks.filter(({ type }) => type === "fcTL" || type === "fdAT");
    expect(numbered.map(({ data }) => data.readUInt32BE(0))).toEqual(numbered.map((_, i) => i));

    const frames: { control: Buffer; pixels: Chunk[] }[] = [];
    for (const { type, data } of chunks) {
      if (type === "fcTL") frames.push({ control: data, pixels: [] });
      else if (type === "IDAT" || type === "fdAT") {
        expect(type).toBe(frames.length === 1 ? "IDAT" : "fdAT");
        frames.at(-1)?.pixels.push({ type: "IDAT", data: type === "IDAT" ? data : data.subarray(4) });
      }
    }
    const delays = frames.map(({ control }) => {
      expect(control.length).toBe(26);
      expect(control.subarray(4, 12)).toEqual(header.data.subarray(0, 8)); // width and height
      expect([...control.subarray(12, 20)]).toEqual([0, 0, 0, 0, 0, 0, 0, 0]); // from the corner
      expect([...control.subarray(24)]).toEqual([0, 0]); // nothing is cleared, nothing blended
      return (1000 * control.readUInt16BE(20)) / control.readUInt16BE(22);
    });
    expect(delays).toEqual([120, 120, 1500]);
    const end = { type: "IEND", data: Buffer.alloc(0) };
    const pictures = await Promise.all(frames.map(({ pixels }) => rgb(build([header, ...pixels, end]))));
    const expected = await grids(states);
    expect(pictures).toEqual(expected);
    expect(await rgb(png)).toEqual(expected[0]); // to a reader without animations
  });
});

test("a GIF of all greys is off by one level at most", async () => {
  const ramp = (first: number): Pixels => ({
    data: Uint8Array.from({ length: 256 }, (_, i) => Math.abs(first - i)),
    ...{ count: 1, channels: 1, height: 16, width: 16 },
  });
  const states = [ramp(0), ramp(255)];
  const gif = await animatedGif(states, layout);
  for (const [page, expected] of (await grids(states)).entries()) {
    const frame = await sharp(gif, { page }).removeAlpha().raw().toBuffer();
    expect(frame.length).toBe(expected.length);
    expect(Math.max(...expected.map((value, i) => Math.abs(value - (frame[i] ?? Number.NaN))))).toBeLessThan(
      2,
    );
  }
});

test("refuses delays that a file cannot hold, one frame, and frames of several shapes", async () => {
  const [first, second] = grey as [Pixels, Pixels];
  for (const animated of [animatedGif, animatedPng]) {
    const short = animated(grey, { delay: 5 });
    await expect(short).rejects.toThrow(UserError);
    await expect(short).rejects.toThrow("expected a delay of 10 to 65535 milliseconds, got 5");
    await expect(animated(grey, { lastDelay: 70_000 })).rejects.toThrow("expected a last delay");
    await expect(animated([first])).rejects.toThrow("at least two");
    await expect(animated([])).rejects.toThrow("at least one batch");
    await expect(animated([first, { ...second, height: 3, width: 2 }])).rejects.toThrow(
      "expected batches of one shape, got [4, 1, 2, 3] and [4, 1, 3, 2]",
    );
  }
});

describe("stripPicture", () => {
  /** Two samples of one pixel in three states. */
  const states = [10, 20, 30].map(
    (value): Pixels => ({
      data: Uint8Array.of(value, value + 100),
      ...{ count: 2, channels: 1, height: 1, width: 1 },
    }),
  );

  test("a sample a row, a state a column", async () => {
    const { png, width, height } = await stripPicture(states, { padding: 0, scale: 1 });
    expect([width, height]).toEqual([3, 2]);
    const reds = (await rgb(png)).filter((_, i) => i % 3 === 0);
    expect(reds).toEqual([10, 20, 30, 110, 120, 130]);
  });

  test("keeps colours apart", async () => {
    const one = [
      [1, 2, 3],
      [4, 5, 6],
    ].map((data): Pixels => ({ data: Uint8Array.from(data), count: 1, channels: 3, height: 1, width: 1 }));
    expect(await rgb((await stripPicture(one, { padding: 0, scale: 1 })).png)).toEqual([1, 2, 3, 4, 5, 6]);
  });

  test("is labelled by the caller", async () => {
    const { svg } = await stripPicture(states, {
      columnLabels: ["k = 2", "k = 1", "k = 0"],
      rowLabels: ["a", "b"],
    });
    expect([...svg.matchAll(/<text[^>]*>([^<]*)</g)].map(([, text]) => text).sort()).toEqual([
      ...["a", "b", "k = 0", "k = 1", "k = 2"],
    ]);
  });

  test("refuses no state and states of several shapes", async () => {
    await expect(stripPicture([])).rejects.toThrow("at least one batch");
    const [first] = states as [Pixels];
    const other = { ...first, data: Uint8Array.of(1), count: 1 };
    await expect(stripPicture([first, other])).rejects.toThrow(
      "one shape, got [2, 1, 1, 1] and [1, 1, 1, 1]",
    );
  });
});
