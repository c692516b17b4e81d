/** docs/config.md against the schema: it has every key, and no other. */
import fs from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { configSchema } from "../../src/experiment/config.js";
import { knownKeys } from "../../src/experiment/config-errors.js";
import { root } from "./transpile.js";

const text = fs.readFileSync(path.join(root, "docs/config.md"), "utf8");

/** Parts within parts have the keys of their kind, which stand once. */
const within = /^model\.(?:denoiser\.network|schedule\.schedule)\../;

const keys = new Set(
  knownKeys(configSchema)
    .map((key) => key.join("."))
    .filter((key) => !key.endsWith("*") && !within.test(key)),
);

/** Maps that have a heading or the rows of their keys. */
const maps = new Set([...keys].filter((key) => [...keys].some((other) => other.startsWith(`${key}.`))));

test("every key of a config stands in docs/config.md", () => {
  expect(keys.size).toBeGreaterThan(100);
  expect([...keys].filter((key) => !maps.has(key) && !text.includes(`\`${key}\``))).toEqual([]);
});

test("every row of docs/config.md that begins with a key is one of a config", () => {
  const rows = [...text.slice(0, text.indexOf("## A run's folder")).matchAll(/^\| `([\w.]+)`/gm)];
  expect(rows.length).toBeGreaterThan(100);
  expect(rows.map(([, key]) => key).filter((key = "") => !keys.has(key))).toEqual([]);
});
