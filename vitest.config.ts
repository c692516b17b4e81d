import { defineConfig } from "vitest/config";

/** At most two worker processes of one libtorch thread each: two threads collapse when the other core is busy. */
export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    pool: "forks",
    maxWorkers: 2,
    testTimeout: 120_000,
    hookTimeout: 120_000,
    env: { OMP_NUM_THREADS: "1" },
  },
});
