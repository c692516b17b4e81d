/** The `varidiff` command: which commands there are. A command's module is loaded only when it is asked for. */
import { Command } from "commander";
import { packageVersion } from "../experiment/provenance.js";
import { runMain } from "./output.js";

type Entry = readonly [name: string, summary: string, load: () => Promise<Command>];

const COMMANDS: readonly Entry[] = [
  ["train", "train a model, or go on with a run", async () => (await import("./train.js")).trainCommand()],
  [
    "evaluate",
    "measure a run: likelihood, quality of samples, reconstruction, with error bars",
    async () => (await import("./evaluate.js")).evaluateCommand(),
  ],
  [
    "compare",
    "compare runs over seeds, with a test of their difference",
    async () => (await import("./compare.js")).compareCommand(),
  ],
  ["sample", "draw images from a run", async () => (await import("./sample.js")).sampleCommand()],
  ["analyze", "draw the figures of a run", async () => (await import("./analyze.js")).analyzeCommand()],
  [
    "import",
    "make a run of weights that another program trained",
    async () => (await import("./import.js")).importCommand(),
  ],
  [
    "export",
    "write the weights of a run for other programs",
    async () => (await import("./export.js")).exportCommand(),
  ],
  [
    "compose",
    "make a DAED of the generator and the denoiser of two runs",
    async () => (await import("./compose.js")).composeCommand(),
  ],
  [
    "quickstart",
    "train, measure and sample a small model in a few minutes",
    async () => (await import("./quickstart.js")).quickstartCommand(),
  ],
  ["runs", "list runs, and rank those that compare", async () => (await import("./runs.js")).runsCommand()],
  ["data", "find, register and check data sets", async () => (await import("./data.js")).dataCommand()],
  [
    "doctor",
    "say what this machine has and what it lacks",
    async () => (await import("./doctor.js")).doctorCommand(),
  ],
  ["setup", "build the bridge to libtorch", async () => (await import("./setup.js")).setupCommand()],
];

const EXAMPLES = `
Examples:
  varidiff quickstart                              a small model on Fashion-MNIST, start to end
  varidiff train configs/quickstart.yaml --set train.steps=5000
  varidiff evaluate runs/0001-quickstart           bits/dim on the test images
  varidiff sample runs/0001-quickstart -n 64 --grid
  varidiff runs --rank --data fashion-mnist
  varidiff help train                              all about one command
`;

/** Runs the command line `argv`, without node and script; the outcome is in `process.exitCode`. */
export async function main(argv: readonly string[]): Promise<void> {
  const meant = topicOf(argv) ?? argv;
  await runMain(buildProgram(meant), meant);
}

/** The command that help is asked for, alone, where there is none of that name: it is refused as any other. */
function topicOf(argv: readonly string[]): readonly string[] | undefined {
  const [first, topic] = wordsOf(argv);
  if (first !== "help" || topic === undefined) return undefined;
  return COMMANDS.some(([name]) => name === topic) || topic === "help" ? undefined : [topic];
}

function wordsOf(argv: readonly string[]): readonly string[] {
  return argv.filter((argument) => !argument.startsWith("-"));
}

async function buildProgram(argv: readonly string[]): Promise<Command> {
  const program = new Command("varidiff")
    .description("Variational diffusion models with a chosen or learned forward process.")
    .version(packageVersion(), "-V, --version")
    .addHelpText("after", EXAMPLES);
  const [first, second] = wordsOf(argv);
  const asked = first === "help" ? second : first;
  for (const [name, summary, load] of COMMANDS) {
    // The others stand in the list of commands, and for the nearest name, by their summary alone.
    if (name === asked) program.addCommand((await load()).name(name).summary(summary));
    else program.command(name).summary(summary).description(summary);
  }
  return program;
}
