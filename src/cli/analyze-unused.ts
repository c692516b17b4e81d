/** Options of `varidiff analyze` that no figure has looked at: which do is each figure's own affair. */
import type { AnalyzeOptions } from "./analyze-options.js";

const ofFigures = ["images", "data", "at", "columns", "times", "passes", "steps", "split"] as const;

/** The same options, which note in `looked` what is read of them. */
export function watched<O extends AnalyzeOptions>(options: O, looked: Set<PropertyKey>): O {
  return new Proxy(options, {
    get(target, key) {
      looked.add(key);
      return Reflect.get(target, key);
    },
  });
}

/** Those that were given and not looked at, as in `--columns`. */
export function unusedOptions(options: AnalyzeOptions, looked: ReadonlySet<PropertyKey>): readonly string[] {
  const isGiven = (value: unknown) => value !== undefined && !(Array.isArray(value) && value.length === 0);
  return ofFigures.filter((name) => isGiven(options[name]) && !looked.has(name)).map((name) => `--${name}`);
}
