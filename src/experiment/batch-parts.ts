/** A batch in parts, computed one after another, whose images draw what they would in the whole. */
import type { Streams } from "../torch/index.js";

/** Some images of a batch, with the streams to draw for them from. */
export interface Part {
  readonly first: number;
  readonly count: number;
  readonly streams: Streams;
}

/** A batch of `count` images that draw from `streams` together, at most `atOnce` of them at a time. */
export function partsOf(streams: Streams, count: number, atOnce = count): readonly Part[] {
  if (atOnce >= count) return [{ first: 0, count, streams }];
  return Array.from({ length: Math.ceil(count / atOnce) }, (_, i) => {
    const first = i * atOnce;
    return {
      ...{ first, count: Math.min(atOnce, count - first) },
      streams: streams.part({ first, of: count }),
    };
  });
}
