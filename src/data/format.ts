/** What a storage format of data sets offers. */
import { UserError } from "../errors.js";
import { type ImageSource, type OnProgress, type Split, splits } from "./source.js";

/** What is to be opened, once it is known where it lies. */
export interface OpenRequest {
  readonly name: string;
  /** The file or folder that holds the data set. */
  readonly path: string;
  readonly split: Split;
  /** Side of the square images that are wanted; without it, as they are stored. */
  readonly size?: number | undefined;
  readonly onProgress?: OnProgress | undefined;
  /** What is peculiar to the named data set. */
  readonly rules?: DatasetRules | undefined;
}

/** What a data set's files do not say of themselves. */
export interface DatasetRules {
  /** The number that the first class has in the files (0 unless said; npz only). */
  readonly firstLabel?: number;
  /** The split of an image by its file's name, for sets of images without split folders. */
  readonly splitOfImage?: (name: string) => Split | undefined;
}

/** One way to store images. */
export interface Format {
  readonly name: string;
  /** What a user would call what it reads, for messages. */
  readonly describes: string;
  /** Whether the file or folder at `path`, which exists, looks like this format. */
  recognises(path: string): boolean;
  /** The splits that lie at `path`. */
  splits(path: string, rules?: DatasetRules): Promise<readonly Split[]>;
  open(request: OpenRequest): Promise<ImageSource>;
}

/** The error for a split that a data set lacks. */
export function missingSplit({ name, path, split }: OpenRequest, present: readonly Split[]): UserError {
  const has =
    present.length > 0
      ? `it has ${splits.filter((each) => present.includes(each)).join(", ")}`
      : "nothing of it was found";
  return new UserError(`data set "${name}" has no ${split} split in ${path}; ${has}`);
}
