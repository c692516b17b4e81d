/** Clusters of feature vectors: k-means++ seeds, then Lloyd's iterations. */
import { arange, cat, type Generator, operator, randint, scope, stack, type Tensor } from "../torch/index.js";
import { squaredDistances } from "./distances.js";
import { overRows } from "./tiles.js";

const multinomial = operator("aten::multinomial");

/** Iterations after which the clusters are taken as they are, where assignments still change. */
const mostIterations = 100;

export interface KMeansOptions {
  readonly clusters: number;
  /** Draws the seeds, on the CPU whatever the device of the points. */
  readonly generator: Generator;
}

/**
 * The cluster, from 0 on, of each of the points `[N, F]`: int64 `[N]`. Where there are fewer distinct points than
 * `clusters`, some clusters have no points. Float64.
 *
 * Arthur and Vassilvitskii (2007), "k-means++: the advantages of careful seeding"; Lloyd (1982).
 */
export function kMeans(points: Tensor, { clusters, generator }: KMeansOptions): Tensor {
  return scope(() => {
    let centres = seeds(points, { clusters, generator });
    let labels: Tensor | undefined;
    for (let i = 0; i < mostIterations; i++) {
      const next = scope(() => iterate(points, centres));
      const settled = labels?.eq(next.labels).all().item() === 1;
      ({ labels, centres } = next);
      if (settled) break;
    }
    return labels as Tensor;
  });
}

/** Centres `[K, F]`: points drawn one after another, in proportion to the squared distance to the nearest before. */
function seeds(points: Tensor, { clusters, generator }: KMeansOptions): Tensor {
  const chosen: Tensor[] = [];
  let nearest: Tensor | undefined;
  let next = randint(0, points.dim(0), [1], generator).item();
  for (;;) {
    const centre = points.narrow(0, next, 1).to("float64");
    chosen.push(centre);
    const distances = cat(overRows(points, (rows) => squaredDistances(rows, centre).select(1, 0)));
    nearest = nearest?.minimum(distances) ?? distances;
    if (chosen.length === clusters || nearest.max().item() === 0) return cat(chosen);
    next = multinomial(nearest.toDevice("cpu"), 1, false, generator).item();
  }
}

/** The nearest of `centres` for each point, and the means of the clusters that these are. */
function iterate(points: Tensor, centres: Tensor): { readonly labels: Tensor; readonly centres: Tensor } {
  const numbers = arange(0, centres.dim(0), 1, { dtype: "int64", device: points.device });
  const parts = overRows(points, (rows) => {
    const labels = squaredDistances(rows, centres).neg().argmax(1);
    const members = labels.unsqueeze(1).eq(numbers).to("float64");
    return { labels, sums: members.transpose(0, 1).matmul(rows), counts: members.sum([0]) };
  });
  const sums = stack(parts.map((part) => part.sums)).sum([0]);
  const counts = stack(parts.map((part) => part.counts))
    .sum([0])
    .unsqueeze(1);
  // A cluster that has lost all its points stays where it is.
  return {
    labels: cat(parts.map((part) => part.labels)),
    centres: counts.ge(1).where(sums.div(counts), centres),
  };
}
