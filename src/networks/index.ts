/** Networks by name. A new one is a file and a line here. */
import { z } from "zod";
import type { Denoiser } from "../diffusion/denoiser.js";
import { choiceOf, createPart, partsOf } from "../parts.js";
import { VdmUnet } from "./vdm-unet.js";

export { AttentionBlock, ResidualBlock } from "./blocks.js";
export { type Classified, type ClassifierNetwork, spatialChannels } from "./classifier-network.js";
export {
  type ClassifierContext,
  type ClassifierNetworkConfig,
  classifierSchema,
  createClassifierNetwork,
} from "./classifiers.js";
export type { ColdUnetOptions, TimesTold } from "./cold-layout.js";
export { ColdUnet } from "./cold-unet.js";
export { ConvNet, type ConvNetOptions } from "./convnet.js";
export {
  type EncoderLayout,
  EncoderMlp,
  EncoderUnet,
  type EncoderUnetOptions,
  encoderLevels,
} from "./data-encoder.js";
export { Edsr, type EdsrOptions } from "./edsr.js";
export { createEncoder, type EncoderConfig, type EncoderContext, encoderSchema } from "./encoders.js";
export { fourierFeatures, stepEmbedding, timestepEmbedding } from "./features.js";
export {
  GuidedAttention,
  type GuidedAttentionOptions,
} from "./guided/attention.js";
export type { Resampling } from "./guided/resampling.js";
export {
  GuidedResidualBlock,
  type GuidedResidualBlockOptions,
  type Modulation,
} from "./guided/residual-block.js";
export { GuidedUnet, type GuidedUnetOptions } from "./guided-unet.js";
export { LatentCnn, type LatentOptions, LatentUnet, type LatentUnetOptions } from "./latent-encoder.js";
export {
  createLatentEncoder,
  type LatentEncoderConfig,
  latentEncoderSchema,
} from "./latent-encoders.js";
export { LeNet, type LeNetOptions } from "./lenet.js";
export {
  createLatentNetwork,
  createLevelNetwork,
  type LatentNetworkConfig,
  type LevelNetworkConfig,
  type LevelNetworkContext,
  latentNetworkSchema,
  levelNetworkSchema,
} from "./level-networks.js";
export { Mlp, type MlpOptions } from "./mlp.js";
export type { AttentionPlace } from "./stages.js";
export {
  createStepNetwork,
  type StepNetworkConfig,
  type StepNetworkContext,
  stepNetworkSchema,
} from "./step-networks.js";
export { VariationalEncoder, type VariationalEncoderOptions } from "./variational-encoder.js";
export { type LatentLocation, VariationalUnet, type VariationalUnetOptions } from "./variational-unet.js";
export { VdmUnet, type VdmUnetOptions } from "./vdm-unet.js";

/** What a network is told of the problem it serves. */
export interface NetworkContext {
  readonly imageChannels: number;
  readonly gammaMin: number;
  readonly gammaMax: number;
  /** Numbers of the condition of an image, K. Default 1. */
  readonly conditionFeatures?: number;
}

const network = partsOf<NetworkContext, Denoiser>();

const networks = [
  network(
    "vdm-unet",
    {
      channels: z.number().int().positive().multipleOf(32).default(128),
      depth: z.number().int().positive().default(8),
      attention: z.enum(["none", "middle", "everywhere"]).default("middle"),
      fourierExponents: z.array(z.number().int()).default([6, 7]),
      dropout: z.number().min(0).lt(1).default(0.1),
      noiseLevel: z.enum(["mean", "map"]).default("mean"),
    },
    (options, context) => new VdmUnet({ ...options, ...context }),
  ),
] as const;

/** Which network, with its options, as a config says it. */
export const networkSchema = choiceOf(networks);

export type NetworkConfig = z.output<typeof networkSchema>;

/** The network that a config names. */
export function createNetwork(config: NetworkConfig, context: NetworkContext): Denoiser {
  return createPart(networks, config, context);
}
