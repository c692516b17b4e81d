/** Evaluations in parts: interrupted, torn and cut into shards they give what an undisturbed one gives, and leave no parts. */
import fs from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { UserError } from "../../src/errors.js";
import { evaluateShard } from "../../src/experiment/evaluate-shard.js";
import { difference } from "../../src/experiment/ledger.js";
import type { Measurement } from "../../src/experiment/metric.js";
import { cutInPieces, doWork, type Piece } from "../../src/experiment/work.js";
import { temporaryFolder } from "./tiny.js";

let folder: string;
beforeEach(() => {
  folder = temporaryFolder();
});
afterEach(() => {
  vi.restoreAllMocks();
  fs.rmSync(folder, { recursive: true, force: true });
});

const whole = { index: 1, of: 1 };
const name = "toy-test-10x2";

/** Ten images in batches of three, twice: eight pieces, whose numbers need all digits of a double, or are none. */
function toy(seed = 1): Measurement & { readonly asked: Piece[] } {
  const asked: Piece[] = [];
  return {
    asked,
    name,
    facts: { metric: "toy", seed, data: { fingerprint: "f" } },
    machine: { libtorch: "none", device: "cpu", threads: 1, precision: "float32" },
    pieces: cutInPieces({ part: "toy", images: 10, batchSize: 3, passes: 2 }),
    measure(piece) {
      asked.push(piece);
      return {
        bits: piece.indices.map((i) => seed / (i + 3) + piece.pass * Math.SQRT2),
        odd: [Number.NaN, Number.NEGATIVE_INFINITY],
      };
    },
    summarise: (measured) => ({
      summary: "done",
      values: { numbers: measured.map(({ numbers }) => numbers) },
    }),
  };
}

function evaluate(measurement: Measurement, o: Partial<Parameters<typeof evaluateShard>[1]> = {}) {
  return evaluateShard(measurement, { folder, shard: whole, log: () => {}, ...o });
}

/** What an undisturbed evaluation finds, without ever having seen a file. */
function numbers(seed = 1): Promise<unknown> {
  const measurement = toy(seed);
  return doWork({ ...measurement, summarise: (measured) => measured.map((one) => one.numbers) });
}

/** Measures `count` pieces of `shard` and is then interrupted. */
async function interrupted(measurement: Measurement, count: number, shard = whole): Promise<void> {
  const stop = new AbortController();
  let pieces = 0;
  const onProgress = () => {
    if (pieces++ === count) stop.abort(new Error("interrupted"));
  };
  await expect(evaluate(measurement, { shard, onProgress, signal: stop.signal })).rejects.toThrow(
    "interrupted",
  );
}

const part = (index = 1, of = 1) => path.join(folder, `${name}.part${index}of${of}.jsonl`);
const files = () => fs.readdirSync(folder).sort();

test("pieces are every batch of every pass, the last batch with what is left", () => {
  const pieces = toy().pieces.map(({ pass, batch, indices, weight }) => [pass, batch, indices, weight]);
  expect(pieces).toHaveLength(8);
  expect(pieces[0]).toEqual([0, 0, [0, 1, 2], 3]);
  expect(pieces[7]).toEqual([1, 3, [9], 1]);
});

test("undisturbed: one result with the facts, and no parts", async () => {
  const outcome = await evaluate(toy());
  const file = path.join(folder, `${name}.json`);
  expect(outcome).toMatchObject({ kind: "complete", file, summary: "done" });
  expect(files()).toEqual([`${name}.json`]);
  if (outcome.kind !== "complete") throw new Error("expected a result");
  expect(outcome.document.numbers).toEqual(await numbers());
  expect(outcome.document).toMatchObject({ metric: "toy", seed: 1, data: { fingerprint: "f" } });
  expect(JSON.parse(fs.readFileSync(file, "utf8"))).toEqual(JSON.parse(JSON.stringify(outcome.document)));
});

test("interrupted: what is done is not measured again, and the result is the same", async () => {
  await interrupted(toy(), 3);
  expect(files()).toEqual([path.basename(part())]);
  const log = vi.fn();
  const again = toy();
  const progress: number[] = [];
  const outcome = await evaluate(again, { log, onProgress: (done) => progress.push(done) });
  expect(log.mock.calls).toEqual([["going on: 3 of 8 batches are done"]]);
  expect(again.asked.map(({ pass, batch }) => [pass, batch])).toEqual([
    [0, 3],
    [1, 0],
    [1, 1],
    [1, 2],
    [1, 3],
  ]);
  expect(progress).toEqual([9, 10, 13, 16, 19, 20]);
  expect(outcome).toMatchObject({ kind: "complete", document: { numbers: await numbers() } });
  expect(files()).toEqual([`${name}.json`]);
});

test("killed in the middle of a line: that batch alone is measured again", async () => {
  await interrupted(toy(), 3);
  const bytes = fs.readFileSync(part());
  fs.writeFileSync(part(), bytes.subarray(0, bytes.length - 20));
  const again = toy();
  const outcome = await evaluate(again);
  expect(again.asked.map(({ pass, batch }) => [pass, batch])).toContainEqual([0, 2]);
  expect(again.asked).toHaveLength(6);
  expect(outcome).toMatchObject({ kind: "complete", document: { numbers: await numbers() } });
});

test("killed before the parts were removed: the result is written from them alone", async () => {
  vi.spyOn(fs, "rmSync").mockImplementation(() => {
    throw new Error("killed");
  });
  await expect(evaluate(toy())).rejects.toThrow("killed");
  vi.restoreAllMocks();
  const again = toy();
  const outcome = await evaluate(again);
  expect(again.asked).toEqual([]);
  expect(outcome).toMatchObject({ kind: "complete", document: { numbers: await numbers() } });
});

test("another request starts afresh and says what differs", async () => {
  await interrupted(toy(1), 3);
  const log = vi.fn();
  const other = toy(2);
  const outcome = await evaluate(other, { log });
  expect(log.mock.calls).toEqual([[`starting afresh: ${part()} is of another request (seed 1, not 2)`]]);
  expect(other.asked).toHaveLength(8);
  expect(outcome).toMatchObject({ kind: "complete", document: { numbers: await numbers(2) } });
});

test.each([[[1, 2, 3]], [[3, 1, 2]]])(
  "shards in the order %j: the last one writes the same result",
  async (order) => {
    const left = new Set(order);
    for (const index of order.slice(0, -1)) {
      left.delete(index);
      const missing = [...left].sort().map((one) => `${one}/3`);
      const outcome = await evaluate(toy(), { shard: { index, of: 3 } });
      expect(outcome).toMatchObject({ kind: "incomplete", missing, batches: 8 });
    }
    const last = toy();
    const outcome = await evaluate(last, { shard: { index: order[2] as number, of: 3 } });
    expect(outcome).toMatchObject({ kind: "complete", document: { numbers: await numbers() } });
    expect(last.asked.length).toBeLessThan(4);
    expect(files()).toEqual([`${name}.json`]);
  },
);

test("shards at the same time give the same result once", async () => {
  const outcomes = await Promise.all([1, 2].map((index) => evaluate(toy(), { shard: { index, of: 2 } })));
  const complete = outcomes.filter((outcome) => outcome.kind === "complete");
  expect(complete.length).toBeGreaterThan(0);
  // The one that was too late reads the other's file, in which what is no number is null.
  const expected = JSON.stringify(await numbers());
  for (const { document } of complete) expect(JSON.stringify(document.numbers)).toBe(expected);
  expect(files()).toEqual([`${name}.json`]);
});

test("what shards have done is used whatever the shards are next time", async () => {
  await evaluate(toy(), { shard: { index: 2, of: 3 } });
  await interrupted(toy(), 1, { index: 1, of: 3 });
  const rest = toy();
  const outcome = await evaluate(rest);
  expect(rest.asked).toHaveLength(8 - 3 - 1);
  expect(outcome).toMatchObject({ kind: "complete", document: { numbers: await numbers() } });
  expect(files()).toEqual([`${name}.json`]);
});

test("a shard of another request is left alone, and named while something is missing", async () => {
  await evaluate(toy(5), { shard: { index: 2, of: 2 } });
  const log = vi.fn();
  const outcome = await evaluate(toy(1), { shard: { index: 1, of: 2 }, log });
  expect(outcome).toMatchObject({ kind: "incomplete", missing: ["2/2"], batchesDone: 4 });
  expect(log.mock.calls).toEqual([[`not used: ${part(2, 2)} is of another request (seed 5, not 1)`]]);
});

test("a shard whose parts another process merged meanwhile finds the result", async () => {
  const slow = toy();
  const { measure } = slow;
  const outcome = await evaluate(
    {
      ...slow,
      async measure(piece, options) {
        if (slow.asked.length === 3) await evaluate(toy());
        return measure(piece, options);
      },
    },
    { shard: { index: 1, of: 2 } },
  );
  const document = JSON.parse(fs.readFileSync(path.join(folder, `${name}.json`), "utf8"));
  expect(outcome).toMatchObject({ kind: "complete", document });
  expect(files()).toEqual([`${name}.json`]);
});

test("a full disk is one line, and what was kept goes on afterwards", async () => {
  const writeSync = vi.spyOn(fs, "writeSync");
  const onProgress = (done: number) => {
    if (done === 6)
      writeSync.mockImplementation(() => {
        throw Object.assign(new Error("ENOSPC"), { code: "ENOSPC" });
      });
  };
  const failed = evaluate(toy(), { onProgress });
  await expect(failed).rejects.toThrow(UserError);
  await expect(failed).rejects.toThrow(/ENOSPC/);
  vi.restoreAllMocks();
  const again = toy();
  await evaluate(again);
  expect(again.asked).toHaveLength(6);
});

test("a line damaged before the end is named", async () => {
  await interrupted(toy(), 3);
  const lines = fs.readFileSync(part(), "utf8").split("\n");
  fs.writeFileSync(part(), lines.with(2, "{oops").join("\n"));
  await expect(evaluate(toy())).rejects.toThrow(`${part()}, line 3`);
});

test("the first difference of two requests, in words", () => {
  expect(difference({ a: 1, b: { c: [1, 2] } }, { a: 1, b: { c: [1, 2] } })).toBeUndefined();
  expect(difference({ a: 1, b: { c: "x" } }, { a: 1, b: { c: "y" } })).toBe('b.c "x", not "y"');
  expect(difference({ a: 1 }, { a: 1, b: null })).toBe("b none, not null");
});

test("of numbers that are not finite no result is written, and the images are counted", async () => {
  const sound = toy();
  const diverged: Measurement = {
    ...sound,
    facts: { ...sound.facts, step: 7 },
    measure(piece) {
      // Of one image in one pass, and of another in both.
      const bits = piece.indices.map((i) => (i === 9 || (i === 4 && piece.pass === 1) ? Number.NaN : i));
      return { bits, other: bits.map(() => 1) };
    },
  };
  await expect(evaluate(diverged)).rejects.toThrow(
    /^expected finite numbers, got none for 2 of 10 images: the weights of step 7 have diverged; measure earlier/,
  );
  expect(files()).toEqual([]);
});

test("more draws than memory holds are refused before they are listed", () => {
  expect(() => cutInPieces({ part: "bound", images: 512, batchSize: 8, passes: 1e9 })).toThrow(
    "expected at most 20000000 draws of bound, got 512 images times 1000000000: ask for fewer of either",
  );
});
