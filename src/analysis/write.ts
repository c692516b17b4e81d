/** A drawing as files. */
import path from "node:path";
import { makeFolder, writeFileAtomic } from "../io/index.js";
import { toCsv, writeFigure } from "../plot/index.js";
import type { Drawing } from "./figure.js";

/**
 * Writes `<base>.svg`, `.png` and `.csv` of a chart; of a picture `<base>.png`, and `.svg` and `.csv` where it has them.
 * Returns their paths.
 * @throws UserError when a file cannot be written
 */
export async function writeDrawing(base: string, drawing: Drawing): Promise<readonly string[]> {
  if (drawing.kind === "chart") {
    const { svg, png, csv } = await writeFigure(base, drawing.chart, drawing.rows);
    return [svg, png, csv];
  }
  const parts = [
    ...(drawing.svg === undefined ? [] : [{ file: `${base}.svg`, content: drawing.svg }]),
    { file: `${base}.png`, content: drawing.png },
    ...(drawing.rows ? [{ file: `${base}.csv`, content: toCsv(drawing.rows) }] : []),
  ];
  makeFolder(path.dirname(base));
  for (const { file, content } of parts) writeFileAtomic(file, content);
  return parts.map(({ file }) => file);
}
