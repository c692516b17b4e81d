/** Pickles as data, against instruction sequences written out by hand from the reference of Python's `pickletools`. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { UserError } from "../../src/errors.js";
import { ByteReader } from "../../src/io/pytorch/byte-reader.js";
import { Global, Inert, unpickle } from "../../src/io/pytorch/unpickler.js";

let folder: string;
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "varidiff-pickle-"));
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const makers = new Map<string, (given: readonly unknown[]) => unknown>([
  ["collections.OrderedDict", () => new Map()],
  ["a.pair", (given) => (given.length === 2 ? { pair: given } : undefined)],
]);

/** Latin-1 text for bytes: `\x80\x02` and the like. */
function read(pickle: string | Buffer): unknown {
  const file = path.join(folder, "pickle");
  const bytes = typeof pickle === "string" ? Buffer.from(pickle, "latin1") : pickle;
  fs.writeFileSync(file, bytes);
  const descriptor = fs.openSync(file, "r");
  try {
    const reader = new ByteReader({ file, descriptor, begin: 0, end: bytes.length });
    return unpickle(reader, { makers, persistent: (id) => ({ id }) });
  } finally {
    fs.closeSync(descriptor);
  }
}

function thrownBy(run: () => unknown): Error {
  try {
    run();
  } catch (error) {
    return error as Error;
  }
  throw new Error("expected an error");
}

describe("values", () => {
  const cases: readonly (readonly [what: string, pickle: string, value: unknown])[] = [
    ["None, True and False", "\x80\x02(N\x88\x89t.", [null, true, false]],
    ["whole numbers", "(K\xffM\x01\x02J\xff\xff\xff\xfft.", [255, 513, -1]],
    [
      "long whole numbers",
      "(\x8a\x00\x8a\x01\x80\x8a\x02\xff\x00\x8b\x01\x00\x00\x00\x07t.",
      [0, -128, 255, 7],
    ],
    // 2^64 = 01 followed by eight zero bytes.
    ["whole numbers beyond 2^53", `\x8a\x09${"\0".repeat(8)}\x01.`, 2n ** 64n],
    ["numbers as text", "(I12\nL-3L\nI01\nI00\nF0.5\nt.", [12, -3, true, false, 0.5]],
    // IEEE 754, big-endian: 1.5 = 3ff8000000000000.
    ["floating point", "G\x3f\xf8\0\0\0\0\0\0.", 1.5],
    ["text as UTF-8", "(X\x02\0\0\0\xc3\xa9\x8c\x01a\x8d\x01\0\0\0\0\0\0\0bt.", ["é", "a", "b"]],
    ["text of Python 2", "(U\x01aT\x01\0\0\0\xe9S'it\\'s\\x41'\nV\\u00e9\nt.", ["a", "é", "it'sA", "é"]],
    ["lists", "(]K\x01a(K\x02K\x03e(K\x04lt.", [[1, 2, 3], [4]]],
    ["tuples", "()K\x01\x85K\x01K\x02\x86K\x01K\x02K\x03\x87t.", [[], [1], [1, 2], [1, 2, 3]]],
    ["sets", "(\x8f(K\x01\x90(K\x02\x91t.", [[1], [2]]],
    ["frames", "\x80\x04\x95\x02\0\0\0\0\0\0\0K\x05.", 5],
    ["POP, POP_MARK and DUP", "K\x01K\x020(K\x031K\x022\x87.", [1, 2, 2]],
    ["the memo", "(K\x01q\x05K\x02r\0\0\0\x01K\x03p7\nh\x05j\0\0\0\x01g7\nt.", [1, 2, 3, 1, 2, 3]],
    ["the memo that counts for itself", "\x8c\x01a\x94\x8c\x01b\x94h\x00\x87.", ["a", "b", "a"]],
  ];
  test.each(cases)("%s", (_what, pickle, value) => {
    expect(read(pickle)).toEqual(value);
  });

  test("bytes", () => {
    const bytes = read("(B\x01\0\0\0\xffC\x01\xfe\x8e\x01\0\0\0\0\0\0\0\xfd\x96\x01\0\0\0\0\0\0\0\xfct.");
    expect((bytes as Uint8Array[]).map((each) => [...each])).toEqual([[0xff], [0xfe], [0xfd], [0xfc]]);
  });

  test("dictionaries keep their order and their keys of every type", () => {
    const map = (...entries: [unknown, unknown][]) => new Map(entries);
    expect(read("(K\x01K\x02d.")).toEqual(map([1, 2]));
    expect(read("}K\x02K\x03s(X\x01\0\0\0aN\x8c\x09__proto__K\x04u.")).toEqual(
      map([2, 3], ["a", null], ["__proto__", 4]),
    );
  });

  test("a container may hold itself", () => {
    const list = read("]q\0h\0a.") as unknown[];
    expect(list[0]).toBe(list);
  });

  test("a long pickle is read past the reader's window", () => {
    const length = 100_000;
    const head = Buffer.alloc(4);
    head.writeUInt32LE(length);
    const text = Buffer.concat([Buffer.from("X"), head, Buffer.alloc(length, "y")]);
    const pickle = Buffer.concat([Buffer.from("("), text, text, Buffer.from("t.")]);
    expect(read(pickle)).toEqual(["y".repeat(length), "y".repeat(length)]);
  });

  test("persistent ids, as text and as objects", () => {
    expect(read("(P17\n(K\x01tQt.")).toEqual([{ id: "17" }, { id: [1] }]);
  });
});

describe("classes and functions", () => {
  test("what is on the list is made", () => {
    expect(read("ccollections\nOrderedDict\n)RK\x01K\x02s}b.")).toEqual(new Map([[1, 2]]));
    expect(read("ca\npair\nK\x01K\x02\x86R.")).toEqual({ pair: [1, 2] });
    expect(read("\x8c\x01a\x8c\x04pair\x93K\x01K\x02\x86\x81.")).toEqual({ pair: [1, 2] });
    expect(read("(K\x01K\x02ia\npair\n.")).toEqual({ pair: [1, 2] });
    expect(read("(ca\npair\nK\x01K\x02o.")).toEqual({ pair: [1, 2] });
  });

  test("a class that is only named stays a name", () => {
    expect(read("ctorch\nfloat16\n.")).toEqual(new Global("torch.float16"));
  });

  test("everything else becomes a record, by whichever instruction: nothing is run", () => {
    const witness = path.join(folder, "witness");
    const command = `touch ${witness}`;
    const call = new Inert("posix.system", [command]);
    expect(read(`cposix\nsystem\n(S'${command}'\ntR.`)).toEqual(call);
    expect(read(`(S'${command}'\niposix\nsystem\n.`)).toEqual(call);
    expect(read(`(cposix\nsystem\nS'${command}'\no.`)).toEqual(call);
    expect(read(`cposix\nsystem\n(S'${command}'\nt}\x92.`)).toEqual(call);
    expect(read(`cos\nsystem\n(S'${command}'\ntR.`)).toEqual(new Inert("os.system", [command]));
    expect(fs.existsSync(witness)).toBe(false);
  });

  test("names that JavaScript knows are no way in", () => {
    for (const name of ["constructor", "__proto__", "toString", "eval"])
      expect(read(`cObject\n${name}\n)R.`)).toEqual(new Inert(`Object.${name}`, []));
  });

  test("what a maker has no use for, and what is computed, is a record too", () => {
    expect(read("ca\npair\nK\x01\x85R.")).toEqual(new Inert("a.pair", [1]));
    expect(read("ca\nb\n)R)R.")).toEqual(new Inert("a computed callable", []));
  });

  test("records take items and state and keep the latter", () => {
    const record = read("cm\nThing\n)\x81(K\x01K\x02uK\x01a(K\x02e}K\x05K\x06sb.") as Inert;
    expect(record).toBeInstanceOf(Inert);
    expect(record.state).toEqual(new Map([[5, 6]]));
  });
});

describe("damage is one line that names the file and the byte", () => {
  const cases: readonly (readonly [what: string, pickle: string | Buffer, message: string])[] = [
    ["an early end", "\x80\x02(N", "at byte 4: expected 1 bytes, found 0 to the end"],
    ["an empty stack", "R.", "at byte 0: the instruction takes 2 from a stack that has fewer"],
    ["reaching below a mark", "K\x01(\x85.", "at byte 3: the instruction takes 1"],
    ["a mark that is not there", "K\x01t.", "at byte 2: the instruction needs a mark"],
    ["an empty memo", "h\x07.", "at byte 0: nothing was memorised as 7"],
    ["an unknown instruction", "\x82\x01.", "at byte 0: 0x82 is no pickle instruction known here"],
    ["an unknown protocol", "\x80\x09N.", "pickle protocol 9 is not known"],
    ["a text longer than the file", "X\xff\0\0\0a.", "expected 255 bytes, found 2 to the end"],
    ["a text of absurd length", "X\xff\xff\xff\x7fa.", "at byte 0: a text of 2147483647 bytes"],
    ["a whole number of absurd length", "\x8b\0\0\0\x40.", "a whole number of 1073741824 bytes"],
    ["a whole number that is none", "I1x\n.", "a whole number that is none"],
    ["an endless line", `S'${"a".repeat(70_000)}`, "a line of over 65536 bytes"],
    ["a number appended to", "K\x01K\x02a.", "appends to what is no list"],
    ["items of a number", "K\x01K\x02K\x03s.", "sets items of what is no dictionary"],
    ["a nameless class", "K\x01K\x02\x93.", "the name of a class or function is no text"],
    ["an endless stack", Buffer.alloc(5_000_001, "N"), "over 5000000 instructions"],
  ];
  test.each(cases)("%s", (_what, pickle, message) => {
    const error = thrownBy(() => read(pickle));
    expect(error).toBeInstanceOf(UserError);
    expect(error.message).toContain(message);
    expect(error.message).toContain(path.join(folder, "pickle"));
    expect(error.message).not.toContain("\n");
  });
});
