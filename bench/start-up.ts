/** From a command to its first words and to the end of its first training step, each time in a new process. */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import type { Benchmark, Measurement, Say } from "./benchmark.js";
import { timed } from "./interleave.js";

const rounds = 5;
const root = fileURLToPath(new URL("../../", import.meta.url));

/** A row's command line. One step's writing of its checkpoint is in the second, so the step itself comes sooner. */
const commands: Readonly<Record<string, (folder: string) => readonly string[]>> = {
  "start-up/help": () => ["--help"],
  "start-up/first-training-step": (folder) => [
    ...["train", path.join(root, "configs/quickstart.yaml")],
    ...["--set", "train.steps=1", "--out", path.join(folder, "run")],
  ],
};

/** @throws Error with the command's last words where it fails */
async function secondsOf(args: readonly string[]): Promise<number> {
  const run = () => spawnSync(process.execPath, [path.join(root, "bin/varidiff.js"), ...args]);
  let ended: ReturnType<typeof run> | undefined;
  const seconds = await timed(() => {
    ended = run();
  });
  if (ended?.status !== 0) throw new Error(`varidiff ${args.join(" ")}: ${ended?.stderr.toString().trim()}`);
  return seconds;
}

async function measured(
  name: string,
  command: (folder: string) => readonly string[],
  say: Say,
): Promise<Measurement> {
  const seconds: number[] = [];
  for (let i = 0; i < rounds; i++) {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "varidiff-bench-"));
    try {
      seconds.push(await secondsOf(command(folder)));
    } finally {
      fs.rmSync(folder, { recursive: true });
    }
  }
  seconds.sort((a, b) => a - b);
  say(`${name}: ${seconds.map((each) => each.toFixed(2)).join(", ")} s`);
  return {
    name,
    ours: seconds[Math.floor(rounds / 2)] as number,
    theirs: null,
    ratio: null,
    spread: null,
    unit: "s",
  };
}

export const startUp: Benchmark = async (say, wanted) => {
  const found: Measurement[] = [];
  for (const [name, command] of Object.entries(commands))
    if (wanted(name)) found.push(await measured(name, command, say));
  return found;
};
