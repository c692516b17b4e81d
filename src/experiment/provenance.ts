/** What is recorded beside every number, so that one can tell later how it came about. */
import fs from "node:fs";
import os from "node:os";

export interface Provenance {
  /** Versions of varidiff, Node and libtorch. */
  readonly varidiff: string;
  readonly node: string;
  readonly libtorch: string;
  /** `cpu` or `cuda:0`. */
  readonly device: string;
  /** The processor's model name. */
  readonly cpu: string;
  readonly threads: number;
  readonly precision: string;
  /** ISO 8601, UTC. */
  readonly date: string;
}

/** The record of this machine at this moment; what only libtorch knows is passed in. */
export function provenance(
  known: Pick<Provenance, "libtorch" | "device" | "threads" | "precision">,
): Provenance {
  return {
    varidiff: packageVersion(),
    node: process.versions.node,
    libtorch: known.libtorch,
    device: known.device,
    cpu: os.cpus()[0]?.model.trim() ?? "unknown",
    threads: known.threads,
    precision: known.precision,
    date: new Date().toISOString(),
  };
}

/** The version in the package's own `package.json`. */
export function packageVersion(): string {
  const file = new URL("../../package.json", import.meta.url);
  const { version } = JSON.parse(fs.readFileSync(file, "utf8")) as { readonly version: string };
  return version;
}
