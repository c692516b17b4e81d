/** The metric `restoration`: how well a cold diffusion restores what it degrades, sampled and at once (Bansal et al., 2022). */
import path from "node:path";
import { coldSamplerNamed, levelsVisited } from "../diffusion/cold/cold-samplers.js";
import { UserError } from "../errors.js";
import { disposeFeatures, type FeatureNetwork } from "../metrics/features/index.js";
import { fitGaussian } from "../metrics/index.js";
import { ColdWalk, VariationalColdDiffusion } from "../systems/index.js";
import { noGrad, Streams, scope, type Tensor } from "../torch/index.js";
import { DrawnSamples } from "./drawn-samples.js";
import type { Estimate } from "./evaluation.js";
import { openFeatureNetwork } from "./feature-networks.js";
import { evenlySpread, featuresOf } from "./image-features.js";
import { showEstimate } from "./measure-bits.js";
import type { Finding, Measurement, MeasureRequest } from "./metric.js";
import { judge, type Score } from "./quality.js";
import { checkSamples } from "./quality-settings.js";
import {
  type ByKind,
  byKind,
  type RestorationErrors,
  type RestorationKind,
  restorationKinds,
  restorationWork,
} from "./restoration.js";
import { type Subject, subjectOf } from "./subject.js";
import type { Trained } from "./trained.js";
import type { Measured, Numbers, Piece } from "./work.js";

/**
 * Of `request.quality` it takes `sampler`, the config's where absent, and `features`: with them the images of the first pass
 * are compared with the originals by their Fréchet distance too. Latents are draws from the prior.
 * @throws UserError for another system than cold diffusion, and a sampler that it has not
 */
export async function restorationMeasurement(
  trained: Trained,
  request: MeasureRequest,
): Promise<Measurement> {
  const { system, config, run, machine } = trained;
  if (!(system instanceof ColdWalk) || (config.system !== "cold" && config.system !== "vcd"))
    throw new UserError(
      `expected a system of cold diffusion (cold, vcd) for the metric restoration, got ${config.system}`,
    );
  if (request.steps !== undefined)
    throw new UserError("expected no --steps for the metric restoration: it takes the model's own");
  const { sampler = config.sample.sampler, features: asked } = request.quality ?? {};
  coldSamplerNamed(sampler);
  const { jump } = config.model;
  const latentMode = config.system === "vcd" ? config.model.latentMode : "shared";
  const roots = [path.dirname(path.resolve(run.dir)), "runs"];
  const subject = await subjectOf(trained, request, {
    metric: "restoration",
    dequantisation: "none",
    options: { sampler, jump, choice: "evenly spread" },
    variant: [sampler],
  });
  const { source } = subject;
  const network =
    asked === undefined ? undefined : await openFeatureNetwork({ asked, data: source, roots, machine });
  const name = network ? `${subject.name}-${network.fingerprint.slice(0, 8)}` : subject.name;
  const judged =
    network && comparison(subject, { network, seed: request.seed, folder: run.paths.evaluation, name });
  const work = restorationWork({
    ...{ ...subject, system, length: source.length, sampler, jump, latentMode },
    ...(judged ? { keep: (seen, piece) => judged.keep(piece, (kind) => bytesOf(system, seen[kind])) } : {}),
  });
  const facts = network ? { ...subject.facts, features: namesOf(network) } : subject.facts;
  return {
    ...{ name, facts, machine: subject.machine, pieces: work.pieces, measure: work.measure },
    ...(judged ? { holds: judged.holds, clean: judged.clean } : {}),
    async summarise(measured): Promise<Finding> {
      const errors = work.summarise(measured);
      const distances = await judged?.distances(measured);
      const values = byKind((kind) => ({ ...errors[kind], ...(distances ? { fid: distances[kind] } : {}) }));
      return { summary: describe(values, { subject, system, sampler, jump }), values };
    },
  };
}

type Found = ByKind<RestorationErrors<Estimate> & { readonly fid?: Score }>;

function describe(
  found: Found,
  o: {
    readonly subject: Subject;
    readonly system: ColdWalk;
    readonly sampler: string;
    readonly jump: number;
  },
): string {
  const { subject, system, sampler, jump } = o;
  const { passes, words } = subject;
  const steps = levelsVisited(system.levels, { sampler, jump }).length;
  const lost = system.degradation.end === "black" || system.degradation.end === "noise";
  const row = (cells: readonly string[]) => `  ${cells.map((cell) => cell.padEnd(20)).join("")}`.trimEnd();
  return [
    "images degraded in full and restored, on the scale [0, 1] (mean +- standard error)",
    row(["", "RMSE", "SSIM", found.degraded.fid?.label ?? ""]),
    ...restorationKinds.map((kind) => {
      const { rmse, ssim, fid } = found[kind];
      return row([kind, showEstimate(rmse), showEstimate(ssim), fid ? showScore(fid) : ""]);
    }),
    `  sampled: ${steps} ${steps === 1 ? "step" : "steps"} of ${sampler}; direct: the clean image predicted at once`,
    ...(system instanceof VariationalColdDiffusion ? ["  latents drawn from the prior"] : []),
    ...(system.reachesAnyLevel
      ? []
      : ["  the network knows no level but its input's: direct is one step of it"]),
    ...(lost ? ["  the last level leaves nothing of an image: what comes back is another one"] : []),
    `  ${words}, ${passes} ${passes === 1 ? "pass" : "passes"}`,
    "  images evenly spread over the split",
  ].join("\n");
}

function showScore({ value, standardError }: Score): string {
  return showEstimate({ mean: value, standardError: standardError ?? Number.NaN });
}

function namesOf({ name, fingerprint, standing }: FeatureNetwork) {
  return { name, fingerprint, standing };
}

function bytesOf(system: ColdWalk, images: Tensor): Uint8Array {
  return scope(() => noGrad(() => system.decode(images).toTypedArray())) as Uint8Array;
}

interface ComparisonOptions {
  readonly network: FeatureNetwork;
  readonly seed: number;
  readonly folder: string;
  readonly name: string;
}

/** The images of each kind kept in files until all are there, and their Fréchet distances to the originals. */
function comparison({ source, images }: Subject, { network, seed, folder, name }: ComparisonOptions) {
  checkSamples(images, "--images");
  const shape = source.shape as [number, number, number];
  const files = byKind((kind) => new DrawnSamples({ folder: path.join(folder, `${name}.${kind}`), shape }));
  /** What a ledger says of the images of one kind. */
  const of = (kind: RestorationKind, numbers: Numbers): Numbers => ({
    samples: numbers[`${kind}.samples`] ?? [],
  });
  return {
    keep(piece: Piece, bytes: (kind: RestorationKind) => Uint8Array): Numbers {
      const kept = restorationKinds.map((kind) => {
        const { samples } = files[kind].keep(piece, bytes(kind));
        return [`${kind}.samples`, samples ?? []] as const;
      });
      return Object.fromEntries(kept);
    },
    holds(piece: Piece, numbers: Numbers): boolean {
      return piece.pass > 0 || restorationKinds.every((kind) => files[kind].holds(piece, of(kind, numbers)));
    },
    async distances(measured: readonly Measured[]): Promise<ByKind<Score>> {
      const first = measured.filter(({ piece }) => piece.pass === 0);
      const originals = await featuresOf(source, evenlySpread(source.length, images), network);
      const pool = scope(() => fitGaussian(originals.pool));
      const streams = new Streams(new Streams(seed).key("restoration"));
      const scores = new Map<RestorationKind, Score>();
      for (const kind of restorationKinds) {
        const kept = files[kind].read(
          first.map(({ piece, numbers }) => ({ piece, numbers: of(kind, numbers) })),
        );
        const seen = await featuresOf(kept, evenlySpread(images, images), network);
        const reference = { pool, points: originals.pool };
        const { fid } = judge(["fid"], seen, { reference, network, streams, errors: "estimated" });
        if (fid) scores.set(kind, fid);
        disposeFeatures(seen);
      }
      disposeFeatures(originals);
      for (const tensor of Object.values(pool)) tensor.dispose();
      return byKind((kind) => scores.get(kind) as Score);
    },
    clean() {
      for (const kind of restorationKinds) files[kind].remove();
    },
  };
}
