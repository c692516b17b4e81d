/** Hugging Face's image data sets in parquet: a column of `{bytes, path}`, often one of integer labels. */
import fs from "node:fs";
import path from "node:path";
import {
  type AsyncBuffer,
  asyncBufferFromFile,
  type FileMetaData,
  parquetMetadataAsync,
  parquetReadObjects,
  parquetSchema,
} from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { UserError } from "../errors.js";
import { cachedSource } from "./cache.js";
import { decodeImages, type EncodedImage } from "./decode-images.js";
import { type Format, missingSplit } from "./format.js";
import { inNaturalOrder, splitOfFile, splitOfFolder } from "./names.js";
import type { Split } from "./source.js";

/** Shards as `data/train-00000-of-00002.parquet` or `train/0000.parquet`, read in the order of their names. */
export const parquet: Format = {
  name: "parquet",
  describes: "Hugging Face image data in parquet files",
  recognises: (place) => parquetFiles(place).size > 0,
  async splits(place) {
    return [...parquetFiles(place).keys()];
  },
  async open(request) {
    const { name, path: origin, split, size, onProgress } = request;
    const bySplit = parquetFiles(origin);
    const files = bySplit.get(split);
    if (!files) throw missingSplit(request, [...bySplit.keys()]);
    return cachedSource(
      { name, split, origin, files, settings: { format: "parquet", size } },
      async (pixels) => {
        const shards: Shard[] = [];
        for (const file of files) shards.push(await openShard(file));
        const length = shards.reduce((sum, shard) => sum + shard.rows, 0);
        if (length === 0)
          throw new UserError(`${origin}: expected images in the ${split} split, found no rows`);
        const labels: number[] = [];
        const shape = await decodeImages(encodedImages(shards, labels), pixels, {
          total: length,
          size,
          onProgress,
        });
        const { classes } = shards[0] as Shard;
        if (labels.length !== length) return { shape, length };
        return { shape, length, labels, ...(classes && { classes }) };
      },
    );
  },
};

/** The shards of each split: those of the folder or of its `data`, and of folders named after a split in either. */
function parquetFiles(place: string): Map<Split, string[]> {
  if (!fs.statSync(place).isDirectory())
    return new Map(isParquet(place) ? [[splitOfFile(path.basename(place)) ?? "train", [place]]] : []);
  const bySplit = new Map<Split, string[]>();
  const visit = (folder: string, named: Split | undefined) => {
    for (const entry of inNaturalOrder(fs.readdirSync(folder))) {
      const inside = path.join(folder, entry);
      const folderSplit = splitOfFolder(entry);
      if (isParquet(entry)) {
        const split = named ?? splitOfFile(entry) ?? "train";
        bySplit.set(split, [...(bySplit.get(split) ?? []), inside]);
      } else if (
        !named &&
        (folderSplit || (entry === "data" && folder === place)) &&
        fs.statSync(inside).isDirectory()
      )
        visit(inside, folderSplit);
    }
  };
  visit(place, undefined);
  return bySplit;
}

function isParquet(name: string): boolean {
  return /\.parquet$/i.test(name);
}

interface Shard {
  readonly file: string;
  readonly buffer: AsyncBuffer;
  readonly metadata: FileMetaData;
  readonly rows: number;
  readonly imageColumn: string;
  readonly labelColumn: string | undefined;
  readonly classes: readonly string[] | undefined;
}

async function openShard(file: string): Promise<Shard> {
  try {
    const buffer = await asyncBufferFromFile(file);
    const metadata = await parquetMetadataAsync(buffer);
    const columns = parquetSchema(metadata).children;
    const image = columns.find(({ children }) => children.some(({ element }) => element.name === "bytes"));
    if (!image) {
      const names = columns.map(({ element }) => element.name).join(", ");
      throw new UserError(
        `${file}: expected a column of images, a struct with "bytes", found columns ${names}`,
      );
    }
    const features = huggingFaceFeatures(metadata);
    const label = columns.find(
      ({ element }) =>
        /^INT(32|64)$/.test(element.type ?? "") &&
        (features[element.name]?._type === "ClassLabel" || /^labels?$/.test(element.name)),
    )?.element.name;
    const classes = label === undefined ? undefined : features[label]?.names;
    const rows = Number(metadata.num_rows);
    return { file, buffer, metadata, rows, imageColumn: image.element.name, labelColumn: label, classes };
  } catch (error) {
    throw damaged(file, error);
  }
}

interface Feature {
  readonly _type?: string;
  readonly names?: readonly string[];
}

/** The description that the `datasets` library keeps beside the schema. */
function huggingFaceFeatures({ key_value_metadata }: FileMetaData): Readonly<Record<string, Feature>> {
  const text = key_value_metadata?.find(({ key }) => key === "huggingface")?.value;
  return text === undefined ? {} : (JSON.parse(text).info?.features ?? {});
}

/** The images of all shards, row group by row group; their labels are added to `labels`. */
async function* encodedImages(shards: readonly Shard[], labels: number[]): AsyncGenerator<EncodedImage> {
  let index = 0;
  for (const shard of shards) {
    let rowStart = 0;
    for (const group of shard.metadata.row_groups) {
      const rowEnd = rowStart + Number(group.num_rows);
      for (const { bytes, label } of await readRows(shard, { rowStart, rowEnd })) {
        const place = `${shard.file}: row ${rowStart++}`;
        if (!(bytes instanceof Uint8Array))
          throw new UserError(`${place}: expected the bytes of an image, found none`);
        if (label !== undefined) labels.push(label);
        yield { index: index++, bytes, place };
      }
    }
  }
}

async function readRows(
  { file, buffer, metadata, imageColumn, labelColumn }: Shard,
  range: { readonly rowStart: number; readonly rowEnd: number },
): Promise<{ bytes: unknown; label: number | undefined }[]> {
  const columns = labelColumn === undefined ? [imageColumn] : [imageColumn, labelColumn];
  try {
    const rows = await parquetReadObjects({
      file: buffer,
      metadata,
      columns,
      ...range,
      compressors,
      utf8: false,
    });
    return rows.map((row) => ({
      bytes: row[imageColumn]?.bytes,
      label: labelColumn === undefined ? undefined : numberOrNone(row[labelColumn]),
    }));
  } catch (error) {
    throw damaged(`${file}: rows ${range.rowStart} to ${range.rowEnd - 1}`, error);
  }
}

function numberOrNone(value: unknown): number | undefined {
  return value === null || value === undefined ? undefined : Number(value);
}

function damaged(place: string, error: unknown): unknown {
  if (error instanceof UserError || (error as NodeJS.ErrnoException).syscall) return error;
  return new UserError(
    `${place}: expected whole parquet data, but: ${(error as Error).message}; fetch the file again`,
    {
      cause: error,
    },
  );
}
