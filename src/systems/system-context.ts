/** What goes into the making of a system from a config, and what comes out. */
import type { CostedNetwork } from "../diffusion/denoiser.js";
import type { DiffusionSystem, ImageModel } from "../diffusion/system.js";

/** What a system is told of the images it will see. */
export interface SystemContext {
  /** `[C, H, W]` */
  readonly shape: readonly [channels: number, height: number, width: number];
}

export interface BuiltSystem<S extends ImageModel = DiffusionSystem> {
  readonly system: S;
  /** The network that most of the cost is in. */
  readonly network: CostedNetwork;
}
