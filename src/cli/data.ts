/** `varidiff data`: find, register and verify data sets. */
import { Command, InvalidArgumentError, Option } from "commander";
import type { DatasetReport, DatasetStatus, Split } from "../data/index.js";
import { addDataset, checkDataset, listDatasets, variantNames, variants } from "../data/index.js";
import { registerInception } from "../metrics/features/index.js";
import { emit } from "./output.js";
import { createProgress, type Progress } from "./progress.js";

interface JsonOption {
  readonly json?: boolean;
}

interface CheckCommandOptions extends JsonOption {
  readonly path?: string;
  readonly size?: number;
  readonly variant?: string;
}

export function dataCommand(): Command {
  return new Command("data")
    .description("Find, register and verify data sets.")
    .addCommand(listCommand())
    .addCommand(addCommand())
    .addCommand(checkCommand())
    .addHelpText(
      "after",
      `
Data sets are looked for at data.path, among those registered here, in the folder VARIDIFF_DATA,
and where packages install them. Of each there are variants (data.variant), made of its images:
${describeVariants()}

Examples:
  varidiff data list
  varidiff data add cifar10 ~/downloads/cifar-10-binary.tar.gz
  varidiff data check fashion-mnist
`,
    );
}

function listCommand(): Command {
  return new Command("list")
    .description("List the known data sets, where they lie, and how to get the others.")
    .option("--json", "print one JSON document")
    .addHelpText("after", "\nExamples:\n  varidiff data list\n  varidiff data list --json\n")
    .action(({ json }: JsonOption) => {
      const all = listDatasets();
      emit(all, {
        json,
        text: () => `${describeList(all)}\nvariants of each (data.variant):\n${describeVariants()}`,
      });
    });
}

function addCommand(): Command {
  return new Command("add")
    .description(
      "Register the data set at PATH under NAME: a known set, or one of your own; or Inception's weights.",
    )
    .argument(
      "<NAME>",
      "the name by which a config asks for it (data.name); inception for the network of FID",
    )
    .argument("<PATH>", "its file or folder: images, zip, tar, npz, parquet or IDX")
    .option("--json", "print one JSON document")
    .addHelpText(
      "after",
      "\nExamples:\n  varidiff data add cifar10 ~/downloads/cifar-10-binary.tar.gz\n  varidiff data add cats ./photos-of-cats\n  varidiff data add inception ~/downloads/pt_inception-2015-12-05-6726825d.pth\n",
    )
    .action(async (name: string, place: string, { json }: JsonOption) => {
      if (name === "inception") {
        addInception(place, { json });
        return;
      }
      const path = await addDataset(name, place);
      emit(
        { name, path },
        { json, text: () => `${name}: ${path}\nverify it with: varidiff data check ${name}` },
      );
    });
}

/** Registers the feature network that FID is defined with. */
function addInception(file: string, { json }: JsonOption): void {
  const registered = registerInception(file);
  const { path, sha256, known } = registered;
  emit(
    { name: "inception", ...registered },
    {
      json,
      text: () =>
        known === undefined
          ? `inception: ${path}\nits SHA-256, ${sha256}, is not that of a public file: numbers made with it say so, and are not called FID alone`
          : `inception: ${path}\nverified: ${known}`,
    },
  );
}

function checkCommand(): Command {
  return new Command("check")
    .description("Read every image of every split once, and report counts, shape and fingerprint.")
    .argument("<NAME>", "a known or registered data set")
    .option("--path <PATH>", "the file or folder that holds it, instead of the usual places")
    .option("--size <PIXELS>", "crop and resize to squares of this side", parseSize)
    .addOption(new Option("--variant <NAME>", "the images made of its own").choices(variantNames))
    .option("--json", "print one JSON document")
    .addHelpText(
      "after",
      "\nExamples:\n  varidiff data check fashion-mnist\n  varidiff data check fashion-mnist --variant frequency-split\n  varidiff data check celeba --size 64 --json\n  varidiff data check images --path ./photos-of-cats\n",
    )
    .action(async (name: string, { json, path, size, variant }: CheckCommandOptions) => {
      const story = checkStory(name);
      try {
        const report = await checkDataset(name, { path, size, variant, onProgress: story.update });
        story.done();
        emit(report, { json, text: () => describeReport(report) });
      } finally {
        story.done();
      }
    });
}

/** Progress of decoding, a line a split. */
function checkStory(name: string) {
  let current: { readonly split: Split; readonly progress: Progress } | undefined;
  const done = () => {
    current?.progress.done();
    current = undefined;
  };
  const update = (split: Split, images: number, total: number) => {
    if (current?.split !== split) {
      done();
      current = {
        split,
        progress: createProgress({ total, unit: "images", label: `decode ${name} ${split}` }),
      };
    }
    current.progress.update(images);
  };
  return { update, done };
}

function parseSize(text: string): number {
  const size = Number(text);
  if (!Number.isInteger(size) || size <= 0)
    throw new InvalidArgumentError("expected a positive whole number of pixels");
  return size;
}

function describeList(all: readonly DatasetStatus[]): string {
  const width = Math.max(...all.map(({ name }) => name.length));
  return all
    .map(({ name, summary, found, howToGet }) => {
      const where = found ?? `not found; to get it: ${howToGet}`;
      return `${name.padEnd(width)}  ${summary}\n${" ".repeat(width)}  ${where}`;
    })
    .join("\n");
}

function describeVariants(): string {
  const width = Math.max(...variants.map(({ name }) => name.length));
  return variants.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`).join("\n");
}

function describeReport({ name, path, format, splits }: DatasetReport): string {
  const lines = splits.map(({ split, images, shape, fingerprint, meanSquare, classCounts }) => {
    const classes = Object.entries(classCounts).map(([label, count]) => `${label} ${count}`);
    const counts =
      classes.length > 0
        ? `\n  classes: ${classes.slice(0, 20).join(", ")}${classes.length > 20 ? ", ..." : ""}`
        : "";
    return `${split}: ${images} images of ${shape.join("x")}, fingerprint ${fingerprint}, mean square ${meanSquare.toFixed(4)}${counts}`;
  });
  return [`${name} (${format}): ${path}`, ...lines].join("\n");
}
