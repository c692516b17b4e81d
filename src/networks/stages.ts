/** What the U-Nets put their blocks together to: stages of one resolution, and the middle. */
import { Module } from "../nn/index.js";
import type { DropoutKeys, Tensor } from "../torch/index.js";
import { AttentionBlock, ResidualBlock, type ResidualBlockOptions } from "./blocks.js";

/** Attention in the middle alone (the papers'), after every block too, or none at all (for small machines). */
export type AttentionPlace = "middle" | "everywhere" | "none";

/** A residual block, and the attention that follows it in some configurations. */
export class Stage extends Module {
  readonly block: ResidualBlock;
  readonly attention: AttentionBlock | undefined;

  constructor(options: ResidualBlockOptions & { readonly attention: AttentionPlace }) {
    super();
    this.block = new ResidualBlock(options);
    this.attention =
      options.attention === "everywhere" ? new AttentionBlock(options.channelsOut, options) : undefined;
  }

  forward(x: Tensor, condition: Tensor, keys: DropoutKeys | undefined): Tensor {
    const h = this.block.forward(x, condition, keys);
    return this.attention ? this.attention.forward(h) : h;
  }
}

export interface MiddleOptions {
  readonly channels: number;
  /** Width F of the condition. */
  readonly conditionFeatures: number;
  readonly attention: AttentionPlace;
  readonly dropout: number;
  /** Groups of the residual blocks. Default 32. */
  readonly groups?: number;
  /** Groups of the attention. Default 32. */
  readonly attentionGroups?: number;
}

/** Residual block, attention, residual block. */
export class Middle extends Module {
  readonly block1: ResidualBlock;
  readonly attention: AttentionBlock | undefined;
  readonly block2: ResidualBlock;

  constructor(options: MiddleOptions) {
    super();
    const { channels, attention, attentionGroups = 32 } = options;
    const block = { ...options, channelsIn: channels, channelsOut: channels };
    this.block1 = new ResidualBlock(block);
    this.attention =
      attention === "none" ? undefined : new AttentionBlock(channels, { groups: attentionGroups });
    this.block2 = new ResidualBlock(block);
  }

  forward(x: Tensor, condition: Tensor, keys: DropoutKeys | undefined): Tensor {
    const h = this.block1.forward(x, condition, keys);
    return this.block2.forward(this.attention ? this.attention.forward(h) : h, condition, keys);
  }
}
