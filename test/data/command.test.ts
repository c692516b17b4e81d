/** `varidiff data`: results on stdout, as text and as one JSON document. */
import { afterEach, expect, test, vi } from "vitest";
import { dataCommand } from "../../src/cli/data.js";
import { idxFile, put, useTemporaryFolder } from "./make.js";

const at = useTemporaryFolder();
afterEach(() => {
  vi.restoreAllMocks();
});

async function run(...argv: string[]): Promise<string> {
  let out = "";
  vi.spyOn(process.stderr, "write").mockReturnValue(true);
  vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    out += text;
    return true;
  });
  await dataCommand().exitOverride().parseAsync(argv, { from: "user" });
  vi.restoreAllMocks();
  return out;
}

test("add, list and check", async () => {
  put(at("set/train-images-idx3-ubyte"), idxFile([2, 1, 2], [1, 2, 3, 4]));
  expect(JSON.parse(await run("add", "mine", at("set"), "--json"))).toEqual({
    name: "mine",
    path: at("set"),
  });
  const listed = JSON.parse(await run("list", "--json"));
  expect(listed).toContainEqual(expect.objectContaining({ name: "mine", found: at("set") }));
  expect(await run("list")).toMatch(/^mine +registered by you\n +\/.*set$/m);
  const checked = JSON.parse(await run("check", "mine", "--json"));
  expect(checked).toMatchObject({
    name: "mine",
    format: "idx",
    splits: [{ split: "train", images: 2, shape: [1, 1, 2] }],
  });
  expect(await run("check", "mine")).toMatch(
    /^mine \(idx\): .*\ntrain: 2 images of 1x1x2, fingerprint [0-9a-f]{16}, /,
  );
  expect(
    JSON.parse(await run("check", "idx", "--path", at("set"), "--size", "2", "--json")).splits[0].shape,
  ).toEqual([1, 2, 2]);
});
