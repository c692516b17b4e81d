/** Precision and recall of generated images: what part of each set lies in the manifold of the other. */
import { UserError } from "../errors.js";
import { cat, operatorMany, scope, stack, type Tensor } from "../torch/index.js";
import { squaredDistances } from "./distances.js";
import { overRows } from "./tiles.js";

const topk = operatorMany("aten::topk");

export interface ManifoldOptions {
  /** The ball around a point reaches to its neighbour of this rank, the point itself not counted; default 3. */
  readonly neighbours?: number;
}

export interface PrecisionRecall {
  /** The part of the generated set that lies in the manifold of the reference, in [0, 1]. */
  readonly precision: number;
  /** The part of the reference that lies in the manifold of the generated set, in [0, 1]. */
  readonly recall: number;
}

/**
 * Improved precision and recall (Kynkaanniemi et al., 2019). The manifold of a set is the union of the closed balls
 * around its points, each with the radius of `manifoldRadii`. Features are `[N, F]` and `[M, F]`; all distances are
 * computed in float64.
 * @throws UserError where a set has no more points than `neighbours`
 */
export function precisionRecall(
  reference: Tensor,
  generated: Tensor,
  options: ManifoldOptions = {},
): PrecisionRecall {
  return {
    precision: partInside(generated, reference, options),
    recall: partInside(reference, generated, options),
  };
}

/**
 * The Euclidean distance from each point of `features` `[N, F]` to the `neighbours`-th nearest of the others: `[N]`,
 * float64.
 * @throws UserError where there are no more points than `neighbours`
 */
export function manifoldRadii(features: Tensor, options: ManifoldOptions = {}): Tensor {
  return scope(() => squaredRadii(features, options).sqrt());
}

function squaredRadii(features: Tensor, { neighbours = 3 }: ManifoldOptions): Tensor {
  const count = features.dim(0);
  if (count <= neighbours)
    throw new UserError(
      `expected more than ${neighbours} images for a manifold of ${neighbours} neighbours, got ${count}: take more`,
    );
  // A point is its own nearest, so that the sought one comes `neighbours` after it.
  const nearest = (squares: Tensor) => smallest(squares, neighbours + 1);
  const radii = overRows(features, (rows) => {
    const candidates = overRows(features, (others) => nearest(squaredDistances(rows, others)));
    return nearest(cat(candidates, 1)).select(1, neighbours);
  });
  return cat(radii);
}

/** The `count` smallest of each row, or as many as there are, in ascending order. */
function smallest(values: Tensor, count: number): Tensor {
  const [found] = topk(values, Math.min(count, values.dim(1)), 1, false, true);
  if (!found) throw new Error("expected aten::topk to return values");
  return found;
}

/** The part of `points` that lies in the manifold of `centres`. */
function partInside(points: Tensor, centres: Tensor, options: ManifoldOptions): number {
  return scope(() => {
    const radii = squaredRadii(centres, options);
    const inside = overRows(points, (rows) => {
      const found = overRows(centres, (others, start) => {
        const reach = radii.narrow(0, start, others.dim(0));
        return reach.ge(squaredDistances(rows, others)).max([1]);
      });
      return stack(found).max([0]);
    });
    return cat(inside).to("float64").mean().item();
  });
}
