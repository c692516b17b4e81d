/** Who frees a tensor: scopes, the collector in a loop that never yields, and both at once under stress. */
import fs from "node:fs";
import { constants, PerformanceObserver } from "node:perf_hooks";
import v8 from "node:v8";
import vm from "node:vm";
import { Worker } from "node:worker_threads";
import { describe, expect, test } from "vitest";
import { builtAddon } from "../../src/setup/locate.js";
import { liveTensors, ones, scope, type Tensor, tensor, zeros } from "../../src/torch/index.js";

v8.setFlagsFromString("--expose-gc");
const collect = vm.runInNewContext("gc") as () => void;

/** Resident memory of the process in MB. */
function residentMegabytes(): number {
  return process.memoryUsage.rss() / 2 ** 20;
}

describe("scope", () => {
  test("frees what it made and returns what it says", () => {
    const before = liveTensors();
    let inner: Tensor | undefined;
    const result = scope(() => {
      inner = zeros([2]);
      return inner.add(1).mul(3);
    });
    expect([inner?.disposed, result.toArray(), liveTensors() - before]).toEqual([true, [3, 3], 1]);
    result.dispose();
    expect(liveTensors()).toBe(before);
  });

  test("returns tensors inside arrays, maps and plain objects, however deep", () => {
    const before = liveTensors();
    const result = scope(() => ({
      list: [zeros([1]), [zeros([1])]],
      map: new Map([["a", { b: zeros([1]) }]]),
      none: null,
      text: "x",
    }));
    expect(liveTensors() - before).toBe(3);
    const found = [result.list[0] as Tensor, (result.list[1] as Tensor[])[0], result.map.get("a")?.b];
    expect(found.map((t) => t?.disposed)).toEqual([false, false, false]);
    for (const t of found) t?.dispose();
    expect(liveTensors()).toBe(before);
  });

  test("hands what an inner scope returns to the outer one", () => {
    const before = liveTensors();
    const sum = scope(() => {
      const a = scope(() => ones([2]).mul(2));
      const b = scope(() => a.mul(3));
      expect(liveTensors() - before).toBe(2);
      return b.sum().item();
    });
    expect([sum, liveTensors() - before]).toEqual([12, 0]);
  });

  test("leaves kept tensors alone, and those made outside", () => {
    const before = liveTensors();
    const outside = ones([1]);
    let kept: Tensor | undefined;
    scope(() => {
      kept = outside.add(1).keep();
    });
    expect([kept?.item(), kept?.kept, outside.disposed]).toEqual([2, true, false]);
    kept?.dispose();
    outside.dispose();
    expect(liveTensors()).toBe(before);
  });

  test("frees when it throws, and the scope around it goes on", () => {
    const before = liveTensors();
    const result = scope(() => {
      expect(() =>
        scope(() => {
          zeros([2]).add(zeros([3]));
        }),
      ).toThrow("aten::add.Tensor");
      return zeros([1]).add(1).item();
    });
    expect([result, liveTensors() - before]).toEqual([1, 0]);
  });

  test("refuses a promise", () => {
    expect(() => scope(async () => 1)).toThrow("scope() takes a synchronous function");
  });

  test("`using`: Symbol.dispose frees", () => {
    const x = zeros([1]);
    x[Symbol.dispose]();
    expect(x.disposed).toBe(true);
  });
});

describe("without a scope", () => {
  test("a synchronous loop that forgets its tensors stays bounded", () => {
    const x = zeros([512, 512]); // 1 MB each: 1,500 MB in all
    x.add(1);
    const before = residentMegabytes();
    let most = 0;
    for (let i = 0; i < 1500 && most < 1000; i++) {
      x.add(1);
      if (i % 50 === 0) most = Math.max(most, residentMegabytes() - before);
    }
    expect(most).toBeLessThan(800);
  });

  test("the collector frees what nobody holds, and nothing else", () => {
    collect();
    const before = liveTensors();
    const held = Array.from({ length: 100 }, (_, i) => tensor([i]));
    for (let i = 0; i < 1000; i++) zeros([4]);
    collect();
    expect(liveTensors() - before).toBe(100);
    expect(held.map((t) => t.item())).toEqual(Array.from({ length: 100 }, (_, i) => i));
  });
});

/** Full collections while `run` runs. */
async function collectionsDuring(run: () => void): Promise<number> {
  let found = 0;
  const count = (entries: readonly object[]) => {
    for (const { detail } of entries as { detail: { kind: number } }[])
      if (detail.kind === constants.NODE_PERFORMANCE_GC_MAJOR) found += 1;
  };
  const observer = new PerformanceObserver((list) => count(list.getEntries()));
  observer.observe({ entryTypes: ["gc"] });
  run();
  await new Promise((resolve) => setTimeout(resolve, 20));
  count(observer.takeRecords());
  observer.disconnect();
  return found;
}

test("tensors outside of scopes press the collector to work; those inside, freed anyway, do not", async () => {
  const make = () => {
    for (let i = 0; i < 20; i++) zeros([2 ** 21]); // 8 MB
  };
  const loose = await collectionsDuring(() => {
    for (let i = 0; i < 10; i++) make();
  });
  collect();
  const scoped = await collectionsDuring(() => {
    for (let i = 0; i < 10; i++) scope(make);
  });
  expect(loose).toBeGreaterThan(5);
  expect(scoped).toBeLessThan(3);
});

test("scopes, disposal and collections at random lose no tensor and free none twice", () => {
  collect();
  const before = liveTensors();
  let seed = 1;
  const random = (n: number) => {
    seed = (seed * 48271) % 2147483647; // Lehmer's generator
    return seed % n;
  };
  const held: { tensor: Tensor; value: number }[] = [];
  for (let i = 0; i < 20_000; i++) {
    const value = random(1000);
    const made = scope(() => {
      const x = tensor([value - 1]);
      if (random(3) === 0) x.mul(2).dispose();
      return x.add(1);
    });
    if (random(4) === 0) held.push({ tensor: made, value });
    if (held.length > 50) {
      const [gone] = held.splice(random(held.length), 1);
      if (random(2) === 0) gone?.tensor.dispose();
    }
    if (random(2000) === 0) collect();
  }
  for (const { tensor: t, value } of held) expect(t.item()).toBe(value);
  for (const { tensor: t } of held) t.dispose();
  held.length = 0;
  collect();
  expect(liveTensors()).toBe(before);
});

test("worker threads load the bridge, compute and end while tensors are alive", async () => {
  const addon = builtAddon()?.addon;
  expect(fs.existsSync(addon ?? "")).toBe(true);
  const code = `
    const bridge = require(${JSON.stringify(addon)});
    const add = bridge.findOperator("aten::add.Tensor");
    const one = bridge.fromBytes(Float32Array.of(1), 6, [1]);
    let sum = one;
    for (let i = 0; i < 5000; i++) sum = bridge.call(add, undefined, sum, one);
    require("node:worker_threads").parentPort.postMessage(bridge.item(sum));
  `;
  const answers = [0, 1, 2].map(
    () =>
      new Promise<[answer: number, code: number]>((resolve, reject) => {
        let answer = Number.NaN;
        new Worker(code, { eval: true })
          .on("message", (value: number) => {
            answer = value;
          })
          .on("error", reject)
          .on("exit", (exitCode) => resolve([answer, exitCode]));
      }),
  );
  expect(await Promise.all(answers)).toEqual([
    [5001, 0],
    [5001, 0],
    [5001, 0],
  ]);
});
