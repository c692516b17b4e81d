/** Images of which a half says nothing, and the class says which (MuLAN, synthetic data sets). */
import { topHalf } from "./halves.js";
import type { Variant } from "./variant.js";

const grey = 127;
/** The classes below have their top half erased, the others the bottom half. */
const firstBottom = 5;

/** Classes 0 to 4: the top half is 127 throughout; others: the bottom half. */
export const intensityHalves: Variant = {
  name: "intensity-halves",
  summary: "classes 0 to 4 with a top half of plain grey (127), the others with such a bottom half",
  byLabel: "yes",
  make({ pixels, shape, label }) {
    const top = topHalf(shape);
    const erasesTop = label !== undefined && label < firstBottom;
    return [pixels.map((value, i) => (top(i) === erasesTop ? grey : value))];
  },
};
