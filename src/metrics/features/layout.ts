/** What a network in a file takes and gives: declared beside it, in `NAME.yaml` or `NAME.json`. */
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { parse } from "yaml";
import { z } from "zod";
import { UserError } from "../../errors.js";
import { explained } from "../../io/index.js";
import { resizings } from "./resampling.js";

/**
 * The place of a tensor among those that a network returns, from 0; the name of a method or an output; or, of TorchScript,
 * what `forward` returns given such arguments behind the images.
 */
const output = z.union([
  z.number().int().min(0),
  z.string().min(1),
  z.strictObject({ arguments: z.array(z.boolean()).min(1) }),
]);

export const layoutSchema = z.strictObject({
  /** By which numbers made with it are labelled; default the file's name. */
  name: z.string().min(1).optional(),
  input: z
    .strictObject({
      channels: z
        .union([z.literal(1), z.literal(3)])
        .nullable()
        .default(null),
      size: z.number().int().positive().nullable().default(null),
      resize: z.enum(resizings).default("bilinear"),
      range: z.tuple([z.number(), z.number()]).default([-1, 1]),
    })
    .prefault({}),
  outputs: z
    .strictObject({
      pool: output,
      spatial: output.optional(),
      /** Unnormalised; or `probabilities`. */
      logits: output.optional(),
      probabilities: output.optional(),
    })
    .refine(({ logits, probabilities }) => logits === undefined || probabilities === undefined, {
      message: "expected logits or probabilities, got both",
    }),
});

export type Layout = z.output<typeof layoutSchema>;
export type Output = z.output<typeof output>;

/** A network's file with its layout. */
export interface LaidOut {
  readonly file: string;
  readonly name: string;
  readonly layout: Layout;
  /** Of the file and the layout, 16 hexadecimal digits. */
  readonly fingerprint: string;
}

/** The SHA-256 of a file, 64 hexadecimal digits. @throws UserError when it cannot be read */
export function hashOfFile(file: string): string {
  return explained("read", file, () => {
    const hash = createHash("sha256");
    const buffer = new Uint8Array(4 << 20);
    const descriptor = fs.openSync(file, "r");
    try {
      for (let got = fs.readSync(descriptor, buffer); got > 0; got = fs.readSync(descriptor, buffer))
        hash.update(buffer.subarray(0, got));
    } finally {
      fs.closeSync(descriptor);
    }
    return hash.digest("hex");
  });
}

/** `file` as `layout` describes it. */
export function laidOut(file: string, layout: Layout): LaidOut {
  const hash = createHash("sha256").update(hashOfFile(file)).update(JSON.stringify(layout));
  const name = layout.name ?? path.basename(file, path.extname(file));
  return { file, name, layout, fingerprint: hash.digest("hex").slice(0, 16) };
}

const example = "input: { channels: 3, size: 299, range: [-1, 1] }, outputs: { pool: 0, logits: 1 }";

/** Reads the layout beside `file`. @throws UserError where there is none, or naming what is wrong in it */
export function readLayout(file: string): LaidOut {
  const stem = file.slice(0, file.length - path.extname(file).length);
  const places = [".yaml", ".yml", ".json"].map((ending) => stem + ending);
  const place = places.find((each) => fs.existsSync(each));
  if (!place)
    throw new UserError(
      `expected the layout of the network ${file} in ${stem}.yaml, found none: write there, for example, ${example}`,
    );
  let content: unknown;
  try {
    content = parse(explained("read", place, () => fs.readFileSync(place, "utf8")));
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`${place}: expected YAML or JSON: ${(error as Error).message.split("\n")[0]}`, {
      cause: error,
    });
  }
  const parsed = layoutSchema.safeParse(content);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new UserError(
      `${place}: ${issue?.path.join(".") || "layout"}: ${issue?.message}; expected, for example, ${example}`,
    );
  }
  return laidOut(file, parsed.data);
}
