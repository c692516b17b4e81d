/** What DAED's paper reports (Deja, Kuzina, Trzcinski, Tomczak, NeurIPS 2022, tables 1 to 5), to stand beside runs. */
import type { ChainLoss } from "../diffusion/chain/index.js";

export const publishedSets = ["fashion-mnist", "cifar10", "celeba"] as const;
export type PublishedSet = (typeof publishedSets)[number];

/** A row of tables 1, 3, 4 and 5: Inception features, from a number of samples that the paper does not give. */
export interface PublishedQuality {
  readonly table: 1 | 3 | 4 | 5;
  readonly set: PublishedSet;
  readonly model: string;
  readonly loss: Extract<ChainLoss, "vlb" | "simple">;
  readonly T: number;
  /** Not in table 1. */
  readonly inceptionScore?: number;
  readonly fid: number;
  /** Not in table 1. */
  readonly sfid?: number;
  /** Percent, as printed. */
  readonly precision: number;
  /** Percent, as printed. */
  readonly recall: number;
}

/** A cell of table 2: images noised with variance 0.1 and brought back by models of other images. */
export interface PublishedTransfer {
  /** What the model was trained on. */
  readonly source: "cifar10" | "imagenet";
  readonly model: "DDGM VLB" | "DDGM Simple" | "DAED";
  readonly target: "cifar10" | "cifar100" | "celeba";
  /** On [-1, 1]. */
  readonly meanAbsoluteError: number;
  readonly msSsim: number;
}

type Loss = PublishedQuality["loss"];
type Cells = readonly [T: number, fid: number, precision: number, recall: number];

/** Table 1: FID, precision and recall on all three sets. */
const overview: readonly (readonly [
  model: string,
  loss: Loss,
  fashion: Cells,
  cifar: Cells,
  celeba: Cells,
])[] = [
  ["DDGM", "vlb", [500, 8.9, 68, 53], [1000, 26, 53, 54], [1000, 23, 51, 21]],
  ["DAED 0.1", "vlb", [468, 9.1, 71, 60], [900, 20, 59, 46], [900, 18, 63, 30]],
  ["DAED 0.001", "vlb", [499, 7.5, 71, 64], [999, 15, 60, 60], [999, 16, 70, 27]],
  ["DDGM", "simple", [500, 7.8, 72, 65], [1000, 7.2, 65, 61], [1000, 4.9, 66, 57]],
  ["DAED 0.1", "simple", [468, 9.6, 73, 58], [900, 19, 62, 50], [900, 22, 67, 27]],
  ["DAED 0.001", "simple", [499, 5.7, 69, 64], [999, 14.8, 65, 53], [999, 7.4, 67, 54]],
];

type Full = readonly [
  model: string,
  loss: Loss,
  T: number,
  inceptionScore: number,
  fid: number,
  sfid: number,
  precision: number,
  recall: number,
];

/** Tables 3, 4 and 5. "DAED linear" has the first step of the linear schedule; "(IN)" a denoiser trained on ImageNet. */
const full: Readonly<Record<PublishedSet, { readonly table: 3 | 4 | 5; readonly rows: readonly Full[] }>> = {
  cifar10: {
    table: 3,
    rows: [
      ["DDGM", "vlb", 1000, 7.6, 26.1, 10.5, 54, 55],
      ["DAED 0.1", "vlb", 900, 8.2, 20.4, 16.1, 59, 46],
      ["DAED 0.025", "vlb", 979, 7.7, 22.4, 15.8, 57, 53],
      ["DAED linear", "vlb", 999, 8.1, 14.5, 9.8, 60, 59],
      ["DDGM", "simple", 1000, 9.5, 7.2, 8.6, 65, 61],
      ["DAED 0.2", "simple", 891, 7.8, 29.4, 24.7, 53, 40],
      ["DAED 0.1", "simple", 900, 8.0, 19.0, 14.9, 62, 50],
      ["DAED 0.025", "simple", 979, 8.6, 14.2, 14.6, 60, 53],
      ["DAED 0.001", "simple", 999, 9.1, 14.9, 10.1, 66, 54],
    ],
  },
  celeba: {
    table: 4,
    rows: [
      ["DDGM", "vlb", 1000, 2.4, 23.1, 37.3, 51, 21],
      ["DAED 0.1", "vlb", 900, 2.9, 18.2, 23.9, 63, 31],
      ["DAED 0.025", "vlb", 979, 2.7, 25.4, 35.8, 64, 17],
      ["DAED linear", "vlb", 1000, 2.6, 16.8, 23.6, 70, 27],
      ["DDGM", "simple", 1000, 3.0, 6.1, 14.7, 66, 56],
      ["DAED 0.2", "simple", 890, 2.7, 21.0, 31.2, 63, 22],
      ["DAED 0.1", "simple", 900, 3.0, 17.0, 23.3, 66, 31],
      ["DAED 0.025", "simple", 979, 2.7, 15.1, 17.6, 64, 38],
      ["DAED 0.001", "simple", 999, 2.8, 6.2, 11.0, 69, 55],
      ["DAED (IN) 0.1", "simple", 900, 2.9, 25.6, 30.5, 44, 29],
    ],
  },
  "fashion-mnist": {
    table: 5,
    rows: [
      ["DDGM", "vlb", 500, 4.1, 8.9, 11, 68, 53],
      ["DAED 0.1", "vlb", 468, 4.06, 9.1, 13, 71, 60],
      ["DAED 0.025", "vlb", 489, 4.02, 9.7, 11, 70, 62],
      ["DAED linear", "vlb", 499, 4.1, 7.5, 11.3, 70.5, 64],
      ["DDGM", "simple", 500, 4.3, 7.8, 9.03, 71.5, 65.3],
      ["DAED 0.3", "simple", 426, 3.78, 18, 24, 73.8, 41],
      ["DAED 0.2", "simple", 445, 3.87, 14, 20, 74.8, 47],
      ["DAED 0.1", "simple", 468, 3.95, 9.6, 11.2, 73.2, 58.4],
      ["DAED 0.025", "simple", 489, 4.05, 7.36, 13, 73, 61],
      ["DAED 0.001", "simple", 499, 4.3, 5.7, 11.3, 69.3, 64.2],
    ],
  },
};

/** The rows of a set: those of its own table, then those of table 1, which differ on CelebA. */
export function publishedQuality(set: PublishedSet): readonly PublishedQuality[] {
  const { table, rows } = full[set];
  const own = rows.map(
    ([model, loss, T, inceptionScore, fid, sfid, precision, recall]): PublishedQuality => ({
      ...{ table, set, model, loss, T, inceptionScore, fid, sfid, precision, recall },
    }),
  );
  const first = overview.map(([model, loss, ...cells]): PublishedQuality => {
    const [T, fid, precision, recall] = cells[publishedSets.indexOf(set)] as Cells;
    return { table: 1, set, model, loss, T, fid, precision, recall };
  });
  return [...own, ...first];
}

const transferTargets = ["cifar10", "cifar100", "celeba"] as const;
type Cell = readonly [meanAbsoluteError: number, msSsim: number];

/** Table 2. CelebA is scaled down to 32x32 for the models of CIFAR10. */
const transfer: readonly (readonly [
  source: PublishedTransfer["source"],
  model: PublishedTransfer["model"],
  ...cells: readonly [Cell, Cell, Cell],
])[] = [
  ["cifar10", "DDGM VLB", [0.091, 0.94], [0.097, 0.94], [0.093, 0.95]],
  ["cifar10", "DDGM Simple", [0.085, 0.95], [0.097, 0.94], [0.096, 0.95]],
  ["cifar10", "DAED", [0.065, 0.97], [0.074, 0.97], [0.068, 0.97]],
  ["imagenet", "DDGM VLB", [0.113, 0.93], [0.11, 0.93], [0.077, 0.96]],
  ["imagenet", "DDGM Simple", [0.113, 0.94], [0.111, 0.93], [0.068, 0.96]],
  ["imagenet", "DAED", [0.071, 0.97], [0.071, 0.97], [0.05, 0.98]],
];

export const publishedTransfer: readonly PublishedTransfer[] = transfer.flatMap(([source, model, ...cells]) =>
  cells.map(([meanAbsoluteError, msSsim], i) => ({
    ...{ source, model, target: transferTargets[i] as PublishedTransfer["target"] },
    ...{ meanAbsoluteError, msSsim },
  })),
);
