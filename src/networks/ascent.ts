/** The way up of a U-Net: blocks that are given what the one before leaves beside what the way down left at their place. */
import type { Pass } from "../diffusion/denoiser.js";
import { cat, type DropoutKeys, type Tensor } from "../torch/index.js";
import { segment } from "./segment.js";

/** Feature maps on their way down, and what goes from block to block with them. */
export interface Descended {
  /** What the last block has left. */
  readonly h: Tensor;
  readonly embedding: Tensor;
  /** What every block was given, the first convolution's maps first. */
  readonly skips: readonly Tensor[];
}

/**
 * All the way up, the last skip first: `run` is given a block, and as `joined` what the one before left and, behind it, the
 * skip. Both are freed as soon as the block is done with them: without gradients fewer and fewer maps are held, with them the
 * graph holds what it needs.
 */
export function ascend<B>(
  blocks: readonly B[],
  descended: Descended,
  pass: Pass,
  run: (block: B, joined: Tensor, embedding: Tensor, keys: DropoutKeys | undefined) => Tensor,
): Tensor {
  let { h, embedding } = descended;
  const waiting = [...descended.skips];
  for (const block of blocks) {
    const [below, skip] = [h, waiting.pop() as Tensor];
    [h, embedding] = segment(pass, [below, embedding, skip], ([h, e, skip], keys) => [
      run(block, cat([h, skip], 1), e, keys),
      e,
    ]);
    below.dispose();
    skip.dispose();
  }
  return h;
}
