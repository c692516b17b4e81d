/** What figures leave behind: nothing. Alone in its file, so that no other test's tensors are collected meanwhile. */
import { expect, test } from "vitest";
import { figures } from "../../src/analysis/index.js";
import { liveTensors } from "../../src/torch/index.js";
import { toyContext, toySystem } from "./toy.js";

test("figures leave the number of live tensors where it was", async () => {
  const system = toySystem();
  const request = { images: 4, times: 2, passes: 1, steps: [10, 0] };
  const live = liveTensors();
  for (const figure of figures) {
    await figure.draw(toyContext(8, { system, request }));
    expect({ figure: figure.name, live: liveTensors() }).toEqual({ figure: figure.name, live });
  }
});
