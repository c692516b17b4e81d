/** Tensors in files: safetensors mapped without a copy, TorchScript modules called and differentiated. */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { UserError } from "../../src/errors.js";
import {
  arange,
  type Dtype,
  liveTensors,
  loadScript,
  loadTensors,
  ones,
  saveTensors,
  type Tensor,
  tensor,
} from "../../src/torch/index.js";

let folder: string;
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "varidiff-torch-"));
});
afterAll(() => {
  fs.rmSync(folder, { recursive: true, force: true });
});
const place = (name: string) => path.join(folder, name);

describe("safetensors", () => {
  test.each<Dtype>([
    "uint8",
    "int8",
    "int16",
    "int32",
    "int64",
    "float16",
    "float32",
    "float64",
    "bool",
    "bfloat16",
  ])("%s comes back as it went", (dtype) => {
    const x = tensor(
      [
        [0, 1],
        [1, 0],
      ],
      { dtype },
    );
    saveTensors(place(dtype), [
      ["x", x],
      ["scalar", x.select(0, 0).select(0, 1)],
    ]);
    const { tensors } = loadTensors(place(dtype));
    const back = tensors.get("x");
    expect([back?.dtype, back?.shape, back?.toArray()]).toEqual([dtype, [2, 2], [0, 1, 1, 0]]);
    expect([tensors.get("scalar")?.shape, tensors.get("scalar")?.item()]).toEqual([[], 1]);
  });

  test("names in their order, metadata, empty and channels-last tensors", () => {
    const image = arange(0, 8).reshape([1, 2, 2, 2]);
    saveTensors(
      place("a"),
      [
        ["z.weight", image.clone("channelsLast")],
        ["a", tensor([])],
      ],
      { step: "7" },
    );
    const { tensors, metadata } = loadTensors(place("a"));
    expect([[...tensors.keys()], metadata]).toEqual([["z.weight", "a"], { step: "7" }]);
    expect(tensors.get("z.weight")?.toArray()).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(tensors.get("a")?.shape).toEqual([0]);
  });

  test("a loaded tensor outlives its file and its neighbours, and never changes the file", () => {
    saveTensors(place("b"), [
      ["x", tensor([1, 2])],
      ["y", tensor([3, 4])],
    ]);
    const bytes = fs.readFileSync(place("b"));
    const before = liveTensors();
    const { tensors } = loadTensors(place("b"));
    const y = tensors.get("y") as Tensor;
    y.mul_(10);
    expect(fs.readFileSync(place("b"))).toEqual(bytes);
    fs.rmSync(place("b"));
    tensors.get("x")?.dispose();
    expect(y.toArray()).toEqual([30, 40]);
    y.dispose();
    expect(liveTensors() - before).toBeLessThanOrEqual(8); // the collector takes the intermediate views
  });

  test("elements off their natural boundary are copied", () => {
    // Header of 64 bytes in all, one byte, then a float32 at byte 65: 1 = 3f800000.
    const header =
      '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"F32","shape":[2],"data_offsets":[1,9]}}';
    const length = Buffer.alloc(8);
    length.writeUInt32LE(header.length);
    fs.writeFileSync(
      place("odd"),
      Buffer.concat([
        length,
        Buffer.from(header),
        Buffer.from("07", "hex"),
        Buffer.from("0000803f000000c0", "hex"),
      ]),
    );
    const { tensors } = loadTensors(place("odd"));
    expect([tensors.get("a")?.toArray(), tensors.get("b")?.toArray()]).toEqual([[7], [1, -2]]);
  });

  test("mistakes name the file", () => {
    expect(() => loadTensors(place("none"))).toThrow(UserError);
    fs.writeFileSync(place("short"), "abc");
    expect(() => loadTensors(place("short"))).toThrow(place("short"));
  });
});

describe("TorchScript", () => {
  const fixture = fileURLToPath(new URL("fixtures/linear.pt", import.meta.url));
  const python = "/usr/bin/python3";
  const hasTorch = (() => {
    try {
      execFileSync(python, ["-c", "import importlib.util as u, sys; sys.exit(u.find_spec('torch') is None)"]);
      return true;
    } catch {
      return false;
    }
  })();

  // The module squares x W^T + b with W = [[1, 2, 3], [-1, 1/2, 0]], b = [1/2, -1/2]; at x = [1, 0, -1]: [-1.5, -1.5].
  function check(file: string): void {
    const module = loadScript(file);
    const x = tensor([[1, 0, -1]]).requireGrad();
    const y = module.forward(x);
    expect(y.toArray()).toEqual([2.25, 2.25]);
    y.sum().backward();
    expect(x.grad?.toArray()).toEqual([0, -7.5, -9]); // 2 (-1.5) (W_1 + W_2)
  }

  test("forward and gradient of a module made once by PyTorch", () => check(fixture));

  test.skipIf(!hasTorch)("and of one made now", () => {
    const file = place("now.pt");
    execFileSync(python, [fileURLToPath(new URL("fixtures/linear.py", import.meta.url)), file]);
    check(file);
  });

  test("other methods; tuples and lists become one array", () => {
    const module = loadScript(fixture);
    expect(module.call("both", ones([1])).map((t) => t.item())).toEqual([2, 2, 0]);
    expect(() => module.call("count", ones([1]))).toThrow(
      "the TorchScript module returned a Int; expected tensors",
    );
    expect(() => module.call("nothing", ones([1]))).toThrow(/nothing/);
    expect(() => module.forward(ones([1, 2]))).toThrow(/^[^\n]+$/);
  });

  test("a file that is missing or something else", () => {
    expect(() => loadScript(place("none.pt"))).toThrow(`expected a TorchScript file at ${place("none.pt")}`);
    fs.writeFileSync(place("text.pt"), "no archive");
    expect(() => loadScript(place("text.pt"))).toThrow(
      /text\.pt is no TorchScript file that this libtorch reads: [^\n]+$/,
    );
  });
});
