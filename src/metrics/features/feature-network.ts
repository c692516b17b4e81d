/** What a network is that images are compared in, and how numbers made with it are called. */
import type { Tensor } from "../../torch/index.js";

/** What a network sees in N images. */
export interface Features {
  /** `[N, F]`, float32. */
  readonly pool: Tensor;
  /** `[N, S]`, float32: features that still know where in the image they are. */
  readonly spatial?: Tensor;
  /** `[N, K]`, float32: each row the softmax of the classes' logits. */
  readonly probabilities?: Tensor;
}

export interface FeatureNetwork {
  /** As in `lenet fashion-mnist`. */
  readonly name: string;
  /** Changes with whatever the features depend on: 16 hexadecimal digits. */
  readonly fingerprint: string;
  /** `inception`: the network that FID was defined with, its weights verified. */
  readonly standing: "inception" | "other";
  /**
   * Features of uint8 `pixels` `[N, C, H, W]`; whoever asks disposes of them.
   * @throws UserError for images of a shape that the network cannot take
   */
  compute(pixels: Tensor): Promise<Features>;
}

/**
 * `FID` where the network is the one that it was defined with; else `FID (lenet fashion-mnist, 84 features)`: such a
 * number compares with those of the same network alone.
 */
export function labelled(
  metric: string,
  { name, standing }: Pick<FeatureNetwork, "name" | "standing">,
  size: number,
): string {
  return standing === "inception" ? metric : `${metric} (${name}, ${size} features)`;
}

/** Frees what was computed. */
export function disposeFeatures({ pool, spatial, probabilities }: Features): void {
  for (const tensor of [pool, spatial, probabilities]) tensor?.dispose();
}
