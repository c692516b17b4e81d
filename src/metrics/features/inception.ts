/** Inception as the user has it: found where it was registered, known by the hash of its file. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { UserError } from "../../errors.js";
import { explained, makeFolder, writeFileAtomic } from "../../io/index.js";
import type { FeatureNetwork } from "./feature-network.js";
import { openFeatureFile } from "./files.js";
import { inceptionFeatures } from "./inception-weights.js";
import { hashOfFile, laidOut, layoutSchema, readLayout } from "./layout.js";
import { torchScriptFeatures } from "./torch-script.js";

/** A public file of the weights inception-2015-12-05, with which FID is defined. */
interface KnownFile {
  /** What it is called where it is published. */
  readonly name: string;
  readonly sha256: string;
  open(file: string, o: { readonly device: string }): FeatureNetwork | Promise<FeatureNetwork>;
}

/** Published by github.com/mseitzer/pytorch-fid, whose file name carries the head of its hash. */
const pytorchFid = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2";

/** Published with the StyleGAN family as TorchScript; resizes by itself, to bytes' values. */
const styleGan = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4";

/** Its `forward(images, return_features, use_fp16, no_output_bias)`. */
export const styleGanLayout = layoutSchema.parse({
  name: "inception-2015-12-05",
  input: { channels: 3, range: [0, 255] },
  outputs: { pool: { arguments: [true] }, probabilities: { arguments: [false, false, true] } },
});

const knownFiles: readonly KnownFile[] = [
  {
    name: "inception-2015-12-05.pt",
    sha256: styleGan,
    open: (file, { device }) =>
      torchScriptFeatures(laidOut(file, styleGanLayout), { device, standing: "inception" }),
  },
  {
    name: "pt_inception-2015-12-05-6726825d.pth",
    sha256: pytorchFid,
    open: (file, { device }) => inceptionFeatures(file, { device, fingerprint: pytorchFid.slice(0, 16) }),
  },
];

/** A file under the name `inception`. */
export interface RegisteredInception {
  readonly path: string;
  readonly sha256: string;
  /** The public name of the file; undefined for one that is not known, whose numbers are never called FID alone. */
  readonly known: string | undefined;
}

function registryFile(): string {
  const root = process.env.XDG_CONFIG_HOME || path.join(os.homedir(), ".config");
  return path.join(root, "varidiff", "inception.json");
}

/**
 * Registers `file` as Inception, in place of an earlier one. A file of another hash than the public ones needs a layout
 * beside it.
 * @throws UserError where there is no such file, or no layout where one is needed
 */
export function registerInception(file: string): RegisteredInception {
  if (!fs.existsSync(file))
    throw new UserError(`${file}: expected the weights of Inception, but there is no such file`);
  const place = path.resolve(file);
  const sha256 = hashOfFile(place);
  const known = knownFiles.find((each) => each.sha256 === sha256)?.name;
  if (known === undefined) layoutOfUnknown(place, sha256);
  const registry = registryFile();
  makeFolder(path.dirname(registry));
  writeFileAtomic(registry, `${JSON.stringify({ path: place, sha256 }, undefined, 2)}\n`);
  return { path: place, sha256, known };
}

function layoutOfUnknown(file: string, sha256: string): void {
  try {
    readLayout(file);
  } catch (cause) {
    const public_ = knownFiles.map(({ name, sha256 }) => `${name} (${sha256.slice(0, 8)}...)`).join(", ");
    throw new UserError(
      `${file} has the SHA-256 ${sha256.slice(0, 8)}..., expected that of ${public_}; another network is registered with a layout: ${(cause as Error).message}`,
      { cause },
    );
  }
}

/** What is registered as Inception, if anything. @throws UserError where the registry is damaged */
export function registeredInception(): RegisteredInception | undefined {
  const registry = registryFile();
  if (!fs.existsSync(registry)) return undefined;
  try {
    const { path, sha256 } = JSON.parse(explained("read", registry, () => fs.readFileSync(registry, "utf8")));
    if (typeof path === "string" && typeof sha256 === "string")
      return { path, sha256, known: knownFiles.find((each) => each.sha256 === sha256)?.name };
  } catch (error) {
    if (error instanceof UserError) throw error;
  }
  throw new UserError(
    `${registry}: expected a JSON object with path and sha256; delete it and register Inception anew`,
  );
}

/**
 * Opens what is registered.
 * @throws UserError where nothing is, or the file is not what it was when it was registered
 */
export async function openInception(o: { readonly device: string }): Promise<FeatureNetwork> {
  const registered = registeredInception();
  if (!registered)
    throw new UserError("expected Inception to be registered: varidiff data add inception FILE");
  const { path: file, sha256 } = registered;
  const found = fs.existsSync(file) ? hashOfFile(file) : "none";
  if (found !== sha256)
    throw new UserError(
      `${file}: expected the SHA-256 ${sha256.slice(0, 8)}... that it was registered with, found ${found.slice(0, 8)}: register it anew with varidiff data add inception FILE`,
    );
  const known = knownFiles.find((each) => each.sha256 === sha256);
  if (known) return known.open(file, o);
  const network = await openFeatureFile(file, o);
  return { ...network, name: `inception (unverified, sha256 ${sha256.slice(0, 8)}...)`, standing: "other" };
}
