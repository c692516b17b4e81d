/** Laws of the last state by name. A new one is a file and a line here. */
import type { z } from "zod";
import { choiceOf, createPart, partsOf } from "../../../parts.js";
import type { EndState } from "../../degradation/degradation.js";
import { ColourStart, firstPixel, meanColour } from "./colour.js";
import { blackStart, noiseStart } from "./fixed.js";
import { DegradedImages } from "./images.js";
import type { Start, StartContext } from "./start.js";

export { type ColourOf, ColourStart, firstPixel, meanColour } from "./colour.js";
export { blackStart, noiseStart } from "./fixed.js";
export { DegradedImages } from "./images.js";
export type { Start, StartContext, StartFitting, StartRequest, TrainingImages } from "./start.js";

const start = partsOf<StartContext, Start>();

/** The law that goes with what a degradation leaves of an image. */
const startAt = {
  black: "black",
  colour: "colour",
  corner: "corner",
  noise: "noise",
  blurred: "images",
} as const satisfies Record<EndState, string>;

const starts = [
  start("auto", {}, (_, context): Start => createStart({ kind: startAt[context.degradation.end] }, context)),
  start("black", {}, (_, context) => blackStart(context)),
  start("noise", {}, (_, context) => noiseStart(context)),
  start("colour", {}, (_, context) => new ColourStart(context, meanColour)),
  start("corner", {}, (_, context) => new ColourStart(context, firstPixel)),
  start("images", {}, (_, context) => new DegradedImages(context)),
] as const;

/** Which law of the last state; `auto` is that of the degradation. */
export const startSchema = choiceOf(starts);

export type StartConfig = z.output<typeof startSchema>;

/** The law that a config names, not fitted yet. */
export function createStart(config: StartConfig, context: StartContext): Start {
  return createPart(starts, config, context);
}
