/** `varidiff import`: foreign weights as a run that samples, evaluates, trains on and is fine-tuned. */
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { evaluateCommand } from "../../src/cli/evaluate.js";
import { importCommand } from "../../src/cli/import.js";
import { main } from "../../src/cli/main.js";
import { runsCommand } from "../../src/cli/runs.js";
import { sampleCommand } from "../../src/cli/sample.js";
import { trainCommand } from "../../src/cli/train.js";
import { UserError } from "../../src/errors.js";
import { readMetrics } from "../../src/experiment/journal.js";
import { openRun } from "../../src/experiment/run-folder.js";
import { openTrained } from "../../src/experiment/trained.js";
import { type StoredTensor, writeSafetensors } from "../../src/io/index.js";
import { DDGM } from "../../src/systems/index.js";
import { toStored } from "../../src/torch/index.js";
import { temporaryFolder, writeTiny } from "../experiment/tiny.js";
import { close, GoldenFile } from "../golden.js";
import { storedWeights } from "../networks/stored-unet.js";
import {
  checkpointOf,
  listening,
  perform,
  readConfig,
  renamed,
  sums,
  type Weights,
  weightsOf,
  writeConfig,
  writeWeights,
} from "./chain.js";

let folder: string;
let ddgm: string;
let daed: string;
let weights: Weights;
let generator: Weights;
let denoiser: Weights;
beforeAll(() => {
  folder = temporaryFolder();
  writeTiny(folder);
  ddgm = writeConfig(folder, "ddgm", "ddgm", "schedule: { kind: linear, steps: 25 }");
  daed = writeConfig(
    folder,
    "daed",
    "daed",
    "schedule: { kind: linear-combine, steps: 25 }, variance: learned-range, loss: vlb",
  );
  weights = weightsOf(readConfig(ddgm), { prefix: "network.", seed: 0 });
  generator = weightsOf(readConfig(daed), { prefix: "generator.", seed: 10_000 });
  denoiser = weightsOf(readConfig(daed), { prefix: "denoiser.", seed: 20_000 });
});
afterEach(() => vi.restoreAllMocks());
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const at = (name: string) => path.join(folder, name);
const write = (name: string, content: Weights) => writeWeights(folder, name, content);
const imported = (...args: string[]) => perform(importCommand(), "guided-diffusion", ...args);
const named = (prefix: string, content: Weights) => renamed(content, (name) => `${prefix}.${name}`);

test("the official network's weights give the official output, in a run that samples", async () => {
  const golden = new GoldenFile("daed", "unet_io");
  // Untrained networks end in zeros: the golden file has other last layers, of C and of 2C channels.
  const last = Object.fromEntries(
    ["out.2.weight", "out.2.bias"].map((name) => [name, golden.tensor(`learn_sigma1/${name}`).to("float32")]),
  );
  const file = at("official.safetensors");
  writeSafetensors(
    file,
    [...storedWeights(last)].map(([name, tensor]) => [name, toStored(tensor)] as const),
  );
  const config = at("official.yaml");
  fs.writeFileSync(
    config,
    `system: ddgm
data: { name: cifar10, size: 16 }
model:
  schedule: { kind: linear, steps: 50 }
  variance: learned-range
  network: { kind: guided-unet, channels: 32, channelMultipliers: [1, 2], residualBlocks: 1, attentionResolutions: [8], dropout: 0 }
sample: { count: 2, steps: 2 }
precision: float32
threads: 1
`,
  );
  const run = at("official");
  await imported(file, "--config", config, "--out", run); // the data set need not be there
  const { system } = openTrained(run, { weights: "ema", overrides: [] });
  if (!(system instanceof DDGM)) throw new Error("expected a DDGM");
  const out = system.network.forward(golden.tensor("x").to("float32"), golden.tensor("t"), undefined, {});
  close(out.to("float64"), golden.tensor("learn_sigma1/out_f32"), 0, "out", { absolute: 2e-5 });
  const { stdout } = await perform(sampleCommand(), run, "--json");
  expect(JSON.parse(stdout)).toMatchObject({ count: 2, steps: 2, step: 0 });
});

describe("a run of imported weights", () => {
  let run: string;
  let average: Weights;
  beforeAll(async () => {
    run = at("run");
    average = weightsOf(readConfig(ddgm), { prefix: "network.", seed: 30_000 });
    const files = [write("model000020_0.pt", weights), write("ema_0.9_000020_0.pt", average)] as const;
    const { stdout, stderr } = await imported(files[0], "--ema", files[1], "--config", ddgm, "--out", run);
    expect(stdout).toMatch(/parameters at step 20\ndraw from it with: varidiff sample .*run\n$/);
    expect(stderr).toBe("");
  });

  test("holds them, their average, and moments of zero, at the step of the file's name", () => {
    expect(sums(checkpointOf(run, 20, "weights"))).toEqual(sums(named("network", weights)));
    expect(sums(checkpointOf(run, 20, "ema"))).toEqual(sums(named("network", average)));
    const optimiser = checkpointOf(run, 20, "optimiser");
    const names = [...weights.keys()];
    expect([...optimiser.keys()]).toEqual([
      ...names.map((name) => `first.network.${name}`),
      ...names.map((name) => `second.network.${name}`),
    ]);
    for (const { data } of optimiser.values()) expect(data.every((byte) => byte === 0)).toBe(true);
  });

  test("says where they come from", async () => {
    const [first, last] = readMetrics(openRun(run));
    const hash = (file: string) => createHash("sha256").update(fs.readFileSync(file)).digest("hex");
    const file = at("model000020_0.pt");
    const ema = at("ema_0.9_000020_0.pt");
    expect(first).toMatchObject({
      ...{ event: "start", step: 20 },
      parameters: [...weights.values()].reduce((sum, { data }) => sum + data.length / 4, 0),
      imported: {
        source: "guided-diffusion",
        weights: [{ file, sha256: hash(file) }],
        ema: [{ file: ema, sha256: hash(ema) }],
      },
    });
    expect(last).toMatchObject({ event: "finish", step: 20 });
    const { stdout } = await perform(runsCommand(), run, "--json");
    expect(JSON.parse(stdout).runs[0]).toMatchObject({ status: "finished", step: 20, system: "ddgm" });
  });

  test("is evaluated", async () => {
    const { stdout } = await perform(evaluateCommand(), run, "--images", "8", "--json");
    const result = JSON.parse(stdout);
    expect(result).toMatchObject({ step: 20, ema: true, images: 8 });
    expect(result.bitsPerDim.mean).toBeGreaterThan(0);
  });

  test("is trained on, and fine-tuned in a run of its own", async () => {
    const tuned = at("tuned");
    const from = ["--set", `train.from=${run}`, "--set", "train.steps=1"];
    await perform(trainCommand(), ddgm, "--out", tuned, ...from);
    expect(sums(checkpointOf(tuned, 0, "weights"))).toEqual(sums(named("network", average)));
    const resumed = await perform(trainCommand(), "--resume", run, "--set", "train.steps=21", "--json");
    expect(JSON.parse(resumed.stdout)).toMatchObject({ step: 21, outcome: "finished" });
    expect(sums(checkpointOf(run, 21, "weights"))).not.toEqual(sums(named("network", weights)));
    expect(sums(checkpointOf(run, 20, "weights"))).toEqual(sums(named("network", weights)));
  });
});

describe("files", () => {
  test("a prefix of DataParallel, and a step that is said", async () => {
    const file = write("parallel.pt", named("module", weights));
    const { stdout } = await imported(
      ...[file, "--config", ddgm, "--out", at("parallel"), "--step", "7", "--json"],
    );
    expect(JSON.parse(stdout)).toMatchObject({ run: at("parallel"), step: 7 });
    expect(sums(checkpointOf(at("parallel"), 7, "weights"))).toEqual(sums(named("network", weights)));
    expect(sums(checkpointOf(at("parallel"), 7, "ema"))).toEqual(sums(named("network", weights)));
  });

  test("float16 becomes float32", async () => {
    // 3c00 is 1, be00 is -1.5 in half precision.
    const [name, tensor] = [...weights][0] as [string, StoredTensor];
    const count = tensor.data.length / 4;
    const half = {
      ...tensor,
      dtype: "F16" as const,
      data: new Uint8Array(Buffer.alloc(2 * count, "003c00be", "hex")),
    };
    const file = write("half.pt", new Map([...weights, [name, half]]));
    await imported(file, "--config", ddgm, "--out", at("half"));
    const back = checkpointOf(at("half"), 0, "weights").get(`network.${name}`);
    expect(back?.dtype).toBe("F32");
    const values = new Float32Array(back?.data.slice().buffer ?? new ArrayBuffer(0));
    expect([values.length, ...values.subarray(0, 4)]).toEqual([count, 1, -1.5, 1, -1.5]);
  });

  const both = () => sums(new Map([...named("generator", generator), ...named("denoiser", denoiser)]));
  const ofRun = (name: string) => sums(checkpointOf(at(name), 0, "weights"));

  test("a DAED in two files, one of which can stand alone", async () => {
    const [one, two] = [write("x_part_1.pt", denoiser), write("x_part_2.pt", generator)];
    await imported(two, "--denoiser", one, "--config", daed, "--out", at("two"));
    expect(ofRun("two")).toEqual(both());
    for (const [part, file, content] of [
      ["denoiser", one, denoiser],
      ["generator", two, generator],
    ] as const) {
      await imported(file, "--config", daed, "--set", `model.parts=${part}`, "--out", at(part));
      expect(sums(checkpointOf(at(part), 0, "weights"))).toEqual(sums(named(part, content)));
    }
    await expect(imported(two, "--config", daed, "--out", at("lone"))).rejects.toThrow(
      "expected a file with both parts, unet_1 and unet_2, or the denoiser's beside the generator's (--denoiser FILE)",
    );
    const alone = ["--config", daed, "--set", "model.parts=denoiser", "--out", at("lone")];
    await expect(imported(one, "--denoiser", two, ...alone)).rejects.toThrow("with model.parts=denoiser");
    expect(fs.existsSync(at("lone"))).toBe(false);
  });

  test("a DAED in one file, and one of its parts", async () => {
    const file = write("one.pt", new Map([...named("unet_1", denoiser), ...named("unet_2", generator)]));
    await imported(file, "--config", daed, "--out", at("one"));
    expect(ofRun("one")).toEqual(both());
    await imported(file, "--config", daed, "--set", "model.parts=generator", "--out", at("second"));
    expect(sums(checkpointOf(at("second"), 0, "weights"))).toEqual(sums(named("generator", generator)));
    const more = ["--denoiser", file, "--config", daed, "--out", at("lone")];
    await expect(imported(file, ...more)).rejects.toThrow("beside one with both parts");
  });

  test("an average of the denoiser's alone", async () => {
    const [one, two] = [write("y_part_1.pt", denoiser), write("y_part_2.pt", generator)];
    const average = weightsOf(readConfig(daed), { prefix: "denoiser.", seed: 40_000 });
    const ema = write("y_ema_part_1.pt", average);
    await imported(...[two, "--denoiser", one, "--denoiser-ema", ema, "--config", daed, "--out", at("ema")]);
    const expected = new Map([...named("denoiser", average), ...named("generator", generator)]);
    expect(sums(checkpointOf(at("ema"), 0, "ema"))).toEqual(sums(expected));
    expect(ofRun("ema")).toEqual(both());
  });

  test("the official EDSR's parts that it never applies are left", async () => {
    const edsr = [
      "model.denoiser.network={ kind: edsr, channels: 4, residualBlocks: 1 }",
      "model.parts=denoiser",
    ];
    const own = weightsOf(readConfig(daed, ...edsr), { prefix: "denoiser.", seed: 1 });
    const one = [...own.values()][0] as StoredTensor;
    const extra = ["sub_mean.weight", "add_mean.bias", "body.1.weight", "body.1.bias"];
    const file = write("edsr.pt", new Map([...own, ...extra.map((name) => [name, one] as const)]));
    await imported(
      ...[file, "--config", daed, "--out", at("edsr")],
      ...edsr.flatMap((each) => ["--set", each]),
    );
    expect(sums(checkpointOf(at("edsr"), 0, "weights"))).toEqual(sums(named("denoiser", own)));
  });
});

describe("mistakes are one line, and leave nothing behind", () => {
  const refused = async (file: string, ...args: string[]): Promise<string> => {
    const error: unknown = await imported(file, "--config", ddgm, "--out", at("refused"), ...args).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(UserError);
    expect(fs.existsSync(at("refused"))).toBe(false);
    const { message } = error as UserError;
    expect(message).not.toContain("\n");
    return message;
  };

  test("unknown, missing and misshapen parameters are all named", async () => {
    const changed = new Map(weights);
    const bias = changed.get("out.2.bias");
    if (!bias) throw new Error("expected a last bias");
    changed.delete("time_embed.0.bias");
    changed.delete("out.0.weight");
    changed.set("extra.weight", bias);
    changed.set("out.2.bias", { ...bias, shape: [1, 1] });
    const message = await refused(write("changed.pt", changed));
    expect(message).toBe(
      `expected the parameters of the config in ${at("changed.pt")}; ` +
        "missing: network.time_embed.0.bias, network.out.0.weight; unknown: network.extra.weight; " +
        "misshapen: network.out.2.bias [1, 1] for [1]: set the keys of model to match, network first",
    );
  });

  test("of many, ten are named", async () => {
    const message = await refused(write("few.pt", new Map([...weights].slice(-3))));
    const first = [...weights.keys()].slice(0, 10).map((name) => `network.${name}`);
    expect(message).toContain(`missing: ${first.join(", ")} and ${weights.size - 13} more: set`);
  });

  test("other systems, sources, files and keys", async () => {
    const file = write("good.pt", weights);
    expect(await refused(file, "--key", "model")).toContain("it is itself one state dict");
    expect(await refused(file, "--denoiser", file)).toContain("with a config of system daed only");
    expect(await refused(at("none.pt"))).toContain(`cannot read ${at("none.pt")}`);
    expect(await refused(ddgm)).toContain("found another kind of file");
    expect(await refused(file, "--config", at("tiny.yaml"))).toContain(
      "expected a config of system ddgm or daed for weights of guided-diffusion, got vdm",
    );
    const wrong = perform(importCommand(), "guided-difusion", file, "--config", ddgm);
    await expect(wrong).rejects.toThrow(
      'unknown source of weights "guided-difusion": did you mean "guided-diffusion"?',
    );
  });

  test("a disk that is full", async () => {
    const file = write("whole.pt", weights);
    const original = fs.writeSync as (...parameters: unknown[]) => number;
    let left = 30;
    vi.spyOn(fs, "writeSync").mockImplementation(((...parameters: unknown[]) => {
      if (left-- <= 0) throw Object.assign(new Error("full"), { code: "ENOSPC" });
      return original(...parameters);
    }) as typeof fs.writeSync);
    expect(await refused(file)).toContain("no space is left");
  });

  test("from the command line: exit code 1, one line on stderr", async () => {
    const file = write("empty-name.pt", new Map([...weights].slice(1)));
    const args = ["import", "guided-diffusion", file, "--config", ddgm, "--out", at("refused")];
    const before = process.exitCode;
    const { stdout, stderr } = await listening(() => main(args));
    expect([process.exitCode, stdout]).toEqual([1, ""]);
    process.exitCode = before;
    expect(stderr).toMatch(
      /^varidiff: expected the parameters of the config in .*; missing: network\.time_embed\.0\.weight: [^\n]*\n$/,
    );
    expect(fs.existsSync(at("refused"))).toBe(false);
  });
});
