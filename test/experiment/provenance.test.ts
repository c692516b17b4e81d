/** The record of the machine beside every number. */
import fs from "node:fs";
import { expect, test } from "vitest";
import { packageVersion, provenance } from "../../src/experiment/provenance.js";

test("versions, processor and date are the machine's; the rest is what was passed in", () => {
  const { version } = JSON.parse(fs.readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
  const before = Date.now();
  const record = provenance({ libtorch: "2.9.1", device: "cpu", threads: 2, precision: "bfloat16" });
  expect(record).toMatchObject({
    varidiff: version,
    node: process.version.slice(1),
    libtorch: "2.9.1",
    device: "cpu",
    threads: 2,
    precision: "bfloat16",
  });
  expect(record.cpu).not.toBe("");
  expect(new Date(record.date).toISOString()).toBe(record.date);
  expect(Date.parse(record.date)).toBeGreaterThanOrEqual(before);
  expect(packageVersion()).toBe(version);
});
