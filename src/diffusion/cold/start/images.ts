/** Degraded training images as the law of the last state, kept as the few cosine coefficients that blur leaves of them. */
import { UserError } from "../../../errors.js";
import {
  cat,
  fromTypedArray,
  full,
  noGrad,
  randint,
  scope,
  type Tensor,
  tensor,
  zeros,
} from "../../../torch/index.js";
import { dct2, inverseDct2 } from "../../degradation/dct.js";
import type { Degradation } from "../../degradation/degradation.js";
import { eachBatch, keptTensor, notFitted } from "./fitting.js";
import type { Start, StartContext, StartFitting, StartRequest, TrainingImages } from "./start.js";

/** Coefficients that stay below it in every image may be dropped. */
const NEGLIGIBLE = 1e-6;

/** Numbers that distances are computed from at a time, 32 MiB in float64. */
const PIECE = 2 ** 22;

/**
 * `D(u, T)` of a training image u, each as likely as the others (Rissanen et al., 2023). Of its orthonormal
 * cosine transform the smallest block from coefficient (0, 0) is kept that leaves out none of 1e-6 and more in any image: a
 * few numbers an axis after blur by heat, all of them after most other degradations.
 */
export class DegradedImages implements Start, StartFitting {
  readonly #degradation: Degradation;
  readonly #shape: StartContext["shape"];
  /** `[N, C, h, w]`, float32. */
  #coefficients: Tensor | undefined;

  constructor({ degradation, shape }: StartContext) {
    this.#degradation = degradation;
    this.#shape = shape;
  }

  get fitting(): StartFitting {
    return this;
  }

  get fitted(): boolean {
    return this.#coefficients !== undefined;
  }

  draw({ count, generator, dtype, device }: StartRequest): Tensor {
    const kept = this.#found();
    return scope(() =>
      noGrad(() => {
        const chosen = kept.indexSelect(0, randint(0, kept.dim(0), [count], generator)).to("float64");
        const whole = zeros([count, ...this.#shape], { dtype: "float64" });
        block(whole, kept).copy_(chosen);
        return inverseDct2(whole).toDevice(device, dtype);
      }),
    );
  }

  /**
   * `||D(u_i, T) - v||^2` to all N kept images, `[B, N]` in float64 on the device of `v`: by Parseval's theorem that of the
   * coefficients, where `v` may have some outside the block.
   *
   * @param v `[B, C, H, W]`
   * @throws UserError where nothing is fitted
   */
  squaredDistances(v: Tensor): Tensor {
    const kept = this.#found();
    const count = kept.dim(0);
    const atOnce = Math.max(1, Math.floor((PIECE * count) / kept.size));
    return scope(() =>
      noGrad(() => {
        const transformed = dct2(v.to("float64"));
        const own = transformed.square().sum([1, 2, 3]).unsqueeze(1);
        const inBlock = block(transformed, kept).flatten(1);
        const pieces: Tensor[] = [];
        for (let from = 0; from < count; from += atOnce)
          pieces.push(
            scope(() => {
              const theirs = kept
                .narrow(0, from, Math.min(atOnce, count - from))
                .toDevice(v.device, "float64")
                .flatten(1);
              const product = inBlock.matmul(theirs.transpose(0, 1));
              return own
                .add(theirs.square().sum([1]))
                .sub(product.mul(2))
                .clamp(0);
            }),
          );
        return cat(pieces, 1);
      }),
    );
  }

  /** Reads the images twice: to see which coefficients matter, and to keep these. */
  async fit(images: TrainingImages): Promise<void> {
    const [channels] = this.#shape;
    let [rows, columns] = [1, 1];
    await eachBatch(images, (x) => {
      const largest = this.#transformed(x).abs().max([0, 1]);
      rows = Math.max(rows, lengthThatMatters(largest.max([1])));
      columns = Math.max(columns, lengthThatMatters(largest.max([0])));
    });
    const shape = [images.count, channels, rows, columns];
    const values = new Float32Array(shape.reduce((product, n) => product * n, 1));
    let filled = 0;
    await eachBatch(images, (x) => {
      const matters = this.#transformed(x).narrow(2, 0, rows).narrow(3, 0, columns);
      const some = matters.to("float32").toTypedArray() as Float32Array;
      values.set(some, filled);
      filled += some.length;
    });
    this.#keep(fromTypedArray(values, shape));
  }

  /** `coefficients` `[N, C, h, w]` in float32, and `size`, H and W of the images. */
  state(): Record<string, Tensor> {
    const [, height, width] = this.#shape;
    return { coefficients: this.#found(), size: tensor([height, width], { dtype: "int64" }) };
  }

  restore(state: ReadonlyMap<string, Tensor>): void {
    const [channels, height, width] = this.#shape;
    const size = keptTensor(state, "size", [2]).toArray();
    if (size.join() !== [height, width].join())
      throw new UserError(
        `expected degraded images of ${height}x${width} pixels in a fitted start, got ${size.join("x")}: take the file of a run of the same model`,
      );
    const coefficients = keptTensor(state, "coefficients", [-1, channels, -1, -1]);
    this.#keep(scope(() => coefficients.to("float32").clone()));
  }

  #found(): Tensor {
    if (!this.#coefficients) throw notFitted("degraded training images");
    return this.#coefficients;
  }

  #keep(coefficients: Tensor): void {
    this.#coefficients?.dispose();
    this.#coefficients = coefficients.keep();
  }

  /** The cosine transform of `D(x, T)`. */
  #transformed(x: Tensor): Tensor {
    const { levels } = this.#degradation;
    const last = full([x.dim(0)], levels, { dtype: "int64", device: x.device });
    return dct2(this.#degradation.degrade(x, last));
  }
}

/** The part of coefficients `[B, C, H, W]` that is kept of others, as a view. */
function block(coefficients: Tensor, kept: Tensor): Tensor {
  return coefficients.narrow(2, 0, kept.dim(2)).narrow(3, 0, kept.dim(3));
}

function lengthThatMatters(largest: Tensor): number {
  return largest.toArray().findLastIndex((value) => value >= NEGLIGIBLE) + 1;
}
