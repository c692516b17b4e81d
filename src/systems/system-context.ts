/** What goes into the making of a system from a config, and what comes out. */
import type { Denoiser } from "../diffusion/denoiser.js";
import type { DiffusionSystem } from "../diffusion/system.js";

/** What a system is told of the images it will see. */
export interface SystemContext {
  /** `[C, H, W]` */
  readonly shape: readonly [channels: number, height: number, width: number];
}

export interface BuiltSystem {
  readonly system: DiffusionSystem;
  /** The network that most of the cost is in. */
  readonly denoiser: Denoiser;
}
