/** Which systems the figures of discrete chains are of, and how those are called. */
import type { DiffusionSystem } from "../diffusion/system.js";
import { ChainDiffusion } from "../systems/chain.js";
import { DAED } from "../systems/daed.js";

/** What has betas, whether or not its networks are there. */
export const anyChain = {
  fits: (system: DiffusionSystem): system is ChainDiffusion => system instanceof ChainDiffusion,
  words: "a system of discrete steps",
};

/** What can walk every step of its chain: neither part of a DAED can by itself. */
export const wholeChain = {
  fits: (system: DiffusionSystem): system is ChainDiffusion =>
    anyChain.fits(system) && !(system instanceof DAED && !(system.denoiser && system.generator)),
  words: "a system with networks for every step of a discrete chain",
};

/** As the paper's tables call it: `DDGM`, or `DAED 0.1` with the variance that its denoiser removes. */
export function chainName(system: ChainDiffusion): string {
  return system instanceof DAED ? `DAED ${Number(system.firstBeta.toPrecision(3))}` : "DDGM";
}
