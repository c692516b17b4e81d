/** `varidiff evaluate SAMPLES.npz`: images made elsewhere, judged as a run's samples are. */
import { UserError } from "../errors.js";
import { measureSamples } from "../experiment/measure-samples.js";
import { qualityParts } from "../experiment/quality-settings.js";
import { type EvaluateOptions, isOfSamples, qualitySettings } from "./evaluate-settings.js";
import { emit } from "./output.js";

/** Measures images of a file in the place of a run's. */
export async function evaluateSamples(
  file: string,
  o: EvaluateOptions & { readonly asked: readonly string[] },
): Promise<void> {
  const { data, asked, seed } = o;
  if (data === undefined)
    throw new UserError(`expected --data with ${file}: the data set that its images are compared with`);
  const other = asked.find((name) => !isOfSamples(name));
  if (other !== undefined)
    throw new UserError(
      `expected metrics of samples for ${file} (quality, ${qualityParts.join(", ")}), got ${other}`,
    );
  const parts = qualityParts.filter((part) => asked.includes("quality") || asked.includes(part));
  const result = await measureSamples(file, {
    data,
    parts,
    quality: qualitySettings(o, asked),
    seed,
    roots: ["runs"],
    log: (line) => process.stderr.write(`${line}\n`),
  });
  emit(result.document, { json: o.json, text: () => result.summary });
}
