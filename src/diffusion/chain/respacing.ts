/** Fewer steps for a chain that was trained with many: which of them are kept (Nichol, Dhariwal, 2021). */
import { UserError } from "../../errors.js";

/** As banks and Python do: halves go to the even number. */
function roundHalfToEven(value: number): number {
  const floor = Math.floor(value);
  const fraction = value - floor;
  if (fraction === 0.5) return floor % 2 === 0 ? floor : floor + 1;
  return Math.round(value);
}

/** What a specification asks for: `ddimN`, or how many of each of m equal sections. */
function parse(spec: string): { readonly stride: number } | { readonly sections: readonly number[] } {
  const ddim = /^ddim(\d+)$/.exec(spec.trim());
  if (ddim) return { stride: Number(ddim[1]) };
  const sections = spec.split(",").map((part) => (/^\s*\d+\s*$/.test(part) ? Number(part) : Number.NaN));
  if (sections.some((n) => !(n > 0)))
    throw new UserError(`expected a respacing such as 50, 10,15,20 or ddim25, got "${spec}"`);
  return { sections };
}

/** The number of steps nearest to `wanted` that a stride through `steps` gives. */
function nearestCount(steps: number, wanted: number): number {
  const stride = Math.min(steps - 1, Math.max(1, Math.round(steps / Math.max(1, wanted))));
  return Math.ceil(steps / stride);
}

/** How many steps a specification keeps. @throws UserError where it is none */
export function respacedCount(spec: string): number {
  const parsed = parse(spec);
  return "stride" in parsed ? parsed.stride : parsed.sections.reduce((sum, n) => sum + n, 0);
}

/**
 * The indices, increasing, that `spec` keeps of a chain of `steps`: for `ddimN` those of the smallest stride that gives
 * exactly N, for `n_1,..,n_m` so many of each of m equal sections, evenly spaced with both ends of the section.
 *
 * @throws UserError where the specification cannot be met
 */
export function respacedSteps(steps: number, spec: string): number[] {
  const parsed = parse(spec);
  if ("stride" in parsed) {
    for (let stride = 1; stride < steps; stride++)
      if (Math.ceil(steps / stride) === parsed.stride)
        return Array.from({ length: parsed.stride }, (_, i) => i * stride);
    throw new UserError(
      `expected a number of steps that some stride through ${steps} gives, got "${spec}": take ddim${nearestCount(steps, parsed.stride)}, or leave out "ddim"`,
    );
  }
  const { sections } = parsed;
  const size = Math.floor(steps / sections.length);
  const kept: number[] = [];
  let start = 0;
  for (const [i, count] of sections.entries()) {
    const length = size + (i < steps % sections.length ? 1 : 0);
    if (count > length)
      throw new UserError(
        `expected at most ${length} steps ${sections.length === 1 ? "of the chain" : `of its section ${i + 1}`}, got ${count}: ask for fewer`,
      );
    const stride = count <= 1 ? 1 : (length - 1) / (count - 1);
    for (let j = 0, position = 0; j < count; j++, position += stride)
      kept.push(start + roundHalfToEven(position));
    start += length;
  }
  return kept;
}
