/** How many threads may be asked for. */
import os from "node:os";
import { afterEach, expect, test, vi } from "vitest";
import { prepareMachine } from "../../src/experiment/experiment.js";
import { setThreads, threads } from "../../src/torch/index.js";

const before = threads();
afterEach(() => {
  vi.unstubAllEnvs();
  setThreads(before);
});

test("more threads than OMP_THREAD_LIMIT gives are refused, and auto takes no more", () => {
  vi.stubEnv("OMP_THREAD_LIMIT", "1");
  vi.stubEnv("OMP_NUM_THREADS", "2");
  expect(() => setThreads(2)).toThrow(
    'expected a number of threads from 1 to 1, as many as OMP_THREAD_LIMIT allows, got 2: or "auto"',
  );
  expect(prepareMachine({ device: "cpu", precision: "float32", threads: "auto" }).threads).toBe(1);
  expect(threads()).toBe(1);
});

test.each(["", "none", "0", "1e9"])("OMP_THREAD_LIMIT=%j limits nothing", (limit) => {
  vi.stubEnv("OMP_THREAD_LIMIT", limit);
  const most = Math.max(64, 2 * os.availableParallelism());
  setThreads(2);
  expect(threads()).toBe(2);
  for (const count of [0, 1.5, most + 1])
    expect(() => setThreads(count)).toThrow(`from 1 to ${most}, got ${count}: or "auto"`);
});
