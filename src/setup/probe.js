/** Tries a native addon in a process of its own, so that a broken one cannot take the caller with it. */
import { setupCommandLine } from "./locate.js";
import { run } from "./run.js";

/**
 * What the addon says of itself.
 * @typedef {object} BridgeVersion
 * @property {string} torch
 * @property {boolean} cuda
 * @property {number} cudaDevices
 * @property {number} threads
 * @property {readonly string[]} winograd precisions whose 3x3 convolutions take Winograd's way on this CPU
 */

/** @typedef {{ readonly version: BridgeVersion } | { readonly failure: string }} Probe */

const mark = "varidiff-probe:";

/** A square of [[1, 2], [3, 4]] is [[7, 10], [15, 22]]: the first product is where a wrong BLAS shows. (6: float32.) */
const child = `
const loaded = { exports: {} };
process.dlopen(loaded, process.argv[1], require("node:os").constants.dlopen.RTLD_NOW);
const addon = loaded.exports;
const version = addon.version();
const matrix = addon.fromBytes(new Float32Array([1, 2, 3, 4]), 6, [2, 2]);
const square = new Float32Array(addon.toBytes(addon.call(addon.findOperator("aten::mm"), undefined, matrix, matrix)));
if (square.join() !== "7,10,15,22") throw new Error("a 2x2 product came out as " + square.join());
const { torch, cuda, cudaDevices, threads, winograd } = version;
process.stdout.write(${JSON.stringify(mark)} + JSON.stringify({ torch, cuda, cudaDevices, threads, winograd }) + "\\n");
`;

/**
 * Loads the addon in a child process, asks it for its version and lets it multiply two matrices.
 * @param {string} addon
 * @returns {Promise<Probe>} what it says of itself, or one line on why it cannot be used and what to do
 */
export async function probeAddon(addon) {
  const ended = await run(process.execPath, ["-e", child, addon], { timeoutMs: 60_000 });
  const answer = ended.stdout.split("\n").find((line) => line.startsWith(mark));
  if (ended.code === 0 && answer) return { version: JSON.parse(answer.slice(mark.length)) };
  return { failure: explain(ended.signal, ended.output) };
}

/**
 * @param {NodeJS.Signals | null} signal
 * @param {string} output
 */
function explain(signal, output) {
  const rebuild = `build the bridge anew with: ${setupCommandLine()}`;
  const message =
    /^(?:\w*Error|terminate called[^\n]*\n *what\(\)): *([^\n]+)/m.exec(output)?.[1] ??
    "it says nothing more";
  const library = /(lib[^\s:/]+\.so[^\s:]*): cannot open shared object file/.exec(output)?.[1];
  if (library) return `${library} cannot be found: install libtorch again, then ${rebuild}`;
  if (/undefined symbol|version `[^`']+' not found/.test(output))
    return `it does not fit its libtorch (${message}): ${rebuild}`;
  if (/invalid ELF header|file too short|wrong ELF class/.test(output))
    return `it is no library (${message}): ${rebuild}`;
  if (signal === "SIGTERM")
    return `it did not answer within a minute: is the machine out of memory? Else ${rebuild}`;
  if (signal === "SIGILL")
    return `it uses instructions that this CPU lacks (SIGILL): set LIBTORCH to another one, then ${rebuild}`;
  if (signal) return `it crashes (${signal}; ${message}): ${rebuild}`;
  return `it does not work (${message}): ${rebuild}`;
}
