/** A chart as files: SVG to scale, PNG to look at, CSV to compute with. */
import path from "node:path";
import { makeFolder, writeFileAtomic } from "../io/files.js";
import type { Chart } from "./chart.js";
import { sharpLibrary } from "./font.js";

/** The resolution at which an SVG pixel is one PNG pixel. */
const UNIT_DENSITY = 72;

/** Renders a chart as PNG, `scale` pixels for each of its own (default 2, for sharp screens and print). */
export async function renderPng(
  chart: Chart,
  options: { readonly scale?: number } = {},
): Promise<Uint8Array> {
  const sharp = await sharpLibrary();
  const density = UNIT_DENSITY * (options.scale ?? 2);
  return new Uint8Array(await sharp(Buffer.from(chart.svg), { density }).png().toBuffer());
}

/** RFC 4180: a field with a comma, quote or line break is quoted, and its quotes are doubled. */
function csvField(value: number | string | undefined): string {
  const text = value === undefined ? "" : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Rows as CSV (RFC 4180), with a header; the columns are all keys, in the order in which they first come. */
export function toCsv(rows: readonly Readonly<Record<string, number | string>>[]): string {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const lines = [columns.map(csvField), ...rows.map((row) => columns.map((column) => csvField(row[column])))];
  return lines.map((fields) => `${fields.join(",")}\r\n`).join("");
}

/**
 * Writes a chart as `<path>.svg` and `<path>.png`, and its numbers as `<path>.csv`; the folder is made if need be.
 * Returns the three paths.
 *
 * @throws UserError when a file cannot be written.
 */
export async function writeFigure(
  pathWithoutExtension: string,
  chart: Chart,
  rows: readonly Readonly<Record<string, number | string>>[],
): Promise<{ svg: string; png: string; csv: string }> {
  const files = {
    svg: `${pathWithoutExtension}.svg`,
    png: `${pathWithoutExtension}.png`,
    csv: `${pathWithoutExtension}.csv`,
  };
  const png = await renderPng(chart);
  makeFolder(path.dirname(pathWithoutExtension));
  writeFileAtomic(files.svg, chart.svg);
  writeFileAtomic(files.png, png);
  writeFileAtomic(files.csv, toCsv(rows));
  return files;
}
