/** The paper's tables, as far as they check each other. */
import { expect, test } from "vitest";
import { publishedQuality, publishedSets, publishedTransfer } from "../../src/analysis/published-daed.js";

test("table 1 repeats tables 3 to 5 to its own digits, but on CelebA", () => {
  const differing: string[] = [];
  for (const set of publishedSets) {
    const rows = publishedQuality(set);
    for (const first of rows.filter(({ table }) => table === 1)) {
      const named = (model: string) => (first.loss === "vlb" ? model.replace("0.001", "linear") : model);
      const [full] = rows.filter(
        ({ table, model, loss }) => table !== 1 && model === named(first.model) && loss === first.loss,
      );
      const away = Math.abs((full?.fid ?? Number.NaN) - first.fid);
      if (!(away <= 0.5))
        differing.push(`${set} ${first.model} ${first.loss}: ${first.fid} and ${full?.fid}`);
    }
  }
  expect(differing).toEqual([
    "celeba DAED 0.001 vlb: 16 and 16.8", // cut, not rounded
    "celeba DDGM simple: 4.9 and 6.1",
    "celeba DAED 0.1 simple: 22 and 17",
    "celeba DAED 0.001 simple: 7.4 and 6.2",
  ]);
});

test("all rows are there, percentages as printed", () => {
  expect(publishedSets.map((set) => publishedQuality(set).length)).toEqual([16, 15, 16]);
  for (const row of publishedSets.flatMap(publishedQuality)) {
    expect(row.precision).toBeGreaterThan(40);
    expect(row.recall).toBeGreaterThanOrEqual(17);
    expect(row.recall).toBeLessThan(row.precision + 5);
  }
});

test("table 2: a denoiser's errors are smaller by about sqrt(2), as a mean's beside a sample's", () => {
  expect(publishedTransfer).toHaveLength(18);
  const errorOf = (wanted: string) =>
    publishedTransfer.find(
      ({ source, model, target }) => `${source} ${model} ${target}` === `cifar10 ${wanted} cifar10`,
    )?.meanAbsoluteError;
  expect(Number(errorOf("DDGM VLB")) / Number(errorOf("DAED"))).toBeCloseTo(1.4, 2);
});
