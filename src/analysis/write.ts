/** A drawing as files. */
import path from "node:path";
import { makeFolder, writeFileAtomic } from "../io/index.js";
import { toCsv, writeFigure } from "../plot/index.js";
import type { Drawing } from "./figure.js";

/**
 * Writes `<base>.svg`, `.png` and `.csv` of a chart, `<base>.png` and, where it has numbers, `.csv` of a picture.
 * Returns their paths.
 * @throws UserError when a file cannot be written
 */
export async function writeDrawing(base: string, drawing: Drawing): Promise<readonly string[]> {
  if (drawing.kind === "chart") {
    const { svg, png, csv } = await writeFigure(base, drawing.chart, drawing.rows);
    return [svg, png, csv];
  }
  makeFolder(path.dirname(base));
  writeFileAtomic(`${base}.png`, drawing.png);
  if (!drawing.rows) return [`${base}.png`];
  writeFileAtomic(`${base}.csv`, toCsv(drawing.rows));
  return [`${base}.png`, `${base}.csv`];
}
