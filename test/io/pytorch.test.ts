/** State dicts in PyTorch's two formats: made by hand from their description, and by PyTorch where it is installed. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { zipSync } from "fflate";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { UserError } from "../../src/errors.js";
import { readStateDict, writeStateDict } from "../../src/io/pytorch/index.js";
import { type StoredDtype, type StoredTensor, writeSafetensors } from "../../src/io/safetensors.js";
import { python, runPython } from "../pytorch.js";

let folder: string;
let file: string;
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "varidiff-pytorch-"));
  file = path.join(folder, "a.pt");
});
afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

const bytes = (array: ArrayBufferView) => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
const float32 = (values: readonly number[]) => bytes(Float32Array.from(values));
const floats = (tensor: StoredTensor | undefined) => [
  ...new Float32Array((tensor?.data ?? new Uint8Array()).slice().buffer),
];

/** Pickle instructions of protocols 0 and 1, as text: readable, and of the same meaning as those that torch.save writes. */
const text = (value: string) => `V${value}\n`;
const tuple = (...items: string[]) => `(${items.join("")}t`;
const call = (module: string, name: string, ...given: string[]) => `c${module}\n${name}\n${tuple(...given)}R`;
const dictionary = (...items: string[]) => `(${items.join("")}d`;
const storage = (key: string, length: number, o: { type?: string; view?: string } = {}) =>
  `${tuple(text("storage"), `ctorch\n${o.type ?? "FloatStorage"}\n`, text(key), text("cpu"), `I${length}\n`, ...(o.view === undefined ? [] : [o.view]))}Q`;
const numbers = (values: readonly number[]) => tuple(...values.map((n) => `I${n}\n`));
const tensor = (stored: string, offset: number, shape: readonly number[], strides: readonly number[]) =>
  call(
    "torch._utils",
    "_rebuild_tensor_v2",
    stored,
    `I${offset}\n`,
    numbers(shape),
    numbers(strides),
    "I00\n",
    call("collections", "OrderedDict"),
  );

/** The zip format: the pickle and the storages as uncompressed records of one folder. */
function writeZip(
  pickle: string,
  storages: Record<string, Uint8Array>,
  o: { more?: Record<string, string>; level?: 0 | 6 } = {},
): void {
  const records: Record<string, Uint8Array> = { "any/data.pkl": Buffer.from(`${pickle}.`, "latin1") };
  for (const [key, data] of Object.entries(storages)) records[`any/data/${key}`] = data;
  for (const [name, content] of Object.entries(o.more ?? {})) records[`any/${name}`] = Buffer.from(content);
  fs.writeFileSync(file, zipSync(records, { level: o.level ?? 0 }));
}

const int64 = (value: bigint) => bytes(BigInt64Array.of(value));
/** `0x1950a86a20f9469cfc6c`, ten bytes little-endian as LONG1. */
const MAGIC = Buffer.from("80028a0a6cfc9c46f9206aa850192e", "hex");
/** PyTorch's files before 1.6: magic number, protocol, machine, object, keys, and each storage behind its length. */
function writeLegacy(
  pickle: string,
  storages: readonly (readonly [key: string, length: number, data: Uint8Array])[],
  o: { protocol?: number; littleEndian?: "I01\n" | "I00\n" } = {},
): void {
  const machine = dictionary(text("little_endian"), o.littleEndian ?? "I01\n");
  const keys = `(${storages.map(([key]) => text(key)).join("")}l`;
  const head = `I${o.protocol ?? 1001}\n.${machine}.${pickle}.${keys}.`;
  const data = storages.flatMap(([, length, content]) => [int64(BigInt(length)), content]);
  fs.writeFileSync(file, Buffer.concat([MAGIC, Buffer.from(head, "latin1"), ...data]));
}

describe("what both formats hold", () => {
  const six = float32([0, 1, 2, 3, 4, 5]);
  const views = dictionary(
    text("whole"),
    tensor(storage("0", 6), 0, [2, 3], [3, 1]),
    text("transposed"),
    tensor(storage("0", 6), 0, [3, 2], [1, 3]),
    text("row"),
    tensor(storage("0", 6), 3, [3], [1]),
    text("every other"),
    tensor(storage("0", 6), 1, [3], [2]),
    text("repeated"),
    tensor(storage("0", 6), 5, [2, 2], [0, 0]),
    text("scalar"),
    tensor(storage("0", 6), 4, [], []),
    text("empty"),
    tensor(storage("0", 6), 0, [0, 3], [3, 1]),
    text("one long axis"),
    tensor(storage("0", 6), 0, [1, 6], [99, 1]),
  );
  const expected: Record<string, [shape: number[], values: number[]]> = {
    whole: [
      [2, 3],
      [0, 1, 2, 3, 4, 5],
    ],
    transposed: [
      [3, 2],
      [0, 3, 1, 4, 2, 5],
    ],
    row: [[3], [3, 4, 5]],
    "every other": [[3], [1, 3, 5]],
    repeated: [
      [2, 2],
      [5, 5, 5, 5],
    ],
    scalar: [[], [4]],
    empty: [[0, 3], []],
    "one long axis": [
      [1, 6],
      [0, 1, 2, 3, 4, 5],
    ],
  };
  const formats = {
    zip: () => writeZip(views, { 0: six }),
    legacy: () => writeLegacy(views, [["0", 6, six]]),
  };

  test.each(Object.entries(formats))(
    "%s: strides and offsets into a shared storage",
    async (_name, write) => {
      write();
      const { tensors, others } = await readStateDict(file);
      expect(others).toEqual([]);
      expect([...tensors.keys()]).toEqual(Object.keys(expected));
      for (const [name, [shape, values]] of Object.entries(expected)) {
        const found = tensors.get(name);
        expect({ name, dtype: found?.dtype, shape: found?.shape, values: floats(found) }).toEqual({
          name,
          dtype: "F32",
          shape,
          values,
        });
      }
    },
  );

  test.each<[string, StoredDtype, number]>([
    ["DoubleStorage", "F64", 8],
    ["HalfStorage", "F16", 2],
    ["BFloat16Storage", "BF16", 2],
    ["LongStorage", "I64", 8],
    ["IntStorage", "I32", 4],
    ["ShortStorage", "I16", 2],
    ["CharStorage", "I8", 1],
    ["ByteStorage", "U8", 1],
    ["BoolStorage", "BOOL", 1],
  ])("%s is %s, and its elements of %i bytes move whole", async (type, dtype, width) => {
    const data = Uint8Array.from({ length: 4 * width }, (_, i) => i);
    const transposed = [0, 2, 1, 3].flatMap((i) => [...data.subarray(i * width, (i + 1) * width)]);
    const pickle = dictionary(text("x"), tensor(storage("k", 4, { type }), 0, [2, 2], [1, 2]));
    writeZip(pickle, { k: data });
    const zip = await readStateDict(file);
    writeLegacy(pickle, [["k", 4, data]]);
    for (const { tensors } of [zip, await readStateDict(file)])
      expect(tensors.get("x")).toEqual({ dtype, shape: [2, 2], data: Uint8Array.from(transposed) });
  });

  test("parameters, sizes and the older rebuilding of tensors", async () => {
    const plain = tensor(storage("0", 6), 0, [6], [1]);
    const old = call(
      "torch._utils",
      "_rebuild_tensor",
      storage("0", 6),
      "I0\n",
      call("torch", "Size", numbers([6])),
      numbers([1]),
    );
    const parameter = call("torch._utils", "_rebuild_parameter", plain, "I01\n", "N");
    const bare = call("torch.nn.parameter", "Parameter", plain, "I01\n");
    const named = dictionary(text("a"), old, text("b"), parameter, text("c"), bare);
    writeZip(named, { 0: six });
    const { tensors } = await readStateDict(file);
    for (const name of ["a", "b", "c"]) expect(floats(tensors.get(name))).toEqual([0, 1, 2, 3, 4, 5]);
  });

  test("legacy views of storages", async () => {
    const view = tuple(text("view"), "I2\n", "I3\n");
    writeLegacy(dictionary(text("x"), tensor(storage("0", 6, { view }), 1, [2], [1])), [["0", 6, six]]);
    expect(floats((await readStateDict(file)).tensors.get("x"))).toEqual([3, 4]);
  });

  test("several legacy storages, in the order of their keys", async () => {
    const pickle = dictionary(
      text("a"),
      tensor(storage("11", 1), 0, [1], [1]),
      text("b"),
      tensor(storage("22", 2, { type: "DoubleStorage" }), 0, [2], [1]),
    );
    writeLegacy(pickle, [
      ["22", 2, bytes(Float64Array.of(8, 9))],
      ["11", 1, float32([7])],
    ]);
    const { tensors } = await readStateDict(file);
    expect(floats(tensors.get("a"))).toEqual([7]);
    expect([...new Float64Array((tensors.get("b") as StoredTensor).data.slice().buffer)]).toEqual([8, 9]);
  });
});

describe("checkpoints with more in them", () => {
  const weights = (value: number) =>
    dictionary(text("w"), tensor(storage(String(value), 1), 0, [1], [1]), text("kept"), "I3\n");
  const write = (...items: string[]) => writeZip(dictionary(...items), { 1: float32([1]), 2: float32([2]) });

  test("stray objects are left, never called", async () => {
    const witness = path.join(folder, "witness");
    const evil = call("os", "system", text(`touch ${witness}`));
    write(text("model"), weights(1), text("args"), evil, text("step"), tensor(storage("2", 1), 0, [], []));
    const { tensors, others } = await readStateDict(file, { key: "model" });
    expect([floats(tensors.get("w")), [...tensors.keys()], others]).toEqual([[1], ["w"], ["kept"]]);
    expect(fs.existsSync(witness)).toBe(false);
    writeZip(evil, {});
    await expect(readStateDict(file)).rejects.toThrow('found an object of "os.system"');
    expect(fs.existsSync(witness)).toBe(false);
  });

  test("the keys that hold one are listed, also in dictionaries of dictionaries", async () => {
    write(
      text("model"),
      weights(1),
      text("more"),
      dictionary(text("ema"), weights(2)),
      text("epoch"),
      "I5\n",
    );
    await expect(readStateDict(file)).rejects.toThrow('choose the key "model" or "more.ema"');
    expect(floats((await readStateDict(file, { key: "more.ema" })).tensors.get("w"))).toEqual([2]);
    await expect(readStateDict(file, { key: "modle" })).rejects.toThrow('got "modle": did you mean "model"?');
  });

  test("a key where there is nothing to choose", async () => {
    write(text("w"), tensor(storage("1", 1), 0, [1], [1]));
    await expect(readStateDict(file, { key: "model" })).rejects.toThrow("it is itself one state dict");
  });

  test.each([
    ["a dictionary without tensors", dictionary(text("a"), "I1\n")],
    ["a list", "(l"],
    ["a single tensor", tensor(storage("1", 1), 0, [1], [1])],
    ["something else", "I1\n"],
  ])("%s is said to be none", async (what, pickle) => {
    writeZip(pickle, { 1: float32([1]) });
    await expect(readStateDict(file)).rejects.toThrow(`expected a state dict in ${file}, found ${what}`);
  });

  test("dictionaries that hold themselves, or one another many times, are searched once", async () => {
    // Each of 30 dictionaries holds the one before under two keys: 2^30 ways to the first.
    const doubled = Array.from({ length: 30 }, (_, i) => `(V0\ng${i}\nV1\ng${i}\ndp${i + 1}\n0`);
    writeZip(`}p0\n0${doubled.join("")}g30\nVself\ng30\ns`, {});
    await expect(readStateDict(file)).rejects.toThrow("found a dictionary without tensors");
  });
});

describe("damage is one line that names the file", () => {
  const one = dictionary(text("w"), tensor(storage("0", 4), 0, [4], [1]));
  const four = float32([1, 2, 3, 4]);
  const view = (offset: number, shape: number[], strides: number[]) =>
    dictionary(text("w"), tensor(storage("0", 4), offset, shape, strides));
  const cases: Record<string, [make: () => void, message: string]> = {
    "an empty file": [() => fs.writeFileSync(file, ""), "found another kind of file"],
    "another file": [() => fs.writeFileSync(file, "hello, hello"), "found another kind of file"],
    "another pickle": [() => fs.writeFileSync(file, "\x80\x02N.", "latin1"), "found another pickle"],
    "a zip archive of something else": [
      () => fs.writeFileSync(file, zipSync({ "a/b": four })),
      "found another zip archive",
    ],
    "a TorchScript module": [
      () => writeZip(one, { 0: four }, { more: { "constants.pkl": "" } }),
      "found a TorchScript module: save its state_dict()",
    ],
    "a cut zip archive": [
      () => {
        writeZip(one, { 0: four });
        fs.truncateSync(file, fs.statSync(file).size - 30);
      },
      "is not a whole PyTorch file",
    ],
    "a compressed record": [
      () => writeZip(one, { 0: new Uint8Array(16) }, { level: 6 }),
      'expected record "any/data.pkl" uncompressed',
    ],
    "big-endian numbers": [
      () => writeZip(one, { 0: four }, { more: { byteorder: "big" } }),
      "expected little-endian",
    ],
    "a changed byte": [
      () => {
        writeZip(one, { 0: four });
        const content = fs.readFileSync(file);
        content[content.indexOf(Buffer.from(four))] = 0x42;
        fs.writeFileSync(file, content);
      },
      'record "any/data/0" has CRC-32',
    ],
    "a missing storage": [() => writeZip(one, {}), 'tensor "w" lies in storage "0", which is missing'],
    "a short storage": [
      () => writeZip(one, { 0: four.subarray(4) }),
      'tensor "w" lies in storage "0" of 12 bytes, expected 16',
    ],
    "an offset beyond the storage": [
      () => writeZip(view(1, [4], [1]), { 0: four }),
      'tensor "w" needs 5 elements of storage "0", which has 4',
    ],
    "strides beyond the storage": [() => writeZip(view(0, [2, 2], [3, 1]), { 0: four }), "needs 5 elements"],
    "sizes beyond all storage": [
      () => writeZip(view(0, [2 ** 40, 2 ** 40], [1, 2 ** 40]), { 0: four }),
      'tensor "w" needs',
    ],
    "a tensor of one number repeated": [
      () => writeZip(view(0, [2 ** 40], [0]), { 0: four }),
      "views of over 8 times the file",
    ],
    "a negative stride": [
      () => writeZip(view(3, [4], [-1]), { 0: four }),
      "found a dictionary without tensors",
    ],
    "storages that overlap": [
      () => {
        // Every entry of the archive's directory is made to point to the first record.
        const keys = Array.from({ length: 40 }, (_, i) => `k${i}`);
        const data = new Uint8Array(200).fill(7);
        const named = keys.map((key) => text(key) + tensor(storage(key, 50), 0, [50], [1]));
        writeZip(dictionary(...named), Object.fromEntries(keys.map((key) => [key, data])));
        const content = fs.readFileSync(file);
        const begin = content.indexOf(Buffer.from("any/data/k0")) - 30;
        const directory = content.indexOf(Buffer.from("PK\x01\x02", "latin1"));
        for (let at = directory; at >= 0; at = content.indexOf(Buffer.from("PK\x01\x02", "latin1"), at + 4)) {
          const name = content.toString("latin1", at + 46, at + 46 + content.readUInt16LE(at + 28));
          if (name.startsWith("any/data/k")) content.writeUInt32LE(begin, at + 42);
        }
        fs.writeFileSync(
          file,
          Buffer.concat([content.subarray(0, begin + 30 + 11 + 200), content.subarray(directory)]),
        );
        const moved = begin + 30 + 11 + 200;
        const whole = fs.readFileSync(file);
        whole.writeUInt32LE(moved, whole.length - 6); // where the directory begins
        fs.writeFileSync(file, whole);
      },
      "its storages overlap",
    ],
    "elements that have no name here": [
      () =>
        writeZip(
          dictionary(text("w"), tensor(storage("0", 2, { type: "ComplexFloatStorage" }), 0, [2], [1])),
          {
            0: four,
          },
        ),
      'tensor "w" has elements of ComplexFloatStorage: convert it first',
    ],
    "a legacy protocol": [() => writeLegacy(one, [["0", 4, four]], { protocol: 7 }), "its protocol is 7"],
    "legacy big-endian numbers": [
      () => writeLegacy(one, [["0", 4, four]], { littleEndian: "I00\n" }),
      "expected little-endian",
    ],
    "a legacy storage longer than the file": [
      () => writeLegacy(one, [["0", 4, four.subarray(4)]]),
      'storage "0" at byte',
    ],
    "a legacy storage of absurd length": [
      () => writeLegacy(one, [["0", Number.MAX_SAFE_INTEGER, four]]),
      "has 9007199254740991 elements of 4 bytes",
    ],
    "a legacy storage of negative length": [() => writeLegacy(one, [["0", -1, four]]), "has -1 elements"],
    "a legacy storage that nothing refers to": [
      () =>
        writeLegacy(one, [
          ["9", 4, four],
          ["0", 4, four],
        ]),
      'storage "9" has no tensor',
    ],
    "a missing legacy storage": [() => writeLegacy(one, []), 'lies in storage "0", which is missing'],
    "an early end of a legacy file": [
      () => {
        writeLegacy(one, [["0", 4, four]]);
        fs.truncateSync(file, 60);
      },
      "at byte 60: expected 1 bytes, found 0",
    ],
  };

  test.each(Object.entries(cases))("%s", async (_what, [make, message]) => {
    make();
    const error = await readStateDict(file).then(
      () => undefined,
      (reason: unknown) => reason as Error,
    );
    expect(error).toBeInstanceOf(UserError);
    expect(error?.message).toContain(message);
    expect(error?.message).toContain(file);
    expect(error?.message).not.toContain("\n");
  });

  test("a missing file", async () => {
    await expect(readStateDict(file)).rejects.toThrow(`cannot read ${file} (ENOENT)`);
  });
});

describe("safetensors", () => {
  const stored: StoredTensor = { dtype: "F32", shape: [2], data: float32([1, 2]) };
  test("are state dicts too, by any name", async () => {
    writeSafetensors(file, [["w", stored]]);
    expect((await readStateDict(file)).tensors).toEqual(new Map([["w", stored]]));
    await expect(readStateDict(file, { key: "model" })).rejects.toThrow("expected no key");
  });
});

describe("writing", () => {
  const tensors: [string, StoredTensor][] = [
    ["z.weight", { dtype: "F32", shape: [2, 3], data: float32([1, 2, 3, 4, 5, 6]) }],
    ["10", { dtype: "F32", shape: [], data: float32([0.5]) }],
    ["a", { dtype: "I64", shape: [1], data: bytes(BigInt64Array.of(-1n)) }],
    ["empty", { dtype: "F32", shape: [0, 2], data: new Uint8Array() }],
  ];

  test("what is written comes back, in its order", async () => {
    writeStateDict(file, tensors);
    const { tensors: back, others } = await readStateDict(file);
    expect([[...back], others]).toEqual([tensors, []]);
  });

  test("the same content gives the same bytes, and every record lies on a multiple of 64", () => {
    writeStateDict(file, tensors);
    const content = fs.readFileSync(file);
    writeStateDict(path.join(folder, "b.pt"), tensors);
    expect(fs.readFileSync(path.join(folder, "b.pt"))).toEqual(content);
    // Local headers: "PK34", method at byte 8, sizes at 18 and 22, lengths of name and extra field at 26 and 28.
    const names: string[] = [];
    let at = 0;
    for (; content.toString("latin1", at, at + 4) === "PK\x03\x04"; ) {
      const [nameLength, extraLength] = [content.readUInt16LE(at + 26), content.readUInt16LE(at + 28)];
      const size = content.readUInt32LE(at + 18);
      const begin = at + 30 + nameLength + extraLength;
      names.push(content.toString("utf8", at + 30, at + 30 + nameLength));
      expect([content.readUInt16LE(at + 8), content.readUInt32LE(at + 22), begin % 64]).toEqual([0, size, 0]);
      at = begin + size;
    }
    expect(names).toEqual(
      ["data.pkl", "byteorder", "data/0", "data/1", "data/2", "data/3", "version"].map((n) => `archive/${n}`),
    );
  });
});

describe.skipIf(python === undefined)("with PyTorch", () => {
  const run = (...lines: string[]) => runPython(folder, lines);

  test("torch.save in both formats, and a training checkpoint, are read", async () => {
    run(
      "base = torch.arange(12.).reshape(3, 4)",
      "image = torch.arange(24.).reshape(2, 3, 2, 2).contiguous(memory_format=torch.channels_last)",
      "state = collections.OrderedDict(w=base, t=base.t(), row=base[1], image=image)",
      "state['p'] = torch.nn.Parameter(torch.tensor([1.5, -2.]))",
      "for name in ['float64', 'float16', 'bfloat16', 'int64', 'int32', 'int16', 'int8', 'uint8', 'bool']:",
      "  state[name] = torch.tensor([[0, 1], [1, 1]]).to(getattr(torch, name)).t()",
      "module = torch.nn.Linear(2, 3)",
      "optimiser = torch.optim.Adam(module.parameters())",
      "module(torch.ones(1, 2)).sum().backward(); optimiser.step()",
      "checkpoint = dict(state_dict=state, linear=module.state_dict(), optimiser=optimiser.state_dict(),",
      "  args=argparse.Namespace(a=[1]), dtype=torch.float16, device=torch.device('cpu'), step=7)",
      "for zip in [True, False]:",
      "  for protocol in [2, 4]:",
      "    o = dict(pickle_protocol=protocol, _use_new_zipfile_serialization=zip)",
      "    torch.save(state, f'state-{zip}-{protocol}.pt', **o)",
      "    torch.save(checkpoint, f'checkpoint-{zip}-{protocol}.pt', **o)",
    );
    const names = fs.readdirSync(folder).sort();
    expect(names).toHaveLength(8);
    const count = (n: number) => Array.from({ length: n }, (_, i) => i);
    for (const name of names) {
      const key = name.startsWith("checkpoint") ? "state_dict" : undefined;
      const { tensors } = await readStateDict(path.join(folder, name), { key });
      expect(floats(tensors.get("w"))).toEqual(count(12));
      expect(floats(tensors.get("t"))).toEqual(count(12).map((i) => 4 * (i % 3) + Math.floor(i / 3)));
      expect(floats(tensors.get("row"))).toEqual([4, 5, 6, 7]);
      expect(floats(tensors.get("image"))).toEqual(count(24));
      expect(floats(tensors.get("p"))).toEqual([1.5, -2]);
      // Transposed, the numbers are 0, 1, 1, 1; 1 is 3c00 in half precision, 3f80 in bfloat16.
      const hex = (dtype: string) => Buffer.from(tensors.get(dtype)?.data ?? []).toString("hex");
      expect(hex("float16")).toBe("0000003c003c003c");
      expect(hex("bfloat16")).toBe("0000803f803f803f");
      expect(hex("float64")).toBe(`${"0".repeat(16)}${"000000000000f03f".repeat(3)}`);
      expect(hex("int64")).toBe(`${"0".repeat(16)}${"0100000000000000".repeat(3)}`);
      expect(hex("int32")).toBe("00000000010000000100000001000000");
      expect(hex("int16")).toBe("0000010001000100");
      for (const dtype of ["int8", "uint8", "bool"]) expect(hex(dtype)).toBe("00010101");
      if (key === undefined) continue;
      const linear = await readStateDict(path.join(folder, name), { key: "linear" });
      expect([...linear.tensors].map(([n, { shape }]) => [n, shape])).toEqual([
        ["weight", [3, 2]],
        ["bias", [3]],
      ]);
      await expect(readStateDict(path.join(folder, name))).rejects.toThrow(
        'the key "state_dict" or "linear"',
      );
    }
  });

  test("torch.load takes what is written, with weights_only", () => {
    writeStateDict(file, [
      ["z.weight", { dtype: "F32", shape: [2, 3], data: float32([1, 2, 3, 4, 5, 6]) }],
      ["a", { dtype: "F32", shape: [], data: float32([0.5]) }],
      ["b", { dtype: "I64", shape: [2, 1], data: bytes(BigInt64Array.of(-1n, 5n)) }],
    ]);
    const printed = run(
      "state = torch.load('a.pt', weights_only=True)",
      "print(type(state).__name__)",
      "for k, v in state.items(): print(k, v.dtype, v.tolist(), v.is_contiguous(), v.data_ptr() % 8)",
    );
    expect(printed.trim().split("\n")).toEqual([
      "OrderedDict",
      "z.weight torch.float32 [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]] True 0",
      "a torch.float32 0.5 True 0",
      "b torch.int64 [[-1], [5]] True 0",
    ]);
  });
});
