/** The results in a run's folder `evaluation`, as they were written. */
import fs from "node:fs";
import path from "node:path";
import { UserError } from "../errors.js";
import { explained } from "../io/index.js";
import type { Run } from "./run-folder.js";

/** A metric's document: its numbers, and everything they depend on. */
export type EvaluationDocument = Readonly<Record<string, unknown>>;

/** All of them, in the order of their files' names. @throws UserError for a file that cannot be read or is no JSON */
export function evaluationDocuments({ paths }: Pick<Run, "paths">): readonly EvaluationDocument[] {
  const folder = paths.evaluation;
  const names = fs.existsSync(folder) ? fs.readdirSync(folder).filter((name) => /\.json$/.test(name)) : [];
  return names.sort().map((name) => {
    const file = path.join(folder, name);
    const text = explained("read", file, () => fs.readFileSync(file, "utf8"));
    try {
      return JSON.parse(text);
    } catch (error) {
      throw new UserError(`${file}: expected a JSON document: delete it and measure anew`, { cause: error });
    }
  });
}
