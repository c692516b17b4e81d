/** Feature networks in files, by the ending of their names. A new kind is a file and a line here. */
import path from "node:path";
import { UserError } from "../../errors.js";
import type { FeatureNetwork } from "./feature-network.js";
import { type LaidOut, readLayout } from "./layout.js";
import { onnxFeatures } from "./onnx.js";
import { torchScriptFeatures } from "./torch-script.js";

type Open = (laid: LaidOut, o: { readonly device: string }) => FeatureNetwork | Promise<FeatureNetwork>;

const kinds: Readonly<Record<string, Open>> = {
  ".pt": torchScriptFeatures,
  ".pth": torchScriptFeatures,
  ".ts": torchScriptFeatures,
  ".torchscript": torchScriptFeatures,
  ".onnx": (laid) => onnxFeatures(laid),
};

/** Opens the network in `file`, whose layout lies beside it. @throws UserError for another kind of file, or no layout */
export async function openFeatureFile(file: string, o: { readonly device: string }): Promise<FeatureNetwork> {
  const open = kinds[path.extname(file).toLowerCase()];
  if (!open)
    throw new UserError(
      `expected a feature network in a file that ends in ${Object.keys(kinds).join(", ")}, got ${file}`,
    );
  return open(readLayout(file), o);
}
