/** Feature networks: resampling by hand, TorchScript and ONNX by their layouts, fingerprints, labels, and Inception's registry. */
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import {
  classifierFeatures,
  disposeFeatures,
  type FeatureNetwork,
  interpolation,
  labelled,
  laidOut,
  layoutSchema,
  onnxFeatures,
  openFeatureFile,
  openInception,
  prepared,
  registeredInception,
  registerInception,
  styleGanLayout,
  torchScriptFeatures,
} from "../../src/metrics/features/index.js";
import { ConvNet } from "../../src/networks/convnet.js";
import { Classifier } from "../../src/systems/index.js";
import { fromTypedArray, liveTensors, Streams, scope } from "../../src/torch/index.js";
import { temporaryFolder } from "../experiment/tiny.js";
import { collectGarbage } from "../garbage.js";
import { python, runPython } from "../pytorch.js";

let folder: string;
beforeEach(() => {
  folder = temporaryFolder();
  vi.stubEnv("XDG_CONFIG_HOME", path.join(folder, "config"));
});
afterEach(() => {
  vi.unstubAllEnvs();
  fs.rmSync(folder, { recursive: true, force: true });
});

describe("resampling", () => {
  // By hand: pixel i of 4 lies at (i + 1/2) / 2 - 1/2 = -1/4, 1/4, 3/4, 5/4 between the centres of 2 pixels.
  test("bilinear puts centres on centres", () => {
    expect(scope(() => interpolation(2, 4, "bilinear").toArray())).toEqual([
      1, 0, 0.75, 0.25, 0.25, 0.75, 0, 1,
    ]);
  });

  // By hand: pixel i of 4 lies at i / 2 = 0, 1/2, 1, 3/2, cut at 1.
  test("bilinear-corner puts corners on corners", () => {
    const weights = scope(() => interpolation(2, 4, "bilinear-corner").toArray());
    expect(weights).toEqual([1, 0, 0.5, 0.5, 0, 1, 0, 1]);
  });

  test("range, repeated grey and both directions", () => {
    const pixels = fromTypedArray(Uint8Array.of(0, 255, 51, 102), [1, 1, 2, 2]);
    const input = { channels: 3, size: null, resize: "bilinear", range: [-1, 1] } as const;
    const plain = scope(() => prepared(pixels, input));
    expect(plain.shape).toEqual([1, 3, 2, 2]);
    // 2 v / 255 - 1
    const values = [-1, 1, -0.6, -0.2];
    for (const [i, value] of plain.toArray().entries()) expect(value).toBeCloseTo(values[i % 4] as number, 6);
    const larger = scope(() => prepared(pixels, { ...input, size: 4, range: [0, 255], channels: null }));
    expect(larger.shape).toEqual([1, 1, 4, 4]);
    // Row 1 lies a quarter of the way from (0, 255) to (51, 102): 12.75, 216.75; its column 2 three quarters further.
    expect(larger.toArray()[6]).toBeCloseTo(12.75 + 0.75 * 204, 4);
  });

  test("colour images for a grey network are refused", () => {
    const pixels = fromTypedArray(new Uint8Array(12), [1, 3, 2, 2]);
    const input = { channels: 1, size: null, resize: "bilinear", range: [-1, 1] } as const;
    expect(() => prepared(pixels, input)).toThrow("expected grey images");
  });
});

/** Two grey images of 1 x 3 pixels. */
const pixels = () => fromTypedArray(Uint8Array.of(0, 51, 255, 255, 0, 102), [2, 1, 1, 3]);
/** [1] and [2] of `test/torch/fixtures/linear.py`: squares of x W^T + b with W = [[1, 2, 3], [-1, 1/2, 0]], b = [1/2, -1/2]. */
const squares = (x: readonly number[]) => {
  const [a = 0, b = 0, c = 0] = x;
  return [(a + 2 * b + 3 * c + 0.5) ** 2, (-a + b / 2 - 0.5) ** 2];
};

async function look(network: FeatureNetwork): Promise<Record<string, number[]>> {
  const x = pixels();
  const seen = await network.compute(x);
  x.dispose();
  const numbers = Object.entries(seen).map(([key, tensor]) => [key, tensor.toArray()] as const);
  disposeFeatures(seen);
  return Object.fromEntries(numbers);
}

describe("a TorchScript file", () => {
  const fixture = fileURLToPath(new URL("../torch/fixtures/linear.pt", import.meta.url));
  let file: string;
  beforeEach(() => {
    file = path.join(folder, "net.pt");
    fs.copyFileSync(fixture, file);
  });
  const layout = (text: string) => fs.writeFileSync(path.join(folder, "net.yaml"), text);

  test("gives what its layout says: places of forward, and methods", async () => {
    layout("{ name: squares, input: { range: [0, 1] }, outputs: { pool: 0, spatial: both, logits: 0 } }");
    const network = await openFeatureFile(file, { device: "cpu" });
    expect({ name: network.name, standing: network.standing }).toEqual({
      name: "squares",
      standing: "other",
    });
    collectGarbage();
    const before = liveTensors();
    const { pool, spatial, probabilities } = await look(network);
    expect(liveTensors()).toBe(before);
    const images = [
      [0, 0.2, 1],
      [1, 0, 0.4],
    ];
    const expected = images.flatMap(squares);
    for (const [i, value] of expected.entries()) expect(pool?.[i]).toBeCloseTo(value, 4);
    // `both` returns 2 x first.
    for (const [i, value] of images.flat().entries()) expect(spatial?.[i]).toBeCloseTo(2 * value, 5);
    // Softmax of two numbers: 1 / (1 + exp(b - a)).
    const [a = 0, b = 0] = squares(images[0] as number[]);
    expect(probabilities?.[0]).toBeCloseTo(1 / (1 + Math.exp(b - a)), 5);
  });

  test.skipIf(python === undefined)(
    "its forward takes arguments where the layout has some (StyleGAN's Inception)",
    async () => {
      runPython(folder, [
        "class Net(torch.nn.Module):",
        "  def forward(self, x, return_features: bool = False, half: bool = False, plain: bool = False):",
        "    flat = x.flatten(1)",
        "    if return_features: return flat * 2",
        "    return flat * 3 if plain else flat * 5",
        "torch.jit.script(Net()).save('net.pt')",
      ]);
      const laid = laidOut(file, styleGanLayout);
      const { pool, probabilities } = await look(
        torchScriptFeatures(laid, { device: "cpu", standing: "inception" }),
      );
      // Bytes as they are, grey repeated to three channels: by hand.
      const bytes = [0, 51, 255];
      expect(pool?.slice(0, 3)).toEqual(bytes.map((v) => 2 * v));
      expect(probabilities?.slice(0, 3)).toEqual(bytes.map((v) => 3 * v));
    },
  );

  test("another layout or another file has another fingerprint", async () => {
    layout("outputs: { pool: 0 }");
    const first = await openFeatureFile(file, { device: "cpu" });
    expect(first.name).toBe("net");
    expect((await openFeatureFile(file, { device: "cpu" })).fingerprint).toBe(first.fingerprint);
    layout("{ input: { range: [0, 1] }, outputs: { pool: 0 } }");
    expect((await openFeatureFile(file, { device: "cpu" })).fingerprint).not.toBe(first.fingerprint);
    const layoutOnly = layoutSchema.parse({ outputs: { pool: 0 } });
    const other = path.join(folder, "net.bin");
    fs.writeFileSync(other, "another");
    expect(laidOut(other, layoutOnly).fingerprint).not.toBe(first.fingerprint);
  });

  test("mistakes are one line", async () => {
    const open = () => openFeatureFile(file, { device: "cpu" });
    await expect(open()).rejects.toThrow(
      /expected the layout of the network .*net.pt in .*net.yaml, found none/,
    );
    layout("outputs: { pol: 0 }");
    await expect(open()).rejects.toThrow(/net.yaml: /);
    layout("outputs: { pool: 3 }");
    await expect(look(await open())).rejects.toThrow(/expected 2 rows of pool in output 3, found none/);
    await expect(openFeatureFile(path.join(folder, "net.bin"), { device: "cpu" })).rejects.toThrow(
      /expected a feature network in a file that ends in .pt, /,
    );
  });
});

describe("an ONNX file", () => {
  /** A runtime whose network doubles its input and tells its shape. */
  const runtime = `export class Tensor { constructor(type, data, dims) { Object.assign(this, { type, data, dims }); } }
export const InferenceSession = { create: async (bytes) => ({
  inputNames: ["x"], outputNames: ["first", "second"],
  run: async ({ x }) => ({ first: new Tensor("float32", x.data.map((v) => 2 * v), x.dims), second: new Tensor("float32", new Float32Array(2).fill(bytes.length), [2, 1]) }),
}) };`;

  test("is run with the layout's input, and its outputs are found by place or name", async () => {
    const specifier = path.join(folder, "runtime.mjs");
    fs.writeFileSync(specifier, runtime);
    const file = path.join(folder, "net.onnx");
    fs.writeFileSync(file, "seven b");
    const outputs = { pool: 0, spatial: "second" };
    const laid = laidOut(file, layoutSchema.parse({ input: { range: [0, 255] }, outputs }));
    const { pool, spatial } = await look(await onnxFeatures(laid, { specifier }));
    expect(pool).toEqual([0, 102, 510, 510, 0, 204]);
    expect(spatial).toEqual([7, 7]);
  });

  test("says what to install where there is no runtime", async () => {
    const file = path.join(folder, "net.onnx");
    fs.writeFileSync(file, "");
    const laid = laidOut(file, layoutSchema.parse({ outputs: { pool: 0 } }));
    await expect(onnxFeatures(laid, { specifier: path.join(folder, "none.mjs") })).rejects.toThrow(
      `${file} needs onnxruntime-web, which is not installed: npm install onnxruntime-web`,
    );
  });
});

describe("a classifier of ours", () => {
  const shape = [1, 4, 4] as const;
  const classifier = (seed: number) =>
    new Classifier({
      shape,
      network: new ConvNet({ shape, classes: 3, channels: 8, dropout: 0 }),
    }).initialise(new Streams(seed));

  test("its fingerprint is that of its weights, and images of another shape are refused", async () => {
    const about = { name: "convnet cats", device: "cpu" };
    const [first, same, other] = [classifier(1), classifier(1), classifier(2)].map((one) =>
      classifierFeatures(one, about),
    );
    expect(first?.fingerprint).toMatch(/^[0-9a-f]{16}$/);
    expect(first?.fingerprint).toBe(same?.fingerprint);
    expect(first?.fingerprint).not.toBe(other?.fingerprint);
    await expect(look(first as FeatureNetwork)).rejects.toThrow(
      "expected images of 1 x 4 x 4 for the feature network convnet cats, got 1 x 1 x 3",
    );
  });
});

test("only verified Inception gives a plain FID", () => {
  const own = { name: "lenet fashion-mnist", standing: "other" } as const;
  expect(labelled("FID", own, 84)).toBe("FID (lenet fashion-mnist, 84 features)");
  expect(labelled("FID", { name: "inception", standing: "inception" }, 2048)).toBe("FID");
});

describe("Inception", () => {
  test("a file of an unknown hash needs a layout, and keeps a label of its own", async () => {
    const file = path.join(folder, "mine.pt");
    expect(() => registerInception(file)).toThrow("there is no such file");
    fs.copyFileSync(fileURLToPath(new URL("../torch/fixtures/linear.pt", import.meta.url)), file);
    expect(() => registerInception(file)).toThrow(
      /has the SHA-256 [0-9a-f]{8}\.\.\., expected that of .*6726825d/,
    );
    expect(registeredInception()).toBeUndefined();
    await expect(openInception({ device: "cpu" })).rejects.toThrow("varidiff data add inception FILE");

    fs.writeFileSync(path.join(folder, "mine.yaml"), "{ name: inception, outputs: { pool: 0 } }");
    const { sha256, known } = registerInception(file);
    expect(known).toBeUndefined();
    const network = await openInception({ device: "cpu" });
    expect(network.standing).toBe("other");
    expect(labelled("FID", network, 2)).toBe(
      `FID (inception (unverified, sha256 ${sha256.slice(0, 8)}...), 2 features)`,
    );

    fs.appendFileSync(file, "x");
    await expect(openInception({ device: "cpu" })).rejects.toThrow("register it anew");
  });
});
