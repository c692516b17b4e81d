/** Betas, tables, the split and respacing against golden/daed/schedules, at its README's tolerances. */
import { describe, expect, test } from "vitest";
import {
  type ChainTables,
  chainTables,
  cosineBetas,
  GaussianChain,
  linearBetas,
  linearCombineBetas,
  respacedSteps,
  switchIndex,
} from "../../src/diffusion/index.js";
import { close, GoldenFile } from "../golden.js";

const file = new GoldenFile("daed", "schedules");

/** `linear_combine_468_b0.1`, `cosine_4000` */
function betasOf(name: string): number[] {
  const [, kind, steps, first] = /^(linear_combine|linear|cosine)_(\d+)(?:_b([\d.]+))?$/.exec(name) ?? [];
  const T = Number(steps);
  if (kind === "cosine") return cosineBetas(T);
  return kind === "linear_combine" ? linearCombineBetas(T, Number(first)) : linearBetas(T);
}

const camel = (name: string) => name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
const names = file.matching(/^((?:linear|cosine)\w*_\d+(?:_b[\d.]+)?)\/betas$/);

describe.each(names)("%s", (name) => {
  const tables = chainTables(betasOf(name));
  const keys = file.keys.filter((key) => key.startsWith(`${name}/`)).map((key) => key.slice(name.length + 1));

  test.each(keys)("%s", (key) => {
    const table = tables[camel(key) as keyof ChainTables];
    // The cosine's betas are 1 minus a ratio near 1, right to 1e-16 and not to 1e-12 of themselves: hence `mixed`, and
    // 1e-9 where they have been divided by 1 - abar.
    const cosine = name.startsWith("cosine");
    const tolerance = cosine && key.startsWith("posterior") ? 1e-9 : 1e-12;
    close(Array.from(table), file.numbers(`${name}/${key}`), tolerance, key, {
      rule: cosine ? "mixed" : "relative",
    });
  });
});

describe("the step at which a denoiser's noise is reached", () => {
  test.each(["linear", "cosine"])("%s", (kind) => {
    const rows = file.tensor(`switch/${kind}`);
    const numbers = rows.toArray();
    for (let row = 0; row < rows.dim(0); row++) {
      const [T, beta, k, abar] = numbers.slice(4 * row, 4 * row + 4) as [number, number, number, number];
      const tables = chainTables(kind === "linear" ? linearBetas(T) : cosineBetas(T));
      expect(switchIndex(tables, beta), `T = ${T}, beta_1 = ${beta}`).toBe(k);
      close(tables.alphasCumprod[k] as number, abar, 1e-12, "abar_k", { rule: "relative" });
    }
  });
});

describe.each(file.matching(/^respace\/(.+)\/timestep_map$/))("respaced: %s", (name) => {
  const [, kind, steps, spec] = /^(\w+?)_(\d+)_(.+)$/.exec(name) as RegExpExecArray;
  const chain = new GaussianChain(betasOf(`${kind}_${steps}`));

  test("which steps are kept, exactly", () => {
    expect(respacedSteps(Number(steps), spec as string)).toEqual(
      file.numbers(`respace/${name}/timestep_map`),
    );
  });

  test("their betas, and what the network is told", () => {
    const respaced = chain.respaced(spec as string);
    close(Array.from(respaced.tables.betas), file.numbers(`respace/${name}/betas`), 0, "betas", {
      rule: "relative",
      absolute: 1e-12,
    });
    expect(respaced.timesteps).toEqual(file.numbers(`respace/${name}/timestep_map`));
  });
});

test("respacing with all steps reproduces the betas as closely as the official code does", () => {
  const allowed = file.number("respace/linear_1000_1000/max_abs_diff_vs_original");
  const betas = linearBetas(1000);
  const respaced = new GaussianChain(betas).respaced("1000");
  const worst = Math.max(...betas.map((beta, t) => Math.abs(beta - (respaced.tables.betas[t] as number))));
  expect(worst).toBeLessThanOrEqual(Math.max(allowed, 1e-15));
});
