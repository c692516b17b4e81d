/** Degradations that are one matrix along the rows and one along the columns of every channel. */
import { type Tensor, withoutAutocast } from "../../torch/index.js";
import type { Degradation, EndState } from "./degradation.js";
import { LevelTables } from "./level-tables.js";

/**
 * `D(x, k) = R_k x C_k^T` for every channel, with a matrix of the height, R, and one of the width, C. All levels' matrices are
 * made in float64 the first time a size is seen; a batch is two matrix products.
 */
export abstract class SeparableDegradation implements Degradation {
  readonly levels: number;
  abstract readonly end: EndState;
  readonly #tables = new LevelTables();

  constructor(levels: number) {
    this.levels = levels;
  }

  /**
   * The matrices of levels 0 .. T for an axis of `length` pixels, float64 `[T + 1, length, length]`; that of level 0 is the
   * identity. `side` is the longer side of the image.
   */
  protected abstract matrices(length: number, side: number): Tensor;

  degrade(x: Tensor, level: Tensor): Tensor {
    const [height, width] = [x.dim(2), x.dim(3)];
    const side = Math.max(height, width);
    const along = (length: number) =>
      this.#tables.rows(`${length} of ${side}`, level, x, () => this.matrices(length, side)).unsqueeze(1);
    return withoutAutocast(() => along(height).matmul(x).matmul(along(width).transpose(2, 3)), {
      device: x.device.startsWith("cuda") ? "cuda" : "cpu",
    });
  }
}
