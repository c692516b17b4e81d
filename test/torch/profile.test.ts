/** Profiles of work that is over only later, and of work that fails. */
import { expect, test } from "vitest";
import { ones, profile } from "../../src/torch/index.js";

const failure = new Error("as wanted");
const calls = (rows: ReturnType<typeof profile>["rows"], name: string) =>
  rows.find((row) => row.name === name)?.calls;

test("what a promise does until it is settled belongs to the profile, what comes after does not", async () => {
  const x = ones([2, 2]);
  const { result, rows } = await profile(async () => {
    x.sigmoid();
    await new Promise((resolve) => setTimeout(resolve, 1));
    return x.sigmoid();
  });
  x.sigmoid();
  expect(result.shape).toEqual([2, 2]);
  expect(calls(rows, "aten::sigmoid")).toBe(2);
});

test("a profile of what throws or rejects is over, and the error comes through", async () => {
  expect(() =>
    profile(() => {
      throw failure;
    }),
  ).toThrow(failure);
  await expect(profile(() => Promise.reject(failure))).rejects.toBe(failure);
  expect(calls(profile(() => ones([2]).exp()).rows, "aten::exp")).toBe(1);
});
