/** The metric `nll`: the likelihood of a run by its probability-flow ODE, beside the bound on the same images. */
import { type Dequantiser, dequantiser, flowBitsPerDim } from "../diffusion/likelihood/dequantise.js";
import { type Divergence, gaussianProbe, logDensity, rademacherProbe } from "../diffusion/likelihood/flow.js";
import { type DiffusionSystem, type FlowLikelihood, hasBound, hasFlow } from "../diffusion/system.js";
import { UserError } from "../errors.js";
import { fromTypedArray, noGrad, rand, type Shape, Streams, scope } from "../torch/index.js";
import { type BoundEstimate, boundWork, type Estimate, estimate, meanOfPasses } from "./evaluation.js";
import { defaultFlowSettings, type FlowSettings } from "./flow-settings.js";
import { showEstimate, showTime } from "./measure-bits.js";
import type { Measurement, MeasureRequest } from "./metric.js";
import { type Subject, subjectOf } from "./subject.js";
import type { Trained } from "./trained.js";
import {
  cutInPieces,
  type Measured,
  type Numbers,
  numbersByPass,
  type Piece,
  type PieceOptions,
} from "./work.js";

/** What the likelihood of a data set comes to. */
interface FlowEstimate {
  /** Its standard error is over images. */
  readonly bitsPerDim: Estimate;
  /** Draws of every image times images. */
  readonly draws: number;
  readonly errorsOver: "images";
  /** Of the drift, in the solve of a batch. */
  readonly evaluations: { readonly mean: number; readonly max: number };
  /** Part of `bitsPerDim`: what was charged for what the flow is conditioned on. */
  readonly kl: Estimate | null;
  /** The variational bound of the same images; null for a system without one. */
  readonly bound: BoundEstimate | null;
  /** The likelihood less the bound; its standard error is that of the differences of each image. */
  readonly difference: Estimate | null;
  /** Bits/dim of each image. */
  readonly perImage: { readonly bitsPerDim: readonly number[]; readonly bound: readonly number[] | null };
}

type Solvable = DiffusionSystem & FlowLikelihood;

/** @throws UserError for a system whose likelihood no probability flow gives, with its reason. */
export async function flowMeasurement(trained: Trained, request: MeasureRequest): Promise<Measurement> {
  const { system, config } = trained;
  if (!hasFlow(system))
    throw new UserError(
      `expected a system with a probability flow for nll, got ${config.system}: ${system.noFlow ?? "it has none"}`,
    );
  const settings = { ...defaultFlowSettings, ...request.flow };
  const { dequantisation, ...options } = settings;
  const subject = await subjectOf(trained, request, {
    metric: "nll",
    dequantisation,
    // The solver would take the rounding of bfloat16 for the flow's own curvature.
    precision: ({ precision }) => (precision === "bfloat16" ? "bfloat16" : "float32"),
    draws: settings.importance,
    options,
    variant: variantOf(settings),
  });
  const { name, machine, images, batchSize } = subject;
  const { klKind, noise } = look(system, subject, settings);
  const bound = hasBound(system) ? boundWork({ ...subject, system }) : undefined;
  const solves = cutInPieces({ part: "flow", images, batchSize, passes: settings.importance });
  return {
    ...{ name, machine },
    facts: { ...subject.facts, klKind: klKind ?? null },
    // The bound costs next to nothing: the progress counts the solves alone.
    pieces: [...(bound?.pieces ?? []).map((piece) => ({ ...piece, weight: 0 })), ...solves],
    measure: (piece, options) =>
      piece.part === "flow" || !bound
        ? solvePiece(piece, { system, subject, settings, noise, ...options })
        : bound.measure(piece, options),
    summarise(measured) {
      const drawn = measured.filter(({ piece }) => piece.part === "bound");
      const result = summariseFlow(
        measured.filter(({ piece }) => piece.part === "flow"),
        {
          images,
          dimensions: dimensionsOf(system.shape),
          entropy: noise.entropy,
          kl: klKind === undefined ? "none" : "charged",
          bound: bound ? { estimate: bound.summarise(drawn), measured: drawn } : undefined,
        },
      );
      return { summary: describe(result, subject, settings), values: { ...result } };
    },
  };
}

function dimensionsOf(shape: Shape): number {
  return shape.reduce((product, n) => product * n, 1);
}

/** What is not the default, for the result's name. */
function variantOf(settings: FlowSettings): readonly string[] {
  const { dequantisation, divergence, rtol, atol, latent } = settings;
  const said = {
    dequantisation,
    divergence,
    rtol: `rtol${rtol}`,
    atol: `atol${atol}`,
    latent: `latent-${latent}`,
  };
  return (Object.keys(said) as (keyof typeof said)[])
    .filter((key) => settings[key] !== defaultFlowSettings[key])
    .map((key) => said[key]);
}

/** What is the same for every batch, seen on the first image. */
function look(
  system: Solvable,
  { streams, pass, readBatch }: Subject,
  { dequantisation, latent }: FlowSettings,
): { readonly klKind: string | undefined; readonly noise: Dequantiser } {
  return noGrad(() => {
    const { gamma0, kl, klKind } = system.flow(readBatch([0]), { streams, pass, latent });
    const noise = dequantiser(dequantisation, { gamma0, levels: system.levels });
    return { klKind: kl ? (klKind ?? "not named") : undefined, noise };
  });
}

/** One importance sample of each image of a batch: log p, log q and KL in nats, and what the solve took. */
async function solvePiece(
  { indices, batch: batchIndex, pass: sample }: Piece,
  o: {
    readonly system: Solvable;
    readonly subject: Subject;
    readonly settings: FlowSettings;
    readonly noise: Dequantiser;
  } & PieceOptions,
): Promise<Numbers> {
  const { system, subject, settings, signal } = o;
  const { latent, rtol, atol } = settings;
  const streams = new Streams(subject.streams.key("flow")).at(batchIndex);
  const batch = scope(() => subject.readBatch(indices));
  const { device } = batch.pixels;
  // What is conditioned on draws from the streams of the batch: all samples of an image share it.
  const given = noGrad(() => system.flow(batch, { streams, pass: subject.pass, latent }));
  const drawn = streams.at(sample);
  const { start, logQ } = noGrad(() =>
    scope(() => {
      const x0 = system.encode(batch.pixels).to("float64");
      const uniform = rand(x0.shape, drawn.generator("dequantisation"), { dtype: "float64" });
      return o.noise.dequantise(x0, uniform.toDevice(device));
    }),
  );
  const divergence = divergenceOf(settings.divergence, start.shape, { streams: drawn, device });
  const onStep = ({ t }: { readonly t: number }) => o.onPart?.(t);
  const solved = await logDensity(given.flow, start, { divergence, rtol, atol, signal, onStep }).finally(
    () => {
      start.dispose();
      batch.pixels.dispose();
      batch.condition?.dispose();
      if (divergence.kind === "hutchinson") divergence.probe.dispose();
    },
  );
  const numbers = {
    logP: solved.logDensity.toArray(),
    logQ: logQ.toArray(),
    ...(given.kl ? { kl: given.kl.toArray() } : {}),
    evaluations: [solved.evaluations],
  };
  for (const tensor of [solved.logDensity, solved.x1, solved.deltaLogDensity, logQ, given.kl])
    tensor?.dispose();
  return numbers;
}

function divergenceOf(
  kind: FlowSettings["divergence"],
  shape: Shape,
  { streams, device }: { readonly streams: Streams; readonly device: string },
): Divergence {
  const generator = streams.generator("probe");
  switch (kind) {
    case "rademacher":
      return { kind: "hutchinson", probe: scope(() => rademacherProbe(shape, generator).toDevice(device)) };
    case "gaussian":
      return { kind: "hutchinson", probe: scope(() => gaussianProbe(shape, generator).toDevice(device)) };
    case "rademacher-fresh":
      return { kind: "hutchinson-fresh", draw: () => rademacherProbe(shape, generator).toDevice(device) };
    case "exact":
      return { kind };
    default:
      return kind satisfies never;
  }
}

function summariseFlow(
  measured: readonly Measured[],
  o: {
    readonly images: number;
    readonly dimensions: number;
    /** Of the dequantisation. */
    readonly entropy: number;
    readonly kl: "none" | "charged";
    readonly bound: { readonly estimate: BoundEstimate; readonly measured: readonly Measured[] } | undefined;
  },
): FlowEstimate {
  const { images, dimensions, entropy, bound } = o;
  const passes = (name: string) => numbersByPass(measured, name, images);
  const [kl] = o.kl === "charged" ? passes("kl") : [];
  const bits = scope(() => {
    const stacked = (name: string) => {
      const values = passes(name);
      return fromTypedArray(Float64Array.from(values.flatMap((pass) => [...pass])), [values.length, images]);
    };
    const given = { logP: stacked("logP"), logQ: stacked("logQ"), entropy, dimensions };
    return flowBitsPerDim(kl ? { ...given, kl: fromTypedArray(kl, [images]) } : given).toArray();
  });
  const evaluations = measured.flatMap(({ numbers }) => numbers.evaluations ?? []);
  const bounds = bound && meanOfPasses(numbersByPass(bound.measured, "total", images));
  return {
    bitsPerDim: estimate(bits),
    draws: images * passes("logP").length,
    errorsOver: "images",
    evaluations: {
      mean: estimate(evaluations).mean,
      max: evaluations.reduce((most, one) => Math.max(most, one), 0),
    },
    kl: kl ? estimate(kl.map((nats) => nats / (dimensions * Math.LN2))) : null,
    bound: bound?.estimate ?? null,
    difference: bounds ? estimate(bits.map((value, i) => value - (bounds[i] as number))) : null,
    perImage: { bitsPerDim: bits, bound: bounds ? [...bounds] : null },
  };
}

function describe(result: FlowEstimate, { steps, words }: Subject, settings: FlowSettings): string {
  const { bitsPerDim, bound, difference, kl, evaluations } = result;
  const { importance, dequantisation, divergence, rtol, atol } = settings;
  const row = (name: string, text: string) => `  ${name.padEnd(16)}${text}`;
  return [
    `${showEstimate(bitsPerDim)} bits/dim (likelihood by the probability-flow ODE, K = ${importance}; mean +- standard error over images)`,
    ...(kl ? [row("of which KL", showEstimate(kl))] : []),
    ...(bound && difference
      ? [
          row("bound", `${showEstimate(bound.bitsPerDim)}  (${showTime(steps)}, passes: ${bound.passes})`),
          row("less the bound", `${showEstimate(difference)}  (of the same images)`),
        ]
      : []),
    row("evaluations", `${evaluations.mean.toFixed(1)} a solve, at most ${evaluations.max}`),
    row(
      "",
      `${dequantisation} dequantisation, ${divergence} divergence, rtol ${rtol}, atol ${atol}`,
    ).trimEnd(),
    `  ${words}`,
  ].join("\n");
}
