/** Tables with one row a level, made once per size, device and dtype, and kept. */
import { noGrad, scope, type Tensor } from "../../torch/index.js";

/** Rows of tables for the images of a batch. */
export class LevelTables {
  readonly #kept = new Map<string, Tensor>();

  /**
   * The rows that `level` names, `[B, ...]`, on the device and in the dtype of `like`. `make` gives the whole table
   * `[T + 1, ...]` in float64 and is called once for every `name`, device and dtype.
   *
   * @throws RangeError unless there is a level for each image
   */
  rows(name: string, level: Tensor, like: Tensor, make: () => Tensor): Tensor {
    if (level.rank !== 1 || level.dim(0) !== like.dim(0))
      throw new RangeError(
        `expected a level for each of ${like.dim(0)} images, got shape [${level.shape.join(", ")}]`,
      );
    const key = `${name} ${like.device} ${like.dtype}`;
    let table = this.#kept.get(key);
    if (!table) {
      table = scope(() => noGrad(() => make().toDevice(like.device, like.dtype))).keep();
      this.#kept.set(key, table);
    }
    return table.indexSelect(0, level);
  }
}
