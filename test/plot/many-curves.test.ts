/** Line charts of more than a few curves: bundles, points with labels and bars both ways, paths in a field. */
import { describe, expect, test } from "vitest";
import { estimatedTextWidth } from "../../src/plot/font.js";
import { type LineChartOptions, lineChart } from "../../src/plot/line-chart.js";

const chart = (more: Partial<LineChartOptions>) =>
  lineChart({ title: "T", x: { label: "t" }, y: { label: "γ" }, series: [], ...more });

/** The part of the document that a mark wrote, one for each mark of the kind. */
const marks = (svg: string, kind: string) =>
  [...svg.matchAll(new RegExp(`<g [^>]*aria-label="${kind}"[^>]*>.*?</g>`, "g"))].map(([group]) => group);

const paths = (svg: string) =>
  marks(svg, "line").flatMap((group) =>
    [...group.matchAll(/<path[^>]* d="([^"]*)"/g)].map(([, d]) => d ?? ""),
  );

const texts = (svg: string) => [...svg.matchAll(/>([^<>]+)</g)].map(([, text]) => text);

describe("bundles", () => {
  const x = [0, 1, 2, 3];
  const curves = [
    [0, 1, 2, 3],
    [3, 2, 1, 0],
    [1, 1, 1, 1],
  ];

  test("are curves without names, the colour of each by its value", () => {
    const values = [0.5, 20, 10.25];
    const { svg } = chart({ bundle: { name: "pixels", x, curves, colourBy: { label: "row", values } } });
    expect(paths(svg)).toHaveLength(3);
    // The ends of viridis, #440154 and #fde725.
    expect(svg.match(/stroke="rgb\(68,1,84\)"/g)).toHaveLength(1);
    expect(svg.match(/stroke="rgb\(253,231,37\)"/g)).toHaveLength(1);
    expect(texts(svg)).toEqual(expect.arrayContaining(["row 0.5", "10.3", "20"]));
  });

  test("of one colour are named beside series only", () => {
    expect(texts(chart({ bundle: { name: "pixels", x, curves } }).svg)).not.toContain("pixels");
    const series = [{ name: "mean", x, y: [1, 2, 1, 2] }];
    const { svg } = chart({ bundle: { name: "pixels", x, curves }, series });
    expect(texts(svg)).toEqual(expect.arrayContaining(["pixels", "mean"]));
    expect(paths(svg)).toHaveLength(4);
  });

  test("have gaps where there is no number, or none that a logarithmic axis has a place for", () => {
    const broken = [
      [1, 2, Number.NaN, 1, 2],
      [1, 2, -1, 1, 2],
      [1, 2, 3, 4, 5],
    ];
    const bundle = { name: "pixels", x: [1, 2, 3, 4, 5], curves: broken };
    const pieces = paths(chart({ bundle, y: { label: "y", scale: "log" } }).svg).map(
      (d) => d.split("M").length - 1,
    );
    expect(pieces).toEqual([2, 2, 1]);
  });

  test("beyond 110,000 corners are thinned out, evenly, and say so", () => {
    const long = Array.from({ length: 1000 }, (_, i) => i);
    const many = Array.from({ length: 300 }, (_, k) => long.map((i) => k + Math.sin(i / 50)));
    const { svg } = chart({ subtitle: "S", bundle: { name: "pixels", x: long, curves: many } });
    expect(paths(svg)).toHaveLength(110);
    expect(texts(svg)).toContain("S; 110 of 300 pixels, evenly spaced");
    expect(svg.length).toBeLessThan(3e6);
  });

  test("refuse curves and colours that do not fit", () => {
    expect(() => chart({ bundle: { name: "pixels", x, curves: [[1]] } })).toThrow(
      "curve 0 of a bundle: 4 values of x, 1 of y",
    );
    const colourBy = { label: "row", values: [1] };
    expect(() => chart({ bundle: { name: "pixels", x, curves, colourBy } })).toThrow(
      "a bundle: 3 curves, 1 values for their colours",
    );
  });
});

describe("points", () => {
  /** Where each label is, in pixels. */
  const boxes = (svg: string) =>
    marks(svg, "text").flatMap((group) =>
      [...group.matchAll(/<text[^>]*translate\(([\d.-]+),([\d.-]+)\)[^>]*>([^<]*)</g)].map(
        ([, x, y, text = ""]) => ({
          x: Number(x),
          y: Number(y),
          text,
          width: estimatedTextWidth(text, 11),
        }),
      ),
    );

  test("have error bars both ways", () => {
    const series = [
      {
        name: "a",
        mark: "points",
        x: [2, 3],
        y: [5, 6],
        low: [4, 6],
        high: [7, 6],
        xLow: [0, 3],
        xHigh: [4, 3],
      },
    ] as const;
    const { svg } = chart({ series });
    // The one that is not upright.
    const bars = [
      ...marks(svg, "rule")
        .join("")
        .matchAll(/<line [^>]*>/g),
    ].map(([tag]) => ["x1", "x2"].map((end) => Number(tag.match(new RegExp(`${end}="([\\d.]+)"`))?.[1])));
    const across = bars.find(([from = 0, to = 0]) => from < to);
    const dots = [...svg.matchAll(/<circle [^>]*cx="([\d.]+)"/g)].map(([, x]) => Number(x));
    const [at2 = 0, at3 = 0] = dots;
    // Two units to either side of the first point, which is one unit from the second.
    expect(at2 - (across?.[0] ?? 0)).toBeCloseTo(2 * (at3 - at2), 1);
    expect((across?.[1] ?? 0) - at2).toBeCloseTo(2 * (at3 - at2), 1);
  });

  test("have labels that keep clear of one another and stay inside", () => {
    const labels = ["first of them", "second", "third", "", "the last, at the edge"];
    const series = [
      { name: "a", mark: "points", x: [0, 0.2, 0.4, 5, 10], y: [1, 1, 1.02, 2, 2], labels },
    ] as const;
    const { svg, width } = chart({ series, y: { label: "y", domain: [0, 3] } });
    const placed = boxes(svg);
    expect(placed.map(({ text }) => text)).toEqual(labels.filter((label) => label !== ""));
    for (const [i, a] of placed.entries()) {
      expect(a.x + a.width / 2).toBeLessThan(width);
      for (const b of placed.slice(i + 1)) {
        const apart = Math.abs(a.x - b.x) >= (a.width + b.width) / 2 || Math.abs(a.y - b.y) >= 11;
        expect(apart, `${a.text} and ${b.text}`).toBe(true);
      }
    }
  });

  test("refuse labels and bars of another length", () => {
    const series = [{ name: "a", x: [1, 2], y: [1, 2], labels: ["one"] }];
    expect(() => chart({ series })).toThrow('series "a": 2 values of x, 1 of labels');
  });
});

test("a field is arrows along its vectors, longer where it is stronger, none where it vanishes", () => {
  // Median size 1 of 0, 1, 1, 3: arrows of 1 / 2, 1 / 2 and 3 / 4 of the room.
  const vectors: Record<string, readonly [number, number]> = {
    "0,0": [0, 0],
    "0,1": [1, 0],
    "1,0": [0, 1],
    "1,1": [-3, 0],
  };
  const { svg } = chart({
    width: 600,
    x: { label: "x", domain: [-1, 2] },
    y: { label: "y", domain: [-1, 2] },
    field: { x: [0, 1], y: [0, 1], at: (x, y) => vectors[`${x},${y}`] ?? [0, 0] },
  });
  const shafts = marks(svg, "arrow").flatMap((group) =>
    [...group.matchAll(/d="M([\d.-]+),([\d.-]+)[LA][^M]*?([\d.-]+),([\d.-]+)M/g)].map(([, ...ends]) => {
      const [x1 = 0, y1 = 0, x2 = 0, y2 = 0] = ends.map(Number);
      return [x2 - x1, y2 - y1] as const;
    }),
  );
  expect(shafts).toHaveLength(3);
  const [right, up, left] = shafts;
  if (!right || !up || !left) throw new Error("expected three arrows");
  expect(right[0]).toBeGreaterThan(0);
  expect(right[1]).toBeCloseTo(0, 2);
  // Pixels go down.
  expect(up[1]).toBeLessThan(0);
  expect(up[0]).toBeCloseTo(0, 2);
  expect(left[0] / right[0]).toBeCloseTo(-1.5, 2);
});
