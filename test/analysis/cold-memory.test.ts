/** What the figures of cold diffusion leave behind: nothing. Alone in its file, as memory.test.ts is. */
import { expect, test } from "vitest";
import { exchange } from "../../src/analysis/exchange.js";
import { exchangeChange } from "../../src/analysis/exchange-change.js";
import { exchangeEncoded } from "../../src/analysis/exchange-encoded.js";
import { interpolation } from "../../src/analysis/interpolation.js";
import { sequences } from "../../src/analysis/sequences.js";
import { liveTensors } from "../../src/torch/index.js";
import { coldContext, paintingSystem } from "./cold-toy.js";

test("figures leave the number of live tensors where it was, drawn or stopped", async () => {
  const system = paintingSystem({ coarse: [0.1, 0.2], fine: [0, 0] }, { stepNoise: 0.1 });
  const sampling = { count: 2, steps: 2, sampler: "ancestral" };
  const context = coldContext({ system, sampling, request: { images: 3 }, batchSize: 2 });
  for (const figure of [sequences, interpolation, exchange, exchangeEncoded, exchangeChange]) {
    const draw = () => figure.draw({ ...context, others: [context] });
    await draw(); // A degradation keeps the tables that it has been asked for.
    const live = liveTensors();
    await draw();
    expect({ figure: figure.name, live: liveTensors() }).toEqual({ figure: figure.name, live });
    const stopped = { ...context, signal: AbortSignal.abort(new Error("stop")) };
    await expect(figure.draw(stopped)).rejects.toThrow("stop");
    expect({ figure: figure.name, stopped: liveTensors() }).toEqual({ figure: figure.name, stopped: live });
  }
  expect(system.levels).toBe(2); // Held to the end: what is collected would be counted.
});
