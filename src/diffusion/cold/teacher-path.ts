/** Inputs that a model makes for itself: a teacher walks down from full degradation, as a sampler will. */
import { cat, full, type Tensor, tensor } from "../../torch/index.js";
import type { Degradation } from "../degradation/degradation.js";

/** A step of the teacher's. */
export interface TeacherStep {
  /** The states that it has reached, `[n, C, H, W]`. */
  readonly x: Tensor;
  /** Their level k. */
  readonly level: number;
  /** The true states of level k - 1, which its encoder is told. */
  readonly target: Tensor;
  /** Which images of the batch they are. */
  readonly rows: readonly number[];
}

export interface TeacherPath {
  readonly degradation: Degradation;
  /** `[B, C, H, W]` */
  readonly x0: Tensor;
  /** The level 0 .. T that each image is wanted at. */
  readonly levels: readonly number[];
  /** The states of level k - 1 that it goes to. */
  teacher(step: TeacherStep): Tensor;
  /** Whether the true states are taken up again at a level, before the teacher goes on from it. */
  reset(level: number): boolean;
}

/**
 * The teacher's own state of each image at the level that is wanted of it, `[B, C, H, W]`: from `x_T = D(x_0, T)` on,
 * `x_{k-1} = teacher(x_k)`, all images on one path. An image leaves it at its level, since nothing below is asked of it.
 */
export function teacherStates({ degradation, x0, levels, teacher, reset }: TeacherPath): Tensor {
  const { device } = x0;
  const choose = (x: Tensor, places: readonly number[]) =>
    x.indexSelect(0, tensor([...places], { dtype: "int64" }).toDevice(device));
  const degradedTo = (x: Tensor, level: number) =>
    degradation.degrade(x, full([x.dim(0)], level, { dtype: "int64", device }));

  const order: number[] = [];
  const found: Tensor[] = [];
  let rows = levels.map((_, i) => i);
  let clean = x0;
  let x = degradedTo(x0, degradation.levels);
  /** Takes out what is wanted at this level. */
  const leave = (level: number) => {
    const places = (wanted: (own: number) => boolean) =>
      rows.flatMap((row, place) => (wanted(levels[row] as number) ? [place] : []));
    const [done, rest] = [places((own) => own === level), places((own) => own !== level)];
    if (done.length === 0) return;
    found.push(choose(x, done));
    order.push(...done.map((place) => rows[place] as number));
    rows = rest.map((place) => rows[place] as number);
    if (rows.length > 0) [x, clean] = [choose(x, rest), choose(clean, rest)];
  };
  leave(degradation.levels);
  for (let level = degradation.levels; level > 0 && rows.length > 0; level--) {
    if (reset(level)) x = degradedTo(clean, level);
    x = teacher({ x, level, target: degradedTo(clean, level - 1), rows });
    leave(level - 1);
  }
  const places = levels.map((_, row) => order.indexOf(row));
  return choose(cat(found, 0), places);
}
