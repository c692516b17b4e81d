/** What figures leave behind: nothing. Alone in its file, so that no other test's tensors are collected meanwhile. */
import { expect, test } from "vitest";
import { figures } from "../../src/analysis/index.js";
import { liveTensors } from "../../src/torch/index.js";
import { encodedToy, toyContext, toySystem } from "./toy.js";

test("figures leave the number of live tensors where it was", async () => {
  const systems = { VDM: toySystem(), DiffEnc: encodedToy() };
  const request = { images: 4, times: 2, passes: 1, steps: [10, 5] };
  const live = liveTensors();
  for (const [name, system] of Object.entries(systems))
    for (const figure of figures) {
      if (figure.needs !== "nothing" && !figure.fits(system)) continue;
      const others = [toyContext(8, { system })];
      await figure.draw(toyContext(8, { system, others, request }));
      expect({ name, figure: figure.name, live: liveTensors() }).toEqual({ name, figure: figure.name, live });
    }
  expect(Object.keys(systems)).toHaveLength(2); // Held to the end: what is collected would be counted.
});
