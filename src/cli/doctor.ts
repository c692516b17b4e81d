/** `varidiff doctor`: prints what this machine has, what it lacks, and what to do about it. */
import { Command } from "commander";
import pc from "picocolors";
import { type Diagnosis, diagnose } from "./diagnosis.js";
import { emit } from "./output.js";

const EXAMPLES = `
Exits with 1 where something essential is broken, else with 0.

Examples:
  varidiff doctor
  varidiff doctor --json | jq .advice
  LIBTORCH=/opt/libtorch varidiff doctor           whether this libtorch would do
`;

/** The command. */
export function doctorCommand(): Command {
  return new Command("doctor")
    .description(
      "Say what this machine has (libtorch, the bridge, BLAS, CPU, GPU, data sets) and what it lacks.",
    )
    .option("--json", "print the findings as JSON")
    .addHelpText("after", EXAMPLES)
    .action(async ({ json }: { readonly json?: true }) => {
      const diagnosis = await diagnose();
      emit(diagnosis, { json, text: () => describe(diagnosis) });
      if (diagnosis.advice.some(({ severity }) => severity === "broken")) process.exitCode = 1;
    });
}

/** The findings for people: one fact a line, then one line of advice for each thing that is missing. */
export function describe(found: Diagnosis): string {
  const facts: readonly (readonly [name: string, value: string])[] = [
    ["varidiff", found.varidiff],
    ["Node", found.node],
    ["g++", found.compiler ?? "not found"],
    ["libtorch", libtorchLine(found)],
    ...found.refused.map(({ source, reason }) => ["", `not ${source}: ${reason}`] as const),
    ["bridge", bridgeLine(found)],
    ["BLAS", blasLine(found)],
    ...machineLines(found),
    ["data sets", dataLine(found)],
  ];
  const lines = facts.map(([name, value]) => `${pc.bold(name.padEnd(10))} ${value}`);
  const advice = found.advice.map(({ severity, text }) =>
    severity === "broken" ? `${pc.red("broken")}   ${text}` : `${pc.yellow("warning")}  ${text}`,
  );
  return [...lines, "", ...(advice.length > 0 ? advice : [pc.green("all is well")])].join("\n");
}

function libtorchLine({ libtorch }: Diagnosis): string {
  if (!libtorch) return "not found";
  const { version, root, source, cuda } = libtorch;
  return `${version} in ${root} (${source}; ${cuda === null ? "CPU only" : `CUDA ${cuda}`})`;
}

function bridgeLine({ bridge }: Diagnosis): string {
  if (!bridge) return "not built";
  const { addon, libtorch, failure } = bridge;
  return `${failure ? "does not work" : "works"}, linked to libtorch ${libtorch.version}: ${addon}`;
}

function blasLine({ blas }: Diagnosis): string {
  if (!blas) return "unknown";
  return blas.file === null ? blas.kind : `${blas.kind} (${blas.file})`;
}

function machineLines({ machine, bridge }: Diagnosis): [string, string][] {
  const { cpu, architecture, physicalCores, logicalCores, threads, features, precision, memory } = machine;
  const gigabytes = (bytes: number) => (bytes / 1e9).toFixed(1);
  const gpus = bridge?.says?.cudaDevices ?? 0;
  return [
    [
      "CPU",
      `${cpu}, ${architecture}, ${physicalCores} cores (${logicalCores} logical); ${threads} threads will be used`,
    ],
    ["", `${features.join(" ") || "no vector extensions known"}; precision auto is ${precision}`],
    ["", convolutionLine(bridge?.says?.winograd)],
    ["", attentionLine(bridge?.says?.winograd, features)],
    ["CUDA", gpus > 0 ? `${gpus} ${gpus === 1 ? "device" : "devices"}` : "none that libtorch can use"],
    ["memory", `${gigabytes(memory.totalBytes)} GB, ${gigabytes(memory.availableBytes)} GB available`],
  ];
}

/** Which way the 3x3 convolutions go in `precisions`, those that Winograd's kernels support here. */
function convolutionLine(precisions: readonly string[] | undefined): string {
  if (!precisions) return "3x3 convolutions: unknown";
  if (precisions.length === 0) return "3x3 convolutions: libtorch's (no AVX-512 for Winograd's)";
  const rest = precisions.includes("bfloat16") ? "" : ", libtorch's in bfloat16";
  return `3x3 convolutions: Winograd's in ${precisions.join(" and ")}${rest}`;
}

/** Which precisions attention is one kernel in; it takes the instructions that the convolutions do, on AMX machines too. */
function attentionLine(precisions: readonly string[] | undefined, features: readonly string[]): string {
  if (!precisions) return "attention: unknown";
  if (!precisions.includes("float32")) return "attention: composed of libtorch's operators (no AVX-512)";
  return `attention: one kernel in float32${features.includes("avx512_bf16") ? " and bfloat16" : ", composed in bfloat16"}`;
}

function dataLine({ datasets }: Diagnosis): string {
  const here = datasets.flatMap(({ name, found }) => (found ? [`${name} (${found})`] : []));
  return here.join(", ") || "none found";
}
