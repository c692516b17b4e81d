/** `varidiff export`: the weights of a run for other programs. */
import path from "node:path";
import { Command, Option } from "commander";
import { UserError } from "../errors.js";
import { type ExportFormat, exportFormats, exportStateDict } from "../experiment/export-run.js";
import { openAnyTrained } from "../experiment/trained.js";
import { checkFolder } from "../io/index.js";
import { wholeNumber } from "./options.js";
import { emit } from "./output.js";

interface ExportOptions {
  readonly stateDict?: boolean;
  readonly weights: "ema" | "raw";
  readonly checkpoint?: number;
  readonly out?: string;
  readonly format?: ExportFormat;
  readonly json?: boolean;
}

export function exportCommand(): Command {
  return new Command("export")
    .description("Write the weights of a run for other programs.")
    .argument("<RUN>", "a run folder")
    .option(
      "--state-dict",
      "a PyTorch state dict; of ddgm, daed, cold and vcd under the official names, daed in two files",
    )
    .addOption(
      new Option("--weights <KIND>", "averaged or raw weights").choices(["ema", "raw"]).default("ema"),
    )
    .option("--checkpoint <STEP>", "a checkpoint other than the newest", wholeNumber(0))
    .option("--out <FILE>", "the file; default in the run's exports/")
    .addOption(
      new Option(
        "--format <NAME>",
        "pt, which torch.load reads with weights_only, or safetensors; default by --out, else pt",
      ).choices(exportFormats),
    )
    .option("--json", "print one JSON document")
    .addHelpText(
      "after",
      `
Examples:
  varidiff export runs/0007-ddgm --state-dict
  varidiff export runs/0007-ddgm --state-dict --weights raw --out model.safetensors
  varidiff export runs/0008-daed --state-dict --out daed.pt      writes daed_part_1.pt (denoiser) and daed_part_2.pt (generator)
`,
    )
    .action(exportRun);
}

function exportRun(dir: string, options: ExportOptions): void {
  if (!options.stateDict) throw new UserError("expected what to export: add --state-dict");
  const { weights, checkpoint, out } = options;
  if (out !== undefined) checkFolder(path.dirname(out));
  const trained = openAnyTrained(dir, { weights, step: checkpoint, overrides: [] });
  for (const warning of trained.warnings) process.stderr.write(`${warning}\n`);
  const format = options.format ?? (out?.endsWith(".safetensors") ? "safetensors" : "pt");
  const { files, names } = exportStateDict(trained, { out, format });
  if (names === "varidiff")
    process.stderr.write(
      `system ${trained.config.system} has no official names: the parameters have varidiff's own\n`,
    );
  const { run, step, ema } = trained;
  emit({ files, names, step, ema, run: run.name }, { json: options.json, text: () => files.join("\n") });
}
