/** A classifier of ours as a feature network. */
import { createHash } from "node:crypto";
import { UserError } from "../../errors.js";
import type { Module } from "../../nn/index.js";
import type { Classifier } from "../../systems/classifier.js";
import { noGrad, scope } from "../../torch/index.js";
import type { FeatureNetwork } from "./feature-network.js";

/** SHA-256 over the names, shapes and values of all parameters: 16 hexadecimal digits. */
export function hashOfWeights(module: Module): string {
  const hash = createHash("sha256");
  for (const [name, value] of module.values())
    hash.update(JSON.stringify([name, value.dtype, value.shape])).update(value.detach().toBytes());
  return hash.digest("hex").slice(0, 16);
}

/** The features, spatial features and class probabilities of `classifier`, in float32. */
export function classifierFeatures(
  classifier: Classifier,
  { name, device }: { readonly name: string; readonly device: string },
): FeatureNetwork {
  return {
    name,
    fingerprint: hashOfWeights(classifier),
    standing: "other",
    async compute(pixels) {
      const shape = pixels.shape.slice(1);
      if (shape.join() !== classifier.shape.join())
        throw new UserError(
          `expected images of ${classifier.shape.join(" x ")} for the feature network ${name}, got ${shape.join(" x ")}: give --features a network of such images`,
        );
      return scope(() =>
        noGrad(() => {
          const { features, spatial, logits } = classifier.see(pixels.toDevice(device), {});
          return { pool: features, spatial, probabilities: logits.softmax(1) };
        }),
      );
    },
  };
}
