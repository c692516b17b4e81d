/** Runs that cannot be opened: weights that are damaged, and a config that is not theirs, are one line each. */
import fs from "node:fs";
import path from "node:path";
import { afterAll, beforeEach, expect, test } from "vitest";
import { listCheckpoints } from "../../src/experiment/checkpoint-files.js";
import { configSchema } from "../../src/experiment/config.js";
import { buildModel } from "../../src/experiment/experiment.js";
import { writeGivenRun } from "../../src/experiment/given-run.js";
import { loadConfig } from "../../src/experiment/load-config.js";
import type { Run } from "../../src/experiment/run-folder.js";
import { openTrained } from "../../src/experiment/trained.js";
import { trainRun } from "../../src/experiment/training-run.js";
import { Streams, toStored } from "../../src/torch/index.js";
import { temporaryFolder, writeTiny } from "./tiny.js";

const folder = temporaryFolder();
const file = writeTiny(folder);
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const config = loadConfig(configSchema, { file, overrides: [] });
let run: Run;
let runs = 0;
beforeEach(() => {
  const { system } = buildModel(config, [1, 8, 8]);
  system.initialise(new Streams(1));
  const weights = new Map(system.values().map(([name, value]) => [name, toStored(value)]));
  const out = path.join(folder, `run${++runs}`);
  run = writeGivenRun({ out }, { config, system, weights, ema: weights, step: 4, origin: {} });
  system.dispose();
});

const open = () => openTrained(run.dir, { weights: "ema", overrides: [] });

test("a config that was cut down says what of the weights it does not fit, and is to be restored", async () => {
  fs.writeFileSync(run.paths.config, "system: vdm\n");
  const said =
    /^expected the parameters of the config in the weights of step 4 of \S+; missing: denoiser\.\S+, .* and \d+ more; unknown: .*; misshapen: .*: restore \S+config\.yaml$/;
  expect(open).toThrow(said);
  const cut = { ...config, model: loadConfig(configSchema, { text: "system: vdm", overrides: [] }).model };
  const report = { log() {}, progress() {} };
  await expect(trainRun({ run, config: cut as typeof config, report })).rejects.toThrow(said);
});

test("damaged checkpoints are named", () => {
  const [step] = listCheckpoints(run);
  expect(step).toBe(4);
  const weights = path.join(run.paths.checkpoints, "00000004", "ema.safetensors");
  fs.appendFileSync(weights, "x");
  expect(open).toThrow(
    new RegExp(`found damaged ones only: the checkpoint file ${weights} is damaged: expected \\d+ bytes`),
  );
  fs.rmSync(run.paths.checkpoints, { recursive: true });
  expect(open).toThrow(/found none: train the run first/);
});
