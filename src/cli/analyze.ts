/** `varidiff analyze`: the figures of a run, of a config before it is trained, or of formulas alone. */
import { Command, Option } from "commander";
import { figureNamed, figures } from "../analysis/index.js";
import { publishedSets } from "../analysis/published-daed.js";
import { transferCells } from "../analysis/transfer-table.js";
import { UserError } from "../errors.js";
import { checkFolder } from "../io/index.js";
import { chooseFigures } from "./analyze-choice.js";
import { drawFigure, type FigureDocument } from "./analyze-figures.js";
import { ALL, type AnalyzeOptions, stepList } from "./analyze-options.js";
import { runSubject, type Subject, subjectAt, warnOfOtherData } from "./analyze-subjects.js";
import { printQualityTable } from "./analyze-table.js";
import { unusedOptions, watched } from "./analyze-unused.js";
import { collect, exitCodeOf, fraction, interruptible, wholeNumber } from "./options.js";
import { emit } from "./output.js";
import { markdown } from "./table.js";

export function analyzeCommand(): Command {
  const width = Math.max(...figures.map(({ name }) => name.length));
  const list = figures.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`);
  return new Command("analyze")
    .description("Draw the figures of a run, or those of a config that need no training: SVG, PNG and CSV.")
    .argument("[RUN]", "a run folder, or a CONFIG.yaml; some figures need neither")
    .option(
      "--figure <NAME>",
      `which (repeatable, or comma-separated), or ${ALL}; default those that run no network`,
      (value: string, before: readonly string[]) => [
        ...before,
        ...value.split(",").map((name) => name.trim()),
      ],
      [],
    )
    .addOption(
      new Option(
        "--table <NAME>",
        "print a table of the run and those of --with: what evaluate --metrics quality found, or figure transfer",
      )
        .choices(["quality", "transfer"])
        .conflicts("figure"),
    )
    .addOption(
      new Option(
        "--published <SET>",
        "with --table: the rows of DAED's paper on this data set too (of transfer: its table 2)",
      ).choices(publishedSets),
    )
    .option("--with <RUN>", "a run to compare with (repeatable), for figures of several", collect, [])
    .option("--images <N>", "images shown, or measured on", wholeNumber(1))
    .option(
      "--data <NAME>",
      "images of another data set, fitted to the model's shape (repeatable for figures of several)",
      collect,
      [],
    )
    .option(
      "--at <BETA>",
      "of reconstructions: variance of the noise; default the denoiser's, or 0.1",
      fraction,
    )
    .option("--columns <N>", "of samples and interpolation: images a row", wholeNumber(1))
    .option("--times <K>", "times that they are looked at; of exchange: windows of levels", wholeNumber(1))
    .option("--passes <K>", "independent draws of every image", wholeNumber(1))
    .option("--steps <T,...>", "of bits-per-steps: numbers of steps, 0 for continuous time", stepList)
    .addOption(new Option("--split <SPLIT>", "which images").choices(["train", "validation", "test"]))
    .option("--seed <S>", "seed of every draw", wholeNumber(0), 0)
    .addOption(
      new Option("--weights <KIND>", "averaged or raw weights").choices(["ema", "raw"]).default("ema"),
    )
    .option("--checkpoint <STEP>", "a checkpoint other than the newest", wholeNumber(0))
    .option(
      "--out <DIR>",
      "where to write; default the run's figures/, for a config figures/<name>/, else figures/",
    )
    .option("--set <KEY=VALUE>", "precision, device, threads, data.path or sample.steps", collect, [])
    .option("--json", "print one JSON document, with the numbers of every figure")
    .addHelpText(
      "after",
      `
Figures:
${list.join("\n")}

Examples:
  varidiff analyze runs/0001-quickstart
  varidiff analyze runs/0001-quickstart --figure loss-per-time --images 256
  varidiff analyze runs/0001-quickstart --figure bits-per-steps --steps 10,100,1000,0 --passes 8
  varidiff analyze runs/0001-quickstart --figure estimator-variance,samples --out figures
  varidiff analyze runs/0001-quickstart --figure samples --images 100 --columns 20
  varidiff analyze runs/0001-quickstart --figure compared-samples --with runs/0002-quickstart
  varidiff analyze runs/0002-ddgm --figure bound-shares --with runs/0003-daed
  varidiff analyze runs/0002-ddgm --table quality --with runs/0003-daed --published fashion-mnist
  varidiff analyze runs/0004-vcd --figure exchange,exchange-change --with runs/0005-vwd
  varidiff analyze configs/quickstart.yaml --figure forward
  varidiff analyze --figure line-integral

The default of --images, --columns, --times, --passes and --steps is each figure's own. --weights, --checkpoint and
--set hold for the runs of --with too.
`,
    )
    .action(analyze);
}

async function analyze(target: string | undefined, options: AnalyzeOptions): Promise<void> {
  if (options.published !== undefined && options.table === undefined)
    throw new UserError("--published is for tables: add --table quality");
  if (options.table === "quality") return printQualityTable(target, options);
  return drawFigures(target, options.table ? { ...options, figure: [options.table] } : options);
}

async function drawFigures(target: string | undefined, options: AnalyzeOptions): Promise<void> {
  const asked = options.figure.filter((name) => name !== ALL).map(figureNamed);
  if (options.out !== undefined) checkFolder(options.out);
  // The subject comes last: its threads are those that figures are drawn with.
  const others: Subject[] = [];
  if (target !== undefined) for (const dir of options.with) others.push(await runSubject(dir, options));
  const subject = target === undefined ? undefined : await subjectAt(target, options);
  if (subject) for (const other of others) warnOfOtherData(subject, other);
  const chosen = chooseFigures(asked, subject, options);
  const stop = interruptible();
  const folder = options.out ?? subject?.folder ?? "figures";
  const drawn: Record<string, unknown> = {};
  const files: string[] = [];
  const looked = new Set<PropertyKey>();
  try {
    for (const figure of chosen) {
      const settings = { ...options, folder, others, signal: stop.signal, fitted: new Map() };
      const drawing = drawFigure(figure, subject, watched(settings, looked));
      const leaveOut = options.figure.includes(ALL) && !asked.includes(figure) && !stop.caught();
      const document = await (leaveOut ? drawing.catch((error) => leftOut(figure.name, error)) : drawing);
      if (!document) continue;
      drawn[figure.name] = document;
      files.push(...document.files);
      if (!options.json) emit(document, { text: () => textOf(document, options) });
    }
  } catch (error) {
    const caught = stop.caught();
    if (!caught) throw error;
    const kept = files.length > 0 ? `what is in ${folder} is whole` : "nothing was written";
    throw new UserError(`interrupted: ${kept}`, { exitCode: exitCodeOf(caught) });
  } finally {
    stop.release();
  }
  const names = Object.keys(drawn);
  if (names.length > 0)
    for (const option of unusedOptions(options, looked))
      process.stderr.write(
        `${option} changed nothing: no figure that was drawn (${names.join(", ")}) takes it\n`,
      );
  if (options.json) emit({ files, figures: drawn }, { json: true, text: () => "" });
}

/** Of all figures, one that cannot be drawn is named with the reason; anything but a user's mistake is thrown. */
function leftOut(name: string, error: unknown): undefined {
  if (!(error instanceof UserError)) throw error;
  process.stderr.write(`left out ${name}: ${error.message}\n`);
}

/** The paths of a figure's files, or its numbers where a table of them was asked for. */
function textOf({ files, rows }: FigureDocument, { table, published }: AnalyzeOptions): string {
  if (table === undefined) return files.join("\n");
  return markdown(transferCells(rows, { published: published && "listed" }));
}
