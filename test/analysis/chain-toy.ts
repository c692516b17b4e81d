/** A chain of images that are all alike, so that a formula knows their noise, and what a figure of it is drawn from. */
import type { FigureContext } from "../../src/analysis/figure.js";
import { memorySource } from "../../src/data/source.js";
import { GaussianChain } from "../../src/diffusion/chain/gaussian-chain.js";
import { zero } from "../../src/nn/initialisers.js";
import { Parameter } from "../../src/nn/module.js";
import { DAED } from "../../src/systems/daed.js";
import { DDGM } from "../../src/systems/ddgm.js";
import { fromTypedArray, Streams, type Tensor, tensor } from "../../src/torch/index.js";
import { Formula } from "../daed/toys.js";
import { toyContext } from "./toy.js";

const VALUE = 64;
/** `64 / 127.5 - 1` */
export const x0 = -127 / 255;

/** Predicts the noise of an image of the value `x0` and adds `offset`. */
class KnownNoise extends Formula {
  /** Where and in which dtype the system computes. */
  readonly unused = new Parameter([1], zero);

  constructor(betas: readonly number[], offset: number) {
    const { alphasCumprod } = new GaussianChain(betas).tables;
    super((x: Tensor, t: Tensor) => {
      const table = tensor([...alphasCumprod], { dtype: "float64" });
      const abar = table.indexSelect(0, t.reshape([-1]).to("int64")).reshape([-1, 1, 1, 1]);
      return x.sub(abar.sqrt().mul(x0)).div(abar.rsub(1).sqrt()).add(offset);
    });
  }
}

const initialised = { dtype: "float64" } as const;
const common = {
  shape: [1, 2, 2],
  type: { mean: "eps", variance: "fixed-small" },
  loss: "vlb",
  sampling: "uniform",
} as const;

/** A DDGM that is off by `offset` in every pixel's noise. */
export function knownDdgm(betas: readonly number[], offset = 0): DDGM {
  const network = new KnownNoise(betas, offset);
  const system = new DDGM({ ...common, chain: new GaussianChain(betas), network });
  return system.initialise(new Streams(0), initialised);
}

/** A DAED whose two networks are both off by `offset`. */
export function knownDaed(betas: readonly number[], offset = 0): DAED {
  const denoiser = new KnownNoise(betas, offset);
  const generator = new KnownNoise(betas, offset);
  return new DAED({ ...common, betas, denoiser, generator }).initialise(new Streams(0), initialised);
}

/** A context for `count` images of the one value. */
export function chainContext(count: number, more: Partial<FigureContext>): FigureContext {
  const shape = [1, 2, 2] as const;
  const description = { name: "grey", split: "test", origin: "memory", length: count } as const;
  const source = memorySource({ ...description, shape }, new Uint8Array(count * 4).fill(VALUE));
  return toyContext(count, {
    async openImages() {
      const read = (indices: readonly number[]) => ({
        pixels: fromTypedArray(new Uint8Array(indices.length * 4).fill(VALUE), [indices.length, ...shape]),
      });
      return { source, read };
    },
    ...more,
  });
}
