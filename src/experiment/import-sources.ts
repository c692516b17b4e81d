/** Formats whose weights can be imported. A new one is a file and a line here. */
import { UserError } from "../errors.js";
import { didYouMean } from "../nearest.js";
import { guidedDiffusion } from "./guided-diffusion.js";
import type { ImportSource } from "./import-source.js";
import { variationalCold } from "./variational-cold.js";

export const importSources: readonly ImportSource[] = [guidedDiffusion, variationalCold];

/** @throws UserError for a name that none of them has */
export function importSourceNamed(name: string): ImportSource {
  const source = importSources.find((each) => each.name === name);
  if (source) return source;
  const known = importSources.map((each) => each.name);
  throw new UserError(`unknown source of weights "${name}"${didYouMean(name, known)}`);
}
