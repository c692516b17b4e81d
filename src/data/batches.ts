/** The order in which training sees the images: a pure function of seed and step. */
import { multiplyHigh, philox } from "./philox.js";

/**
 * Which images each training step uses. Every epoch is a fresh uniform permutation of all images, cut into
 * `ceil(length / batchSize)` batches, the last of which may be smaller. The answer depends on nothing but the
 * arguments, so that a resumed run sees what an uninterrupted one would have seen.
 */
export class BatchOrder {
  readonly length: number;
  readonly batchSize: number;
  readonly seed: number;
  readonly stepsPerEpoch: number;
  private epoch = -1;
  private permutation = new Uint32Array(0);

  /**
   * @param seed any safe integer.
   * @throws RangeError where `length` or `batchSize` is no positive integer or `seed` no safe integer.
   */
  constructor(length: number, batchSize: number, seed: number) {
    if (!(Number.isInteger(length) && length > 0 && length < 2 ** 32))
      throw new RangeError(`expected a number of images from 1 to 2^32 - 1, got ${length}`);
    if (!(Number.isSafeInteger(batchSize) && batchSize > 0))
      throw new RangeError(`expected a positive whole batch size, got ${batchSize}`);
    if (!Number.isSafeInteger(seed)) throw new RangeError(`expected a safe integer as seed, got ${seed}`);
    this.length = length;
    this.batchSize = batchSize;
    this.seed = seed;
    this.stepsPerEpoch = Math.ceil(length / batchSize);
  }

  /** The indices of the images of training step `step`, counted from 0. */
  at(step: number): Uint32Array {
    if (!(Number.isSafeInteger(step) && step >= 0))
      throw new RangeError(`expected a step from 0 on, got ${step}`);
    const epoch = Math.floor(step / this.stepsPerEpoch);
    if (epoch !== this.epoch) {
      this.permutation = permutation(this.length, [this.seed, epoch]);
      this.epoch = epoch;
    }
    const start = (step % this.stepsPerEpoch) * this.batchSize;
    return this.permutation.slice(start, start + this.batchSize);
  }
}

/** A uniform permutation of `0 ... length-1` (Fisher-Yates), for a seed and the number of an epoch. */
function permutation(length: number, [seed, epoch]: readonly [number, number]): Uint32Array<ArrayBuffer> {
  const draw = boundedDraws(seed, epoch);
  const order = Uint32Array.from({ length }, (_, i) => i);
  for (let i = length - 1; i > 0; i--) {
    const j = draw(i + 1);
    const kept = order[i] as number;
    order[i] = order[j] as number;
    order[j] = kept;
  }
  return order;
}

/**
 * Uniform draws from `[0, bound)`, free of bias: the high word of a 32-bit draw times the bound, rejected where the
 * low word falls in the part that would be counted once too often.
 *
 * Lemire, "Fast random integer generation in an interval" (2019).
 */
function boundedDraws(seed: number, epoch: number): (bound: number) => number {
  const key = [word(seed, 0), word(seed, 1)] as const;
  const block = new Uint32Array(4);
  let counter = 0;
  const next = () => {
    const at = counter % 4;
    if (at === 0)
      philox([word(counter / 4, 0), word(counter / 4, 1), word(epoch, 0), word(epoch, 1)], key, block);
    counter++;
    return block[at] as number;
  };
  return (bound) => {
    const reject = (2 ** 32 - bound) % bound;
    let drawn = next();
    while (Math.imul(drawn, bound) >>> 0 < reject) drawn = next();
    return multiplyHigh(drawn, bound);
  };
}

/** The low (0) or high (1) 32-bit word of a safe integer, in two's complement. */
function word(value: number, which: 0 | 1): number {
  return (which === 0 ? value : Math.floor(value / 2 ** 32)) >>> 0;
}
