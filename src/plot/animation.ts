/** Grids of images that change, as files that play by themselves: the states of sampling, one a frame. */
import { UserError } from "../errors.js";
import { assembleApng, type Frame } from "./apng.js";
import { sharpLibrary } from "./font.js";
import { type ImageGridOptions, imageGrid } from "./image-grid.js";
import { checkAlike, type Pixels } from "./png.js";

/** How an animation is drawn, each frame as `imageGrid` draws it, and how long its frames are shown. */
export interface AnimationOptions extends ImageGridOptions {
  /** Milliseconds a frame, 10 to 65535; default 150. A GIF counts in tens of them. */
  readonly delay?: number;
  /** Milliseconds of the last frame, before all begins again; default 2000. */
  readonly lastDelay?: number;
}

function checkDelay(name: string, delay: number): void {
  if (!Number.isInteger(delay) || delay < 10 || delay > 65_535)
    throw new UserError(`expected ${name} of 10 to 65535 milliseconds, got ${delay}: choose one of them`);
}

async function framesOf(
  states: readonly Pixels[],
  { delay = 150, lastDelay = 2000, ...grid }: AnimationOptions,
): Promise<Frame[]> {
  checkDelay("a delay", delay);
  checkDelay("a last delay", lastDelay);
  checkAlike(states);
  if (states.length < 2) throw new Error("expected at least two batches of images to animate, got one");
  const frames: Frame[] = [];
  for (const [index, state] of states.entries())
    frames.push({
      png: await imageGrid(state, grid),
      delay: index === states.length - 1 ? lastDelay : delay,
    });
  return frames;
}

/**
 * An animated GIF of batches of images, one batch a frame, that plays without end. A frame has at most 256 colours,
 * the nearest of which stands for each pixel: greys are off by 1 of 255 at most.
 *
 * @throws UserError for a delay out of range
 * @throws Error when there are fewer than two batches, they differ in shape, or the bytes do not fill it
 */
export async function animatedGif(
  states: readonly Pixels[],
  options: AnimationOptions = {},
): Promise<Uint8Array> {
  const frames = await framesOf(states, options);
  const sharp = await sharpLibrary();
  const gif = sharp(
    frames.map(({ png }) => Buffer.from(png)),
    { join: { animated: true } },
  ).gif({
    delay: frames.map(({ delay }) => delay),
    loop: 0,
    keepDuplicateFrames: true,
    dither: 0, // whose dots would look like noise of the model
    interPaletteMaxError: 0, // a palette of its own for each frame: the first one is often a single colour
  });
  return new Uint8Array(await gif.toBuffer());
}

/**
 * The same as an animated PNG, which keeps every colour; a viewer without animations shows the first frame.
 *
 * @throws as `animatedGif` does
 */
export async function animatedPng(
  states: readonly Pixels[],
  options: AnimationOptions = {},
): Promise<Uint8Array> {
  return assembleApng(await framesOf(states, options));
}
