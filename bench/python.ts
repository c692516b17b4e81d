/** The other side: a Python process with PyTorch that answers one JSON line for each it is sent. */
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from "node:child_process";
import readline from "node:readline";
import { fileURLToPath } from "node:url";
import type { Say } from "./benchmark.js";

/** Of Debian's packages, unless `BENCH_PYTHON` names another one, such as one whose torch has CUDA. */
const interpreter = process.env.BENCH_PYTHON || "/usr/bin/python3";

/** As on our side: long waits would be what is measured where other processes want the cores. */
const threadWaits = { GOMP_SPINCOUNT: "10000" };

export class Python {
  readonly #process: ChildProcessWithoutNullStreams;
  readonly #answers: AsyncIterator<string>;
  #errors = "";

  private constructor(script: string) {
    const file = fileURLToPath(new URL(`../../bench/python/${script}`, import.meta.url));
    this.#process = spawn(interpreter, [file], { env: { ...threadWaits, ...process.env } });
    this.#process.stderr.on("data", (chunk) => {
      this.#errors += chunk;
    });
    this.#answers = readline.createInterface({ input: this.#process.stdout })[Symbol.asyncIterator]();
  }

  /** Null, and a word about it, where Python or its torch is missing. */
  static start(script: string, say: Say): Python | null {
    const found = spawnSync(interpreter, ["-c", "import torch"], { stdio: "ignore" });
    if (found.status === 0) return new Python(script);
    say(
      `no PyTorch to compare with in ${interpreter}: apt install python3-torch, or name a Python that has it in BENCH_PYTHON`,
    );
    return null;
  }

  /** @throws Error where Python did not start. */
  get pid(): number {
    const { pid } = this.#process;
    if (pid === undefined) throw new Error(`expected ${interpreter} to start, it did not`);
    return pid;
  }

  /** @throws Error with Python's own last words where it ended. */
  async ask<T>(request: object): Promise<T> {
    this.#process.stdin.write(`${JSON.stringify(request)}\n`);
    const { value, done } = await this.#answers.next();
    if (done) throw new Error(`the Python side ended: ${this.#errors.trim().split("\n").at(-1)}`);
    return JSON.parse(value) as T;
  }

  stop(): void {
    this.#process.stdin.end();
  }
}
