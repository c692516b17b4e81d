/** What the figures of reconstructions leave behind: nothing. Alone in its file, as memory.test.ts is. */
import { expect, test } from "vitest";
import { reconstructionError } from "../../src/analysis/reconstruction-error.js";
import { reconstructions } from "../../src/analysis/reconstructions.js";
import { toyExamples } from "../../src/analysis/toy-examples.js";
import { transfer } from "../../src/analysis/transfer.js";
import { liveTensors } from "../../src/torch/index.js";
import { chainContext, knownDdgm } from "./chain-toy.js";

test("figures leave the number of live tensors where it was once they have been drawn", async () => {
  const conditionOf = async (count: number) => new Float32Array(count);
  const request = { at: 0.6 };
  const context = chainContext(5, { system: knownDdgm([0.2, 0.3, 0.4]), batchSize: 2, request, conditionOf });
  for (const figure of [reconstructions, toyExamples, reconstructionError, transfer]) {
    const draw = () => figure.draw({ ...context, others: [context] });
    await draw(); // A chain keeps the tables that it has been asked for.
    const live = liveTensors();
    await draw();
    expect({ figure: figure.name, live: liveTensors() }).toEqual({ figure: figure.name, live });
    await expect(figure.draw({ ...context, signal: AbortSignal.abort(new Error("stop")) })).rejects.toThrow(
      "stop",
    );
    expect({ figure: figure.name, stopped: liveTensors() }).toEqual({ figure: figure.name, stopped: live });
  }
});
