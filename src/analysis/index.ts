/** Figures by name. A new one is a file and a line here. */
import { UserError } from "../errors.js";
import { didYouMean } from "../nearest.js";
import { bitsPerSteps } from "./bits-per-steps.js";
import { boundPerStep } from "./bound-per-step.js";
import { boundSharesFigure } from "./bound-shares.js";
import { comparedSamples } from "./compared-samples.js";
import { contextBits } from "./context-bits.js";
import { encodedImages } from "./encoded-images.js";
import { encoderChanges } from "./encoder-changes.js";
import { encodingRange } from "./encoding-range.js";
import { estimatorVariance } from "./estimator-variance.js";
import { exchange } from "./exchange.js";
import { exchangeChange } from "./exchange-change.js";
import { exchangeEncoded } from "./exchange-encoded.js";
import type { Figure } from "./figure.js";
import { forward } from "./forward.js";
import { interpolation } from "./interpolation.js";
import { lineIntegral } from "./line-integral.js";
import { logSnrFigure } from "./log-snr.js";
import { lossPerTime } from "./loss-per-time.js";
import { losses } from "./losses.js";
import { noiseHistograms } from "./noise-histograms.js";
import { noiseMapDeviations, noiseMaps } from "./noise-maps.js";
import { overview } from "./overview.js";
import { pixelSchedules } from "./pixel-schedules.js";
import { qualityPerEvaluations } from "./quality-per-evaluations.js";
import { qualityPerSplit } from "./quality-per-split.js";
import { reconstructionError } from "./reconstruction-error.js";
import { reconstructions } from "./reconstructions.js";
import { samples } from "./samples.js";
import { schedule } from "./schedule.js";
import { scheduleReplacement } from "./schedule-replacement.js";
import { scheduleVariance } from "./schedule-variance.js";
import { sequences } from "./sequences.js";
import { toyExamples } from "./toy-examples.js";
import { trainingCurves } from "./training-curves.js";
import { trajectories } from "./trajectories.js";
import { transfer } from "./transfer.js";

export type {
  Drawing,
  Figure,
  FigureContext,
  FigureImages,
  FigureRequest,
  FigureSubject,
  Illustration,
  Row,
  SystemFigure,
} from "./figure.js";
export { writeDrawing } from "./write.js";

export const figures: readonly Figure[] = [
  forward,
  schedule,
  losses,
  lossPerTime,
  bitsPerSteps,
  estimatorVariance,
  samples,
  trajectories,
  comparedSamples,
  encoderChanges,
  encodedImages,
  encodingRange,
  overview,
  scheduleVariance,
  pixelSchedules,
  noiseMaps,
  noiseMapDeviations,
  noiseHistograms,
  scheduleReplacement,
  contextBits,
  trainingCurves,
  qualityPerEvaluations,
  logSnrFigure,
  boundPerStep,
  boundSharesFigure,
  qualityPerSplit,
  reconstructions,
  reconstructionError,
  toyExamples,
  transfer,
  sequences,
  exchange,
  exchangeEncoded,
  exchangeChange,
  interpolation,
  lineIntegral,
];

/** @throws UserError with the nearest name. */
export function figureNamed(name: string): Figure {
  const found = figures.find((figure) => figure.name === name);
  if (found) return found;
  const known = figures.map((figure) => figure.name);
  throw new UserError(`expected a figure, got "${name}"${didYouMean(name, known)}`);
}
