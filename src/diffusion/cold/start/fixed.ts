/** Laws of the last state that are known beforehand. */
import { randn, zeros } from "../../../torch/index.js";
import type { Start, StartContext } from "./start.js";

/** Zeros: nothing is left of the image. */
export function blackStart({ shape }: StartContext): Start {
  return { draw: ({ count, dtype, device }) => zeros([count, ...shape], { dtype, device }) };
}

/** A standard normal. */
export function noiseStart({ shape }: StartContext): Start {
  return {
    draw: ({ count, generator, dtype, device }) =>
      randn([count, ...shape], generator, { dtype }).toDevice(device),
  };
}
