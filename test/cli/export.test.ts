/** `varidiff export`: the weights of a run under the official names, and back again. */
import fs from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { exportCommand } from "../../src/cli/export.js";
import { importCommand } from "../../src/cli/import.js";
import { buildModel } from "../../src/experiment/experiment.js";
import { writeGivenRun } from "../../src/experiment/given-run.js";
import { readSafetensors } from "../../src/io/index.js";
import { readStateDict } from "../../src/io/pytorch/index.js";
import { temporaryFolder, writeTiny } from "../experiment/tiny.js";
import { python, runPython } from "../pytorch.js";
import {
  checkpointOf,
  perform,
  readConfig,
  renamed,
  sums,
  tinyShape,
  type Weights,
  weightsOf,
  writeConfig,
} from "./chain.js";

let folder: string;
let vdmConfig: string;
/** Of each run: its weights and their average, by varidiff's own names. */
const given: Record<string, { readonly raw: Weights; readonly ema: Weights }> = {};
beforeAll(() => {
  folder = temporaryFolder();
  vdmConfig = writeTiny(folder);
  writeConfig(folder, "ddgm", "ddgm", "schedule: { kind: linear, steps: 25 }");
  writeConfig(folder, "daed", "daed", "schedule: { kind: linear-combine, steps: 25 }");
  writeConfig(folder, "denoiser", "daed", "schedule: { kind: linear-combine, steps: 25 }, parts: denoiser");
  makeRun("ddgm", at("ddgm.yaml"));
  makeRun("daed", at("daed.yaml"));
  makeRun("denoiser", at("denoiser.yaml"));
  makeRun("vdm", vdmConfig);
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const at = (...names: string[]) => path.join(folder, ...names);

/** A run of step 12, weights and average different. */
function makeRun(name: string, file: string): void {
  const config = readConfig(file);
  const [raw, ema] = [1, 2].map((seed) => weightsOf(config, { prefix: "", seed })) as [Weights, Weights];
  given[name] = { raw, ema };
  const { system } = buildModel(config, tinyShape);
  writeGivenRun({ out: at(name) }, { config, system, weights: raw, ema, step: 12, origin: {} });
}

interface Document {
  readonly files: readonly string[];
}

async function exported(run: string, ...args: string[]): Promise<Document> {
  const { stdout } = await perform(exportCommand(), at(run), "--state-dict", "--json", ...args);
  return JSON.parse(stdout);
}

/** The tensors of one part of a run, without its prefix. */
function partOf(run: string, kind: "raw" | "ema", prefix: string): Map<string, string> {
  const all = [...(given[run]?.[kind] ?? [])].filter(([name]) => name.startsWith(prefix));
  return sums(renamed(new Map(all), (name) => name.slice(prefix.length)));
}

async function read(file: string): Promise<Map<string, string>> {
  return sums((await readStateDict(file)).tensors);
}

describe("ddgm", () => {
  test("averaged weights, under the official names and in their order", async () => {
    const document = await exported("ddgm");
    const file = at("ddgm", "exports", "ema_0.9_000012_0.pt");
    expect(document).toEqual({ files: [file], names: "official", step: 12, ema: true, run: "ddgm" });
    const tensors = await read(file);
    expect([...tensors]).toEqual([...partOf("ddgm", "ema", "network.")]);
    expect([...tensors.keys()].slice(0, 2)).toEqual(["time_embed.0.weight", "time_embed.0.bias"]);
    expect([...tensors.keys()].at(-1)).toBe("out.2.bias");
  });

  test("raw weights, printed as the path of their file", async () => {
    const { stdout, stderr } = await perform(
      ...([exportCommand(), at("ddgm"), "--state-dict", "--weights", "raw"] as const),
    );
    expect({ stdout, stderr }).toEqual({
      stdout: `${at("ddgm", "exports", "model000012_0.pt")}\n`,
      stderr: "",
    });
    expect(await read(at("ddgm", "exports", "model000012_0.pt"))).toEqual(partOf("ddgm", "raw", "network."));
  });

  test("safetensors, asked for or by the file's name", async () => {
    const named = at("new", "folder", "x.safetensors");
    expect(await exported("ddgm", "--out", named)).toMatchObject({ files: [named] });
    const { files } = await exported("ddgm", "--format", "safetensors");
    expect(files).toEqual([at("ddgm", "exports", "ema_0.9_000012_0.safetensors")]);
    for (const file of [named, ...files])
      expect(sums(readSafetensors(file).tensors)).toEqual(partOf("ddgm", "ema", "network."));
  });

  test("imported again, it is the same run", async () => {
    const { files } = await exported("ddgm", "--weights", "raw");
    const average = (await exported("ddgm")).files;
    const back = ["guided-diffusion", ...files, "--ema", ...average, "--config", at("ddgm.yaml")];
    await perform(importCommand(), ...back, "--out", at("back"));
    for (const stem of ["weights", "ema"] as const)
      expect(sums(checkpointOf(at("back"), 12, stem))).toEqual(sums(checkpointOf(at("ddgm"), 12, stem)));
  });

  test.skipIf(python === undefined)("torch.load reads it with weights_only", async () => {
    const { files } = await exported("ddgm", "--out", at("torch.pt"));
    expect(files).toEqual([at("torch.pt")]);
    const printed = runPython(folder, [
      "state = torch.load('torch.pt', weights_only=True)",
      "for name, value in state.items(): print(name, value.dtype, list(value.shape))",
      "print(state['out.2.bias'].numpy().tobytes().hex())",
    ]).trim();
    const expected = [...(given.ddgm?.ema ?? [])].map(
      ([name, { shape }]) => `${name.slice("network.".length)} torch.float32 [${shape.join(", ")}]`,
    );
    const last = given.ddgm?.ema.get("network.out.2.bias")?.data ?? [];
    expect(printed.split("\n")).toEqual([...expected, Buffer.from(last).toString("hex")]);
  });
});

describe("daed", () => {
  test("two files: the denoiser is part 1, the generator part 2", async () => {
    const { files } = await exported("daed", "--weights", "raw");
    expect(files).toEqual([1, 2].map((n) => at("daed", "exports", `model000012_0_part_${n}.pt`)));
    expect(await read(files[0] as string)).toEqual(partOf("daed", "raw", "denoiser."));
    expect(await read(files[1] as string)).toEqual(partOf("daed", "raw", "generator."));
    const named = await exported("daed", "--out", at("x.y.pt"));
    expect(named.files).toEqual([at("x.y_part_1.pt"), at("x.y_part_2.pt")]);
  });

  test("a part alone is one file", async () => {
    const { files } = await exported("denoiser");
    expect(files).toEqual([at("denoiser", "exports", "ema_0.9_000012_0_part_1.pt")]);
    expect(await read(files[0] as string)).toEqual(partOf("denoiser", "ema", "denoiser."));
  });
});

test("vcd: the official names, and imported again the same run", async () => {
  const network =
    "{ kind: variational-unet, channels: 16, channelMultipliers: [1, 2], residualBlocks: 1, attentionLevels: [], groups: 8, latentSize: 4 }";
  const config = at("vcd.yaml");
  fs.writeFileSync(
    config,
    `{ system: vcd, data: { name: idx, path: ${JSON.stringify(at("data"))} }, model: { network: ${network} } }`,
  );
  makeRun("vcd", config);
  const { files } = await exported("vcd", "--weights", "raw");
  const tensors = await read(files[0] as string);
  expect([...tensors]).toEqual([...partOf("vcd", "raw", "network.")]);
  expect(tensors.has("vae_encoder.dense_mean.weight")).toBe(true);
  const average = (await exported("vcd")).files;
  const back = ["variational-cold-diffusion", ...files, "--ema", ...average, "--config", config];
  await perform(importCommand(), ...back, "--out", at("vcd-back"), "--step", "12");
  for (const stem of ["weights", "ema"] as const)
    expect(sums(checkpointOf(at("vcd-back"), 12, stem))).toEqual(sums(checkpointOf(at("vcd"), 12, stem)));
});

test("another system has its own names, which stderr says", async () => {
  const { stdout, stderr } = await perform(exportCommand(), at("vdm"), "--state-dict", "--json");
  expect(stderr).toBe("system vdm has no official names: the parameters have varidiff's own\n");
  const { files, names } = JSON.parse(stdout);
  expect(names).toBe("varidiff");
  expect([...(await read(files[0]))]).toEqual([...partOf("vdm", "ema", "")]);
});

test("mistakes", async () => {
  await expect(perform(exportCommand(), at("ddgm"))).rejects.toThrow("add --state-dict");
  await expect(exported("dgm")).rejects.toThrow('does not exist: did you mean "ddgm"?');
  const below = path.join(at("ddgm"), "config.yaml", "x.pt");
  await expect(exported("ddgm", "--out", below)).rejects.toThrow("(ENOTDIR): a part of the path is a file");
  await expect(exported("ddgm", "--checkpoint", "3")).rejects.toThrow("no checkpoint of step 3");
});
