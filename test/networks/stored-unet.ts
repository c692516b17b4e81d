/** The small U-Net of golden/daed/unet_weights, as the README there describes it. */
import path from "node:path";
import { GuidedUnet } from "../../src/networks/index.js";
import { type FloatDtype, loadTensors, type Tensor } from "../../src/torch/index.js";
import { ownFolder } from "../golden.js";

const file = path.join(process.env.VARIDIFF_GOLDEN ?? ownFolder, "daed", "unet_weights.safetensors");

/** The stored parameters by their official names, with `changes` in the place of some. */
export function storedWeights(changes: Readonly<Record<string, Tensor>> = {}): Map<string, Tensor> {
  return new Map([...loadTensors(file).tensors, ...Object.entries(changes)]);
}

/** The network with these parameters. */
export function storedUnet(weights: ReadonlyMap<string, Tensor>, options: { readonly dtype: FloatDtype }) {
  const network = new GuidedUnet({
    imageChannels: 3,
    outChannels: (weights.get("out.2.bias") as Tensor).size,
    imageSize: 16,
    channels: 32,
    channelMultipliers: [1, 2],
    residualBlocks: 1,
    attentionResolutions: [8],
    heads: 4,
    scaleShift: "scale-shift",
    resampling: "convolution",
    attentionOrder: "legacy",
    dropout: 0,
  });
  return network.load(weights, options);
}
