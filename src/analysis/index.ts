/** Figures by name. A new one is a file and a line here. */
import { UserError } from "../errors.js";
import { didYouMean } from "../nearest.js";
import { bitsPerSteps } from "./bits-per-steps.js";
import { estimatorVariance } from "./estimator-variance.js";
import type { Figure } from "./figure.js";
import { forward } from "./forward.js";
import { lineIntegral } from "./line-integral.js";
import { lossPerTime } from "./loss-per-time.js";
import { losses } from "./losses.js";
import { samples } from "./samples.js";
import { schedule } from "./schedule.js";
import { trajectories } from "./trajectories.js";

export type {
  Drawing,
  Figure,
  FigureContext,
  FigureImages,
  FigureRequest,
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
  lineIntegral,
];

/** @throws UserError with the nearest name. */
export function figureNamed(name: string): Figure {
  const found = figures.find((figure) => figure.name === name);
  if (found) return found;
  const known = figures.map((figure) => figure.name);
  throw new UserError(`expected a figure, got "${name}"${didYouMean(name, known)}`);
}
