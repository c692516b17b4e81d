/** Classifiers' networks by name. A new one is a file and a line here. */
import { z } from "zod";
import { choiceOf, createPart, partsOf } from "../parts.js";
import type { ClassifierNetwork } from "./classifier-network.js";
import { ConvNet } from "./convnet.js";
import { LeNet } from "./lenet.js";

/** What a network is told of the images it tells apart. */
export interface ClassifierContext {
  /** `[C, H, W]` */
  readonly shape: readonly [channels: number, height: number, width: number];
  readonly classes: number;
}

const classifier = partsOf<ClassifierContext, ClassifierNetwork>();

const classifiers = [
  classifier("lenet", {}, (_options, context) => new LeNet(context)),
  classifier(
    "convnet",
    {
      channels: z.number().int().positive().multipleOf(8).default(64),
      dropout: z.number().min(0).lt(1).default(0),
    },
    (options, context) => new ConvNet({ ...options, ...context }),
  ),
] as const;

/** Which network, with its options, as a config says it. */
export const classifierSchema = choiceOf(classifiers);

export type ClassifierNetworkConfig = z.output<typeof classifierSchema>;

/** The network that a config names. */
export function createClassifierNetwork(
  config: ClassifierNetworkConfig,
  context: ClassifierContext,
): ClassifierNetwork {
  return createPart(classifiers, config, context);
}
