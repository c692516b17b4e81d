/** Simple images made by formulas, at any size: what no data set has. */

/** Where a shape is and where it is not, and how much: 0 to 1 at `u` across and `v` down, both from 0 to 1. */
type Shape = (u: number, v: number) => number;

const inside = (yes: boolean): number => (yes ? 1 : 0);
const between = (value: number, low: number, high: number): boolean => value >= low && value < high;

export const toyShapes: Readonly<Record<string, Shape>> = {
  disc: (u, v) => inside(Math.hypot(u - 0.5, v - 0.5) < 0.32),
  ring: (u, v) => inside(between(Math.hypot(u - 0.5, v - 0.5), 0.2, 0.38)),
  stripes: (_u, v) => inside(Math.floor(7 * v) % 2 === 1),
  checkerboard: (u, v) => inside((Math.floor(4 * u) + Math.floor(4 * v)) % 2 === 0),
  gradient: (u) => u,
  L: (u, v) => inside(between(v, 0.15, 0.85) && between(u, 0.25, v < 0.7 ? 0.4 : 0.75)),
  T: (u, v) =>
    inside(between(v, 0.15, 0.3) ? between(u, 0.2, 0.8) : between(v, 0.3, 0.85) && between(u, 0.43, 0.58)),
  blank: () => 0,
};

/** What colour images have where a shape is, and where it is not. */
const FIGURE = [250, 190, 60] as const;
const GROUND = [20, 50, 110] as const;

/** Every shape as an image `[C, H, W]`, white on black or in two colours, one after another. */
export function toyImages([channels, height, width]: readonly [number, number, number]): Uint8Array {
  const grey = channels !== FIGURE.length;
  const shades = (c: number) => (grey ? [0, 255] : [GROUND[c], FIGURE[c]]) as [number, number];
  return Uint8Array.from(
    Object.values(toyShapes).flatMap((shape) =>
      Array.from({ length: channels * height * width }, (_, i) => {
        const [low, high] = shades(Math.floor(i / (height * width)));
        const row = Math.floor(i / width) % height;
        return Math.round(low + (high - low) * shape(((i % width) + 0.5) / width, (row + 0.5) / height));
      }),
    ),
  );
}
