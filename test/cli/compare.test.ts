/** `varidiff compare`: the table, and the files it writes. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { compareCommand } from "../../src/cli/compare.js";

let root: string;
let dirs: string[];
beforeAll(() => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), "varidiff-compare-"));
  const runs = [
    ["0001-vdm-seed1", 1, "eps", 3.0],
    ["0002-vdm-seed2", 2, "eps", 3.2],
    ["0003-vdmv-seed1", 1, "v", 2.7],
    ["0004-vdmv-seed2", 2, "v", 2.9],
    ["0005-x-seed1", 1, "x", 3.5],
  ] as const;
  dirs = runs.map(([name, seed, prediction, mean]) => makeRun(name, { seed, prediction, mean, step: 100 }));
});
afterEach(() => vi.restoreAllMocks());
afterAll(() => fs.rmSync(root, { recursive: true }));

function makeRun(
  name: string,
  o: { readonly seed: number; readonly prediction: string; readonly mean: number; readonly step: number },
): string {
  const dir = path.join(root, name);
  fs.mkdirSync(path.join(dir, "evaluation"), { recursive: true });
  fs.writeFileSync(
    path.join(dir, "config.yaml"),
    `system: vdm\nmodel: { prediction: ${o.prediction} }\ntrain: { seed: ${o.seed} }\n`,
  );
  const records = [
    { event: "start", step: 0, seconds: 0, parameters: 12345, data: { fingerprint: "0123" } },
    { event: "finish", step: o.step, seconds: 90 },
  ];
  fs.writeFileSync(
    path.join(dir, "metrics.jsonl"),
    records.map((one) => `${JSON.stringify(one)}\n`).join(""),
  );
  const estimate = (mean: number) => ({ mean, standardError: 0.01 });
  const document = {
    ...{ metric: "bpd", bitsPerDim: estimate(o.mean), split: "test", images: 64, passes: 1 },
    ...{ step: o.step, steps: 0, ema: true, precision: "float32" },
    terms: { diffusion: estimate(o.mean - 0.1), prior: estimate(0.1) },
    data: { name: "fashion-mnist", fingerprint: "4567" },
  };
  fs.writeFileSync(path.join(dir, "evaluation/bpd.json"), JSON.stringify(document));
  return dir;
}

async function compare(...args: string[]): Promise<{ readonly stdout: string; readonly stderr: string }> {
  const said = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const)
    vi.spyOn(process[name], "write").mockImplementation((chunk) => {
      said[name] += chunk;
      return true;
    });
  try {
    await compareCommand().parseAsync(args, { from: "user" });
  } finally {
    vi.restoreAllMocks();
  }
  return said;
}

test("the table: groups, terms and tests, each with what it is of", async () => {
  const { stdout, stderr } = await compare(...dirs);
  expect(stderr).toBe("");
  expect(stdout).toMatch(
    /^bits\/dim \(variational bound, continuous time\) on 64 test images of fashion-mnist, averaged weights, float32\n/,
  );
  // {3, 3.2}: standard error 0.1. {2.7, 2.9}: the same.
  expect(stdout).toMatch(/^vdm +2 +3\.1000 +0\.1000 +3\.0000\.\.3\.2000 +0\.0100 +100 +1\.5 +- +12,345$/m);
  expect(stdout).toMatch(/^x +1 +3\.5000 +- +3\.5000 +0\.0100 +100 +1\.5 +- +12,345$/m);
  expect(stdout).toMatch(/^terms +diffusion +prior$/m);
  expect(stdout).toMatch(/^vdm +3\.0000 \+- 0\.1000 +0\.1000 \+- 0\.0000$/m);
  expect(stdout).toMatch(/^Welch's t-test against vdm \(one-sided: the mean is less\)$/m);
  // t = -0.3 / sqrt 0.02 = -2.1213 on 2 degrees of freedom: p = 1/2 + t / (2 sqrt(2 + t^2)) = 0.0840; the quantile
  // 4.302653 times sqrt 0.02 is 0.6085.
  expect(stdout).toMatch(/^vdmv - vdm +-0\.3000 +-0\.9085 to \+0\.3085 +-2\.12 +2\.00 +0\.0840$/m);
  expect(stdout).toMatch(/^x - vdm +\+0\.4000 .* a test needs two seeds, x has one$/m);
});

test("--alternative and --baseline", async () => {
  const { stdout } = await compare(...dirs.slice(0, 4), "--alternative", "two-sided", "--baseline", "vdmv");
  expect(stdout).toMatch(/^Welch's t-test against vdmv \(two-sided: the means differ\)$/m);
  expect(stdout).toMatch(/^vdm - vdmv +\+0\.3000 .* 0\.1679$/m); // 2 * 0.08397
});

test("one run alone: its mean, and what a test needs", async () => {
  const { stdout } = await compare(...dirs.slice(4));
  expect(stdout).toMatch(/^x +1 +3\.5000/m);
  expect(stdout).toMatch(/^one seed: an error over seeds, and a test, need two$/m);
});

test("--json is one document; what is no number is null", async () => {
  const { groups, pairs, setting, baseline } = JSON.parse((await compare(...dirs, "--json")).stdout);
  expect({ baseline, setting }).toMatchObject({
    baseline: "vdm",
    setting: { split: "test", fingerprint: "4567" },
  });
  expect(groups.map(({ name }: { name: string }) => name)).toEqual(["vdm", "vdmv", "x"]);
  expect(groups[2].bitsPerDim).toEqual({ mean: 3.5, standardError: null });
  expect(pairs[0].test.degreesOfFreedom).toBeCloseTo(2, 12);
});

test("--csv has a row a run; --plot draws a dot a run", async () => {
  const [csv, svg, png] = ["seeds.csv", "new/seeds.svg", "seeds.PNG"].map((name) =>
    path.join(root, name),
  ) as [string, string, string];
  await compare(...dirs, "--csv", csv, "--plot", svg);
  const rows = fs.readFileSync(csv, "utf8").trim().split("\r\n");
  expect(rows[0]).toBe("group,run,seed,step,bitsPerDim,standardError,diffusion,prior,seconds,parameters");
  expect(rows).toHaveLength(1 + dirs.length);
  expect(rows[3]).toBe("vdmv,0003-vdmv-seed1,1,100,2.7,0.01,2.6,0.1,90,12345");
  const drawn = fs.readFileSync(svg, "utf8");
  expect(drawn.match(/<circle /g)).toHaveLength(dirs.length);
  for (const text of [">vdm<", ">vdmv<", ">x<", ">bits/dim<"]) expect(drawn).toContain(text);
  await compare(...dirs, "--plot", png);
  expect([...fs.readFileSync(png).subarray(1, 4)]).toEqual([..."PNG"].map((letter) => letter.charCodeAt(0)));
  await expect(compare(...dirs, "--plot", path.join(root, "seeds.pdf"))).rejects.toThrow(/\.svg or \.png/);
});

test("runs measured at different steps are compared, and it is said", async () => {
  const later = makeRun("0006-vdm-seed3", { seed: 3, prediction: "eps", mean: 3.1, step: 200 });
  const { stdout, stderr } = await compare(...dirs.slice(0, 2), later);
  expect(stderr).toBe("vdm: the runs were measured at different steps (100, 200)\n");
  expect(stdout).toMatch(/^vdm +3 .* 100\.\.200 /m);
});
