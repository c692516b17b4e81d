/** The weights of a run as files for other programs. */
import path from "node:path";
import type { ImageModel } from "../diffusion/system.js";
import { makeFolder, writeSafetensors } from "../io/index.js";
import { writeStateDict } from "../io/pytorch/index.js";
import { toStored } from "../torch/index.js";
import { officialFiles } from "./guided-diffusion.js";
import type { Trained } from "./trained.js";

export const exportFormats = ["pt", "safetensors"] as const;
export type ExportFormat = (typeof exportFormats)[number];

export interface ExportOptions {
  readonly format: ExportFormat;
  /** The file; of a model in two parts `_part_1` and `_part_2` go before its extension. Default: in `exports/` of the run. */
  readonly out?: string | undefined;
}

export interface ExportResult {
  readonly files: readonly string[];
  /** Whose names the parameters have. */
  readonly names: "official" | "varidiff";
}

/**
 * Writes the parameters of a run: DDGM, DAED and cold diffusion under the official names, DAED's denoiser and generator in a
 * file each; other systems under their own.
 * @throws UserError where they cannot be written
 */
export function exportStateDict(trained: Trained<ImageModel>, options: ExportOptions): ExportResult {
  const values = new Map(trained.system.values().map(([name, value]) => [name, toStored(value)]));
  const official = officialFiles(trained.config, values);
  const out = options.out ?? path.join(trained.run.dir, "exports", defaultName(trained, options.format));
  makeFolder(path.dirname(out));
  const files = (official ?? [{ ending: "", tensors: values }]).map(({ ending, tensors }) => {
    const file = withEnding(out, ending);
    writers[options.format](file, tensors);
    return file;
  });
  return { files, names: official ? "official" : "varidiff" };
}

/** As the official training names its files: `model200000_0.pt`, and `ema_0.9999_200000_0.pt` for averaged weights. */
function defaultName({ step, ema, config }: Trained<ImageModel>, format: ExportFormat): string {
  const digits = String(step).padStart(6, "0");
  return `${ema ? `ema_${config.optimiser.emaRate}_` : "model"}${digits}_0.${format}`;
}

function withEnding(file: string, ending: string): string {
  const { dir, name, ext } = path.parse(file);
  return path.join(dir, `${name}${ending}${ext}`);
}

const writers = { pt: writeStateDict, safetensors: writeSafetensors } satisfies Record<ExportFormat, unknown>;
