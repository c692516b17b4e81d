/** A classifier as a config says it. */
import { z } from "zod";
import type { ImageModel } from "../diffusion/system.js";
import { classifierSchema, createClassifierNetwork } from "../networks/classifiers.js";
import { Classifier } from "./classifier.js";
import type { BuiltSystem, SystemContext } from "./system-context.js";

export const classifierModel = z.strictObject({
  network: classifierSchema.prefault({ kind: "lenet" }),
  /** K: labels are from 0 to K - 1. */
  classes: z.number().int().min(2).default(10),
  /** The class is what is learned; there is no other choice. */
  condition: z.literal("class").default("class"),
});

export function createClassifier(
  config: z.output<typeof classifierModel>,
  { shape }: SystemContext,
): BuiltSystem<ImageModel> {
  const network = createClassifierNetwork(config.network, { shape, classes: config.classes });
  return { system: new Classifier({ shape, network }), network };
}
