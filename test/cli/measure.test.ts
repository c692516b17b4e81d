/** `evaluate`, `sample` and `train --dry-run` from the command line: what they print, write and refuse. */
import fs from "node:fs";
import path from "node:path";
import zlib from "node:zlib";
import sharp from "sharp";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  makePackage,
  type Outcome,
  snapshot,
  start,
  temporaryFolder,
  testImages,
  until,
  writeTiny,
} from "../experiment/tiny.js";

let folder: string;
let varidiff: string;
let config: string;
let run: string;
beforeAll(async () => {
  folder = temporaryFolder();
  varidiff = makePackage(folder, "built");
  config = writeTiny(folder);
  run = path.join(folder, "run");
  const trained = await command("train", config, "--out", run, "--set", "model.condition=class");
  expect(trained).toMatchObject({ code: 0 });
}, 60_000);
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

function command(...args: readonly string[]): Promise<Outcome> {
  return start(varidiff, args).outcome;
}

async function document(...args: readonly string[]): Promise<Record<string, never>> {
  const { code, stdout, stderr } = await command(...args, "--json");
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout);
}

interface Estimate {
  readonly mean: number;
  readonly standardError: number;
}

test("evaluate --json has the bound, its terms, and what they were measured on; the file says the same", async () => {
  const result = await document("evaluate", run, "--images", "20", "--passes", "3");
  const { bitsPerDim, terms } = result as unknown as {
    bitsPerDim: Estimate;
    terms: Record<"reconstruction" | "prior" | "diffusion", Estimate>;
  };
  expect(Object.keys(terms).sort()).toEqual(["diffusion", "prior", "reconstruction"]);
  const sum = terms.reconstruction.mean + terms.prior.mean + terms.diffusion.mean;
  expect(bitsPerDim.mean).toBeCloseTo(sum, 10);
  for (const { standardError } of [bitsPerDim, ...Object.values(terms)])
    expect(standardError).toBeGreaterThan(0);
  expect(result).toMatchObject({
    ...{ images: 20, passes: 3, split: "test", ema: true, precision: "float32", step: 12, steps: 0 },
    data: { name: "idx", shape: [1, 8, 8], augmentation: "none" },
  });
  const file = path.join(run, "evaluation", "bpd-test-00000012-ema-20x3.json");
  expect(JSON.parse(fs.readFileSync(file, "utf8"))).toEqual(result);

  const text = await command("evaluate", run, "--images", "20", "--passes", "3");
  expect(text.stdout).toContain(
    `${bitsPerDim.mean.toFixed(4)} +- ${bitsPerDim.standardError.toFixed(4)} bits/dim`,
  );
  expect(text.stdout).toMatch(/^ {2}prior .* \(over images \d\.\d{4}, over passes \d\.\d{4}\)$/m);
  expect(fs.readdirSync(path.dirname(file))).toEqual([path.basename(file)]);
});

/** All that does not say when and in how much time it was measured. */
function lasting({ seconds, provenance, ...rest }: Record<string, unknown>): Record<string, unknown> {
  expect(seconds).toBeGreaterThan(0);
  return rest;
}

test("an evaluation that was stopped, killed, torn and cut in shards gives the document of one that was not", async () => {
  const request = ["evaluate", run, "--batch-size", "1", "--passes", "20", "--seed", "9"];
  const folder = path.join(run, "evaluation");
  const stem = path.join(folder, `bpd-test-00000012-ema-seed9-batch1-${testImages}x20`);
  const lines = (part: string) =>
    fs.existsSync(part) ? fs.readFileSync(part, "utf8").split("\n").length - 1 : 0;
  const whole = lasting(await document(...request));
  fs.rmSync(`${stem}.json`);

  const [first, second] = [`${stem}.part1of2.jsonl`, `${stem}.part2of2.jsonl`];
  const shards = [1, 2].map((index) => start(varidiff, [...request, "--shard", `${index}/2`]));
  await until(() => lines(first) > 5 && lines(second) > 5);
  shards[0]?.child.kill("SIGINT");
  shards[1]?.child.kill("SIGKILL");
  const [stopped] = await Promise.all(shards.map(({ outcome }) => outcome));
  expect(stopped).toMatchObject({ code: 130, stdout: "" });
  expect(stopped?.stderr).toMatch(/^varidiff: interrupted: .* the same command goes on from there\n/m);
  expect(fs.existsSync(`${stem}.json`)).toBe(false);
  fs.appendFileSync(second, '{"part":"bound","pass":0,"ba');

  const more = await command(...request, "--shard", "2/2");
  expect(more.code, more.stderr).toBe(0);
  expect(more.stderr).toMatch(/^going on: \d+ of 240 batches are done$/m);
  expect(more.stdout).toMatch(/^bpd: \d+ of 480 batches are done; shards still missing: 1\/2\n$/);
  const last = await document(...request, "--shard", "1/2");
  expect(lasting(last)).toEqual(whole);
  expect(JSON.parse(fs.readFileSync(`${stem}.json`, "utf8"))).toEqual(last);
  expect(fs.readdirSync(folder).filter((name) => name.includes(".part"))).toEqual([]);
});

test("nll has the likelihood by the flow beside the bound of the same images", async () => {
  const result: Record<string, unknown> = await document(
    ...["evaluate", run, "--metrics", "nll", "--images", "2", "--rtol", "0.01", "--atol", "0.01"],
  );
  const { bitsPerDim, bound, difference } = result as unknown as {
    bitsPerDim: Estimate;
    bound: { readonly bitsPerDim: Estimate };
    difference: Estimate;
  };
  expect(difference.mean).toBeCloseTo(bitsPerDim.mean - bound.bitsPerDim.mean, 10);
  expect(result).toMatchObject({ metric: "nll", images: 2, importance: 1, rtol: 0.01, precision: "float32" });
  const names = fs.readdirSync(path.join(run, "evaluation"));
  expect(names).toContain("nll-test-00000012-ema-rtol0.01-atol0.01-2x1.json");
});

test("the seed decides the number; split, steps, weights and checkpoint are what was asked for", async () => {
  const value = async (...args: string[]) => (await document("evaluate", run, ...args)).bitsPerDim;
  const first = await value("--seed", "5");
  expect(await value("--seed", "5")).toEqual(first);
  expect(await value("--seed", "6")).not.toEqual(first);
  await value("--set", "precision=bfloat16", "--batch-size", "12");
  await value();
  const other = await document(
    ...["evaluate", run, "--split", "train", "--steps", "4"],
    ...["--weights", "raw", "--checkpoint", "5"],
  );
  expect(other).toMatchObject({ split: "train", steps: 4, ema: false, step: 5, images: 40 });
  const names = fs.readdirSync(path.join(run, "evaluation"));
  const ofTest = names.filter((name) => name.endsWith(`-${testImages}x1.json`)).sort();
  expect(ofTest).toEqual(
    ["", "bfloat16-batch12-", "seed5-", "seed6-"].map(
      (odd) => `bpd-test-00000012-ema-${odd}${testImages}x1.json`,
    ),
  );
  expect(names).toContain("bpd-train-00000005-raw-T4-40x1.json");
});

/** `arr_0` of an npz file: zip (PKWARE's APPNOTE, local header) around npy (numpy.lib.format, version 1.0). */
function readNpz(file: string): { shape: number[]; data: Buffer } {
  const zip = fs.readFileSync(file);
  expect(zip.readUInt32LE(0)).toBe(0x04034b50);
  const [method, compressed] = [zip.readUInt16LE(8), zip.readUInt32LE(18)];
  const [nameLength, extraLength] = [zip.readUInt16LE(26), zip.readUInt16LE(28)];
  expect(zip.toString("latin1", 30, 30 + nameLength)).toBe("arr_0.npy");
  const begin = 30 + nameLength + extraLength;
  const content = zip.subarray(begin, begin + compressed);
  const npy = method === 8 ? zlib.inflateRawSync(content) : content;
  expect(npy.subarray(0, 8)).toEqual(Buffer.from("\x93NUMPY\x01\x00", "latin1"));
  const headerEnd = 10 + npy.readUInt16LE(8);
  expect(headerEnd % 64).toBe(0);
  const header = npy.toString("latin1", 10, headerEnd);
  const [, descr, order, shape] =
    /^\{'descr': '(.*?)', 'fortran_order': (\w+), 'shape': \((.*?)\), \} *\n$/.exec(header) ?? [];
  expect({ descr, order }).toEqual({ descr: "|u1", order: "False" });
  return { shape: (shape ?? "").split(", ").map(Number), data: npy.subarray(headerEnd) };
}

test("sample is repeated by its seed; npz and PNGs hold the same pixels", async () => {
  const base = path.join(folder, "drawn");
  const images = path.join(folder, "images");
  const request = ["sample", run, "-n", "5", "--steps", "2", "--seed", "3"];
  const result = await document(...request, "--npz", "--png-dir", images, "--grid", "--out", base);
  expect(result).toMatchObject({ count: 5, steps: 2, sampler: "ancestral", seed: 3, step: 12, ema: true });
  const { shape, data } = readNpz(`${base}.npz`);
  expect({ shape, bytes: data.length }).toEqual({ shape: [5, 8, 8, 1], bytes: 5 * 64 });
  expect(new Set(data).size).toBeGreaterThan(16);

  const files = fs.readdirSync(images).sort((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10));
  expect(files).toHaveLength(5);
  const pixels = await Promise.all(
    files.map((name) => sharp(path.join(images, name)).extractChannel(0).raw().toBuffer()),
  );
  expect(Buffer.concat(pixels).equals(data)).toBe(true);
  expect((await sharp(`${base}.png`).metadata()).format).toBe("png");

  const again = path.join(folder, "again");
  await document(...request, "--npz", "--out", again);
  expect(fs.readFileSync(`${again}.npz`).equals(fs.readFileSync(`${base}.npz`))).toBe(true);
  await document(...request.slice(0, -1), "4", "--npz", "--out", again);
  expect(fs.readFileSync(`${again}.npz`).equals(fs.readFileSync(`${base}.npz`))).toBe(false);
});

test("--dry-run needs no bridge, writes nothing, and prints config, parameters, FLOPs and memory", async () => {
  const bare = makePackage(folder, "absent");
  const cwd = path.join(folder, "empty");
  fs.mkdirSync(cwd);
  const before = snapshot(cwd);
  const file = path.join(folder, "package-absent", "configs", "vdm", "cifar10.yaml");
  const env = { XDG_CACHE_HOME: cwd, HOME: cwd };
  const dry = (...args: string[]) => start(bare, ["train", file, "--dry-run", ...args], env).outcome;
  const { code, stdout } = await dry("--json");
  expect(code).toBe(0);
  // 30,578,179 of the network (VDM's table of parameter counts: E = 128, L = 32) and the two of the schedule.
  expect(JSON.parse(stdout)).toMatchObject({ imageShape: [3, 32, 32], parameters: 30_578_181 });
  expect(JSON.parse(stdout).memory.parameterBytes).toBe(30_578_181 * 4 * 5);
  const text = await dry("--set", "train.steps=77");
  expect(text.stdout).toMatch(/^train:\n {2}steps: 77$/m);
  expect(text.stdout).toMatch(/^# parameters +30,578,181$/m);
  expect(text.stdout).toMatch(/^# FLOPs per image/m);
  expect(snapshot(cwd)).toEqual(before);

  const real = await start(bare, ["train", config, "--out", path.join(cwd, "run")], env).outcome;
  expect(real.code).toBe(1);
  expect(real.stderr).toMatch(
    /^varidiff: the bridge to libtorch is not built: run `npx varidiff setup`[^\n]*\n$/,
  );
  expect(snapshot(cwd)).toEqual(before);
});

test("mistakes are one line and a non-zero exit code", async () => {
  const cases: readonly [args: readonly string[], said: RegExp][] = [
    [["evaluate"], /missing required argument "RUN"/],
    [["evaluate", path.join(folder, "rum")], /rum does not exist.*\brun\b/],
    [["evaluate", run, "--metrics", "bdp"], /expected a metric, got "bdp".*bpd/],
    [["evaluate", run, "--images", "0"], /expected a whole number from 1/],
    [["evaluate", run, "--shard", "5/4"], /expected a shard such as 2\/4/],
    [["evaluate", run, "--importance", "2"], /--importance is for the metric nll: add --metrics nll/],
    [["evaluate", run, "--metrics", "nll", "--rtol", "2"], /expected a number between 0 and 1/],
    [["evaluate", run, "--split", "tset"], /Allowed choices are train, validation, test/],
    [["evaluate", run, "--split", "validation"], /validation/],
    [["evaluate", run, "--checkpoint", "7"], /no checkpoint of step 7; there are: 0, 5, 10, 12/],
    [["evaluate", run, "--set", "model.steps=5"], /would change what .* was trained for/],
    [["evaluate", run, "--set", "device=gpu"], /expected device auto, cpu, cuda or cuda:N, got "gpu"/],
    [["sample", run, "--sampler", "dimm"], /expected a sampler, got "dimm".*ddim/],
    [["sample", run, "--class", "3"], /expected a class from 0 to 2, got 3/],
    [["analyze", run, "--out", config], /cannot write .*tiny\.yaml \(ENOTDIR\)/],
    [["train", config, "--dry-run", "--profile"], /expected one of --dry-run and --profile, got both/],
    [["sample", run, "-n", "many"], /expected a whole number from 1/],
    [["train", config, "--set", "model.schedule.kind=linea"], /must be one of/],
    [["train", config, "--set", "model.scheduleGradient=minimum-variance", "--dry-run"], /monotone-paper/],
    [["runs", path.join(folder, "nowhere")], /there is no folder/],
    [["data", "check", "fashion-mnits"], /fashion-mnist/],
    [["qickstart"], /quickstart/],
  ];
  for (const [args, said] of cases) {
    const { code, stdout, stderr } = await command(...args);
    expect(stderr, args.join(" ")).toMatch(said);
    expect(stderr.trim().split("\n"), args.join(" ")).toHaveLength(1);
    expect({ code, stdout }, args.join(" ")).toEqual({ code: 1, stdout: "" });
  }
});

test("--help of every command shows examples", async () => {
  const names = ["train", "evaluate", "sample", "analyze", "quickstart", "runs", "data", "doctor", "setup"];
  const inside = ["list", "add", "check"].map((name) => ["data", name]);
  for (const args of [...names.map((name) => [name]), ...inside]) {
    const { code, stdout, stderr } = await command(...args, "--help");
    expect({ code, stderr }, args.join(" ")).toEqual({ code: 0, stderr: "" });
    expect(stdout).toContain(`Examples:\n  varidiff ${args.join(" ")}`);
  }
});
