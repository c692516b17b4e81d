/** Text in pictures on a machine whose font finder finds none. */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "vitest";
import { estimatedTextWidth, FONT_FAMILY, sharpLibrary, textWidth } from "../../src/plot/font.js";

// Before the renderer looks for fonts: settings that know only an empty folder.
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "varidiff-font-"));
const settings = path.join(folder, "fonts.conf");
fs.mkdirSync(path.join(folder, "none"));
fs.writeFileSync(
  settings,
  `<fontconfig><dir>${folder}/none</dir><cachedir>${folder}/cache</cachedir></fontconfig>`,
);
process.env.FONTCONFIG_FILE = settings;
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

type Sharp = typeof import("sharp").default;

/** How many pixels of the picture are dark. */
async function inkOf(sharp: Sharp, text: string): Promise<number> {
  const svg =
    `<svg xmlns="http://www.w3.org/2000/svg" width="120" height="50" font-family="${FONT_FAMILY}">` +
    `<rect width="120" height="50" fill="white"/><text x="10" y="40" font-size="36">${text}</text></svg>`;
  const grey = await sharp(Buffer.from(svg)).toColourspace("b-w").raw().toBuffer();
  return grey.filter((value) => value < 128).length;
}

test("letters are drawn, each another one, with the shipped font alone", async () => {
  // The letters of the project's figures; without a font each would be the same box, or nothing.
  const letters = ["γ", "σ", "²", "⁻", "ₜ", "∇", "━", "●"];
  const sharp = await sharpLibrary();
  const ink = await Promise.all(letters.map((letter) => inkOf(sharp, letter)));
  expect(Math.min(...ink)).toBeGreaterThan(10);
  expect(new Set(ink).size).toBe(letters.length);
});

test("this file's settings hide every other font", () => {
  // In a process of its own: a renderer that once found no font does not look again.
  const script = `
    const sharp = require("sharp");
    const draw = (letter) => sharp(Buffer.from(
      '<svg xmlns="http://www.w3.org/2000/svg" width="60" height="60">' +
      '<text x="9" y="50" font-size="40" font-family="${FONT_FAMILY}">' + letter + '</text></svg>',
    )).raw().toBuffer();
    Promise.all([draw("a"), draw("M")]).then(([a, M]) => process.stdout.write(String(a.equals(M))));`;
  expect(execFileSync(process.execPath, ["-e", script], { encoding: "utf8" })).toBe("true");
});

test("text is as wide as the font says", async () => {
  // DejaVuSans.ttf, table hmtx: digits advance by 1303 of 2048 units.
  const five = await textWidth("00000", 100);
  const ten = await textWidth("0000000000", 100);
  expect(Math.abs(ten - five - (5 * 100 * 1303) / 2048)).toBeLessThan(2);
  expect(await textWidth("a & <b>", 20)).toBeGreaterThan(await textWidth("a & <b", 20));
  expect(await textWidth(" ", 20)).toBe(0);
});

test("the estimate is near the width of a label", async () => {
  for (const label of ["estimator variance", "Fashion-MNIST", "−12.5"]) {
    const ratio = estimatedTextWidth(label, 40) / (await textWidth(label, 40));
    expect(ratio).toBeGreaterThan(0.9);
    expect(ratio).toBeLessThan(1.3);
  }
});
