/** Options of `evaluate` and `analyze` for images that are brought back: what goes together and what does not. */
import fs from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { trainTiny, writeBands } from "../experiment/bands.js";
import { makePackage, start, temporaryFolder } from "../experiment/tiny.js";

let folder: string;
let varidiff: string;
let run: string;
beforeAll(async () => {
  folder = temporaryFolder();
  varidiff = makePackage(folder, "built");
  run = path.join(folder, "run");
  await trainTiny(
    `system: ddgm
data: { name: idx, path: ${JSON.stringify(writeBands(folder))} }
model:
  schedule: { kind: linear, steps: 5 }
  network: { kind: guided-unet, channels: 8, channelMultipliers: [1], residualBlocks: 1, attentionResolutions: [], groups: 8 }
train: { steps: 1, batchSize: 8, logEvery: 1, checkpointEvery: 1, sampleEvery: 0 }
optimiser: { warmupSteps: 0 }
threads: 1
`,
    run,
  );
}, 60_000);
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

test("options of other metrics are refused before anything is measured", async () => {
  const refused = {
    "--at 0.1": "--at is for the metric reconstruction: add --metrics reconstruction",
    "--metrics bpd --data-path x": "--data-path is for the metric reconstruction",
    "--metrics bpd,reconstruction --data mnist": "--data is for the metric reconstruction alone, got bpd too",
    "--metrics reconstruction --at 1": "expected a number between 0 and 1",
    "--sampler ddim": "--sampler is for the metrics of samples",
  };
  const outcomes = await Promise.all(
    Object.keys(refused).map((options) => start(varidiff, ["evaluate", run, ...options.split(" ")]).outcome),
  );
  for (const [i, said] of Object.values(refused).entries()) {
    expect(outcomes[i]).toMatchObject({ stdout: "" });
    expect(outcomes[i]?.code).not.toBe(0);
    expect(outcomes[i]?.stderr).toContain(said);
  }
  expect(fs.existsSync(path.join(run, "evaluation"))).toBe(false);
}, 30_000);

test("another set's images, fitted: evaluate and the figure transfer say the same", async () => {
  // Registered like a set of one's own, apart from whatever is registered on this machine.
  const home = { HOME: folder, XDG_CONFIG_HOME: folder, XDG_CACHE_HOME: path.join(folder, "cache") };
  const bands = path.join(folder, "data");
  const command = async (...args: readonly string[]) => {
    const { code, stdout, stderr } = await start(varidiff, args, home).outcome;
    expect(code, stderr).toBe(0);
    return JSON.parse(stdout);
  };
  await command("data", "add", "bands", bands, "--json");
  const measured = await command(
    ...["evaluate", run, "--metrics", "reconstruction", "--data", "bands", "--images", "9", "--json"],
  );
  expect(measured).toMatchObject({ metric: "reconstruction", data: { name: "bands" }, images: 9 });
  const { figures } = await command(
    ...["analyze", run, "--figure", "transfer", "--data", "bands", "--images", "9", "--json"],
  );
  const { rows, otherData } = figures.transfer;
  expect(otherData).toEqual([{ of: "run", data: "bands", adaptation: "none" }]);
  expect(rows.map(({ data }: { readonly data: string }) => data)).toEqual(["idx", "bands"]);
  expect(rows[1]).toMatchObject({
    ...{ mae: measured.mae.mean, maeError: measured.mae.standardError },
    ...{ msSsim: measured.msSsim.mean, index: 0, adaptation: "none" },
  });
}, 60_000);
