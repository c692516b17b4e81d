/** `varidiff compose`: a DAED of the generator of one run and the denoiser of another. */
import path from "node:path";
import { Command, InvalidArgumentError, Option } from "commander";
import { composeRuns } from "../experiment/compose-run.js";
import { type Composition, compositions } from "../systems/index.js";
import { emit } from "./output.js";

interface ComposeOptions {
  readonly generator: string;
  readonly denoiser: string;
  readonly out?: string;
  readonly composition: Composition;
  readonly weights: "ema" | "raw";
  readonly firstBeta?: number;
  readonly json?: boolean;
}

export function composeCommand(): Command {
  return new Command("compose")
    .description("Make a DAED of the generator of one run and the denoiser of another, on whichever data.")
    .requiredOption("--generator <RUN>", "a run of ddgm, or of daed with a generator")
    .requiredOption("--denoiser <RUN>", "a run of daed with a denoiser")
    .option("--out <DIR>", "the run folder itself; default runs/<number>-composed")
    .addOption(
      new Option(
        "--composition <KIND>",
        "clean: the generator stops where its noise is the denoiser's; official: as the authors' script, two steps later",
      )
        .choices(compositions)
        .default("clean"),
    )
    .addOption(
      new Option("--weights <KIND>", "averaged or raw weights").choices(["ema", "raw"]).default("ema"),
    )
    .option(
      "--first-beta <B>",
      "variance of the noise that the denoiser removes; default that of its training",
      variance,
    )
    .option("--json", "print one JSON document")
    .addHelpText(
      "after",
      `
Examples:
  varidiff compose --generator runs/0007-ddgm --denoiser runs/0008-dae --out runs/composed
  varidiff compose --generator runs/0007-ddgm --denoiser runs/0008-dae --composition official
  varidiff sample runs/composed -n 64
`,
    )
    .action(compose);
}

function variance(text: string): number {
  const value = Number(text);
  if (!(value > 0 && value < 1)) throw new InvalidArgumentError("expected a number between 0 and 1");
  return value;
}

function compose(options: ComposeOptions): void {
  const { generator, denoiser, composition, weights, firstBeta, out } = options;
  const result = composeRuns({
    ...{ generator, denoiser, composition, weights, firstBeta },
    to: out === undefined ? { name: "composed" } : { out },
  });
  for (const warning of result.warnings) process.stderr.write(`${warning}\n`);
  const { run, steps, parameters } = result;
  const document = { run: run.dir, composition, steps, parameters, firstBeta: result.firstBeta };
  emit(document, {
    json: options.json,
    text: () =>
      `${run.dir}: ${path.basename(generator)} stops at noise of variance ${result.firstBeta} for ${path.basename(denoiser)}, ${steps} steps in all\n` +
      `draw from it with: varidiff sample ${run.dir}`,
  });
}
