/** Journals of JSON records: what survives a crash, and what is said about damage. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { UserError } from "../../src/errors.js";
import { JsonlWriter, readJsonl, truncateJsonl } from "../../src/io/jsonl.js";

interface Point {
  readonly step: number;
}

let folder: string;
let file: string;
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "varidiff-jsonl-"));
  file = path.join(folder, "metrics.jsonl");
});
afterEach(() => {
  vi.restoreAllMocks();
  fs.rmSync(folder, { recursive: true, force: true });
});

function append(...records: object[]): void {
  const writer = new JsonlWriter(file);
  for (const record of records) writer.append(record);
  writer.close();
}

describe("JsonlWriter", () => {
  test("writes one line a record, in one write", () => {
    const write = vi.spyOn(fs, "writeSync");
    append({ step: 1, text: "a\nb" }, { step: 2 });
    append({ step: 3 });
    expect(fs.readFileSync(file, "utf8")).toBe('{"step":1,"text":"a\\nb"}\n{"step":2}\n{"step":3}\n');
    expect(write).toHaveBeenCalledTimes(3);
  });

  test("writes numbers that JSON has not as strings", () => {
    append({
      loss: Number.NaN,
      nested: [Number.POSITIVE_INFINITY, { x: Number.NEGATIVE_INFINITY }],
      ok: -0.5,
    });
    expect(fs.readFileSync(file, "utf8")).toBe(
      '{"loss":"NaN","nested":["Infinity",{"x":"-Infinity"}],"ok":-0.5}\n',
    );
  });

  test("removes a torn last line before it goes on", () => {
    fs.writeFileSync(file, '{"step":1}\n{"ste');
    append({ step: 2 });
    expect(fs.readFileSync(file, "utf8")).toBe('{"step":1}\n{"step":2}\n');
  });

  test("ends a whole last line that lacks its end", () => {
    fs.writeFileSync(file, '{"step":1}');
    append({ step: 2 });
    expect(fs.readFileSync(file, "utf8")).toBe('{"step":1}\n{"step":2}\n');
  });

  test("leaves whole records when the disk is full", () => {
    const writer = new JsonlWriter(file);
    writer.append({ step: 1 });
    vi.spyOn(fs, "writeSync").mockImplementationOnce(() => {
      throw Object.assign(new Error("full"), { code: "ENOSPC" });
    });
    expect(() => writer.append({ step: 2 })).toThrow(UserError);
    writer.append({ step: 3 });
    writer.close();
    expect(readJsonl(file)).toEqual([{ step: 1 }, { step: 3 }]);
  });
});

describe("readJsonl", () => {
  test.each([
    ["a torn last line", '{"step":1}\n{"step":2}\n{"st', [{ step: 1 }, { step: 2 }]],
    [
      "a tear inside a character",
      Buffer.concat([Buffer.from('{"step":1}\n{"a":"'), Buffer.of(0xcf)]),
      [{ step: 1 }],
    ],
    ["a last line without its end", '{"step":1}\n{"step":2}', [{ step: 1 }, { step: 2 }]],
    ["empty lines", '\n{"step":1}\n\n', [{ step: 1 }]],
    ["an empty file", "", []],
  ])("copes with %s", (_what, content, records) => {
    fs.writeFileSync(file, content);
    expect(readJsonl(file)).toEqual(records);
  });

  test.each([
    ["half a record", '{"step":1}\n{"st\n{"step":3}\n'],
    ["a number", '{"step":1}\n7\n'],
    ["a list", '{"step":1}\n[1]\n{"step":3}\n'],
  ])("names the line that holds %s", (_what, content) => {
    fs.writeFileSync(file, content);
    expect(() => readJsonl(file)).toThrow(UserError);
    expect(() => readJsonl(file)).toThrow(`${file}, line 2: expected a JSON object`);
  });

  test("names a file that is not there", () => {
    expect(() => readJsonl(file)).toThrow(`cannot read ${file} (ENOENT)`);
  });
});

describe("truncateJsonl", () => {
  test("drops records, and leaves the others byte for byte", () => {
    fs.writeFileSync(file, '{"step": 1.0}\n{"step":2}\n{"step":3}\n{"st');
    expect(truncateJsonl<Point>(file, ({ step }) => step <= 1)).toBe(2);
    expect(fs.readFileSync(file, "utf8")).toBe('{"step": 1.0}\n');
  });

  test("keeps everything when the rewrite fails", () => {
    append({ step: 1 }, { step: 2 });
    vi.spyOn(fs, "renameSync").mockImplementationOnce(() => {
      throw Object.assign(new Error("full"), { code: "ENOSPC" });
    });
    expect(() => truncateJsonl(file, () => false)).toThrow(UserError);
    expect(readJsonl(file)).toEqual([{ step: 1 }, { step: 2 }]);
  });

  test("drops nothing from a journal that is not there", () => {
    expect(truncateJsonl(file, () => false)).toBe(0);
    expect(fs.readdirSync(folder)).toEqual([]);
  });
});
