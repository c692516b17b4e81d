/** `varidiff analyze --table quality`: results of runs as a table on stdout, with its numbers and a drawing as files. */
import path from "node:path";
import { writeDrawing } from "../analysis/index.js";
import type { PublishedSet } from "../analysis/published-daed.js";
import { qualityTable } from "../analysis/quality-table.js";
import { UserError } from "../errors.js";
import { packageVersion } from "../experiment/provenance.js";
import { openRun } from "../experiment/run-folder.js";
import { writeFileAtomic } from "../io/index.js";
import { emit } from "./output.js";
import { markdown } from "./table.js";

export interface TableOptions {
  readonly with: readonly string[];
  readonly published?: PublishedSet | undefined;
  readonly out?: string | undefined;
  readonly json?: boolean | undefined;
}

/** Prints the table, what to read it by and which runs are not in it. @throws UserError for what is no run */
export async function printQualityTable(target: string | undefined, options: TableOptions): Promise<void> {
  const dirs = [...(target === undefined ? [] : [target]), ...options.with];
  const [first] = dirs;
  if (first === undefined)
    throw new UserError(
      "expected a run folder for --table quality, got none: name one, and others as --with",
    );
  const { cells, notes, lacking, drawing } = qualityTable(dirs, { published: options.published });
  const missing = lacking.map(({ run, command }) => `${run} has no results of quality: ${command}`);
  if (!drawing && options.published === undefined)
    throw new UserError(
      `expected results of quality, found none; run: ${lacking.map(({ command }) => command).join("; ")}`,
    );
  const files: string[] = [];
  const document = { table: "quality", of: dirs, notes, lacking, rows: drawing?.rows ?? [] };
  if (drawing) {
    const base = path.join(options.out ?? openRun(first).paths.figures, "table-quality");
    files.push(...(await writeDrawing(base, drawing)), `${base}.json`);
    const provenance = {
      varidiff: packageVersion(),
      node: process.versions.node,
      date: new Date().toISOString(),
    };
    writeFileAtomic(`${base}.json`, `${JSON.stringify({ ...document, files, provenance }, null, 2)}\n`);
  }
  for (const file of files) process.stderr.write(`written: ${file}\n`);
  emit(
    { ...document, files },
    {
      json: options.json,
      text: () => [markdown(cells), "", ...notes, ...missing].join("\n"),
    },
  );
}
