/** Which figures `varidiff analyze` draws: those asked for, or those that what is looked at can give. */
import type { Illustration, SystemFigure } from "../analysis/figure.js";
import type { Figure } from "../analysis/index.js";
import { figures } from "../analysis/index.js";
import { UserError } from "../errors.js";
import { ALL, type AnalyzeOptions } from "./analyze-options.js";
import type { Subject } from "./analyze-subjects.js";

const needsNothing = (figure: Figure): figure is Illustration => figure.needs === "nothing";
const needsSystem = (figure: Figure): figure is SystemFigure => figure.needs !== "nothing";

/**
 * The figures of a run or a config, where there is one, and those that need neither.
 *
 * @throws UserError where what there is is not enough for one of those asked for
 */
export function chooseFigures(
  asked: readonly Figure[],
  subject: Subject | undefined,
  options: AnalyzeOptions,
): readonly Figure[] {
  return subject
    ? [...ofSubject(asked.filter(needsSystem), subject, options), ...asked.filter(needsNothing)]
    : withoutSubject(asked, options);
}

/** @throws UserError unless all that was asked for needs neither a run nor a config */
function withoutSubject(asked: readonly Figure[], options: AnalyzeOptions): readonly Illustration[] {
  const illustrations = asked.filter(needsNothing);
  if (illustrations.length > 0 && illustrations.length === options.figure.length) return illustrations;
  const names = figures.filter(needsNothing).map(({ name }) => name);
  const needing = options.figure.find((name) => !names.includes(name));
  const wanted = needing === undefined ? "" : ` for figure "${needing}"`;
  throw new UserError(
    `expected a run folder or a CONFIG.yaml${wanted}, got none: name one, or draw ${names.join(" or ")}`,
  );
}

/** The figures of a system that are drawn. @throws UserError where a config is not enough for one of those asked for */
function ofSubject(
  asked: readonly SystemFigure[],
  subject: Subject,
  options: AnalyzeOptions,
): readonly SystemFigure[] {
  const ofSystems = figures.filter(needsSystem);
  const possible = ({ needs }: SystemFigure) => subject.kind === "run" || needs === "config";
  const cheap = ({ needs }: SystemFigure) => needs === "config" || needs === "records";
  const unjudged = ({ needs }: SystemFigure) =>
    needs === "quality results" && subject.qualityResults().length === 0;
  const lonely = ({ needs }: SystemFigure) => needs === "other runs" && options.with.length === 0;
  if (options.figure.length === 0)
    return ofSystems.filter((f) => cheap(f) && possible(f) && f.fits(subject.system));
  if (options.figure.includes(ALL))
    return ofSystems.filter((f) => possible(f) && !lonely(f) && !unjudged(f) && f.fits(subject.system));
  const impossible = asked.find((figure) => !possible(figure));
  if (impossible)
    throw new UserError(
      `expected a run for figure "${impossible.name}", got a config: train it first, or draw ${ofSystems
        .filter(possible)
        .map(({ name }) => name)
        .join(" or ")}`,
    );
  const alone = asked.find(lonely);
  if (alone)
    throw new UserError(
      `expected other runs to compare with for figure "${alone.name}", got none: add --with RUN`,
    );
  return asked;
}
