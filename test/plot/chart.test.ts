/** Charts: where the marks are, what is left out, what is written; and figures as files. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import sharp from "sharp";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { UserError } from "../../src/errors.js";
import { logTicks, powerOfTen } from "../../src/plot/axis.js";
import { barChart } from "../../src/plot/bar-chart.js";
import { panels } from "../../src/plot/chart.js";
import { renderPng, toCsv, writeFigure } from "../../src/plot/figure.js";
import { type LineChartOptions, lineChart } from "../../src/plot/line-chart.js";

const BLUE = "#0072b2";
const VERMILION = "#d55e00";

function line(x: readonly number[], y: readonly number[], more: Partial<LineChartOptions> = {}) {
  return lineChart({
    title: "T",
    x: { label: "t" },
    y: { label: "γ" },
    series: [{ name: "a", x, y }],
    ...more,
  });
}

/** The corners of the one curve of a colour, in pixels. */
function corners(svg: string, colour: string): { x: number; y: number }[] {
  const group = svg.match(new RegExp(`<g[^>]*stroke="${colour}"[^>]*><path d="([^"]*)"`))?.[1] ?? "";
  return [...group.matchAll(/[ML]([\d.-]+),([\d.-]+)/g)].map(([, x, y]) => ({ x: Number(x), y: Number(y) }));
}

/** All that is written, in the order of the document. */
function texts(svg: string): string[] {
  return [...svg.matchAll(/>([^<>]+)</g)].map(([, text]) => text ?? "");
}

describe("lineChart", () => {
  test("is linear in x and y, y upwards", () => {
    const [a, b, c] = corners(line([0, 1, 3], [0, 2, 6]).svg, BLUE);
    if (!a || !b || !c) throw new Error("expected three corners");
    expect((c.x - a.x) / (b.x - a.x)).toBeCloseTo(3, 2);
    expect((c.y - a.y) / (b.y - a.y)).toBeCloseTo(3, 2);
    expect(b.y).toBeLessThan(a.y);
  });

  test("is logarithmic if asked: equal factors, equal steps", () => {
    const axes = { x: { label: "T", scale: "log" }, y: { label: "loss", scale: "log" } } as const;
    const [a, b, c] = corners(line([1, 10, 1000], [8, 4, 1], axes).svg, BLUE);
    if (!a || !b || !c) throw new Error("expected three corners");
    expect((c.x - a.x) / (b.x - a.x)).toBeCloseTo(3, 2);
    expect((c.y - a.y) / (b.y - a.y)).toBeCloseTo(3, 2);
  });

  test("leaves out what is not a number, and what a logarithmic axis has no place for", () => {
    const { NaN: none, POSITIVE_INFINITY: infinite } = Number;
    const clean = line([0, 3], [1, 2]).svg;
    expect(line([0, 1, 2, none, 3], [1, none, infinite, 5, 2]).svg).toBe(clean);
    const y = { label: "y", scale: "log" } as const;
    expect(line([0, 1, 2, 3], [1, 0, -4, 2], { y }).svg).toBe(line([0, 3], [1, 2], { y }).svg);
  });

  test("draws bands and error bars over the span they cover", () => {
    const series = [{ name: "a", x: [0, 1], y: [5, 5], low: [4, 4], high: [Number.NaN, 10] }];
    const { svg } = line([], [], { series });
    expect(svg).toMatch(/fill-opacity="0.14"/);
    // The axis reaches from the lowest to the highest end of the band.
    expect(texts(svg)).toEqual(expect.arrayContaining(["4", "10"]));
    const bars = line([], [], {
      series: [{ ...series[0], name: "a", x: [0, 1], y: [5, 5], mark: "points" }],
    }).svg;
    expect(bars.match(/<circle /g)).toHaveLength(2);
    expect(bars).not.toMatch(/fill-opacity/);
  });

  test("has a legend as soon as there are two series", () => {
    const a = { name: "first & <only>", x: [0, 1], y: [0, 1] };
    const b = { name: "second", x: [0, 1], y: [1, 0] };
    expect(texts(line([], [], { series: [a] }).svg)).not.toContain("first &amp; &lt;only&gt;");
    const { svg } = line([], [], { series: [a, b] });
    expect(texts(svg)).toEqual(expect.arrayContaining(["first &amp; &lt;only&gt;", "second"]));
    expect(corners(svg, VERMILION)).toHaveLength(2);
  });

  test("tells many series apart by colour and dashes", () => {
    const series = Array.from({ length: 14 }, (_, i) => ({ name: `${i}`, x: [0, 1], y: [i, i] }));
    const { svg } = line([], [], { series });
    const looks = [...svg.matchAll(/<g[^>]*stroke="(#\w+)"[^>]*>/g)].map(([tag, colour]) => {
      return `${colour} ${tag.match(/stroke-dasharray="([^"]*)"/)?.[1]}`;
    });
    expect(new Set(looks).size).toBe(14);
  });

  test("writes title, subtitle and the labels of the axes", () => {
    const { svg } = line([0, 1], [0, 1], { title: 'a "b" & <c>', subtitle: "10 images" });
    expect(texts(svg)).toEqual(
      expect.arrayContaining(["a &quot;b&quot; &amp; &lt;c&gt;", "10 images", "t", "γ"]),
    );
  });

  test("breaks a title that is too long", () => {
    const words = Array.from({ length: 30 }, (_, i) => `word${i}`);
    const written = texts(line([0, 1], [0, 1], { title: words.join(" ") }).svg);
    expect(written[0]?.startsWith("word0 word1")).toBe(true);
    expect(written[1]?.startsWith("word")).toBe(true);
  });

  test("says so when there is nothing to draw", () => {
    expect(texts(line([1, 2], [Number.NaN, Number.NaN]).svg)).toContain("no values to draw");
    expect(line([], []).svg).not.toContain("NaN");
  });

  test("draws a single point in the middle of its axes", () => {
    const series = [{ name: "a", x: [3], y: [5], mark: "points" }] as const;
    const { svg, width } = line([], [], { series });
    const x = Number(svg.match(/<circle [^>]*cx="([\d.]+)"/)?.[1]);
    expect(Math.abs(x - width / 2)).toBeLessThan(width / 10);
  });

  test("refuses arrays of different lengths", () => {
    expect(() => line([1, 2], [1])).toThrow('series "a": 2 values of x, 1 of y');
  });
});

describe("ticks of a logarithmic axis", () => {
  test.each<[readonly [number, number], number, number[] | undefined]>([
    [[1, 1000], 7, [1, 10, 100, 1000]],
    [[1e-12, 1], 5, [1e-12, 1e-9, 1e-6, 1e-3, 1]],
    [[10, 500], 7, [10, 20, 50, 100, 200, 500]],
    [[2.4, 11], 7, [3, 4, 5, 7, 10]],
    [[2.6, 2.9], 7, undefined],
  ])("%j", (domain, count, ticks) => {
    expect(logTicks(domain, count)).toEqual(ticks);
  });

  test("are written as powers of ten", () => {
    expect([1e-6, 2e-12, 1, 1e10, 0].map(powerOfTen)).toEqual(["10⁻⁶", "2×10⁻¹²", "10⁰", "10¹⁰", "0"]);
  });
});

describe("barChart", () => {
  const options = {
    title: "T",
    x: { label: "data set" },
    y: { label: "bits/dim" },
    categories: ["MNIST", "CIFAR-10"],
    series: [
      { name: "prior", y: [1, Number.NaN] },
      { name: "diffusion", y: [4, -2], high: [5, -1] },
    ],
  };
  const bars = (svg: string, colour: string) =>
    [...svg.matchAll(new RegExp(`<rect [^>]*fill="${colour}"[^>]*>`, "g"))].map(([tag]) => ({
      y: Number(tag.match(/ y="([\d.]+)"/)?.[1]),
      height: Number(tag.match(/ height="([\d.]+)"/)?.[1]),
    }));

  test("draws bars as high as their values, from zero, and none for NaN", () => {
    const { svg } = barChart(options);
    const [one, ...others] = bars(svg, BLUE);
    const [four, minusTwo] = bars(svg, VERMILION);
    if (!one || !four || !minusTwo) throw new Error("expected three bars");
    expect(others).toEqual([]);
    expect(four.height / one.height).toBeCloseTo(4, 2);
    expect(minusTwo.height / one.height).toBeCloseTo(2, 2);
    expect(minusTwo.y).toBeCloseTo(one.y + one.height, 2);
    expect(texts(svg)).toEqual(expect.arrayContaining(["MNIST", "CIFAR-10", "prior", "diffusion"]));
  });

  test("refuses a series that does not fit the categories", () => {
    const series = [{ name: "a", y: [1] }];
    expect(() => barChart({ ...options, series })).toThrow('series "a": 1 values for 2 categories');
  });
});

describe("panels", () => {
  const small = line([0, 1], [0, 1], { width: 300, height: 200 });
  test.each([
    [undefined, 900, 200],
    [2, 600, 400],
    [9, 900, 200],
  ])("in %s columns", (columns, width, height) => {
    const grid = panels([small, small, small], columns === undefined ? {} : { columns });
    expect([grid.width, grid.height]).toEqual([width, height]);
    expect(grid.svg.match(/γ/g)).toHaveLength(3);
  });

  test("refuses to draw none", () => {
    expect(() => panels([])).toThrow("at least one chart");
  });
});

describe("figures", () => {
  let folder: string;
  beforeEach(() => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), "varidiff-figure-"));
  });
  afterEach(() => {
    vi.restoreAllMocks();
    fs.rmSync(folder, { recursive: true, force: true });
  });
  const chart = line([0, 1], [0, 1], { title: 'a "b" & <c>\u0007', width: 300, height: 200 });

  test("are rendered at twice their size, on white", async () => {
    const { data, info } = await sharp(await renderPng(chart))
      .removeAlpha()
      .raw()
      .toBuffer({ resolveWithObject: true });
    expect([info.width, info.height]).toEqual([600, 400]);
    expect([...data.subarray(0, 3)]).toEqual([255, 255, 255]);
    // The curve is there, in its colour.
    const blue = [0x00, 0x72, 0xb2];
    const isBlue = (at: number) =>
      blue.every((value, channel) => Math.abs((data[at + channel] ?? -99) - value) < 3);
    expect(Array.from({ length: data.length / 3 }, (_, i) => i * 3).filter(isBlue).length).toBeGreaterThan(
      300,
    );
    expect((await sharp(await renderPng(chart, { scale: 1 })).metadata()).width).toBe(300);
  });

  test("are three files", async () => {
    const base = path.join(folder, "figures", "gamma");
    const files = await writeFigure(base, chart, [{ t: 0, gamma: -13.3 }]);
    expect(files).toEqual({ svg: `${base}.svg`, png: `${base}.png`, csv: `${base}.csv` });
    expect(fs.readFileSync(files.svg, "utf8")).toBe(chart.svg);
    expect(fs.readFileSync(files.csv, "utf8")).toBe("t,gamma\r\n0,-13.3\r\n");
    // The signature of PNG, from its specification.
    expect(fs.readFileSync(files.png).subarray(0, 8).toString("hex")).toBe("89504e470d0a1a0a");
    expect(fs.readdirSync(path.dirname(base))).toHaveLength(3);
  });

  test("report a full disk", async () => {
    vi.spyOn(fs, "writeSync").mockImplementationOnce(() => {
      throw Object.assign(new Error("full"), { code: "ENOSPC" });
    });
    await expect(writeFigure(path.join(folder, "a"), chart, [])).rejects.toThrow(UserError);
    expect(fs.readdirSync(folder)).toEqual([]);
  });

  test("give CSV as RFC 4180 has it", () => {
    const rows: Record<string, number | string>[] = [
      { name: 'say "x"', value: 1 },
      { name: "a,b", other: "c\nd" },
      { name: "plain", value: Number.NaN },
    ];
    // RFC 4180, section 2, rules 1 and 5 to 7.
    expect(toCsv(rows)).toBe('name,value,other\r\n"say ""x""",1,\r\n"a,b",,"c\nd"\r\nplain,NaN,\r\n');
  });
});
