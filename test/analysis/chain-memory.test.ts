/** What the figures of discrete chains leave behind: nothing. Alone in its file, as memory.test.ts is. */
import { expect, test } from "vitest";
import { boundPerStep } from "../../src/analysis/bound-per-step.js";
import { boundSharesFigure } from "../../src/analysis/bound-shares.js";
import { logSnrFigure } from "../../src/analysis/log-snr.js";
import { liveTensors } from "../../src/torch/index.js";
import { chainContext, knownDdgm } from "./chain-toy.js";

test("figures leave the number of live tensors where it was once they have been drawn", async () => {
  const betas = [0.2, 0.3, 0.4];
  const system = knownDdgm(betas);
  const checkpoints = () => [{ step: 0, open: () => knownDdgm(betas) }];
  const context = chainContext(4, { system, checkpoints });
  for (const figure of [logSnrFigure, boundPerStep, boundSharesFigure]) {
    const draw = () => figure.draw({ ...context, others: [context] });
    await draw(); // A chain keeps the tables that it has been asked for.
    const live = liveTensors();
    await draw();
    expect({ figure: figure.name, live: liveTensors() }).toEqual({ figure: figure.name, live });
  }
});
