/** `varidiff import`: weights of another program as a run. */
import path from "node:path";
import { Command, Option } from "commander";
import { configSchema } from "../experiment/config.js";
import { type ImportResult, importRun } from "../experiment/import-run.js";
import { importSources } from "../experiment/import-sources.js";
import { loadConfig } from "../experiment/load-config.js";
import { collect, wholeNumber } from "./options.js";
import { emit } from "./output.js";

interface ImportOptions {
  readonly config: string;
  readonly set: readonly string[];
  readonly out?: string;
  readonly denoiser?: string;
  readonly ema?: string;
  readonly denoiserEma?: string;
  readonly key?: string;
  readonly emaKey?: string;
  readonly step?: number;
  readonly json?: boolean;
}

export function importCommand(): Command {
  const sources = importSources.map(({ name, summary }) => `${name} (${summary})`).join(", ");
  return new Command("import")
    .description("Make a run of weights that another program trained: .pt, .pth or .safetensors.")
    .argument("<SOURCE>", `whose they are: ${sources}`)
    .argument("<CHECKPOINT>", "the state dict; of a DAED in two files the generator's")
    .requiredOption(
      "--config <FILE>",
      "a YAML file that describes the whole experiment: system ddgm, daed, vcd or cold",
    )
    .option(
      "--set <KEY=VALUE>",
      "change one key of the config, e.g. model.variance=learned-range (repeatable)",
      collect,
      [],
    )
    .option("--out <DIR>", "the run folder itself; default runs/<number>-<config>")
    .option("--denoiser <FILE>", "the denoiser's state dict, of a DAED in two files")
    .option("--ema <FILE>", "the averaged weights; default the weights themselves")
    .option("--denoiser-ema <FILE>", "the denoiser's averaged weights, of a DAED in two files")
    .option("--key <KEY>", "where in a checkpoint with more in it the state dict is, e.g. state_dict")
    .addOption(new Option("--ema-key <KEY>", "the same for the averaged weights; default --key"))
    .option(
      "--step <N>",
      "training steps that made them; default what the file's name tells, else 0",
      wholeNumber(0),
    )
    .option("--json", "print one JSON document")
    .addHelpText(
      "after",
      `
Examples:
  varidiff import guided-diffusion model200000_0.pt --config ddgm.yaml --ema ema_0.9999_200000_0.pt
  varidiff import guided-diffusion checkpoint.pt --key state_dict --config ddgm.yaml --out runs/imported
  varidiff import guided-diffusion model_part_2.pt --denoiser model_part_1.pt --config daed.yaml
  varidiff import variational-cold-diffusion chkpt_64_6_vxt_ema.pt --key model_state_dict \\
    --ema chkpt_64_6_vxt_ema.pt --ema-key ema_state_dict.shadow_params --config configs/cold/mnist-vcd.yaml
  varidiff train ddgm.yaml --set train.from=runs/imported            fine-tuning in a run of its own

Nothing in a file is run: what is no tensor is left. Missing, unknown and misshapen parameters are named.
`,
    )
    .action(importWeights);
}

async function importWeights(source: string, checkpoint: string, options: ImportOptions): Promise<void> {
  const { key, emaKey = key, denoiser, out } = options;
  const config = loadConfig(configSchema, { file: options.config, overrides: options.set });
  const files = (model: string, other: string | undefined, at: string | undefined) => ({
    model: { file: model, key: at },
    ...(other === undefined ? {} : { denoiser: { file: other, key: at } }),
  });
  const averaged = options.ema !== undefined || options.denoiserEma !== undefined;
  const result = await importRun({
    source,
    config,
    weights: files(checkpoint, denoiser, key),
    ...(averaged ? { ema: files(options.ema ?? checkpoint, options.denoiserEma ?? denoiser, emaKey) } : {}),
    step: options.step,
    to: out === undefined ? { name: path.basename(options.config, path.extname(options.config)) } : { out },
  });
  for (const [file, names] of Object.entries(result.others))
    process.stderr.write(`${file}: left what is no tensor: ${names.join(", ")}\n`);
  const { run, step, parameters } = result;
  emit({ run: run.dir, step, parameters }, { json: options.json, text: () => describe(result) });
}

function describe({ run, step, parameters }: ImportResult): string {
  const what = `${parameters.toLocaleString("en")} parameters at step ${step}`;
  return `${run.dir}: ${what}\ndraw from it with: varidiff sample ${run.dir}`;
}
