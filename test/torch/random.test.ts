/** Generators against Python's, and streams as functions of their place. */
import { describe, expect, test } from "vitest";
import { Generator, rand, randint, randn, randperm, Streams } from "../../src/torch/index.js";

const float64 = { dtype: "float64" } as const;

describe("Generator", () => {
  test("gives Python's streams", () => {
    // torch 1.13: g = torch.Generator().manual_seed(42); torch.rand(4, generator=g, dtype=torch.float64);
    // torch.randn(4, generator=g, dtype=torch.float64); torch.randint(0, 1000, (5,), generator=g); torch.randperm(8, generator=g)
    const g = new Generator({ seed: 42 });
    expect(rand([4], g, float64).toArray()).toEqual([
      0.05815448596142969, 0.06291016742457756, 0.12358607277440903, 0.05258016436107704,
    ]);
    // Logarithm and cosine may differ in the last digit between builds of libtorch.
    const normal = [-1.1228563767381703, -0.18632829929177447, 2.2082013355893912, -0.6379970567672183];
    randn([4], g, float64)
      .toArray()
      .forEach((value, i) => {
        expect(value).toBeCloseTo(normal[i] as number, 12);
      });
    expect(randint(0, 1000, [5], g).toArray()).toEqual([315, 295, 567, 706, 749]);
    expect(randperm(8, g).toArray()).toEqual([4, 1, 7, 2, 5, 3, 0, 6]);
  });

  test("gives Python's long normal streams, which are drawn 16 at a time", () => {
    // torch 1.13: torch.randn(20, generator=torch.Generator().manual_seed(7))[:4]
    const expected = [-0.8201345205307007, 0.39563116431236267, 0.8989084959030151, -1.3884038925170898];
    randn([20], new Generator({ seed: 7 }))
      .toArray()
      .slice(0, 4)
      .forEach((value, i) => {
        expect(value).toBeCloseTo(expected[i] as number, 5);
      });
  });

  test("goes on exactly from a state, also in the middle of a pair of normals", () => {
    const g = new Generator({ seed: 3 });
    randn([3], g, float64);
    const state = g.state();
    const next = randn([5], g, float64).toArray();
    expect(randn([5], g, float64).toArray()).not.toEqual(next);
    expect(randn([5], new Generator().restore(state), float64).toArray()).toEqual(next);
    expect(randn([5], g.restore(state), float64).toArray()).toEqual(next);
  });

  test("seeds with 64 bits where asked to", () => {
    const first = (key: bigint) => rand([2], new Generator().seedWide(key), float64).toArray();
    expect(first(5n)).toEqual(first(5n));
    expect(first(5n)).not.toEqual(first(5n + (1n << 32n)));
  });

  test("a state that is none, and a wide seed's state", () => {
    const g = new Generator();
    expect(() => g.restore(rand([3], g))).toThrow();
    g.seedWide(9n);
    const state = g.state();
    const next = rand([4], g).toArray();
    expect(rand([4], new Generator().restore(state)).toArray()).toEqual(next);
  });
});

describe("Streams", () => {
  const draw = (streams: Streams, name: string) => randn([4], streams.generator(name), float64).toArray();

  test("are a function of seed, path and name alone", () => {
    const once = draw(new Streams(7).at(3).at(1), "noise");
    const other = new Streams(7);
    draw(other, "noise");
    draw(other.at(3), "times");
    const again = other.at(3).at(1);
    draw(again, "times");
    expect(draw(again, "noise")).toEqual(once);
    expect(draw(again, "noise")).not.toEqual(once); // asked for again, it goes on
  });

  test("differ by seed, by path, by order of the path and by name", () => {
    const all = [
      draw(new Streams(7), "noise"),
      draw(new Streams(8), "noise"),
      draw(new Streams(7 + 2 ** 32), "noise"),
      draw(new Streams(7).at(0), "noise"),
      draw(new Streams(7).at(1), "noise"),
      draw(new Streams(7).at(1).at(2), "noise"),
      draw(new Streams(7).at(2).at(1), "noise"),
      draw(new Streams(7).at(3).at(3), "noise"),
      draw(new Streams(7), "times"),
      draw(new Streams(7), "nois"),
      draw(new Streams(7), ""),
    ].map(String);
    expect(new Set(all).size).toBe(all.length);
  });

  test("ten thousand neighbouring keys are distinct, and their first draws uniform", () => {
    const streams = new Streams(1);
    const keys = Array.from({ length: 10_000 }, (_, i) => streams.at(i).key("noise"));
    expect(new Set(keys).size).toBe(keys.length);
    const firsts = keys.slice(0, 2000).map((key) => rand([1], new Generator().seedWide(key), float64).item());
    const mean = firsts.reduce((sum, u) => sum + u, 0) / firsts.length;
    // Mean of 2,000 uniforms: 1/2 with deviation 1 / sqrt(12 * 2000) = 0.0065; five of them.
    expect(Math.abs(mean - 0.5)).toBeLessThan(0.033);
  });

  test("dropout keys are whole numbers that repeat from the start and never within a pass", () => {
    const take = (streams: Streams) => {
      const keys = streams.dropoutKeys();
      return Array.from({ length: 100 }, () => keys.next());
    };
    const keys = take(new Streams(1).at(5));
    expect(take(new Streams(1).at(5))).toEqual(keys);
    expect(new Set([...keys, ...take(new Streams(1).at(6))]).size).toBe(200);
    expect(keys.every(Number.isSafeInteger)).toBe(true);
  });

  test("carry their device down the path", () => {
    expect([new Streams(1).at(1).device, new Streams(1, { device: "cpu" }).device]).toEqual(["cpu", "cpu"]);
    expect(() => new Generator({ device: "nowhere" })).toThrow(/nowhere/);
  });
});
