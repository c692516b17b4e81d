/** Training from the command line, in processes of its own: interruption, resuming bit for bit, and what is refused. */
import fs from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parse } from "yaml";
import { readJsonl } from "../../src/io/index.js";
import {
  checkpointSums,
  makePackage,
  type Outcome,
  snapshot,
  start,
  temporaryFolder,
  until,
  writeTiny,
} from "../experiment/tiny.js";

let folder: string;
let varidiff: string;
let config: string;
beforeAll(() => {
  folder = temporaryFolder();
  varidiff = makePackage(folder, "built");
  config = writeTiny(folder);
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const at = (name: string) => path.join(folder, name);

function train(args: readonly string[], env?: NodeJS.ProcessEnv): Promise<Outcome> {
  return start(varidiff, ["train", ...args], env).outcome;
}

interface MetricsLine {
  readonly event: string;
  readonly step: number;
}

function metrics(run: string): MetricsLine[] {
  return readJsonl<MetricsLine>(path.join(run, "metrics.jsonl"));
}

function expectOneLine({ code, stdout, stderr }: Outcome, what: RegExp): void {
  expect(stderr).toMatch(what);
  expect(stderr.trim().split("\n")).toHaveLength(1);
  expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
}

/** Starts a long run and, once it has taken some steps, sends it `signal`. */
async function interrupt(out: string, signal: NodeJS.Signals, args: readonly string[]): Promise<Outcome> {
  const running = start(varidiff, ["train", config, "--out", out, "--set", "train.steps=100000", ...args]);
  await until(() => fs.existsSync(path.join(out, "metrics.jsonl")) && metrics(out).at(-1)?.event === "train");
  running.child.kill(signal);
  return running.outcome;
}

test.each([
  { signal: "SIGINT", code: 130, threads: 1 },
  { signal: "SIGTERM", code: 143, threads: 2 },
] as const)(
  "$signal writes a checkpoint; resumed with $threads threads, every bit is that of an uninterrupted run",
  async ({ signal, code, threads }) => {
    const out = at(`cut-${signal}`);
    const set = ["--set", `threads=${threads}`, "--set", "train.checkpointEvery=100000"];
    const stopped = await interrupt(out, signal, set);
    expect({ code: stopped.code, signal: stopped.signal }).toEqual({ code, signal: null });
    expect(stopped.stdout).toMatch(
      /^interrupted at step (\d+), checkpoint written; go on with: varidiff train --resume /,
    );
    const step = Number(/step (\d+)/.exec(stopped.stdout)?.[1]);
    expect(step).toBeGreaterThan(0);
    expect(Object.keys(checkpointSums(out, step))).toEqual([
      "ema.safetensors",
      "optimiser.safetensors",
      "state.json",
      "weights.safetensors",
    ]);
    expect(metrics(out).at(-1)).toMatchObject({ event: "interrupt", step });

    const total = step + 3;
    const resumed = await train(["--resume", out, "--set", `train.steps=${total}`]);
    expect(resumed).toMatchObject({ code: 0 });
    expect(resumed.stderr).not.toContain("bits will differ");
    const whole = at(`whole-${signal}`);
    const steps = ["--set", `train.steps=${total}`];
    expect(await train([config, "--out", whole, ...set, ...steps])).toMatchObject({ code: 0 });
    expect(checkpointSums(out, total)).toEqual(checkpointSums(whole, total));
    expect(parse(fs.readFileSync(path.join(out, "config.yaml"), "utf8")).train.steps).toBe(total);
  },
);

test("a run killed at any moment is readable, resumes, and ends bit for bit like one that was not", async () => {
  const steps = ["--set", "train.steps=24", "--set", "train.checkpointEvery=2"];
  const whole = at("unkilled");
  expect(await train([config, "--out", whole, ...steps])).toMatchObject({ code: 0 });
  const out = at("killed");
  // The moments: right after the config, inside the writing of a checkpoint, between two, and late.
  const checkpoints = path.join(out, "checkpoints");
  const names = () => (fs.existsSync(checkpoints) ? fs.readdirSync(checkpoints) : []);
  const moments = [
    () => fs.existsSync(path.join(out, "config.yaml")),
    () => names().some((name) => name.startsWith(".tmp-")),
    () => names().some((name) => Number(name) >= 4),
    () => names().some((name) => Number(name) >= 8) && names().some((name) => name.startsWith(".tmp-")),
    () => names().some((name) => Number(name) >= 14),
  ];
  let killed = 0;
  for (const [i, moment] of moments.entries()) {
    const running = start(varidiff, [
      "train",
      ...(i === 0 ? [config, "--out", out, ...steps] : ["--resume", out]),
    ]);
    await Promise.race([until(moment), running.outcome]);
    running.child.kill("SIGKILL");
    const { code, signal } = await running.outcome;
    if (signal === "SIGKILL") killed++;
    else expect(code).toBe(0);
    const { stdout } = await start(varidiff, ["runs", out, "--json"]).outcome;
    expect(JSON.parse(stdout).runs[0].status).toMatch(/^(interrupted|finished)$/);
  }
  expect(killed).toBeGreaterThanOrEqual(2);
  expect(await train(["--resume", out])).toMatchObject({ code: 0 });
  expect(checkpointSums(out, 24)).toEqual(checkpointSums(whole, 24));
  expect(names().filter((name) => name.startsWith(".tmp-"))).toEqual([]);
  const trained = metrics(out).filter(({ event }) => event === "train");
  expect(trained.map(({ step }) => step)).toEqual([2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24]);
});

test("resuming a finished run exits 0 and changes nothing; more steps extend it; what was trained stays", async () => {
  const out = at("finished");
  expect(await train([config, "--out", out])).toMatchObject({ code: 0 });
  const before = snapshot(out);
  const again = await train(["--resume", out]);
  expect(again).toMatchObject({ code: 0, stdout: expect.stringContaining("nothing to do") });
  expect(snapshot(out)).toEqual(before);

  for (const override of [
    "train.batchSize=4",
    "model.network.channels=128",
    "data.name=mnist",
    "train.seed=2",
  ])
    expectOneLine(await train(["--resume", out, "--set", override]), /would change what .* was trained for/);
  expectOneLine(
    await train(["--resume", out, "--set", "train.stpes=9"]),
    /unknown key "train.stpes": did you mean "train.steps"\?/,
  );
  expect(snapshot(out)).toEqual(before);

  const more = await train(["--resume", out, "--set", "train.steps=14", "--set", "threads=2"]);
  expect(more).toMatchObject({ code: 0 });
  expect(more.stderr).toMatch(/trained with threads 1, now 2: .*its bits will differ/);
  expect(metrics(out).map(({ event }) => event)).toContain("resume");
  const { code, stdout } = await train(["--resume", out, "--json"]);
  expect({ code, ...JSON.parse(stdout) }).toMatchObject({ code: 0, step: 14, outcome: "nothing-to-do" });
});

test("a loss that is no number ends the run with one line, and the last good checkpoint is kept", async () => {
  const out = at("nan");
  const { code, stdout, stderr } = await train([
    ...[config, "--out", out],
    ...["--set", "optimiser.learningRate=1e30", "--set", "optimiser.warmupSteps=4"],
  ]);
  expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
  const complaints = stderr.split("\n").filter((line) => line.startsWith("varidiff: "));
  expect(complaints).toHaveLength(1);
  expect(complaints[0]).toMatch(
    /(the loss became (NaN|-?Infinity)|a weight stopped being a finite number) by step \d+; the checkpoint of step 0 is kept: try a smaller optimiser\.learningRate/,
  );
  expect(stderr).not.toMatch(/^\s+at /m);
  expect(metrics(out).at(-1)).toMatchObject({ event: "failed" });
  const runs = await start(varidiff, ["runs", out, "--json"]).outcome;
  expect(JSON.parse(runs.stdout).runs[0]).toMatchObject({ status: "failed" });
  const measured = await start(varidiff, ["evaluate", out, "--json"]).outcome;
  expect({ code: measured.code, step: JSON.parse(measured.stdout).step }).toEqual({ code: 0, step: 0 });
});

test("mistakes are one line, and leave nothing behind", async () => {
  expectOneLine(await train([]), /expected either a CONFIG to train or --resume RUN/);
  expectOneLine(await train([at("tinny.yaml")]), /there is no config .*tinny\.yaml.*tiny\.yaml/);
  expectOneLine(await train(["--resume", at("nowhere")]), /nowhere does not exist/);
  expectOneLine(await train(["--resume", at("data")]), /data has no config\.yaml, so it is no run/);
  expectOneLine(
    await train([config, "--out", at("lost"), "--set", `data.path=${at("no-data")}`]),
    /data set "idx" was not found; looked in .*no-data/,
  );
  expect(fs.existsSync(at("lost"))).toBe(false);
  fs.mkdirSync(at("own"));
  for (const out of [at("own"), path.join(at("deep"), "lost")])
    expectOneLine(await train([config, "--out", out, "--set", "device=gpu"]), /expected device .*got "gpu"/);
  expect([fs.existsSync(at("own")), fs.existsSync(at("deep"))]).toEqual([true, false]);
  expectOneLine(await train([config, "--set", "train.steps=0"]), /"train\.steps" must be more than 0/);
});
