/** What the configs of cold diffusion have in common, with and without latents: keys, presets, and what is refused by name. */
import { z } from "zod";
import { levelPredictions } from "../diffusion/cold/cold-samplers.js";
import { type LevelLoss, levelLosses, lossReductions } from "../diffusion/cold/level-loss.js";
import { createStart, startSchema } from "../diffusion/cold/start/index.js";
import { AddedNoise, createDegradation, degradationSchema } from "../diffusion/degradation/index.js";
import { UserError } from "../errors.js";
import { type ColdWalkOptions, levelNumberings } from "./cold-walk.js";
import type { SystemContext } from "./system-context.js";

const deviation = z.number().min(0);

/** Keys of both. */
export const coldModelKeys = {
  /** The forward process; see the registry of degradations. */
  degradation: degradationSchema,
  /** Where samples begin; `auto` is what the degradation ends in. */
  start: startSchema.prefault({ kind: "auto" }),
  /** What the network predicts: the noise, the clean image, or the cleaner state less its input. */
  prediction: z.enum(levelPredictions).default("previous"),
  /** Standard deviation of noise on degraded images, for the network to remove. */
  inputNoise: deviation.default(0),
  /** Standard deviation of the noise that samples get at every step but the last; 1.25 times inputNoise where null. */
  stepNoise: deviation.nullable().default(null),
  /** Standard deviation of noise on the start; where null inputNoise on starts of one colour, and 0 on others. */
  startNoise: deviation.nullable().default(null),
  /** Values between which `ancestral` keeps the clean image that is predicted from noise. */
  clamp: z
    .tuple([z.number(), z.number()])
    .refine(([low, high]) => low < high, { message: "expected the lower of the two first" })
    .default([-1, 1]),
  /** Levels at once that samples are drawn by, where nothing else is asked for. */
  jump: z.number().int().positive().default(1),
  /** Whether targets are one level below the input, or any multiple of jump. */
  trainedJumps: z.enum(["one", "multiples"]).default("one"),
  /** Whether the network is told the first degraded level as 0 or as 1. */
  levelNumbers: z.enum(levelNumberings).default("from-zero"),
  /** Sum or mean over the pixels of an image; `auto`: as the official code has it. */
  reduction: z.enum(["auto", ...lossReductions]).default("auto"),
  /** Whether losses are divided by the mean brightness that fading leaves of the targets. */
  lossWeighting: z.enum(["none", "brightness"]).default("none"),
  /** No classes are told. */
  condition: z.literal("none").default("none"),
} as const;

/** The distance of images; absolute differences are for models of clean images. */
export const distanceKey = z.enum(["auto", ...levelLosses]).default("auto");

/** Options of the original that are not offered, each with the reason. */
const refused = {
  autoencoder: "its network codes an image without a law to draw codes from, so that it cannot sample",
  multiscaleVae:
    "the original's network returns one value where its trainer takes two, and was never trained",
  minT2Step:
    "the original's teacher and sampler mix step sizes with any value but 1; set jump and trainedJumps",
} as const;

/** Keys that may not be there. */
export const refusedKeys = Object.fromEntries(
  Object.entries(refused).map(([key, reason]) => [
    key,
    z.custom<undefined>((value) => value === undefined, { error: `left out: ${reason}` }).optional(),
  ]),
) as { readonly [K in keyof typeof refused]: z.ZodOptional<z.ZodCustom<undefined>> };

type Loose = Readonly<Record<string, unknown>>;

function isLoose(value: unknown): value is Loose {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** `options` under what a config says, which may say nothing; something else than options is left to be refused. */
function under(options: Loose, said: unknown): unknown {
  return said === undefined ? options : isLoose(said) ? { ...options, ...said } : said;
}

/**
 * `schema` with a key `baseline` that gives other keys their defaults, also those within `degradation`. Networks are told the
 * level that is asked for where they predict what lies there.
 */
export function withBaselines<S extends z.ZodType>(
  schema: S,
  o: { readonly presets: Readonly<Record<string, Loose>>; readonly network: string },
): z.ZodPreprocess<S> {
  return z.preprocess((value) => {
    if (!isLoose(value)) return value;
    const preset = typeof value.baseline === "string" ? (o.presets[value.baseline] ?? {}) : {};
    const said = { ...preset, ...value };
    const times = said.prediction === "x0" || said.prediction === "eps" ? "one" : "two";
    return {
      ...said,
      network: under({ kind: o.network, times }, said.network),
      degradation: under(
        { kind: "black-blur", ...(preset.degradation as Loose | undefined) },
        value.degradation,
      ),
    };
  }, schema);
}

type ColdModel = z.output<z.ZodObject<typeof coldModelKeys>> & {
  readonly network: Pick<ColdWalkOptions, "times">;
};

/** What a config says of the walk. @throws UserError for parts that do not go together, and images that are too small */
export function walkOptions(config: ColdModel, { shape }: SystemContext): ColdWalkOptions {
  const { prediction, inputNoise, clamp, jump, trainedJumps, levelNumbers } = config;
  const { times } = config.network;
  const degradation = createDegradation(config.degradation);
  const [, height, width] = shape;
  degradation.checkSize?.(height, width);
  checkPrediction(config, degradation instanceof AddedNoise);
  if (jump > degradation.levels)
    throw new UserError(
      `expected model.jump of at most ${degradation.levels}, the levels of the degradation, got ${jump}: lower it`,
    );
  if (trainedJumps === "multiples" && prediction !== "previous")
    throw new UserError(
      `expected model.prediction previous with model.trainedJumps multiples, got ${prediction}: only then is a level asked for`,
    );
  if (trainedJumps === "multiples" && times === "one")
    throw new UserError(
      "expected model.network.times two with model.trainedJumps multiples, got one: only then is the network told the level that is asked for",
    );
  const { kind } = config.start;
  if (kind !== "auto" && (kind === "noise") !== (degradation.end === "noise"))
    throw new UserError(
      `expected model.start.kind noise with model.degradation.kind noise and with no other, got ${kind} with ${config.degradation.kind}: set it to auto`,
    );
  const start = createStart(config.start, { degradation, shape });
  const oneColour =
    kind === "colour" || kind === "corner" || (kind === "auto" && isOneColour(degradation.end));
  return {
    ...{ shape, degradation, start, prediction, inputNoise, clamp, jump, trainedJumps, times },
    numbering: levelNumbers,
    stepNoise: config.stepNoise ?? 1.25 * inputNoise,
    startNoise: config.startNoise ?? (oneColour ? inputNoise : 0),
  };
}

function isOneColour(end: string): boolean {
  return end === "colour" || end === "corner";
}

function checkPrediction(config: ColdModel, isNoise: boolean): void {
  const { prediction, degradation, inputNoise, stepNoise } = config;
  if (prediction === "eps" && !isNoise)
    throw new UserError(
      `expected model.degradation.kind noise with model.prediction eps, got ${degradation.kind}: set prediction to x0 or previous`,
    );
  if (prediction === "previous" && isNoise)
    throw new UserError(
      "expected model.prediction eps or x0 with model.degradation.kind noise, got previous: a less noisy image is no function of the image",
    );
  const added = Object.entries({ inputNoise, stepNoise }).find(([, deviation]) => deviation);
  if (added && isNoise)
    throw new UserError(
      `expected model.${added[0]} 0 with model.degradation.kind noise, which has its own, got ${added[1]}: set it to 0`,
    );
}

/** The loss of a config; `official` says what stands for `auto`. */
export function lossOf(
  asked: {
    readonly distance: "auto" | LevelLoss["distance"];
    readonly reduction: "auto" | LevelLoss["reduction"];
  },
  official: LevelLoss,
): LevelLoss {
  return {
    distance: asked.distance === "auto" ? official.distance : asked.distance,
    reduction: asked.reduction === "auto" ? official.reduction : asked.reduction,
  };
}
