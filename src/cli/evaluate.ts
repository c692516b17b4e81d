/** `varidiff evaluate`: what a run is worth, in numbers with error bars. */
import path from "node:path";
import { Command, Option } from "commander";
import type { Split } from "../data/index.js";
import { UserError } from "../errors.js";
import type { MetricResult } from "../experiment/metric.js";
import { metricNamed, metricNames } from "../experiment/metrics.js";
import { openTrained } from "../experiment/trained.js";
import { makeFolder, writeFileAtomic } from "../io/index.js";
import { collect, exitCodeOf, interruptible, wholeNumber } from "./options.js";
import { emit } from "./output.js";
import { createProgress } from "./progress.js";

interface EvaluateOptions {
  readonly metrics: string;
  readonly images?: number;
  readonly passes?: number;
  readonly steps?: number;
  readonly split?: Split;
  readonly batchSize?: number;
  readonly weights: "ema" | "raw";
  readonly checkpoint?: number;
  readonly seed: number;
  readonly set: readonly string[];
  readonly json?: boolean;
}

export function evaluateCommand(): Command {
  return new Command("evaluate")
    .description("Measure a run: bits per dimension with its parts and standard errors.")
    .argument("<RUN>", "a run folder")
    .option("--metrics <NAMES>", `what to measure, comma-separated: ${metricNames.join(", ")}`, "bpd")
    .option("--images <N>", "the first N images of the split; default all, or the config's", wholeNumber(1))
    .option("--passes <K>", "independent draws of every image", wholeNumber(1))
    .option(
      "--steps <T>",
      "the bound of a chain of T steps; 0 for continuous time; default as trained",
      wholeNumber(0),
    )
    .addOption(new Option("--split <SPLIT>", "which images").choices(["train", "validation", "test"]))
    .option("--batch-size <N>", "images at a time", wholeNumber(1))
    .addOption(
      new Option("--weights <KIND>", "averaged or raw weights").choices(["ema", "raw"]).default("ema"),
    )
    .option("--checkpoint <STEP>", "a checkpoint other than the newest", wholeNumber(0))
    .option("--seed <S>", "seed of the Monte-Carlo draws", wholeNumber(0), 0)
    .option("--set <KEY=VALUE>", "precision, device, threads or data.path for this measurement", collect, [])
    .option("--json", "print one JSON document")
    .addHelpText(
      "after",
      `
Examples:
  varidiff evaluate runs/0001-quickstart
  varidiff evaluate runs/0001-quickstart --images 1000 --passes 4
  varidiff evaluate runs/0001-quickstart --steps 1000 --json
  varidiff evaluate runs/0001-quickstart --split train --set precision=float32
`,
    )
    .action(evaluate);
}

async function evaluate(dir: string, options: EvaluateOptions): Promise<void> {
  const names = options.metrics.split(",").map((name) => name.trim());
  const metrics = names.map((name) => ({ name, measure: metricNamed(name) }));
  const trained = openTrained(dir, {
    weights: options.weights,
    step: options.checkpoint,
    overrides: options.set,
  });
  for (const warning of trained.warnings) process.stderr.write(`${warning}\n`);
  const stop = interruptible();
  const results: ({ readonly name: string } & MetricResult)[] = [];
  try {
    for (const { name, measure } of metrics) {
      let progress: ReturnType<typeof createProgress> | undefined;
      try {
        const result = await measure(trained, {
          ...options,
          signal: stop.signal,
          onProgress(done, total) {
            progress ??= createProgress({ total, unit: "images", label: name });
            progress.update(done);
          },
        });
        results.push({ name, ...result });
      } finally {
        progress?.done();
      }
    }
  } catch (error) {
    const caught = stop.caught();
    if (!caught) throw error;
    throw new UserError("interrupted: nothing was written", { exitCode: exitCodeOf(caught) });
  } finally {
    stop.release();
  }
  const { paths } = trained.run;
  makeFolder(paths.evaluation);
  for (const { name, document } of results)
    writeFileAtomic(
      path.join(paths.evaluation, `${resultName(name, document)}.json`),
      `${JSON.stringify(document, null, 2)}\n`,
    );
  const [only] = results;
  emit(
    results.length === 1 && only
      ? only.document
      : Object.fromEntries(results.map(({ name, document }) => [name, document])),
    {
      json: options.json,
      text: () => results.map(({ summary }) => summary).join("\n"),
    },
  );
}

/** As in `bpd-test-00008000-ema-10000x1`: a result is replaced by another of the same kind alone. */
function resultName(
  metric: string,
  { split, step, ema, steps, images, passes }: MetricResult["document"],
): string {
  const chain = typeof steps === "number" && steps > 0 ? [`T${steps}`] : [];
  const parts = [
    metric,
    split,
    String(step).padStart(8, "0"),
    ema ? "ema" : "raw",
    ...chain,
    `${images}x${passes}`,
  ];
  return parts.join("-");
}
